"""What the values of a picture mean: the one rule that turns them into 8 bits RGB, wherever the picture comes from."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

from mgil.datasets.reading.value_range import DEEPEST, ValueRange

Seen = Callable[[int, int], None]  # is told the lowest and the highest value of a picture of more than 8 bits


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
    array = np.asarray(array)  # nothing that is called an array and works differently, as a matrix
    _check_shape(array.shape)
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
    array = np.ascontiguousarray(array)
    return array if array.shape[2] == 3 else cv2.cvtColor(array, cv2.COLOR_GRAY2RGB)


def _check_shape(shape: tuple[int, ...]) -> None:
    """Raise ValueError for the shape of an array that is no picture."""
    of_shape = f"array of shape {shape}"
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
