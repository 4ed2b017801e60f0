"""A second loss for the same head: the predictions themselves decide which cells take an object.

YOLOv5 hands a box to every anchor of about its shape in up to three cells, whatever these predict. On objects of a few
pixels most cells then are positive, and nothing says which of them should win. Here the cells compete for a box by how
well they score and place it (task-aligned assignment: Feng et al., "TOOD: Task-aligned One-stage Object Detection",
ICCV 2021), within what YOLOv5's decoding can reach; the best one is told to be the surest. Head, decoding, checkpoints
and exports are the same as with YOLOv5's loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mgil.networks.head import Detect
from mgil.tasks.detect.loss import LossGains, class_targets, cross_entropy, decode_cells
from mgil.tasks.detect.overlap import complete_iou

# The alignment of a prediction and a box is score^SCORE_POWER * IoU^OVERLAP_POWER, TOOD's t.
SCORE_POWER = 0.5
OVERLAP_POWER = 4.0
MOST_MATCHES = 10  # of a box, the best aligned ones
LEAST_TARGETS = 0.5  # of an image, in the divisor: without it a batch of background would outweigh all others
REACH = ((0, 0), (1, 0), (0, 1), (1, 1))  # of the four cells around a centre, to the upper left one


@dataclass(frozen=True)
class Candidates:
    """Pairs of a box and a prediction that could take it; P of them.

    Attributes:
        box: (P,) index of the box.
        position: (P,) index of the prediction among all of the batch: images, levels, anchors, rows, columns.
        wanted: (P, 4) the box: centre relative to the cell's corner, width, height, in cells.
        anchor_wh: (P, 2) size of the prediction's anchor in cells.
    """

    box: Tensor
    position: Tensor
    wanted: Tensor
    anchor_wh: Tensor


class AlignedLoss:
    """Task-aligned assignment over a batch; CIoU, objectness and class terms.

    A match's target is its alignment, scaled so that a box's best match gets the highest overlap of its matches.
    Objectness learns this target, and the box and class terms are weighed by it; every term is a sum, divided by the
    sum of all targets. So a term weighs a match alike at every input size, and no gain has to be scaled.

    Args:
        head: The model's head: its anchors, strides and class count.
        gains: Weights of the terms.
        average: Takes the sum of targets of this process's batch and returns the mean over all processes, so that
            several processes learn what one would from all their images; all of them must call it. None: one process.
    """

    terms = ("box", "obj", "cls")

    def __init__(self, head: Detect, gains: LossGains, average: Callable[[Tensor], Tensor] | None = None) -> None:
        self.head = head
        self.gains = gains
        self.average = average

    def __call__(self, raws: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of raw predictions; arguments and results as for `DetectionLoss`."""
        flat = torch.cat([raw.flatten(1, 3) for raw in raws], dim=1).float()  # (B, N, nc+5)
        predictions = flat.flatten(0, 1)  # (B*N, nc+5)
        pairs = self.candidates(targets, [(raw.shape[2], raw.shape[3]) for raw in raws])
        found = predictions[pairs.position]  # (P, nc+5)
        overlap = complete_iou(decode_cells(found, pairs.anchor_wh), pairs.wanted)  # (P,)
        classes = targets[pairs.box, 1].long()
        match, goal = self.choose(
            pairs, found.detach(), overlap.detach().clamp(min=0), targets, len(predictions)
        )  # (M,), (M,)
        wanted = torch.zeros_like(predictions[:, 4])
        wanted.scatter_reduce_(0, pairs.position[match], goal, reduce="amax")
        total = goal.sum()
        total = (self.average(total) if self.average else total).clamp(min=LEAST_TARGETS * len(flat))
        box = ((1 - overlap[match]) * goal).sum() / total
        objectness = self._cross_entropy(predictions[:, 4], wanted, self.gains.obj_positive).sum() / total
        cls = predictions.new_zeros(())
        if self.head.num_classes > 1:  # else objectness says all there is to say
            smooth = class_targets(found[match, 5:], classes[match], self.gains.label_smoothing)
            each = self._cross_entropy(found[match, 5:], smooth, self.gains.cls_positive).sum(1)
            cls = (each * goal).sum() / total
        terms = torch.stack((box * self.gains.box, objectness * self.gains.obj, cls * self.gains.cls))
        return terms.sum() * flat.shape[0], terms.detach()

    @torch.no_grad()
    def candidates(self, targets: Tensor, maps_hw: Sequence[tuple[int, int]]) -> Candidates:
        """All predictions that can be decoded into a box.

        These are, on every level, the anchors within `anchor_ratio` of its sides, in the up to four cells from whose
        corner its centre lies -0.5 to 1.5 cells away.

        Args:
            targets: (T, 6): image index, class, centre x, centre y, width, height in input pixels.
            maps_hw: Rows and columns of every level.
        """
        per_image = sum(self.head.num_anchors * rows * columns for rows, columns in maps_hw)
        found: list[tuple[Tensor, ...]] = []
        start = 0
        for level, (rows, columns) in enumerate(maps_hw):
            anchors = self.head.anchors[level].float()  # (A, 2) in cells
            centres, sizes = (targets[:, 2:6] / self.head.stride[level]).split(2, dim=1)  # (T, 2) in cells
            ratio = sizes[None] / anchors[:, None]  # (A, T, 2)
            fits = torch.maximum(ratio, 1 / ratio).amax(-1) < self.gains.anchor_ratio
            cells = (centres - 0.5).floor()[:, None] + centres.new_tensor(REACH)  # (T, 4, 2) columns, rows
            inside = ((cells >= 0) & (cells < cells.new_tensor([columns, rows]))).all(-1)
            anchor, box, which = (fits[:, :, None] & inside).nonzero(as_tuple=True)
            cell = cells[box, which]
            column, row = cell.long().unbind(1)
            place = start + (anchor * rows + row) * columns + column
            wanted = torch.cat((centres[box] - cell, sizes[box]), dim=1)
            found.append((box, targets[box, 0].long() * per_image + place, wanted, anchors[anchor]))
            start += self.head.num_anchors * rows * columns
        return Candidates(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    @torch.no_grad()
    def choose(
        self, pairs: Candidates, found: Tensor, overlap: Tensor, targets: Tensor, predictions: int
    ) -> tuple[Tensor, Tensor]:
        """The pairs that are matches.

        Args:
            pairs: P pairs.
            found: (P, nc+5) their raw predictions.
            overlap: (P,) 0 to 1.
            targets: (T, 6) the boxes.
            predictions: number of all predictions of the batch.

        Returns:
            (M,) indices of pairs, at most `MOST_MATCHES` of a box, and (M,) their targets. A prediction goes to the box
            that it overlaps most, to several if it overlaps them equally: boxes that were labelled twice.
        """
        score = found[:, 4].sigmoid()
        if self.head.num_classes > 1:
            classes = targets[pairs.box, 1].long()
            score = score * found[:, 5:].gather(1, classes[:, None])[:, 0].sigmoid()
        alignment = score**SCORE_POWER * overlap**OVERLAP_POWER
        match = best_of_each(pairs.box, alignment, MOST_MATCHES)
        position = pairs.position[match]
        match = match[overlap[match] >= best_value(position, overlap[match], predictions)]
        box = pairs.box[match]
        best, highest = (best_value(box, value[match], len(targets)) for value in (alignment, overlap))
        return match, alignment[match] / best.clamp(min=1e-12) * highest

    def _cross_entropy(self, logits: Tensor, wanted: Tensor, positive: float) -> Tensor:
        return cross_entropy(logits, wanted, positive, self.gains.focal_gamma)


def best_of_each(group: Tensor, value: Tensor, most: int) -> Tensor:
    """Indices of the `most` highest values of every group; the order decides between equal ones."""
    order = value.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    sorted_group = group[order]
    first = torch.searchsorted(sorted_group, sorted_group)  # where each one's group begins
    rank = torch.arange(len(group), device=group.device) - first
    return order[rank < most]


def best_value(group: Tensor, value: Tensor, groups: int) -> Tensor:
    """For every element the highest value of its group; values are 0 or more."""
    return value.new_zeros(groups).scatter_reduce(0, group, value, reduce="amax")[group]
