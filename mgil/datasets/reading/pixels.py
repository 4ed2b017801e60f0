"""What the values of a picture mean: the one rule that turns them into 8 bits RGB, wherever the picture comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Integral
from typing import Any

import numpy as np

DEEPEST = 2**16 - 1  # the largest value of 16 bits
BITS = range(8, 17)  # how many of 16 bits a camera may use

Seen = Callable[[int, int], None]  # is told the lowest and the highest value of a picture of more than 8 bits


@dataclass(frozen=True)
class ValueRange:
    """Which values of a picture of more than 8 bits become 0 and 255; what lies outside becomes the nearer of them."""

    low: int
    high: int

    @classmethod
    def of_bits(cls, bits: int) -> ValueRange:
        """All values of so many bits."""
        return cls(0, 2**bits - 1)

    @property
    def ends(self) -> tuple[int, int]:
        """Both, as plain numbers for a file."""
        return self.low, self.high

    @property
    def bits(self) -> int | None:
        """How many bits have exactly these values; None: no number of bits."""
        return next((bits for bits in BITS if self == self.of_bits(bits)), None)

    def __str__(self) -> str:
        """As it is written in a data set's YAML."""
        return f"bits: {self.bits}" if self.bits else f"range: [{self.low}, {self.high}]"


def range_of(bits: Any, ends: Any, names: tuple[str, str] = ("bits", "range")) -> ValueRange | None:
    """The range that a user gives, by the number of bits or by its two ends; None where neither is given.

    Args:
        bits: 8 to 16, or None.
        ends: The lowest and the highest value, or None.
        names: What the user calls the two.

    Raises:
        ValueError: Both are given, or a value that makes no sense; it is named.
    """
    if bits is not None and (not _is_whole(bits) or bits not in BITS):
        raise ValueError(f"{names[0]} is {bits!r}, must be a whole number from {BITS[0]} to {BITS[-1]}")
    if ends is None:
        return None if bits is None else ValueRange.of_bits(int(bits))
    if bits is not None:
        raise ValueError(f"{names[0]} and {names[1]} both say what the values mean; give one of them")
    pair = tuple(ends) if isinstance(ends, list | tuple) else ()
    if len(pair) != 2 or not all(map(_is_whole, pair)) or not 0 <= pair[0] < pair[1] <= DEEPEST:
        raise ValueError(f"{names[1]} is {ends!r}, must be two whole numbers, 0 <= lowest < highest <= {DEEPEST}")
    return ValueRange(int(pair[0]), int(pair[1]))


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def range_from_file(values: Mapping[str, Any], source: object) -> ValueRange | None:
    """The range that weights were trained with, from what their file says; None where it says nothing.

    Raises:
        ValueError: It is none.
    """
    try:
        return range_of(None, values.get("range"))
    except ValueError as error:
        raise ValueError(f"{source}: {str(error)[:200]}") from error


def rgb_of(array: np.ndarray, values: ValueRange | None = None, seen: Seen | None = None) -> np.ndarray:
    """Whatever a picture's values are, as 8 bits RGB. Alpha is left out, not blended.

    8 bits stay as they are, and of bool True is white. Of 16 bits the upper 8 are taken, as OpenCV and Pillow do; or
    with a range, `round(255 * (value - low) / (high - low))`, cut at 0 and 255.

    Args:
        array: (H, W) or (H, W, 1) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB or (H, W, 4) RGB and alpha; uint8,
            uint16 or bool.
        values: What values of 16 bits mean.
        seen: Told of them.

    Returns:
        (H, W, 3) uint8, contiguous; the array itself where it is that already.

    Raises:
        ValueError: A shape that is no picture, no pixels, or values of which nobody knows how bright white is.
    """
    check_shape(array.shape)
    if array.ndim == 2:
        array = array[..., None]
    array = array[..., : 1 if array.shape[2] < 3 else 3]
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:
        if seen is not None:
            seen(int(array.min()), int(array.max()))
        array = (array >> 8).astype(np.uint8) if values is None else _table(values)[array]
    elif array.dtype != np.uint8:
        raise ValueError(f"array of {array.dtype}: {no_brightness(_kind(array.dtype))}")
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def check_shape(shape: tuple[int, ...], what: str = "array") -> None:
    """Raise ValueError for the shape of an array that is no picture."""
    of_shape = f"{what} of shape {shape}"
    if len(shape) in (2, 3) and 0 in shape:
        raise ValueError(f"{of_shape} {no_pixels(*shape[:2])}")
    if len(shape) in (2, 3) and (len(shape) == 2 or shape[2] <= 4):
        return
    hint = ""
    if len(shape) == 3 and shape[0] <= 4:
        hint = "; channels come last, so turn it: array.transpose(1, 2, 0)"
    elif len(shape) == 4:
        hint = "; give several as a list"
    raise ValueError(f"{of_shape}: an image is (height, width, 3) RGB or (height, width) grey{hint}")


def no_brightness(kind: str) -> str:
    """Why pixels are refused of which nobody knows how bright white is."""
    return f"{kind} pixels have no fixed brightness; convert the image to 8 or 16 bits"


def no_pixels(height: int, width: int) -> str:
    """Why an empty picture is refused."""
    return f"has no pixels ({height}x{width})"


def _kind(dtype: np.dtype) -> str:
    if dtype.kind == "f":
        return "floating point"
    if dtype.kind in "iu":
        return f"{'signed ' if dtype.itemsize <= 2 else ''}{8 * dtype.itemsize}-bit"
    return "such"


@cache
def _table(values: ValueRange) -> np.ndarray:
    """(65536,) uint8: what each value becomes."""
    scaled = (np.arange(DEEPEST + 1) - float(values.low)) * 255 / (values.high - values.low)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
