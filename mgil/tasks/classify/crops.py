"""Which part of a picture a network sees: one crop in evaluation, random ones in training.

Maps are between edges of pixels, x in [0, width].
"""

from __future__ import annotations

import math

import numpy as np

from mgil.datasets.batches.geometry import MIN_BILINEAR_SCALE
from mgil.datasets.batches.letterbox import resize_image
from mgil.tasks.classify.options import CROP_MODES
from mgil.tasks.classify.recipe import ClassRecipe

CROPS = CROP_MODES
TRIES = 10  # of a random crop's size, as in torchvision


def eval_crop(image: np.ndarray, size: int, how: str) -> np.ndarray:
    """The picture as a network sees it; one of `size` x `size` pixels stays as it is, bit for bit.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: Side of the result in pixels.
        how: "center" takes the largest centred square, "squash" all of the picture, whatever its shape.

    Returns:
        (size, size, 3) uint8; by area along a side that shrinks, and bilinear along one that grows.

    Raises:
        ValueError: An unknown `how`.
    """
    left, top, right, bottom = seen_xyxy(image.shape[:2], how)
    return np.ascontiguousarray(resized(image[top:bottom, left:right], (size, size)))


def resized(part: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize (H, W, 3) uint8 to (height, width): by area along a side that shrinks, bilinear along one that grows."""
    smaller = min(part.shape[0], size_hw[0]), min(part.shape[1], size_hw[1])  # at once, the one that shrinks aliases
    return resize_image(resize_image(part, smaller), size_hw)


def seen_xyxy(size_hw: tuple[int, ...], how: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom pixel edge of what `eval_crop` shows of a picture of (height, width) pixels."""
    if how not in CROPS:
        raise ValueError(f"crop {how!r}: choose one of {', '.join(CROPS)}")
    return middle_xyxy(size_hw, math.inf if how == "squash" else 1.0)


def middle_xyxy(size_hw: tuple[int, ...], longest: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom pixel edge of the largest centred part with a side of at most `longest` others."""
    height, width = size_hw
    most = min(max(height, width), min(height, width) * longest)
    part_height, part_width = min(height, int(most)), min(width, int(most))
    left, top = (width - part_width) // 2, (height - part_height) // 2
    return left, top, left + part_width, top + part_height


def random_boxes(rng: np.random.Generator, sizes_hw: np.ndarray, recipe: ClassRecipe, size: int) -> np.ndarray:
    """Crops of random area and shape, as torchvision's RandomResizedCrop draws them, of whole pixels.

    Sides that a later halving would leave with a rest are rounded to what it does not.

    Args:
        rng: Source of every draw.
        sizes_hw: (n, 2) heights and widths of the pictures.
        recipe: Its `scale_min` and `ratio`.
        size: Side of the network's input in pixels.

    Returns:
        (n, 4) int64 left, top, width, height.
    """
    count = len(sizes_hw)
    height, width = sizes_hw.T.astype(float)
    areas = height * width * rng.uniform(recipe.scale_min, 1, (TRIES, count))
    ratios = np.exp(rng.uniform(-1, 1, (TRIES, count)) * math.log(recipe.ratio))
    widths, heights = np.sqrt(areas * ratios).round(), np.sqrt(areas / ratios).round()
    fits = (widths > 0) & (heights > 0) & (widths <= width) & (heights <= height)
    first = fits.argmax(axis=0), np.arange(count)
    # where none fits: the largest centred part of a shape that is allowed
    largest_wh = np.minimum(width, (height * recipe.ratio).round()), np.minimum(height, (width * recipe.ratio).round())
    found = fits.any(axis=0)
    sides = np.where(found, (widths[first], heights[first]), largest_wh).T
    sides = _halvable(sides, size)
    room = sizes_hw[:, ::-1] - sides
    corners = rng.integers(0, room + 1)
    return np.concatenate([np.where(found[:, None], corners, room // 2), sides], axis=1)


def _halvable(sides_wh: np.ndarray, size: int) -> np.ndarray:
    """(n, 2) int64 sides of crops, rounded down so that they halve as often as their shrinking to `size` needs."""
    scales = size / np.sqrt(sides_wh.prod(axis=1))
    steps = 2 ** np.ceil(np.log2(MIN_BILINEAR_SCALE / scales) - 1e-9).clip(0)[:, None]
    return np.maximum(sides_wh // steps * steps, 1).astype(np.int64)


def maps_of_boxes(boxes: np.ndarray, size: int) -> np.ndarray:
    """(n, 3, 3) maps that stretch (n, 4) boxes (left, top, width, height) to `size` x `size`."""
    scales = size / boxes[:, 2:]
    maps = np.tile(np.eye(3), (len(boxes), 1, 1))
    maps[:, [0, 1], [0, 1]] = scales
    maps[:, :2, 2] = -boxes[:, :2] * scales
    return maps


def padded_maps(rng: np.random.Generator, sizes_hw: np.ndarray, pad: int, size: int) -> np.ndarray:
    """Random places of a square window in pictures whose shorter side becomes `size`, with a border around them.

    Pictures of which no side is shorter than `size` and one is just that are moved by whole pixels and not resampled.

    Args:
        rng: Source of every draw.
        sizes_hw: (n, 2) heights and widths of the pictures.
        pad: Border in pixels of the network's input.
        size: Side of the window in pixels.

    Returns:
        (n, 3, 3) maps.
    """
    gains = size / sizes_hw.min(axis=1)
    room = np.maximum((sizes_hw[:, ::-1] * gains[:, None]).round().astype(np.int64) - size, 0) + 2 * pad
    maps = np.tile(np.eye(3), (len(sizes_hw), 1, 1))
    maps[:, [0, 1], [0, 1]] = gains[:, None]
    maps[:, :2, 2] = pad - rng.integers(0, room + 1)
    return maps


def moved(rng: np.random.Generator, maps: np.ndarray, recipe: ClassRecipe, size: int) -> np.ndarray:
    """Maps followed by random flips and a random rotation about the middle of the input: (n, 3, 3)."""
    count, middle = len(maps), size / 2
    angles = np.deg2rad(rng.uniform(-1, 1, count) * recipe.degrees)
    flips = np.where(rng.random((count, 2)) < (recipe.fliplr, recipe.flipud), -1.0, 1.0)
    linear = np.stack([np.cos(angles), np.sin(angles), -np.sin(angles), np.cos(angles)], -1).reshape(count, 2, 2)
    linear *= flips[:, None, :]
    after = np.tile(np.eye(3), (count, 1, 1))
    after[:, :2, :2] = linear
    after[:, :2, 2] = middle - linear.sum(axis=2) * middle
    return after @ maps


def cut_regions(rng: np.random.Generator, alpha: float, count: int, size: int) -> np.ndarray:
    """Rectangles for cutmix: their share of the area is drawn from a beta distribution, their middle anywhere.

    Args:
        rng: Source of every draw.
        alpha: Both parameters of the distribution.
        count: Of rectangles.
        size: Side of the network's input in pixels.

    Returns:
        (count, 4) int64 left, top, right, bottom within the input; cut off at its border, so smaller than drawn there.
    """
    sides = size * np.sqrt(rng.beta(alpha, alpha, count))
    middles = rng.integers(0, size, (count, 2))
    halves = (sides.astype(np.int64) // 2)[:, None]
    return np.concatenate([middles - halves, middles + halves], axis=1).clip(0, size)
