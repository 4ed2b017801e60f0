"""The one door to ultralytics: videos, the screen and drawing.

Importing that package reaches for the network, writes a settings file, may install packages, and changes thread counts,
print options, `os.environ` and functions of other packages. Here its switches are set before it is imported and all
that it changed is put back after.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import importlib.util
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import torch

from files.text import printable

FALLBACK_FPS = 30.0  # for files and cameras that do not say
_PATCHED = (
    (torch, "save"),
    (torch, "load"),
    (cv2, "imread"),
    (cv2, "imwrite"),
    (cv2, "imshow"),
    (PIL.Image, "open"),
)


# Guarding the process ------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Put back, on leaving, what ultralytics is known to change in the process."""
    environment = dict(os.environ)
    functions = [(owner, name, getattr(owner, name)) for owner, name in _PATCHED if hasattr(owner, name)]
    torch_threads, opencv_threads = torch.get_num_threads(), cv2.getNumThreads()
    benchmark = torch.backends.cudnn.benchmark
    tensor_format = getattr(torch, "_tensor_str").PRINT_OPTS  # noqa: B009  # torch has no public getter
    tensor_options = dict(vars(tensor_format))
    root_logger = logging.getLogger()
    root_level, root_handlers = root_logger.level, root_logger.handlers[:]
    plots = sys.modules.get("matplotlib")
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(np.printoptions())
        if plots is not None:
            stack.enter_context(plots.rc_context())
        try:
            yield
        finally:
            for owner, name, function in functions:
                setattr(owner, name, function)
            if torch.get_num_threads() != torch_threads:
                torch.set_num_threads(torch_threads)
            cv2.setNumThreads(opencv_threads)
            torch.backends.cudnn.benchmark = benchmark
            vars(tensor_format).update(tensor_options)
            root_logger.setLevel(root_level)
            root_logger.handlers[:] = root_handlers
            _restore_environment(environment)


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


def _restore_environment(environment: dict[str, str]) -> None:
    for key in set(os.environ) - set(environment):
        del os.environ[key]
    os.environ.update({key: value for key, value in environment.items() if os.environ.get(key) != value})


def _module(name: str) -> Any:
    """Import a module of ultralytics with its switches off: offline, silent, nothing installed, sent or configured."""
    if name in sys.modules:
        return sys.modules[name]
    with untouched():
        if "ultralytics" not in sys.modules:
            folder = Path(tempfile.mkdtemp(prefix="ultralytics-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            settings = folder / "Ultralytics" / "settings.json"
            settings.parent.mkdir()
            settings.write_text(json.dumps({"sync": False}), encoding="utf-8")
            os.environ.update(
                YOLO_CONFIG_DIR=str(folder), YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false"
            )
            settings_of = importlib.import_module("ultralytics").settings
            settings_of.update({"sync": False})  # versions that reset an incomplete file turn it on again
        return importlib.import_module(name)


# Drawing -------------------------------------------------------------------------------------------------------------
def class_colour(index: int) -> tuple[int, int, int]:
    """RGB of a class in ultralytics' palette."""
    red, green, blue = _module("ultralytics.utils.plotting").colors(index)
    return int(red), int(green), int(blue)


def make_annotator(image_rgb: np.ndarray, line_width: int, font_size: int) -> Any:
    """An ultralytics Annotator on a copy of the image; colours given to it and its `result()` are RGB.

    It writes with matplotlib's DejaVu Sans. Annotator would look for a font among those of the system and go to the
    network for one that it does not find there, so that look-up is answered here.
    """
    import matplotlib

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    plotting = _module("ultralytics.utils.plotting")
    look_up = plotting.check_font
    plotting.check_font = lambda *_, **__: str(font)
    try:
        return plotting.Annotator(
            np.ascontiguousarray(image_rgb), line_width=line_width, font_size=font_size, font=str(font), pil=True
        )
    finally:
        plotting.check_font = look_up


# Videos --------------------------------------------------------------------------------------------------------------
def read_video(path: str, vid_stride: int) -> Iterator[tuple[np.ndarray, int, int, float]]:
    """Read every `vid_stride`-th frame of a video file.

    Yields:
        RGB frame, its number from 1, how many to expect (0 if unknown), and the video's own frames per second.

    Raises:
        ValueError: the file cannot be opened as a video, or holds no frame.
    """
    loaders = _module("ultralytics.data.loaders")
    with contextlib.ExitStack() as stack:
        plain_path = stack.enter_context(_plain_path(path))
        with untouched():
            try:
                loader = loaders.LoadImagesAndVideos([plain_path], vid_stride=vid_stride)
            except FileNotFoundError as error:
                raise ValueError(f"{printable(path)}: cannot be read as a video") from error
        stack.callback(loader.cap.release)
        fps = loader.cap.get(cv2.CAP_PROP_FPS)  # the loader's own may be rounded
        fps = fps if 0 < fps < 1000 else FALLBACK_FPS
        for _, images, _ in loader:
            yield _to_rgb(images[0]), loader.frame, max(loader.frames, 0), fps
        if loader.frame == 0:
            raise ValueError(f"{printable(path)}: holds no frame that can be read at --vid-stride {vid_stride}")


@contextlib.contextmanager
def _plain_path(path: str) -> Iterator[str]:
    """The path, or a link to it where OpenCV would crash (bytes that are not UTF-8) or a pattern be seen in it."""
    absolute = os.path.abspath(path)
    if is_utf8(absolute) and "*" not in absolute:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="video-") as folder:
        link = os.path.join(folder, f"video{os.path.splitext(path)[1]}")
        os.symlink(absolute, link)
        yield link


def is_utf8(path: str) -> bool:
    """Whether a path can be given to OpenCV, which ends the process over bytes that are not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _to_rgb(image_bgr: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image_bgr[..., ::-1])


# Screen --------------------------------------------------------------------------------------------------------------
def read_screen(source: str) -> Iterator[np.ndarray]:
    """Grab the screen without end.

    Args:
        source: "screen [number] [left top width height]", in pixels of that screen.

    Yields:
        RGB frames.

    Raises:
        ValueError: the package `mss` or a display is missing, or there is no such screen.
    """
    if "mss" not in sys.modules and importlib.util.find_spec("mss") is None:
        raise ValueError(f"--source '{source}': grabbing the screen needs the package mss (pip install mss)")
    loaders = _module("ultralytics.data.loaders")
    try:
        with untouched():
            loader = loaders.LoadScreenshots(source)
    except IndexError as error:
        raise ValueError(f"--source '{source}': there is no such screen") from error
    except Exception as error:  # mss has its own exception class for each platform's failures
        raise ValueError(f"--source '{source}': cannot grab the screen ({error})") from error
    for _, images, _ in loader:
        yield _to_rgb(images[0])
