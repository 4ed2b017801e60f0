"""Confusion matrix of a detector: which class was seen where which was labelled, with background on both sides."""

from __future__ import annotations

import numpy as np

from mgil.datasets.reading.samples import Samples
from mgil.tasks.detect.matching import Detections, match_one_to_one, overlapping_pairs


def confusion_matrix(
    detections: Detections,
    truth: Samples,
    num_classes: int,
    *,
    conf_thres: float = 0.25,
    iou_thres: float = 0.45,
) -> np.ndarray:
    """Count detections against labels, classes ignored in the matching (YOLOv5's matrix and thresholds).

    Unlike YOLOv5's, false detections count on images without labels or without any match too. Crowd regions, and
    detections that only cover one, are left out.

    Args:
        detections: of the whole split, original pixels.
        truth: the split.
        num_classes: number of classes, C.
        conf_thres: detections must score more than this.
        iou_thres: a match must overlap more than this.

    Returns:
        (C + 1, C + 1) int64, row: predicted class, column: labelled class; the last of each is background.
    """
    kept = detections.scores > conf_thres
    detections = Detections(
        detections.image_index[kept], detections.boxes_xyxy[kept], detections.scores[kept], detections.classes[kept]
    )
    pairs = overlapping_pairs(detections, truth, np.nextafter(iou_thres, 1), same_class=False)
    on_crowd = truth.iscrowd[pairs.truth]
    single = pairs[~on_crowd]
    hit, target = match_one_to_one(single, single.iou)

    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    np.add.at(matrix, (detections.classes[hit], truth.classes[target]), 1)
    false_detection = np.ones(len(detections), bool)
    false_detection[pairs.detection[on_crowd]] = False
    false_detection[hit] = False
    matrix[:, num_classes] += np.bincount(detections.classes[false_detection], minlength=num_classes + 1)
    missed = ~truth.iscrowd
    missed[target] = False
    matrix[num_classes] += np.bincount(truth.classes[missed], minlength=num_classes + 1)
    return matrix
