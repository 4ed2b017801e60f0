"""Images and splits made by hand for the tests of the data path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mgil.datasets.reading.samples import Samples


def smooth_image(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A picture with the smoothness of a photograph: (height, width, 3) uint8."""
    coarse = rng.integers(0, 256, (max(height // 8, 2), max(width // 8, 2), 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def write_image(path: Path, image_rgb: np.ndarray) -> str:
    path.write_bytes(cv2.imencode(path.suffix, image_rgb[..., ::-1])[1].tobytes())
    return str(path)


def make_samples(
    paths: Sequence[str],
    sizes_hw: Sequence[tuple[int, int]],
    boxes_per_image: Sequence[Sequence[Sequence[float]]] | None = None,
    crowds: Sequence[bool] | None = None,
) -> Samples:
    """A split; each box is (class, cx, cy, w, h), the last four as fractions of the image."""
    boxes_per_image = boxes_per_image or [[]] * len(paths)
    rows = np.array([row for boxes in boxes_per_image for row in boxes], np.float64).reshape(-1, 5)
    sizes = np.array(sizes_hw, np.int32).reshape(-1, 2)
    counts = [len(boxes) for boxes in boxes_per_image]
    images = np.repeat(np.arange(len(paths)), counts)
    areas = rows[:, 3] * rows[:, 4] * sizes.prod(axis=1)[images]
    iscrowd = None if crowds is None else np.array(crowds)
    return Samples.from_rows(tuple(paths), sizes, images, rows[:, 1:], rows[:, 0], areas, iscrowd)


def write_split(folder: Path, count: int, *, seed: int = 0, sides: tuple[int, int] = (20, 80)) -> Samples:
    """A split of smooth PNG images of odd shapes, with zero to three boxes each."""
    rng = np.random.default_rng(seed)
    sizes = [tuple(rng.integers(*sides, 2).tolist()) for _ in range(count)]
    paths = [write_image(folder / f"{number:03}.png", smooth_image(rng, *size)) for number, size in enumerate(sizes)]
    boxes = [
        [[rng.integers(5), *rng.uniform(0.3, 0.7, 2), *rng.uniform(0.2, 0.6, 2)] for _ in range(rng.integers(4))]
        for _ in range(count)
    ]
    return make_samples(paths, sizes, boxes)
