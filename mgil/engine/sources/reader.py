"""One camera or network stream: its own thread reads it, keeps the newest picture and connects anew after a loss."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from mgil.datasets.reading.image_list import printable
from mgil.engine.sources.video import frame_rate


@dataclass(frozen=True)
class Patience:
    """How long to wait for a stream, in seconds."""

    open_s: float = 20.0  # for a connection and its first picture
    silence_s: float = 10.0  # for the next picture; a connection that is silent for longer is lost
    gone_s: float = 60.0  # for a lost stream to come back; then it is given up
    first_pause_s: float = 0.5  # before connecting anew; every further attempt waits twice as long as the last one ...
    longest_pause_s: float = 8.0  # ... but no longer than this


@dataclass(frozen=True)
class Picture:
    """A picture of a stream.

    Attributes:
        image_bgr: (H, W, 3) uint8.
        number: from 1, counted over all that the stream sent after `vid_stride`; a gap shows what was dropped.
        fps: pictures per second after `vid_stride`, as the stream says.
        arrived: `time.monotonic()` at which it came; None for a stream with an end, where that says nothing.
    """

    image_bgr: np.ndarray
    number: int
    fps: float
    arrived: float | None


class StreamReader:
    """Reads one stream in a thread, into a slot for one picture.

    Of a live stream the slot holds the newest picture; one that nobody took in time is dropped and counted, so that a
    slow reader sees fewer pictures and no old ones. A stream with an end (a file, also over HTTP) waits until its
    picture is taken: none is dropped, and when its end is reached it is over. A live one never ends by itself: when it
    breaks off it is lost, and connected anew until it is back or `patience` is used up; likewise a video over the
    network that breaks off long before its end, which goes on where it was.

    Args:
        address: a webcam's number, a URL or a video file.
        name: what to call it on the console.
        vid_stride: take every n-th picture.
        patience: how long to wait for it.
        changed: notified at every picture; its lock guards what is below.

    Attributes:
        waiting: whether a picture waits in the slot.
        seen: pictures that came, after `vid_stride`.
        dropped: how many of them were replaced by a newer one before they were taken.
        losses: how often it broke off.
        problem: why the last attempt to get pictures failed; None while they come.
        over: it will send no more: it came to its end or was given up.
        given_up: why it is over, if not by its end.
        news: lines for the console.
    """

    def __init__(
        self, address: str, name: str, *, vid_stride: int, patience: Patience, changed: threading.Condition
    ) -> None:
        self.name = name
        self.seen = self.dropped = self.losses = 0
        self.problem: str | None = None
        self.over = False
        self.given_up: str | None = None
        self.news: deque[str] = deque()
        self._address, self._vid_stride, self._patience, self._changed = address, vid_stride, patience, changed
        self._slot: Picture | None = None
        self._taken = 0  # of a stream with an end, up to where its pictures were taken, over all connections
        self._stop = threading.Event()
        self._started = self._sign_of_life = time.monotonic()
        self._lost_at: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"stream {name}", daemon=True)

    @property
    def waiting(self) -> bool:
        """Whether a picture waits in the slot."""
        return self._slot is not None

    def start(self) -> None:
        """Begin to connect and read."""
        self._started = self._sign_of_life = time.monotonic()
        self._thread.start()

    def take(self) -> Picture | None:
        """Empty the slot."""
        with self._changed:
            picture, self._slot = self._slot, None
            self._changed.notify_all()  # a stream with an end waits for room
        return picture

    def watch(self) -> None:
        """Give up on a thread that hangs in a driver or a name look-up, where its own time limits do not reach."""
        patience = self._patience
        with self._changed:
            last_s = patience.silence_s if self.seen else patience.open_s
            limit_s = last_s + patience.gone_s + patience.open_s + 1  # past the moment when the thread itself gives up
            if time.monotonic() - self._sign_of_life > limit_s and not self.waiting:
                self._give_up("it hangs")

    def failed(self) -> str | None:
        """Why it gave no picture so far, once its first attempt has failed or takes too long."""
        with self._changed:
            if self.seen:
                return None
            late = time.monotonic() - self._started > self._patience.open_s + 1
            return self.given_up or self.problem or (f"no answer within {self._patience.open_s:g} s" if late else None)

    def stop(self) -> None:
        """Ask the thread to end; it does so at the next picture, or when its connection runs out of time."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def join(self, deadline: float) -> None:
        """Wait for the thread until a `time.monotonic()`; a hanging one is left behind, it holds up nobody."""
        if self._thread.is_alive():
            self._thread.join(max(deadline - time.monotonic(), 0))

    # The thread ------------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            self._connections()
        except Exception as error:  # a thread that dies must not look like a stream that ended
            said = printable(str(error).replace(self._address, self.name))
            self._give_up(f"it cannot be read: {type(error).__name__}: {said}")
        finally:
            with self._changed:
                self.over = True
                self._changed.notify_all()

    def _connections(self) -> None:
        """Connect again and again until the stream came to its end or is given up."""
        pause_s = self._patience.first_pause_s
        while not self._stop.is_set():
            seen = self.seen
            problem = self._connection()
            if problem is None or self._stop.is_set():
                return
            if self.seen > seen:
                pause_s = self._patience.first_pause_s
            left_s = self._lose(problem)
            if left_s <= 0:
                self._give_up(problem)
                return
            self._stop.wait(min(pause_s, left_s))
            pause_s = min(2 * pause_s, self._patience.longest_pause_s)

    def _connection(self) -> str | None:
        """Read from one connection until it breaks off; returns why, or None at the end of the stream."""
        start, open_s = time.monotonic(), self._open_s()
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
        """Take pictures until there are no more; returns as `_connection`."""
        fps = frame_rate(capture) / self._vid_stride
        has_end = os.path.isfile(self._address) or capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
        grabbed = 0
        while not self._stop.is_set():
            waited_since = time.monotonic()
            if not capture.grab():
                if has_end and grabbed:
                    return self._end(capture, grabbed)
                silent = time.monotonic() - waited_since >= 0.9 * self._patience.silence_s
                return f"no picture for {self._patience.silence_s:g} s" if silent else "it broke off"
            grabbed += 1
            if grabbed % self._vid_stride or grabbed <= self._taken:
                self._sign_of_life = time.monotonic()
                continue
            valid, image_bgr = capture.retrieve()
            if not valid:
                return "it sends damaged pictures"
            self._put(image_bgr, fps, has_end)
            if has_end:
                self._taken = grabbed
        return None

    def _end(self, capture: cv2.VideoCapture, grabbed: int) -> str | None:
        """Tell the end of a video from a download that broke off; returns as `_connection`.

        Pictures and time must both fall short: the number of pictures may be a guess from the time, and the time of a
        picture may be missing.
        """
        count, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
        reached_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not os.path.isfile(self._address) and grabbed < 0.9 * count and reached_s * fps < 0.9 * count:
            return f"it broke off after {grabbed} of {count:.0f} pictures"
        self.news.append(f"stream {self.name}: ended")
        return None

    def _open(self, open_s: float) -> cv2.VideoCapture:
        if self._address.isdecimal():
            return cv2.VideoCapture(int(self._address))
        if os.path.isfile(self._address):
            return cv2.VideoCapture(self._address)
        parameters = {
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: max(round(open_s * 1000), 1),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC: max(round(self._patience.silence_s * 1000), 1),
            cv2.CAP_PROP_N_THREADS: 1,  # a decoder with n threads hands out each picture n - 1 pictures late
        }
        pairs = [number for pair in parameters.items() for number in pair]
        return cv2.VideoCapture(self._address, cv2.CAP_FFMPEG, pairs)

    def _open_s(self) -> float:
        """Seconds for an attempt: none outlasts the patience with a lost stream by more than a second."""
        if self._lost_at is None:
            return self._patience.open_s
        left_s = self._lost_at + self._patience.gone_s - time.monotonic()
        return min(self._patience.open_s, max(left_s, 1.0))

    def _put(self, image_bgr: np.ndarray, fps: float, has_end: bool) -> None:
        now = time.monotonic()
        with self._changed:
            while has_end and self._slot is not None and not self._stop.is_set():
                self._changed.wait(0.5)
            self.seen += 1
            self.dropped += self._slot is not None
            self._slot = Picture(image_bgr, self.seen, fps, None if has_end else now)
            self._sign_of_life, self.problem = time.monotonic(), None
            if self._lost_at is not None:
                self.news.append(f"stream {self.name}: back after {now - self._lost_at:.1f} s")
                self._lost_at = None
            self._changed.notify_all()

    def _lose(self, problem: str) -> float:
        """Note that no pictures come any more; returns the seconds left for it to come back."""
        now, patience_s = time.monotonic(), self._patience.gone_s
        with self._changed:
            self.problem = problem
            if self._lost_at is None:
                self._lost_at = now
                self.losses += bool(self.seen)
                state = "lost" if self.seen else "cannot be opened"
                self.news.append(f"stream {self.name}: {state} ({problem}); trying again for {patience_s:g} s")
            self._changed.notify_all()
        return self._lost_at + patience_s - now

    def _give_up(self, problem: str) -> None:
        with self._changed:
            if self.over:
                return  # by the thread itself, while `watch` was about to, or the other way round
            self.given_up = problem
            self.over = True
            waited = "" if self._lost_at is None else f" after {self._patience.gone_s:g} s"
            self.news.append(f"stream {self.name}: given up{waited} ({problem})")
            self._changed.notify_all()
        self._stop.set()
