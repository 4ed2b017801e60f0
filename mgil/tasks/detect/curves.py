"""Precision, recall and F1 against confidence, as YOLOv5 reports them. The accuracy itself is in coco_results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mgil.datasets.reading.samples import Samples
from mgil.tasks.detect.matching import Detections, match_one_to_one, overlapping_pairs

CURVE_POINTS = 1000
_SMOOTHING = 0.1  # part of the confidence axis over which mean F1 is averaged before its maximum is taken


@dataclass(frozen=True)
class Curves:
    """Precision, recall and F1 at IoU 0.5 of every class that has labels, over the confidence threshold."""

    confidence: np.ndarray  # (1000,) 0..1
    class_index: np.ndarray  # (K,) classes with at least one label
    precision: np.ndarray  # (K, 1000)
    recall: np.ndarray  # (K, 1000)
    f1: np.ndarray  # (K, 1000)
    best: int  # position on the confidence axis where the smoothed mean F1 is largest

    @property
    def best_confidence(self) -> float:
        """The confidence threshold of the best mean F1."""
        return float(self.confidence[self.best])


def confidence_curves(detections: Detections, truth: Samples, num_classes: int, iou: float = 0.5) -> Curves:
    """Match detections to labels of their class and trace precision and recall over the confidence threshold.

    Detections that match nothing but lie inside a crowd region of their class are left out; so are crowd regions.

    Args:
        detections: of the whole split, original pixels.
        truth: the split.
        num_classes: number of classes.
        iou: overlap that makes a hit.
    """
    correct, ignored = _judge(detections, truth, iou)
    counted = ~ignored
    scores, classes, correct = detections.scores[counted], detections.classes[counted], correct[counted]
    labels_per_class = np.bincount(truth.classes[~truth.iscrowd], minlength=num_classes)
    class_index = np.flatnonzero(labels_per_class)
    confidence = np.linspace(0, 1, CURVE_POINTS)
    precision = np.zeros((len(class_index), CURVE_POINTS))
    recall = np.zeros((len(class_index), CURVE_POINTS))
    # numpy sorts 16 bits by radix, ten times as fast.
    by_class = np.argsort(classes.astype(np.int16 if num_classes < 1 << 15 else np.int64), kind="stable")
    starts, ends = (np.searchsorted(classes[by_class], class_index, side=side) for side in ("left", "right"))
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start == end:
            continue
        members = by_class[start:end]
        members = members[np.argsort(-scores[members], kind="stable")]
        hits = np.cumsum(correct[members])
        # np.interp wants rising abscissae and scores fall, hence the signs. Above the best score there is no
        # detection: recall 0, precision 1 (YOLOv5's convention).
        falling = -scores[members]
        recall[row] = np.interp(-confidence, falling, hits / labels_per_class[class_index[row]], left=0)
        precision[row] = np.interp(-confidence, falling, hits / np.arange(1, end - start + 1), left=1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-16)
    best = int(smooth(f1.mean(axis=0), _SMOOTHING).argmax()) if len(class_index) else 0
    return Curves(confidence, class_index, precision, recall, f1, best)


def _judge(detections: Detections, truth: Samples, iou: float) -> tuple[np.ndarray, np.ndarray]:
    """(D,) bool: hits, and detections to leave out because they only cover a crowd region."""
    pairs = overlapping_pairs(detections, truth, iou, same_class=True)
    on_crowd = truth.iscrowd[pairs.truth]
    single = pairs[~on_crowd]
    correct = np.zeros(len(detections), bool)
    correct[match_one_to_one(single, detections.scores[single.detection])[0]] = True
    ignored = np.zeros(len(detections), bool)
    ignored[pairs.detection[on_crowd]] = True
    return correct, ignored & ~correct


def smooth(values: np.ndarray, fraction: float) -> np.ndarray:
    """Moving average over ``fraction`` of the axis; the ends are continued, the length stays."""
    window = round(len(values) * fraction * 2) // 2 + 1
    padded = np.pad(values, window // 2, mode="edge")
    return np.convolve(padded, np.full(window, 1 / window), mode="valid")[: len(values)]
