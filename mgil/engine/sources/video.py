"""Video files, read frame by frame by OpenCV, and what all that use its videos must know about it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

import cv2
import numpy as np

from mgil.files.text import Report, printable

ENOUGH = 0.9  # share of the frames that a container tells of
FALLBACK_FPS = 30.0  # for files and cameras that do not say


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV and its FFmpeg from printing about damaged videos and lost streams, which we report ourselves."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once, when the first video is opened
    logs = cv2.utils.logging
    level = logs.getLogLevel()
    logs.setLogLevel(logs.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logs.setLogLevel(level)


def is_utf8(path: str) -> bool:
    """Whether a path can be given to OpenCV, which ends the process over bytes that are not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def frame_rate(capture: cv2.VideoCapture) -> float:
    """Frames per second of an open video or stream; `FALLBACK_FPS` where it does not say or says nonsense."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if 0 < fps < 1000 else FALLBACK_FPS


def read_video(path: str, vid_stride: int, report: Report = print) -> Iterator[tuple[np.ndarray, int, int, float]]:
    """Read every `vid_stride`-th frame of a video file; damaged frames are passed over.

    Args:
        path: the file.
        vid_stride: 1 or more.
        report: gets a line at the end where frames were damaged, or the video broke off.

    Yields:
        RGB frame, its number in the video from 1, how many that has (0 if unknown), and its own frames per second.

    Raises:
        ValueError: the file cannot be opened as a video, or holds no frame.
    """
    with _path_for_opencv(path) as opencv_path:
        capture = cv2.VideoCapture(opencv_path)
        try:
            if not capture.isOpened():
                raise ValueError(f"{printable(path)}: cannot be read as a video")
            fps = frame_rate(capture)
            said = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
            number = read = damaged = 0
            while all(capture.grab() for _ in range(vid_stride)):
                number += vid_stride
                valid, image_bgr = capture.retrieve()  # only the frames that are wanted are converted
                if valid:
                    read += 1
                    # the container's count may be a guess from its length, which the frames themselves can pass
                    yield np.ascontiguousarray(image_bgr[..., ::-1]), number, said if number <= said else 0, fps
                else:
                    damaged += 1
            if damaged:
                report(f"{printable(path)}: {damaged} of {damaged + read} frames are damaged and were passed over")
            if read and broke_off(capture, number + vid_stride - 1):
                report(f"{printable(path)}: breaks off after frame {number} of {said}")
        except cv2.error as error:
            raise ValueError(f"{printable(path)}: cannot be read as a video (OpenCV: {error.err})") from error
        finally:
            capture.release()
    if not read:
        raise ValueError(f"{printable(path)}: holds no frame that can be read at --vid-stride {vid_stride}")


def broke_off(capture: cv2.VideoCapture, grabbed: int) -> bool:
    """Tell a video that is cut off or damaged from one that is at its end, after so many frames.

    Frames and time must both fall short: the count of frames may be a guess from the time, and the time of a frame may
    be missing.
    """
    said, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    reached = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 * fps
    return grabbed < ENOUGH * said and reached < ENOUGH * said


@contextlib.contextmanager
def _path_for_opencv(path: str) -> Iterator[str]:
    """The whole path, as FFmpeg takes a colon in a relative one for a protocol; or a link to it that is UTF-8."""
    absolute = os.path.abspath(path)
    if is_utf8(absolute):
        yield absolute
        return
    with tempfile.TemporaryDirectory(prefix="video-") as folder:
        link = os.path.join(folder, f"video{os.path.splitext(path)[1]}")
        os.symlink(absolute, link)
        yield link
