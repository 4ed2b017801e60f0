"""Is the exported file the model that was exported? Both are run on real images and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mgil.tasks.detect.nms import cxcywh_to_xyxy, non_max_suppression
from mgil.tasks.detect.suppression import Suppression
from mgil.tasks.exported import Exporting, Limits, check_explained, check_finite

# The largest differences that are no error: of box sides, as a share of the input's longer side, and of scores.
# Runtimes sum in another order (float32: ONNX Runtime 1e-4 px and 5e-8 on official weights; OpenVINO, which stores the
# weights in float16, 0.002 px and 9e-5; bfloat16: official yolov5n, background included, 0.061 of the side and 0.048).
LIMITS = Limits(exact=(0.0002, 0.001), exact_gpu=(0.002, 0.01), half=(0.02, 0.05), bfloat16=(0.15, 0.2))
# INT8 is rough: single boxes may move, so it is the means over the boxes that count which are judged.
LOWEST_MEAN_IOU, HIGHEST_MEAN_SCORE_GAP = 0.7, 0.1
COUNTS = 0.25  # a box counts from this score on, YOLOv5's threshold for showing it
FEWEST = 20  # but at least this many of an image's best boxes do
# After suppression boxes are paired. A tie between two scores may fall otherwise, and then one box stands for another.
BORDERLINE = 0.02  # a box whose score is this near the threshold may be there or not
SAME_BOX, SAME_BOX_INT8 = 0.9, 0.5  # overlap of the same box from both
MOST_MISSING, MOST_MISSING_INT8 = 0.1, 0.3  # share of boxes without partner


@dataclass(frozen=True)
class Difference:
    """What an exported file's predictions are off by.

    Attributes:
        boxes_px: Largest difference of a box's centre, width or height, in input pixels; of corners after suppression.
        scores: Largest difference of an objectness or class score; after suppression of their product.
        images: Images that were compared.
        mean_iou: INT8: mean overlap with the true box over the boxes that count.
        mean_score_gap: INT8: mean difference of their scores.
        missing: After suppression: share of sure boxes, of either side, that the other side does not have; None where
            neither side has a sure box, so that nothing was compared.
        compared: After suppression: sure boxes of both sides.
    """

    boxes_px: float
    scores: float
    images: int
    mean_iou: float | None = None
    mean_score_gap: float | None = None
    missing: float | None = None
    compared: int | None = None

    def __str__(self) -> str:
        if self.compared == 0:
            return (
                f"not compared, PyTorch finds no box on {self.images} images that is sure to be kept; "
                "name images with objects by --data, or give a lower --conf-thres"
            )
        text = f"largest difference on {self.images} images: boxes {self.boxes_px:.2g} px, scores {self.scores:.2g}"
        if self.mean_iou is not None:
            best = f"mean IoU {self.mean_iou:.3f}, mean score difference {self.mean_score_gap:.3f}"
            text += f" (background included); of the best boxes {best}"
        return text + (f", {self.missing:.0%} of the boxes not paired" if self.missing else "")


def compare(found: Sequence[Tensor], expected: Sequence[Tensor], job: Exporting) -> Difference:
    """Compare a file's outputs with PyTorch's, batch by batch.

    Args:
        found: of the file: (B, N, nc+5), or (B, total, 6) with suppression.
        expected: of PyTorch, (B, N, nc+5).
        job: what was exported.

    Returns:
        The largest difference over all batches.

    Raises:
        ValueError: it is larger than the number type explains.
    """
    each = [_compare(job, mine, true) for mine, true in zip(found, expected, strict=True)]
    total = Difference(
        max(one.boxes_px for one in each),
        max(one.scores for one in each),
        sum(one.images for one in each),
        _mean([one.mean_iou for one in each]),
        _mean([one.mean_score_gap for one in each]),
        _mean([one.missing for one in each]),
        None if job.inside is None else sum(one.compared or 0 for one in each),
    )
    _judge(job, total)
    return total


def _judge(job: Exporting, difference: Difference) -> None:
    share, scores = LIMITS.of(job)
    boxes_px = share * max(job.size_hw)
    allowed = f"{boxes_px:.2g} px, {scores:.2g}"
    # comparisons that are false for NaN, too, are wanted here
    fits = difference.boxes_px <= boxes_px and difference.scores <= scores
    if job.int8:
        allowed = f"mean IoU {LOWEST_MEAN_IOU}, mean score difference {HIGHEST_MEAN_SCORE_GAP}"
        fits = difference.mean_iou is None or difference.mean_iou >= LOWEST_MEAN_IOU
        fits &= difference.mean_score_gap is None or difference.mean_score_gap <= HIGHEST_MEAN_SCORE_GAP
    if difference.missing is not None:
        fits &= difference.missing <= (MOST_MISSING_INT8 if job.int8 else MOST_MISSING)
    check_explained(fits, allowed, difference, job)


def _mean(values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return sum(given) / len(given) if given else None


def _compare(job: Exporting, found: Tensor, expected: Tensor) -> Difference:
    found, expected = found.float().cpu(), expected.float()
    check_finite(found, expected)
    if isinstance(job.inside, Suppression):
        return _compare_suppressed(job, job.inside, found, expected)
    if found.shape != expected.shape:
        raise ValueError(f"its output is {tuple(found.shape)}, PyTorch's is {tuple(expected.shape)}")
    gaps = (found - expected).abs()
    largest = float(gaps[..., :4].max()), float(gaps[..., 4:].max())
    if not job.int8:
        return Difference(*largest, len(found))
    overlaps, score_gaps = [], []
    for one, other in zip(found, expected, strict=True):
        mine, true = (rows[:, 4] * rows[:, 5:].amax(dim=1) for rows in (one, other))
        count = min(max(int((true > COUNTS).sum()), FEWEST), len(true))
        best = true.topk(count).indices
        overlaps.append(_iou(cxcywh_to_xyxy(one[best, :4]), cxcywh_to_xyxy(other[best, :4])))
        score_gaps.append((mine[best] - true[best]).abs())
    return Difference(*largest, len(found), float(torch.cat(overlaps).mean()), float(torch.cat(score_gaps).mean()))


def _compare_suppressed(job: Exporting, rule: Suppression, found: Tensor, expected: Tensor) -> Difference:
    """Pair what is left in the file's output with what `mgil.tasks.detect.nms` leaves of PyTorch's predictions."""
    if found.shape[1:] != (rule.total, 6):
        raise ValueError(f"its output is {tuple(found.shape)}, not (batch, {rule.total}, 6)")
    most = expected.shape[1]
    kept = non_max_suppression(
        expected, rule.conf_thres, rule.iou_thres, agnostic=rule.agnostic, max_det=most, max_nms=most
    )
    boxes, scores, missing, sure = 0.0, 0.0, 0, 0
    for rows, truth in zip(found, kept, strict=True):
        rows, truth = rows[rows[:, 4] > 0], _per_class(truth, rule.per_class)[: rule.total]
        for mine, others in ((truth, rows), (rows, truth)):
            mine = mine[mine[:, 4] > _lowest(mine, others, rule) + BORDERLINE]
            partner, overlap = _partners(mine, others)
            paired = overlap > (SAME_BOX_INT8 if job.int8 else SAME_BOX)
            gaps = (mine - partner).abs()[paired]
            sure, missing = sure + len(mine), missing + int((~paired).sum())
            if len(gaps):
                boxes, scores = max(boxes, float(gaps[:, :4].max())), max(scores, float(gaps[:, 4].max()))
    return Difference(boxes, scores, len(found), missing=missing / sure if sure else None, compared=sure)


def _lowest(rows: Tensor, others: Tensor, rule: Suppression) -> Tensor:
    """For each row the score below which the others have none of its class, because of the threshold or a limit."""
    same = rows[:, None, 5] == others[None, :, 5]  # (rows, others)
    last = torch.where(same, others[None, :, 4], 1.0).amin(dim=1) if len(others) else torch.ones(len(rows))
    lowest = torch.where(same.sum(dim=1) >= rule.per_class, last, rule.conf_thres)
    return lowest.clamp(min=float(others[-1, 4])) if len(others) == rule.total else lowest


def _per_class(rows: Tensor, most: int) -> Tensor:
    """The best `most` rows of each class; rows are sorted by score."""
    same = rows[:, None, 5] == rows[None, :, 5]
    return rows[torch.tril(same).sum(dim=1) <= most]


def _partners(rows: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """For each row the row of the same class that overlaps most, and the overlap; zeros where there is none."""
    if not len(rows) or not len(others):
        return torch.zeros_like(rows), torch.zeros(len(rows))
    overlaps = _iou(rows[:, None, :4], others[None, :, :4])
    overlaps[rows[:, None, 5] != others[None, :, 5]] = 0.0
    best, index = overlaps.max(dim=1)
    return others[index], best


def _iou(first: Tensor, second: Tensor) -> Tensor:
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = (first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1)
    return shared / (areas - shared).clamp(min=1e-9)
