"""A second loss for the same head: the predictions themselves decide which cells take an object.

YOLOv5 hands a box to every anchor of about its shape in up to three cells, whatever they predict. On objects of a few
pixels that makes most of the cells positive, and the target of a cell cannot say which of them should win. Here the
cells compete (task-aligned assignment, Feng et al., "TOOD", ICCV 2021), within what YOLOv5's decoding can reach.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from models.boxes import complete_iou
from models.head import Detect
from models.loss import LossGains

SCORE_POWER = 0.5  # TOOD's alpha, of the score of the box's class
OVERLAP_POWER = 4.0  # TOOD's beta is 6; boxes of a few pixels overlap little, and t should still tell them apart
MOST_MATCHES = 10  # per box


class AlignedLoss:
    """Task-aligned assignment, and targets that rank its matches.

    Args:
        head: The model's head: its anchors, strides and class count.
        gains: Weights of the terms. `box`, `obj` and `cls` are sums over matches, divided by the sum of the targets.
    """

    def __init__(self, head: Detect, gains: LossGains) -> None:
        self.head = head
        self.gains = gains

    def __call__(self, raws: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        flat = torch.cat([raw.flatten(1, 3) for raw in raws], dim=1).float()  # (B, N, nc+5)
        maps_hw = [(raw.shape[2], raw.shape[3]) for raw in raws]
        index, position, wanted, anchors = self.candidates(targets, maps_hw, flat.shape[1])
        found = flat.view(-1, flat.shape[-1])[position]
        offset = found[:, 0:2].sigmoid() * 2 - 0.5
        size = (found[:, 2:4].sigmoid() * 2).square() * anchors
        iou = complete_iou(torch.cat((offset, size), dim=1), wanted)
        classes = targets[index, 1].long()
        with torch.no_grad():
            overlap = iou.detach().clamp(min=0)
            score = found[:, 4].sigmoid() * found[:, 5:].sigmoid().gather(1, classes[:, None])[:, 0]
            metric = score**SCORE_POWER * overlap**OVERLAP_POWER
            keep = best_of_each(index, metric, MOST_MATCHES)
            keep = keep[winners(position[keep], overlap[keep], flat.shape[0] * flat.shape[1])]
            target = normalised(index[keep], metric[keep], overlap[keep], len(targets))
            objectness = flat.new_zeros(flat.shape[0] * flat.shape[1])
            objectness.scatter_reduce_(0, position[keep], target, reduce="amax")
            norm = target.sum().clamp(min=1)
        box = ((1 - iou[keep]) * target).sum() / norm
        obj = F.binary_cross_entropy_with_logits(flat[..., 4].flatten(), objectness, reduction="sum") / norm
        cls = flat.new_zeros(())
        if self.head.num_classes > 1:
            hot = F.one_hot(classes[keep], self.head.num_classes).to(found)
            each = F.binary_cross_entropy_with_logits(found[keep, 5:], hot, reduction="none").sum(1)
            cls = (each * target).sum() / norm
        terms = torch.stack((box * self.gains.box, obj * self.gains.obj, cls * self.gains.cls))
        return terms.sum() * flat.shape[0], terms.detach()

    @torch.no_grad()
    def candidates(
        self, targets: Tensor, maps_hw: Sequence[tuple[int, ...]], per_image: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        indices, positions, boxes, sizes_wh = [], [], [], []
        start = 0
        for level, (rows, columns) in enumerate(maps_hw):
            stride = self.head.stride[level]
            anchors = self.head.anchors[level].float()
            centres, sizes = targets[:, 2:4] / stride, targets[:, 4:6] / stride
            ratio = sizes[None] / anchors[:, None]
            fits = torch.maximum(ratio, 1 / ratio).amax(-1) < self.gains.anchor_ratio  # (A, T)
            corner = (centres - 0.5).floor()  # the upper left of the four cells that reach the centre
            steps = centres.new_tensor([[0, 0], [1, 0], [0, 1], [1, 1]])
            cells = corner[:, None] + steps  # (T, 4, 2)
            limits = centres.new_tensor([columns, rows])
            inside = ((cells >= 0) & (cells < limits)).all(-1)  # (T, 4)
            anchor, index, which = (fits[:, :, None] & inside[None]).nonzero(as_tuple=True)
            cell = cells[index, which]
            place = start + (anchor * rows + cell[:, 1].long()) * columns + cell[:, 0].long()
            indices.append(index)
            positions.append(targets[index, 0].long() * per_image + place)
            boxes.append(torch.cat((centres[index] - cell, sizes[index]), dim=1))
            sizes_wh.append(anchors[anchor])
            start += len(anchors) * rows * columns
        return torch.cat(indices), torch.cat(positions), torch.cat(boxes), torch.cat(sizes_wh)


def best_of_each(group: Tensor, value: Tensor, most: int) -> Tensor:
    """Indices of the `most` highest values of every group."""
    order = value.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    sorted_group = group[order]
    starts = torch.searchsorted(sorted_group, sorted_group)
    rank = torch.arange(len(group), device=group.device) - starts
    return order[rank < most]


def winners(position: Tensor, overlap: Tensor, cells: int) -> Tensor:
    """Where several boxes claim a cell, those that overlap its prediction most."""
    best = overlap.new_full((cells,), -1.0).scatter_reduce_(0, position, overlap, reduce="amax")
    return overlap >= best[position]


def normalised(group: Tensor, metric: Tensor, overlap: Tensor, groups: int) -> Tensor:
    """The metric scaled so that its highest value within a group is the group's highest overlap."""
    zeros = metric.new_zeros(groups)
    most = zeros.scatter_reduce(0, group, metric, reduce="amax")
    high = zeros.scatter_reduce(0, group, overlap, reduce="amax")
    return metric / most[group].clamp(min=1e-9) * high[group]
