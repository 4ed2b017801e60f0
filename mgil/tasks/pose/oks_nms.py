"""From joints to results: the score of a person, and of several results for one person the best alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mgil.tasks.pose.options import JOINT_THRES

OKS_NMS = 0.9  # results that are more alike than this are of one person


def person_scores(box_scores: np.ndarray, joint_scores: np.ndarray, threshold: float = JOINT_THRES) -> np.ndarray:
    """(n,) scores of people: that of the box times the mean of its joints' above the threshold, 0 without such a joint.

    Args:
        box_scores: (n,)
        joint_scores: (n, K)
        threshold: A joint that is not above it is left out.
    """
    counted = joint_scores > threshold
    total = np.where(counted, joint_scores, 0).sum(axis=1)
    return box_scores * total / np.maximum(counted.sum(axis=1), 1)


def similarities(
    key_points: np.ndarray, area: float, others: np.ndarray, areas: np.ndarray, sigmas: Sequence[float]
) -> np.ndarray:
    """(n,) OKS of a result with others, all joints counted alike, areas meant.

    Args:
        key_points: (K, 2 or more) x, y.
        area: Square pixels.
        others: (n, K, 2 or more).
        areas: (n,)
        sigmas: (K,)
    """
    distances = np.square(others[..., :2] - key_points[:, :2]).sum(axis=-1)
    variances = np.square(2 * np.asarray(sigmas))
    mean_areas = (area + areas)[:, None] / 2 + np.spacing(1)
    return np.exp(-distances / (2 * variances * mean_areas)).mean(axis=-1)


def oks_nms(
    image_ids: np.ndarray,
    key_points: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float],
    threshold: float = OKS_NMS,
) -> np.ndarray:
    """Greedy suppression within each picture, best score first.

    Args:
        image_ids: (n,) the picture of each result.
        key_points: (n, K, 2 or more) x, y.
        scores: (n,)
        areas: (n,) square pixels; SimCC takes those of the padded crops.
        sigmas: (K,)
        threshold: A result whose OKS with a better one is above it goes.

    Returns:
        (m,) indices of those that stay, in their order.
    """
    order = np.lexsort((-scores, image_ids))
    starts = np.unique(image_ids[order], return_index=True)[1]
    kept: list[int] = []
    for left in np.split(order, starts[1:]):
        while len(left):
            best, left = int(left[0]), left[1:]
            kept.append(best)
            if len(left):
                alike = similarities(key_points[best], areas[best], key_points[left], areas[left], sigmas)
                left = left[alike <= threshold]
    return np.sort(np.array(kept, np.int64))
