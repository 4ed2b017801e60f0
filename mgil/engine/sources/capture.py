"""Pictures of a camera or network stream by OpenCV, connection after connection."""

from __future__ import annotations

import os
import time

import cv2

from mgil.engine.sources.stream_state import StreamState
from mgil.engine.sources.video import broke_off, frame_rate


class StreamCapture:
    """Connects to a stream and puts its pictures into a state; see `StreamReader` for both.

    Args:
        address: a webcam's number, a URL or a video file.
        vid_stride: take every n-th picture.
        silence_s: seconds after which a connection without a picture is lost.
        state: of the stream.
    """

    def __init__(self, address: str, vid_stride: int, silence_s: float, state: StreamState) -> None:
        self._address, self._vid_stride, self._silence_s, self._state = address, vid_stride, silence_s, state
        self._taken = 0  # of a stream with an end, up to where its pictures were taken, over all connections
        self._sent = 0  # pictures of a live stream, over all connections

    def connect(self) -> str | None:
        """Read from one connection until it breaks off; returns why, or None at the end of the stream."""
        start, open_s = time.monotonic(), self._state.open_s()
        try:
            capture = self._open(open_s)
            try:
                if capture.isOpened():
                    return self._read(capture)
            finally:
                capture.release()
        except cv2.error as error:
            return f"OpenCV cannot read it ({error.code})"  # its text may hold the address and so a password
        if self._address.isdecimal():
            return "there is no such camera, or another program uses it"
        slow = time.monotonic() - start >= 0.9 * open_s
        refused = "nobody answers, or the login is wrong, or it is no video"
        return f"no answer within {open_s:.3g} s" if slow else refused

    def _read(self, capture: cv2.VideoCapture) -> str | None:
        """Take pictures until there are no more; returns as `connect`."""
        fps = frame_rate(capture) / self._vid_stride
        has_end = os.path.isfile(self._address) or capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
        grabbed = 0
        while not self._state.stopped.is_set():
            waited_since = time.monotonic()
            if not capture.grab():
                if has_end and grabbed:
                    return self._end(capture, grabbed)
                silent = time.monotonic() - waited_since >= 0.9 * self._silence_s
                return f"no picture for {self._silence_s:g} s" if silent else "it broke off"
            grabbed += 1
            self._sent += 1
            if grabbed % self._vid_stride or grabbed <= self._taken:
                self._state.alive()
                continue
            valid, image_bgr = capture.retrieve()
            if not valid:
                return "it sends damaged pictures"
            self._state.put(image_bgr, grabbed if has_end else self._sent, fps, has_end)
            if has_end:
                self._taken = grabbed
        return None

    def _end(self, capture: cv2.VideoCapture, grabbed: int) -> str | None:
        """Tell the end of a video from a download that broke off; returns as `connect`."""
        cut = f"after {grabbed} of {capture.get(cv2.CAP_PROP_FRAME_COUNT):.0f} pictures"
        early = broke_off(capture, grabbed)
        if early and not os.path.isfile(self._address):
            return f"it broke off {cut}"
        self._state.news.append(f"stream {self._state.name}: {f'its file breaks off {cut}' if early else 'ended'}")
        return None

    def _open(self, open_s: float) -> cv2.VideoCapture:
        if self._address.isdecimal():
            return cv2.VideoCapture(int(self._address))
        if os.path.isfile(self._address):
            return cv2.VideoCapture(self._address)
        parameters = {
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: max(round(open_s * 1000), 1),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC: max(round(self._silence_s * 1000), 1),
            cv2.CAP_PROP_N_THREADS: 1,  # a decoder with n threads hands out each picture n - 1 pictures late
        }
        pairs = [number for pair in parameters.items() for number in pair]
        return cv2.VideoCapture(self._address, cv2.CAP_FFMPEG, pairs)
