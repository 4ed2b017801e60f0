"""The ids of the images of a split without a COCO json."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

MOST_DIGITS = 18  # of an id, which is an int64


def number_of(path: str) -> int | None:
    """The number that a file is named by: 3 for 003.png."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return int(stem) if stem.isascii() and stem.isdigit() and len(stem) <= MOST_DIGITS else None


def number_images(paths: Sequence[str]) -> np.ndarray:
    """An id for each of the images that a split lists, whether they can be read or not.

    Returns:
        (N,) int64: the number that a file is named by, as in COCO; for a file without one, and for the second of a
        number, the smallest ids from 1 that are left.
    """
    numbers = np.array([-1 if (number := number_of(path)) is None else number for path in paths], np.int64)
    kept = np.zeros(len(paths), bool)
    kept[np.unique(numbers, return_index=True)[1]] = True
    kept &= numbers >= 0
    left = np.setdiff1d(np.arange(1, len(paths) + 1), numbers[kept])
    numbers[~kept] = left[: len(paths) - np.count_nonzero(kept)]
    return numbers


def ids_of(paths: Sequence[str], usable: Sequence[str]) -> np.ndarray:
    """The ids of those images that can be used, in order: others that are listed take theirs with them."""
    ids = number_images(paths)
    if len(usable) == len(paths):
        return ids
    kept = set(usable)
    return ids[np.array([path in kept for path in paths], bool)]
