"""Non-maximum suppression for YOLOv5-style predictions, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

# Cells (the boxes of one class in one image) are suppressed several in one call, about this many boxes together. A call
# costs more than comparing a few boxes too many; and a GPU waits for each call, and keeps one bit for each pair.
_TOGETHER_ON_CPU = 200
_TOGETHER_ON_GPU = 20_000
# This many candidates for each box that may be kept are tried first, then ever more: greedy suppression lets no
# candidate have a say in the fate of better ones, so that the rest need not be looked at once an image has its boxes.
_FIRST_TRIED = 8
_ROWS_IN_CACHE = 32_768  # predictions that a CPU takes at a time
_INFINITY_BITS = 0x7F800000  # of a float32
_FARTHEST = 1e6  # pixels; a box beyond it would push all others apart until float64 is too coarse for them


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
    exceed ``conf_thres`` too. Predictions with a NaN or infinite value are dropped.

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
    # A CPU takes a few images at a time, so that what they need in between stays in its caches.
    on_cpu = predictions.device.type == "cpu"
    step = max(_ROWS_IN_CACHE // max(predictions.shape[1], 1), 1) if on_cpu else max(batch_size, 1)
    parts = [_candidates(some, conf_thres, classes, multi_label) for some in predictions.split(step)]
    candidates = torch.cat([part[0] for part in parts])
    image_index = torch.cat([part[1] + number * step for number, part in enumerate(parts)])
    if candidates.device.type not in ("cpu", "cuda"):
        candidates, image_index = candidates.cpu(), image_index.cpu()
    rank = _rank_in_image(image_index, batch_size)
    cell = image_index if agnostic else image_index * predictions.shape[2] + candidates[:, 5].long()

    kept = rank[:0]
    waiting = rank < max_nms
    start, end = 0, _FIRST_TRIED * max_det
    while len(added := _indices(waiting & (rank >= start) & (rank < end))):
        in_play = waiting[kept]
        tried = torch.cat((kept[in_play], added)).sort().values
        kept = torch.cat((kept[~in_play], tried[_suppress(candidates[tried], cell[tried], iou_thres)]))
        waiting &= (torch.bincount(image_index[kept], minlength=batch_size) < max_det)[image_index]
        start, end = end, 3 * end
    kept = kept.sort().values
    kept = kept[_rank_in_image(image_index[kept], batch_size) < max_det]
    counts = torch.bincount(image_index[kept], minlength=batch_size).tolist()
    return list(candidates[kept].to(predictions.device).split(counts))


def _check_arguments(predictions: torch.Tensor, conf_thres: float, iou_thres: float) -> None:
    for name, value in (("conf_thres", conf_thres), ("iou_thres", iou_thres)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} {value} must lie between 0 and 1")
    if predictions.ndim != 3 or predictions.shape[2] < 6:
        raise ValueError(f"predictions of shape {tuple(predictions.shape)}, expected (B, N, 5 + classes)")


def _candidates(
    predictions: torch.Tensor, conf_thres: float, classes: Sequence[int] | None, multi_label: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flatten a batch into (n, 6) candidates [x1 y1 x2 y2 score class] and their (n,) image index.

    They are sorted by image, and within it best first.
    """
    confident = _indices((predictions[..., 4] > conf_thres).flatten())
    rows = predictions.flatten(0, 1).index_select(0, confident).float()
    # A NaN or infinite value makes the sum such a value, and then all scores NaN, which exceed nothing.
    objectness = torch.where(torch.isfinite(rows.sum(dim=1)), rows[:, 4], torch.nan)
    scores = rows[:, 5:] * objectness[:, None]  # (n, classes)
    if multi_label and scores.shape[1] > 1:
        flat = _indices((scores > conf_thres).flatten())
        best = scores.flatten()[flat]
        keep = torch.div(flat, scores.shape[1], rounding_mode="floor")
        class_index = flat - keep * scores.shape[1]
    else:
        best, class_index = scores.max(dim=1)
        keep = _indices(best > conf_thres)
        best, class_index = best[keep], class_index[keep]
    if classes is not None:
        wanted = torch.isin(class_index, torch.as_tensor(list(classes), device=class_index.device, dtype=torch.long))
        keep, best, class_index = keep[wanted], best[wanted], class_index[wanted]
    boxes = cxcywh_to_xyxy(rows[:, :4])[keep]
    image_index = torch.div(confident[keep], max(predictions.shape[1], 1), rounding_mode="floor")
    # One key for image and score: the bits of positive floats are ordered as they are.
    order = torch.argsort((image_index << 32) | (_INFINITY_BITS - best.view(torch.int32)).long(), stable=True)
    return torch.cat((boxes, best[:, None], class_index[:, None].float()), dim=1)[order], image_index[order]


def _indices(mask: torch.Tensor) -> torch.Tensor:
    """Where a (n,) mask is true."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))  # twice as fast as torch's
    return mask.nonzero(as_tuple=True)[0]


def _rank_in_image(image_index: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Place of each row among those of its image, from 0; rows are sorted by image."""
    counts = torch.bincount(image_index, minlength=batch_size)
    return torch.arange(len(image_index), device=image_index.device) - (counts.cumsum(0) - counts)[image_index]


def _suppress(candidates: torch.Tensor, cell: torch.Tensor, iou_thres: float) -> torch.Tensor:
    """Indices of the candidates that survive those of their cell; within a cell they are sorted, best first."""
    import torchvision.ops  # noqa: F401  slow to import, and many commands do without

    nms = torch.ops.torchvision.nms  # its Python function takes as long for few boxes

    by_cell = torch.argsort(cell, stable=True)
    _, number, counts = torch.unique_consecutive(cell[by_cell], return_inverse=True, return_counts=True)
    ends = counts.cumsum(0)
    call = torch.div(ends - 1, _TOGETHER_ON_GPU if cell.is_cuda else _TOGETHER_ON_CPU, rounding_mode="floor")
    last_of_call = torch.cat((call[1:] != call[:-1], torch.ones_like(call[:1], dtype=torch.bool)))
    sizes = ends[last_of_call].diff(prepend=ends.new_zeros(1)).tolist()
    # Cells are put side by side, so that none meets another. Their coordinates grow too large for float32, in which
    # small boxes would change their shape.
    boxes = candidates[by_cell, :4].double().clamp_(-_FARTHEST, _FARTHEST)
    boxes += number[:, None] * (boxes.amax() - boxes.amin() + 1)
    scores = candidates[by_cell, 4].double()
    kept, start = [], 0
    for boxes_xyxy, box_scores in zip(boxes.split(sizes), scores.split(sizes), strict=True):
        kept.append(nms(boxes_xyxy, box_scores, iou_thres) + start)
        start += len(boxes_xyxy)
    return by_cell[torch.cat(kept)]
