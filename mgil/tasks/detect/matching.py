"""Detections and labelled objects as flat arrays, and which of them overlap: the ground of every metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mgil.datasets.reading.samples import Samples

_DETECTIONS_PER_STEP = 1 << 15  # bounds the memory of the pairwise step, whatever the data set's size


@dataclass(frozen=True)
class Detections:
    """Detections of a whole split, in pixels of the original images."""

    image_index: np.ndarray  # (D,) int64, index of the image in Samples
    boxes_xyxy: np.ndarray  # (D, 4) float64
    scores: np.ndarray  # (D,) float64
    classes: np.ndarray  # (D,) int64

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def concatenate(cls, parts: Sequence[Detections]) -> Detections:
        """Join the detections of several batches; none gives empty arrays."""
        if not parts:
            return cls(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
        return cls(
            np.concatenate([part.image_index for part in parts]),
            np.concatenate([part.boxes_xyxy for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.classes for part in parts]),
        )


@dataclass(frozen=True)
class Pairs:
    """Detection and object pairs of the same image that overlap enough."""

    detection: np.ndarray  # (P,) int64, rising
    truth: np.ndarray  # (P,) int64
    iou: np.ndarray  # (P,) float64; for a crowd region: the part of the detection that lies inside it

    def __getitem__(self, chosen: np.ndarray) -> Pairs:
        """The pairs of a (P,) mask."""
        return Pairs(self.detection[chosen], self.truth[chosen], self.iou[chosen])


def overlapping_pairs(detections: Detections, truth: Samples, iou_above: float, *, same_class: bool) -> Pairs:
    """All pairs within an image whose IoU is at least ``iou_above``.

    Args:
        detections: D detections.
        truth: the split with M labelled objects.
        iou_above: 0..1.
        same_class: pair equal classes only.
    """
    detection_keys, truth_keys = detections.image_index, truth.image_index
    truth_xyxy = truth.boxes_xyxy_px()
    if same_class:
        class_count = 1 + max(detections.classes.max(initial=0), truth.classes.max(initial=0))
        detection_keys = detection_keys * class_count + detections.classes
        truth_keys = truth_keys * class_count + truth.classes
    truth_order = np.argsort(truth_keys, kind="stable")
    keys, starts, key_counts = np.unique(truth_keys[truth_order], return_index=True, return_counts=True)
    place = np.searchsorted(keys, detection_keys)
    counts = np.where(np.append(keys, -1)[place] == detection_keys, np.append(key_counts, 0)[place], 0)
    first = np.append(starts, 0)[place]
    parts = []
    for start in range(0, len(detections), _DETECTIONS_PER_STEP):
        step = slice(start, start + _DETECTIONS_PER_STEP)
        detection = np.repeat(np.arange(start, start + len(counts[step])), counts[step])
        within = np.arange(len(detection)) - np.repeat(np.cumsum(counts[step]) - counts[step], counts[step])
        target = truth_order[first[detection] + within]
        iou = pairwise_iou(detections.boxes_xyxy[detection], truth_xyxy[target], truth.iscrowd[target])
        enough = iou >= iou_above
        parts.append((detection[enough], target[enough], iou[enough]))
    if not parts:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    detection, target, iou = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Pairs(detection, target, iou)


def pairwise_iou(first_xyxy: np.ndarray, second_xyxy: np.ndarray, second_is_crowd: np.ndarray) -> np.ndarray:
    """IoU of (P, 4) boxes row by row -> (P,); against a crowd region the union is the first box alone (COCO's rule)."""
    # Column by column: numpy is slow along axes of two or four numbers.
    left, top, right, bottom = first_xyxy.T
    other_left, other_top, other_right, other_bottom = second_xyxy.T
    width = np.minimum(right, other_right) - np.maximum(left, other_left)
    height = np.minimum(bottom, other_bottom) - np.maximum(top, other_top)
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    first_area = (right - left) * (bottom - top)
    second_area = (other_right - other_left) * (other_bottom - other_top)
    union = np.where(second_is_crowd, first_area, first_area + second_area - intersection)
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def match_one_to_one(pairs: Pairs, priority: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduce pairs to a one-to-one matching by YOLOv5's rule.

    Each detection takes the object that it overlaps most; an object that several took goes to the one of the highest
    priority.

    Args:
        pairs: candidate pairs.
        priority: (P,) of each pair: the detection's score for precision and recall, the IoU for a confusion matrix.

    Returns:
        Detection indices and object indices, (Q,) each.
    """
    if not len(pairs.iou):
        return pairs.detection, pairs.truth
    starts = np.flatnonzero(np.diff(pairs.detection, prepend=-1))
    most = np.maximum.reduceat(pairs.iou, starts)
    candidates = np.flatnonzero(pairs.iou == np.repeat(most, np.diff(starts, append=len(pairs.iou))))
    chosen = candidates[np.diff(pairs.detection[candidates], prepend=-1) > 0]  # the first of equals
    highest = np.full(pairs.truth.max() + 1, -np.inf)
    np.maximum.at(highest, pairs.truth[chosen], priority[chosen])
    winners = chosen[priority[chosen] == highest[pairs.truth[chosen]]]
    target, first = np.unique(pairs.truth[winners], return_index=True)
    return pairs.detection[winners[first]], target
