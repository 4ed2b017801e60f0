"""The screen, with a stand-in for mss: which pixels are grabbed, and all that can be missing."""

from __future__ import annotations

import sys
import types
from itertools import islice
from typing import Any

import numpy as np
import pytest

from mgil.engine.sources.screen import parse_screen, read_screen

SCREENS = [
    {"left": -100, "top": 0, "width": 300, "height": 80},  # all of them
    {"left": 0, "top": 0, "width": 200, "height": 80},
    {"left": -100, "top": 10, "width": 100, "height": 60},  # to the left of the first
]


class Shot:
    """As mss gives it: BGRA, readable as an array."""

    def __init__(self, image: np.ndarray) -> None:
        self.__array_interface__ = image.__array_interface__
        self._image = image


class Grabber:
    """A desktop whose pixel at (x, y) has red x + 100, green y, and in blue how many pictures were grabbed before."""

    monitors = SCREENS
    made: list[Grabber] = []
    error: Exception | None = None

    def __init__(self) -> None:
        self.grabbed, self.closed = 0, False
        self.made.append(self)

    def grab(self, area: dict[str, int]) -> Shot:
        if self.error and self.grabbed:
            raise self.error
        x = np.arange(area["left"], area["left"] + area["width"])[None]
        y = np.arange(area["top"], area["top"] + area["height"])[:, None]
        red, green = np.broadcast_arrays(x + 100, y)
        image = np.stack((np.full_like(red, self.grabbed), green, red, np.full_like(red, 255)), axis=2)
        self.grabbed += 1
        return Shot(image.astype(np.uint8))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def mss(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("mss")
    module.mss = Grabber  # type: ignore[attr-defined]
    monkeypatch.setattr(Grabber, "made", [])
    monkeypatch.setitem(sys.modules, "mss", module)
    return module


@pytest.mark.parametrize(
    ("source", "first_xy", "size_wh"),
    [
        ("screen", (-100, 0), (300, 80)),
        ("screen 0", (-100, 0), (300, 80)),
        ("screen 1", (0, 0), (200, 80)),
        ("screen 2", (-100, 10), (100, 60)),
        ("screen 1 5 6 7 8", (5, 6), (7, 8)),
        ("screen 2 5 6 7 8", (-95, 16), (7, 8)),
        ("screen 5 6 7 8", (-95, 6), (7, 8)),
        ("screen 1 -20 6 30 8", (-20, 6), (30, 8)),  # on into the screen beside it
    ],
)
def test_grabbed_pixels(
    mss: types.ModuleType, source: str, first_xy: tuple[int, int], size_wh: tuple[int, int]
) -> None:
    pictures = read_screen(source)
    for index, image in enumerate(islice(pictures, 3)):
        assert image.shape == (size_wh[1], size_wh[0], 3) and image.dtype == np.uint8 and image.flags.c_contiguous
        assert tuple(image[0, 0]) == (first_xy[0] + 100, first_xy[1], index)
        last_x, last_y = first_xy[0] + size_wh[0] - 1, first_xy[1] + size_wh[1] - 1
        assert tuple(image[-1, -1]) == ((last_x + 100) % 256, last_y, index)
    pictures.close()  # type: ignore[attr-defined]
    assert [grabber.closed for grabber in Grabber.made] == [True]


@pytest.mark.parametrize("number", [3, -1, 99])
def test_absent_screen_is_named(mss: types.ModuleType, number: int) -> None:
    with pytest.raises(ValueError, match=f"'screen {number}': there is no such screen; they are numbered to 2"):
        next(read_screen(f"screen {number}"))
    assert Grabber.made[0].closed


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("screen one", "write 'screen"),
        ("screen 1 2", "write 'screen"),
        ("screen 1 2 3 4 5 6", "write 'screen"),
        ("screen 1.5", "write 'screen"),
        ("screen " + "9" * 5000, "write 'screen"),
        ("screen 0 0 0 10", "width 0 and height 10 must be 1 or more"),
        ("screen 1 0 0 10 -5", "width 10 and height -5 must be 1 or more"),
    ],
)
def test_bad_words_are_named(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_screen(source)


def test_newer_name_of_the_class_is_taken(mss: types.ModuleType) -> None:
    def old() -> Any:
        raise AssertionError("warns in newer versions")

    mss.mss, mss.MSS = old, Grabber  # type: ignore[attr-defined]
    assert next(read_screen("screen 1 0 0 4 4")).shape == (4, 4, 3)


def test_missing_package_and_missing_display_are_named(mss: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_display() -> Any:
        raise RuntimeError("Unable to open display")

    mss.mss = no_display  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"'screen': cannot grab the screen \(Unable to open display\)"):
        next(read_screen("screen"))
    monkeypatch.setitem(sys.modules, "mss", None)
    with pytest.raises(ValueError, match="'screen': mss is .*install"):
        next(read_screen("screen"))


def test_a_screen_that_goes_away_is_named_and_closed(mss: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Grabber, "error", RuntimeError("XGetImage failed"))
    pictures = read_screen("screen 1")
    next(pictures)
    with pytest.raises(ValueError, match=r"'screen 1': cannot grab the screen \(XGetImage failed\)"):
        next(pictures)
    assert Grabber.made[0].closed
