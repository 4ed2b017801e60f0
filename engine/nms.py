"""Non-maximum suppression for YOLOv5-style predictions, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision

# Above this many candidates per image a CPU is faster class by class than on all pairs of all classes at once.
_PER_CLASS_ABOVE = 1000


def cxcywh_to_xyxy(boxes_cxcywh: torch.Tensor) -> torch.Tensor:
    """Turn (..., 4) centre-size boxes into (..., 4) corner boxes, same unit."""
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:4] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def non_max_suppression(
    predictions: torch.Tensor,
    conf_thres: float = 0.25,
    iou_thres: float = 0.45,
    *,
    classes: Sequence[int] | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    max_det: int = 300,
    max_nms: int = 30000,
) -> list[torch.Tensor]:
    """Keep the best boxes of each image (YOLOv5's rule, without its time limit).

    A box is a candidate when its objectness exceeds ``conf_thres``; its score is objectness times class score and must
    exceed ``conf_thres`` too. Candidates with a NaN or infinite value are dropped.

    Args:
        predictions: (B, N, 5 + classes): centre x, centre y, width, height in pixels, objectness, class scores 0..1.
        conf_thres: 0..1.
        iou_thres: 0..1; of two boxes of one class that overlap more than this, the lower score goes.
        classes: keep these class indices only.
        agnostic: boxes suppress each other across classes.
        multi_label: a box may be a candidate for several classes (used in validation), else for its best class only.
        max_det: boxes kept per image.
        max_nms: candidates kept per image, by score, before suppression.

    Returns:
        B tensors (n, 6) float32, best score first: x1, y1, x2, y2 in pixels, score, class index.

    Raises:
        ValueError: a threshold outside 0..1 or predictions of another shape.
    """
    _check_arguments(predictions, conf_thres, iou_thres)
    batch_size = predictions.shape[0]
    candidates, image_index = _candidates(predictions, conf_thres, classes, multi_label)
    by_score = torch.argsort(candidates[:, 4], descending=True, stable=True)
    order = by_score[torch.argsort(image_index[by_score], stable=True)]
    candidates = candidates[order]
    counts = torch.bincount(image_index, minlength=batch_size).tolist()  # the one wait for the device per batch
    results = []
    for boxes in candidates.split(counts):
        boxes = boxes[:max_nms]
        keep = _suppress(boxes[:, :4], boxes[:, 4], boxes[:, 5], iou_thres, agnostic)
        results.append(boxes[keep[:max_det]])
    return results


def _check_arguments(predictions: torch.Tensor, conf_thres: float, iou_thres: float) -> None:
    for name, value in (("conf_thres", conf_thres), ("iou_thres", iou_thres)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} {value} must lie between 0 and 1")
    if predictions.ndim != 3 or predictions.shape[2] < 6:
        raise ValueError(f"predictions of shape {tuple(predictions.shape)}, expected (B, N, 5 + classes)")


def _candidates(
    predictions: torch.Tensor, conf_thres: float, classes: Sequence[int] | None, multi_label: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flatten the batch into (n, 6) candidates [x1 y1 x2 y2 score class] and their (n,) image index."""
    image_index, row = (predictions[..., 4] > conf_thres).nonzero(as_tuple=True)
    rows = predictions[image_index, row].float()
    finite = torch.isfinite(rows).all(dim=1)
    rows, image_index = rows[finite], image_index[finite]
    scores = rows[:, 5:] * rows[:, 4:5]  # (n, classes)
    if multi_label and scores.shape[1] > 1:
        keep, class_index = (scores > conf_thres).nonzero(as_tuple=True)
        best = scores[keep, class_index]
    else:
        best, class_index = scores.max(dim=1)
        keep = (best > conf_thres).nonzero(as_tuple=True)[0]
        best, class_index = best[keep], class_index[keep]
    if classes is not None:
        wanted = torch.isin(class_index, torch.as_tensor(list(classes), device=class_index.device, dtype=torch.long))
        keep, best, class_index = keep[wanted], best[wanted], class_index[wanted]
    boxes = cxcywh_to_xyxy(rows[keep, :4])
    return torch.cat((boxes, best[:, None], class_index[:, None].float()), dim=1), image_index[keep]


def _suppress(
    boxes_xyxy: torch.Tensor, scores: torch.Tensor, classes: torch.Tensor, iou_thres: float, agnostic: bool
) -> torch.Tensor:
    """Indices that survive, best score first; boxes of different classes do not meet unless ``agnostic``."""
    if agnostic or len(boxes_xyxy) < 2:
        return torchvision.ops.nms(boxes_xyxy, scores, iou_thres)
    if boxes_xyxy.device.type == "cpu" and len(boxes_xyxy) > _PER_CLASS_ABOVE:
        return _suppress_per_class(boxes_xyxy, scores, classes, iou_thres)
    # Each class gets its own cell of a square lattice, so that one call serves all. A lattice, and a pitch no larger
    # than the boxes need, keeps the shifted coordinates small: float32 then holds small boxes exactly enough.
    lowest = boxes_xyxy.amin()
    pitch = boxes_xyxy.amax() - lowest + 1
    side = torch.ceil(torch.sqrt(classes.amax() + 1))
    cell = torch.stack((classes % side, torch.div(classes, side, rounding_mode="floor")), dim=1) * pitch
    return torchvision.ops.nms(boxes_xyxy - lowest + cell.repeat(1, 2), scores, iou_thres)


def _suppress_per_class(
    boxes_xyxy: torch.Tensor, scores: torch.Tensor, classes: torch.Tensor, iou_thres: float
) -> torch.Tensor:
    by_class = torch.argsort(classes, stable=True)
    counts = torch.unique_consecutive(classes[by_class], return_counts=True)[1].tolist()
    kept = [
        members[torchvision.ops.nms(boxes_xyxy[members], scores[members], iou_thres)]
        for members in by_class.split(counts)
    ]
    survivors = torch.cat(kept).sort().values  # back to input order, so that equal scores keep it
    return survivors[torch.argsort(scores[survivors], descending=True, stable=True)]
