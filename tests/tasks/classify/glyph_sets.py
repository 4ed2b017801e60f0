"""Small sets of pictures with classes: a bar that lies, stands or leans, on grounds of noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mgil.tasks.classify.network import ClassNetwork, build_class_network
from mgil.tasks.classify.split import ClassSplit

NAMES = ("flat", "lean", "up")
ENDS = {"flat": ((3, 16), (28, 16)), "lean": ((4, 28), (28, 4)), "up": ((16, 3), (16, 28))}
# Rows of layers: two halvings, some 1,500 parameters.
CFG: dict[str, Any] = {
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [16, 3, 2]]],
    "head": [[-1, 1, "Classify", ["nc", 32]]],
}


def picture(name: str, seed: int, size_hw: tuple[int, int] = (32, 32)) -> np.ndarray:
    """A bar, (H, W, 3) uint8 RGB."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 60, (32, 32, 3), np.uint8)
    (x1, y1), (x2, y2) = (np.array(end) + random.integers(-2, 3, 2) for end in ENDS[name])
    cv2.line(image, (int(x1), int(y1)), (int(x2), int(y2)), (200, 220, 180), 3)
    return cv2.resize(image, size_hw[::-1])


def make_set(folder: Path, train: int = 8, val: int = 4, names: tuple[str, ...] = NAMES) -> Path:
    """Write so many pictures of each class in folders; returns the set's folder."""
    for split, count in (("train", train), ("val", val)):
        for index, name in enumerate(names):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                seed = 1000 * index + number + (500 if split == "val" else 0)
                cv2.imwrite(str(place / f"{number}.png"), picture(name, seed)[..., ::-1])
    return folder


def split_of(classes: list[int], names: tuple[str, ...], images: list[np.ndarray] | None = None) -> ClassSplit:
    """A split of pictures in memory; blank ones of 8 pixels by default."""
    pixels = np.stack(images) if images else np.zeros((len(classes), 8, 8, 3), np.uint8)
    paths = [f"set.bin:{index}" for index in range(len(classes))]
    sizes_hw = np.tile(np.array(pixels.shape[1:3], np.int32), (len(classes), 1))
    return ClassSplit(paths, sizes_hw, np.array(classes, np.int64), names, pixels)


def network(names: tuple[str, ...] = NAMES, imgsz: int = 32, **keys: Any) -> ClassNetwork:
    """A small classifier, untrained."""
    return build_class_network({**CFG, **keys}, names, imgsz).eval()
