"""Which training images are drawn more often (--image-weights)."""

from __future__ import annotations

import numpy as np

from mgil.datasets.reading.samples import Samples


def image_difficulty(samples: Samples, class_maps: np.ndarray) -> np.ndarray:
    """Weights of `--image-weights`: images with rare classes and classes of low AP are drawn more often.

    Args:
        samples: The training split.
        class_maps: (nc,) mAP50-95 by class.

    Returns:
        (N,) weights, all positive. YOLOv5's rule: class weight (1 - mAP)^2 / frequency, summed over an image's labels.
    """
    nc = len(class_maps)
    labels = samples.without_crowds()
    count = np.bincount(labels.classes, minlength=nc).clip(min=1)
    weight = (1 - np.nan_to_num(class_maps)) ** 2 / count
    total = np.bincount(labels.image_index, weights=weight[labels.classes], minlength=len(labels))
    return total + max(total.max(), 1.0) * 1e-3  # images without labels teach too
