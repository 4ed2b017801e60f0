"""The embedded classification set: every handwritten digit of scikit-learn's by itself, in a folder per class.

These are the digits that `mgil.datasets.reading.digits` puts into scenes, whole and at four times their size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mgil.datasets.reading.digits import NAMES
from mgil.datasets.reading.generated import Draws, GeneratedSet, resize_bilinear

SIDE = 32  # pixels, of 8
MOST_INK = 16
VAL_SHARE = 5  # one in so many of each class is in val
SEED = 20260


def _write_all(folder: Path) -> None:
    """Write `train/<digit>/*.png` and `val/<digit>/*.png`, named by the digits' numbers in scikit-learn."""
    pictures, classes = load_pictures()
    for split, chosen in split_pictures(classes).items():
        for name in NAMES:
            (folder / split / name).mkdir(parents=True)
        for which in chosen:
            path = folder / split / NAMES[classes[which]] / f"{which:04d}.png"
            Image.fromarray(pictures[which]).save(path, compress_level=1)


GLYPHS = GeneratedSet("glyphs", "single digits, version 1\n", NAMES, _write_all)


def load_pictures() -> tuple[np.ndarray, list[int]]:
    """The 1,797 digits, (N, 32, 32) uint8, white on black; and which digit each is."""
    from sklearn.datasets import load_digits  # here, since it takes a second and only making the set needs it

    bunch = load_digits()
    cells = bunch.images.astype(np.int64) * 255
    pictures = np.stack([resize_bilinear(image, SIDE, SIDE) // MOST_INK for image in cells])
    return pictures.astype(np.uint8), [int(digit) for digit in bunch.target]


def split_pictures(classes: list[int]) -> dict[str, list[int]]:
    """Indices of the pictures of each split, ascending: of every class a fifth, drawn at random, is in val."""
    val: set[int] = set()
    for digit in range(len(NAMES)):
        own = [index for index, other in enumerate(classes) if other == digit]
        draws = Draws(SEED, digit)
        for left in range(len(own), len(own) - round(len(own) / VAL_SHARE), -1):
            val.add(own.pop(draws.below(left)))
    return {"train": [index for index in range(len(classes)) if index not in val], "val": sorted(val)}
