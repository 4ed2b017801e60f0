"""The screen as a source of pictures, grabbed by the package `mss`, which is asked for only when it is wanted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np

from mgil.files.packages import MissingPackage, import_package


def parse_screen(source: str) -> tuple[int, tuple[int, int, int, int] | None]:
    """Read "screen [number] [left top width height]".

    Returns:
        The screen's number, 0 for all of them together; and left, top, width and height in its pixels, or None for all
        of it.

    Raises:
        ValueError: it is written in another way, or the part has no pixels.
    """
    words = source.split()[1:]
    if len(words) not in (0, 1, 4, 5) or not all(re.fullmatch(r"-?\d{1,9}", word) for word in words):
        raise ValueError(f"--source '{source}': write 'screen [number] [left top width height]', whole numbers")
    numbers = [int(word) for word in words]
    screen = numbers.pop(0) if len(numbers) in (1, 5) else 0
    if not numbers:
        return screen, None
    left, top, width, height = numbers
    if width < 1 or height < 1:
        raise ValueError(f"--source '{source}': width {width} and height {height} must be 1 or more")
    return screen, (left, top, width, height)


def read_screen(source: str) -> Iterator[np.ndarray]:
    """Grab the screen without end.

    Args:
        source: as `parse_screen` takes it.

    Yields:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the package `mss` or a display is missing, or there is no such screen.
    """
    screen, part = parse_screen(source)
    try:
        mss = import_package("mss")
    except MissingPackage as error:
        raise ValueError(f"--source '{source}': {error}") from error
    try:
        grabber: Any = (mss.MSS if hasattr(mss, "MSS") else mss.mss)()  # the newer and the older name
    except Exception as error:  # mss has its own exception class for each platform's failures
        raise ValueError(f"--source '{source}': cannot grab the screen ({error})") from error
    with closing(grabber):
        area = _area(source, grabber.monitors, screen, part)
        while True:
            yield _grab(source, grabber, area)


def _area(
    source: str, monitors: list[dict[str, int]], screen: int, part: tuple[int, int, int, int] | None
) -> dict[str, int]:
    """The pixels to grab, counted over all screens."""
    if not 0 <= screen < len(monitors):
        last = len(monitors) - 1
        raise ValueError(f"--source '{source}': there is no such screen; they are numbered to {last}, 0 is all of them")
    monitor = monitors[screen]
    left, top, width, height = part or (0, 0, monitor["width"], monitor["height"])
    return {"left": monitor["left"] + left, "top": monitor["top"] + top, "width": width, "height": height}


def _grab(source: str, grabber: Any, area: dict[str, int]) -> np.ndarray:
    try:
        image_bgra = np.asarray(grabber.grab(area))
    except Exception as error:  # as above; a part outside the screen is one of them
        raise ValueError(f"--source '{source}': cannot grab the screen ({error})") from error
    return np.ascontiguousarray(image_bgra[..., 2::-1])
