"""How well objects keep their numbers: CLEAR MOT's counts and IDF1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_iou

LEAST_IOU = 0.5


@dataclass(frozen=True)
class Identity:
    """Counts over a clip.

    Attributes:
        objects: True boxes.
        missed: Of them without a track.
        false: Boxes of tracks without an object.
        switches: Times that an object's number became another one.
        fragments: Times that an object was followed again after a gap.
        tracks: Numbers that were given.
        idf1: F1 of boxes whose number is the one that stands for their object, 0..1.
    """

    objects: int
    missed: int
    false: int
    switches: int
    fragments: int
    tracks: int
    idf1: float

    @property
    def mota(self) -> float:
        """1 - (missed + false + switches) / objects."""
        return 1 - (self.missed + self.false + self.switches) / max(self.objects, 1)


def count_identity(
    truth: Sequence[tuple[np.ndarray, np.ndarray]], found: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Identity:
    """Compare tracks with the truth.

    Args:
        truth: For each frame the (n, 4) boxes that should be found, and their (n,) objects.
        found: For each frame the (m, 4) boxes of tracks, and their (m,) numbers.
    """
    last: dict[int, int] = {}  # object -> its latest number
    seen: dict[int, int] = {}  # object -> the latest frame with a number
    shown: dict[int, int] = {}  # object -> the latest frame at all
    together: dict[tuple[int, int], int] = {}
    missed = false = switches = fragments = objects = boxes = 0
    for frame, ((true_boxes, names), (track_boxes, numbers)) in enumerate(zip(truth, found, strict=True)):
        iou = overlaps(true_boxes, track_boxes)
        kept = np.array([[last.get(int(name)) == int(number) for number in numbers] for name in names], bool)
        pairs = _pairs(iou + 2 * kept.reshape(iou.shape), iou >= LEAST_IOU)
        objects, boxes = objects + len(names), boxes + len(numbers)
        missed, false = missed + len(names) - len(pairs), false + len(numbers) - len(pairs)
        for row, column in zip(*np.nonzero(iou >= LEAST_IOU), strict=True):
            pair = int(names[row]), int(numbers[column])
            together[pair] = together.get(pair, 0) + 1
        for row, column in pairs:
            name, number = int(names[row]), int(numbers[column])
            switches += last.get(name, number) != number
            fragments += name in seen and seen[name] < shown[name]
            last[name], seen[name] = number, frame
        shown |= {int(name): frame for name in names}
    return Identity(
        objects,
        missed,
        false,
        switches,
        fragments,
        len({n for _, ids in found for n in ids.tolist()}),
        2 * _most(together) / max(objects + boxes, 1),
    )


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, m) intersection over union."""
    return box_iou(
        *(torch.from_numpy(np.asarray(boxes, np.float64).reshape(-1, 4)) for boxes in (first, second))
    ).numpy()


def _pairs(worth: np.ndarray, allowed: np.ndarray) -> list[tuple[int, int]]:
    rows, columns = linear_sum_assignment(np.where(allowed, worth, -10.0), maximize=True)
    return [(row, column) for row, column in zip(rows, columns, strict=True) if allowed[row, column]]


def _most(together: dict[tuple[int, int], int]) -> int:
    """Boxes in common, when each object is given the one number that suits all best."""
    if not together:
        return 0
    names, numbers = (sorted({pair[place] for pair in together}) for place in (0, 1))
    table = np.zeros((len(names), len(numbers)))
    for (name, number), count in together.items():
        table[names.index(name), numbers.index(number)] = count
    return int(table[linear_sum_assignment(table, maximize=True)].sum())
