"""Fitting an image of any shape into the network's input: resize by one factor, fill the rest with grey."""

from __future__ import annotations

import math

import cv2
import numpy as np

FILL = 114  # grey level around images, as in YOLOv5


def fitted_size_hw(size_hw: np.ndarray | tuple[int, int], size: int | np.ndarray) -> np.ndarray:
    """Sizes of images after their longer side is brought to `size` pixels; the shorter is rounded up, as in YOLOv5.

    Args:
        size_hw: (..., 2) original heights and widths.
        size: longer side of the result; or (..., 1), one for each.

    Returns:
        (..., 2) int64.
    """
    original = np.asarray(size_hw, np.int64)
    return -(-original * size // original.max(axis=-1, keepdims=True))


def longer_side_within(sizes_hw: np.ndarray | tuple[int, int], shape_hw: tuple[int, int]) -> np.ndarray:
    """The largest longer side with which each image, resized by `fitted_size_hw`, fits into one frame.

    Args:
        sizes_hw: (N, 2) original heights and widths.
        shape_hw: the frame.

    Returns:
        (N,) int64.
    """
    height, width = np.asarray(sizes_hw, np.int64).reshape(-1, 2).T
    upright = np.minimum(shape_hw[0], shape_hw[1] * height // width)
    lying = np.minimum(shape_hw[1], shape_hw[0] * width // height)
    return np.where(height >= width, upright, lying)


def resize_image(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize (H, W, 3) uint8; by area where it shrinks, so that nothing aliases, and bilinearly where it grows."""
    height, width = image.shape[:2]
    if (height, width) == tuple(size_hw):
        return image
    grows = size_hw[0] > height or size_hw[1] > width
    method = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
    return cv2.resize(image, (int(size_hw[1]), int(size_hw[0])), interpolation=method)


def letterbox_image(
    image: np.ndarray, shape_hw: tuple[int, int], *, stride: int = 32, auto: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit one image into a network input, as val.py and detect.py do.

    Args:
        image: (H, W, 3) uint8.
        shape_hw: room for the image.
        stride: with `auto`, sides are multiples of this.
        auto: give the smallest rectangle that holds the resized image (YOLOv5's detect) instead of all of `shape_hw`.

    Returns:
        The input, (H', W', 3) uint8, and the gain and the pad, (2,) float64 (x, y) each:
        input pixels = original pixels * gain + pad.
    """
    height, width = image.shape[:2]
    fitted_hw = fitted_size_hw((height, width), int(longer_side_within((height, width), shape_hw)[0]))
    if auto:
        shape_hw = rect_shape_hw(fitted_hw, stride)
    framed, pad = frame_image(resize_image(image, (int(fitted_hw[0]), int(fitted_hw[1]))), shape_hw)
    gain = np.array([fitted_hw[1] / width, fitted_hw[0] / height])
    return framed, gain, pad


def frame_image(image: np.ndarray, shape_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Put an image into the middle of a grey frame; an odd pixel goes to the right and to the bottom.

    Args:
        image: (H, W, 3) uint8, not larger than `shape_hw`.
        shape_hw: size of the frame.

    Returns:
        (*shape_hw, 3) uint8 and the pad, (2,) float64 (x, y).
    """
    height, width = image.shape[:2]
    top, left = (shape_hw[0] - height) // 2, (shape_hw[1] - width) // 2
    framed = np.full((shape_hw[0], shape_hw[1], 3), FILL, np.uint8)
    framed[top : top + height, left : left + width] = image
    return framed, np.array([left, top], float)


def place_planar(image: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Write an image into the middle of planes, where frame_image would put it; the frame is left as it is.

    Args:
        image: (H, W, 3) uint8.
        planes: (3, H', W') uint8, not smaller than the image; written to.

    Returns:
        The pad, (2,) float64 (x, y).
    """
    height, width = image.shape[:2]
    top, left = (planes.shape[1] - height) // 2, (planes.shape[2] - width) // 2
    cv2.split(image, list(planes[:, top : top + height, left : left + width]))
    return np.array([left, top], float)


def rect_shape_hw(fitted_hw: np.ndarray, stride: int, pad: float = 0.0) -> tuple[int, int]:
    """The smallest rectangle of whole strides for a batch.

    Args:
        fitted_hw: (..., 2) heights and widths of the resized images.
        stride: sides are multiples of this.
        pad: border in strides that is added before rounding up (YOLOv5: 0.5 for evaluation, 0 for training).
    """
    height, width = np.reshape(fitted_hw, (-1, 2)).max(axis=0).tolist()
    return math.ceil(height / stride + pad) * stride, math.ceil(width / stride + pad) * stride
