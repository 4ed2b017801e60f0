"""AutoAnchor: the model's anchors held against the labels, and new ones fitted where they do not suit."""

from __future__ import annotations

import numpy as np
import torch

from mgil.datasets.batches.letterbox import fitted_size_hw
from mgil.datasets.reading.samples import Samples
from mgil.files.text import Report
from mgil.networks.detector import DetectionModel, write_anchors
from mgil.tasks.detect.anchors import ENOUGH_RECALL, LEAST_PER_ANCHOR, fit_levels, measure_fit


def check_anchors(
    model: DetectionModel, samples: Samples, imgsz: int, anchor_t: float, seed: int, report: Report
) -> None:
    """Fit new anchors when too few boxes could be matched by the model's own (YOLOv5's 0.98), or these are but a start.

    Args:
        model: Its anchors may be replaced, in `architecture` too.
        samples: The training split.
        imgsz: Training size in pixels.
        anchor_t: An anchor matches boxes within this factor on both sides.
        seed: Of the search for anchors.
        report: Told what was found and done.
    """
    labels = samples.without_crowds()  # crowd boxes are not trained on, so they need no anchor
    fitted_hw = np.repeat(np.asarray(fitted_size_hw(samples.sizes_hw, imgsz)), np.diff(labels.offsets), axis=0)
    sizes_wh = labels.boxes_cxcywh[:, 2:4] * fitted_hw[:, ::-1]
    head = model.head
    own = head.anchors_px.cpu().numpy()
    fit = measure_fit(sizes_wh, own.reshape(-1, 2), anchor_t)
    text = f"AutoAnchor: {fit.per_box:.2f} anchors per box, best possible recall {fit.recall:.4f}"
    if fit.recall > ENOUGH_RECALL and not head.start_only:
        report(f"{text}: the model's anchors suit the labels")
        return
    found = fit_levels(sizes_wh, own, head.stride.tolist(), anchor_t, seed=seed)
    better = measure_fit(sizes_wh, found.reshape(-1, 2), anchor_t)
    if np.array_equal(found, own):
        report(f"{text}: kept, no level has {LEAST_PER_ANCHOR} boxes for each of its anchors")
        return
    if better.recall < fit.recall or (better.recall == fit.recall and not head.start_only):
        report(f"{text}: kept, the ones fitted to the labels are no better ({better.recall:.4f})")
        return
    head.set_anchors_px(torch.from_numpy(found).float())
    keep_anchors(model)
    report(f"{text}: fitted new ones to the labels, recall {better.recall:.4f}: {listed(found)}")


def keep_anchors(model: DetectionModel) -> None:
    """Take the head's anchors for final, also where its YAML had but their number or others."""
    model.head.start_only = False
    write_anchors(model)


def put_in_order(model: DetectionModel, report: Report) -> None:
    """Turn the rows of anchors round where they run against the strides, so that the finest level has the smallest.

    Args:
        model: Its anchors may be replaced, in `architecture` too.
        report: Told when they are.
    """
    head = model.head
    finest, coarsest = head.finest_first[0], head.finest_first[-1]
    areas = head.anchors_px.prod(-1).mean(-1)
    if areas[coarsest] >= areas[finest]:
        return
    head.set_anchors_px(head.anchors_px.flip(0))
    write_anchors(model)
    strides = ", ".join(f"{stride:g}" for stride in head.stride.tolist())
    report(f"the rows of anchors ran against the levels' strides {strides}: turned round, to {listed(head.anchors_px)}")


def listed(anchors_px: np.ndarray | torch.Tensor) -> str:
    """Anchors as text: 10x13, 16x30, ..."""
    return ", ".join(f"{width:.3g}x{height:.3g}" for width, height in anchors_px.reshape(-1, 2).tolist())
