"""The detection loss: YOLOv5's anchor assignment, CIoU, objectness and class terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mgil.networks.head import Detect
from mgil.tasks.detect.overlap import complete_iou

# YOLOv5 weighs objectness by level, finest first: small objects are on that map, most cells of which are background.
LEVEL_BALANCE = {3: (4.0, 1.0, 0.4)}
OTHER_BALANCE = (4.0, 1.0, 0.25, 0.06, 0.02)
# The cells that take an object besides its own: left, up, right, down.
NEIGHBOURS = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))
ASSIGNMENTS = ("anchor", "aligned")


@dataclass(frozen=True)
class LossGains:
    """Weights of the loss terms, the final ones.

    What the terms are averaged over is said for `anchor`; with `aligned` see `mgil.tasks.detect.aligned_loss`.

    Attributes:
        assign: Which cells take a box: `anchor`, YOLOv5's rule, or `aligned`.
        box: Weight of 1 - CIoU, averaged over the matches.
        obj: Weight of objectness, averaged over all cells.
        cls: Weight of the class term, averaged over matches and classes.
        cls_positive: Weight of positive class targets (`cls_pw`).
        obj_positive: Weight of positive objectness targets (`obj_pw`).
        label_smoothing: Class targets become 1 - s/2 and s/2.
        anchor_ratio: An anchor takes a box when neither side differs by this factor or more (`anchor_t`).
        focal_gamma: Focal-loss exponent for class and objectness; 0 is plain cross-entropy (`fl_gamma`).
    """

    assign: str = "anchor"
    box: float = 0.05
    obj: float = 1.0
    cls: float = 0.5
    cls_positive: float = 1.0
    obj_positive: float = 1.0
    label_smoothing: float = 0.0
    anchor_ratio: float = 4.0
    focal_gamma: float = 0.0


@dataclass(frozen=True)
class Matches:
    """The cells that must predict an object, on one level; M of them.

    Attributes:
        image, anchor, row, column: (M,) indices into the raw map.
        offset_xy: (M, 2) box centre relative to the cell's corner, in cells (-0.5 to 1.5).
        size_wh: (M, 2) box size in cells.
        anchor_wh: (M, 2) size of the anchor in cells.
        classes: (M,) class indices.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    offset_xy: Tensor
    size_wh: Tensor
    anchor_wh: Tensor
    classes: Tensor


class DetectionLoss:
    """YOLOv5's loss over a batch.

    Args:
        head: The model's head: its anchors, strides and class count.
        gains: Weights of the terms.
    """

    terms = ("box", "obj", "cls")

    def __init__(self, head: Detect, gains: LossGains) -> None:
        if gains.assign != "anchor":
            raise ValueError(
                f"assign: {gains.assign!r}: its gains mean something else here; see mgil.tasks.detect.criterion"
            )
        self.head = head
        self.gains = gains
        weights = LEVEL_BALANCE.get(head.num_levels, OTHER_BALANCE)
        if head.num_levels > len(weights):
            raise ValueError(
                f"{head.num_levels} feature levels; assign: anchor knows at most {len(weights)}, "
                "assign: aligned any number"
            )
        self.balance = {level: weights[place] for place, level in enumerate(head.finest_first)}

    def __call__(self, raws: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of raw predictions.

        Args:
            raws: Per level (B, anchors, ny, nx, nc+5), from `DetectionModel.raw`.
            targets: (T, 6): image index, class, centre x, centre y, width, height in input pixels.

        Returns:
            The sum times the batch size (YOLOv5's convention: the learning rate is per image), and the detached box,
            obj and cls terms, each with its gain.
        """
        box, objectness, classes = (torch.zeros((), device=targets.device) for _ in range(3))
        for level, raw in enumerate(raws):
            raw = raw.float()
            matches = self.assign(targets, level, (raw.shape[2], raw.shape[3]))
            wanted = torch.zeros_like(raw[..., 4])
            if len(matches.image):
                found = raw[matches.image, matches.anchor, matches.row, matches.column]
                iou = self._overlap(found, matches)
                box = box + (1 - iou).mean()
                self._fill_objectness(wanted, matches, iou.detach().clamp(min=0))
                classes = classes + self._class_term(found[:, 5:], matches.classes)
            objectness = objectness + self.balance[level] * self._cross_entropy(
                raw[..., 4], wanted, self.gains.obj_positive
            )
        terms = torch.stack((box * self.gains.box, objectness * self.gains.obj, classes * self.gains.cls))
        return terms.sum() * raws[0].shape[0], terms.detach()

    @torch.no_grad()
    def assign(self, targets: Tensor, level: int, map_hw: tuple[int, int]) -> Matches:
        """Choose cells and anchors for every box.

        A box matches the anchors within `anchor_ratio` of its sides; each match also takes the up to two neighbour
        cells whose edge is within half a cell of the box centre.

        Args:
            targets: (T, 6) in pixels, as in `__call__`.
            level: Index of the feature level.
            map_hw: Rows and columns of its map.
        """
        stride = self.head.stride[level]
        anchors = self.head.anchors[level].float()  # (A, 2) in cells
        centres, sizes = targets[:, 2:4] / stride, targets[:, 4:6] / stride
        ratio = sizes[None] / anchors[:, None]  # (A, T, 2)
        fits = torch.maximum(ratio, 1 / ratio).amax(-1) < self.gains.anchor_ratio
        limits = centres.new_tensor([map_hw[1], map_hw[0]])
        near_low = (centres % 1 < 0.5) & (centres > 1)  # (T, 2): left, up
        from_end = limits - centres
        near_high = (from_end % 1 < 0.5) & (from_end > 1)  # right, down
        own = torch.ones_like(near_low[:, :1])
        takes = torch.cat((own, near_low, near_high), dim=1).T  # (5, T), in the order of NEIGHBOURS
        which, anchor, index = (takes[:, None] & fits[None]).nonzero(as_tuple=True)
        steps = centres.new_tensor(NEIGHBOURS)[which]
        cells = (centres[index].floor() + steps).clamp(min=0).minimum(limits - 1)  # a centre may lie on the far edge
        return Matches(
            image=targets[index, 0].long(),
            anchor=anchor,
            row=cells[:, 1].long(),
            column=cells[:, 0].long(),
            offset_xy=centres[index] - cells,
            size_wh=sizes[index],
            anchor_wh=anchors[anchor],
            classes=targets[index, 1].long(),
        )

    def _overlap(self, found: Tensor, matches: Matches) -> Tensor:
        """CIoU of the matched predictions with their boxes, (M,)."""
        wanted = torch.cat((matches.offset_xy, matches.size_wh), dim=1)
        return complete_iou(decode_cells(found, matches.anchor_wh), wanted)

    @staticmethod
    def _fill_objectness(wanted: Tensor, matches: Matches, iou: Tensor) -> None:
        """Write the overlaps into the map; where two boxes claim one cell, the better overlap counts.

        The maximum does not depend on the order of the boxes; YOLOv5 keeps whichever it happens to write last.
        """
        _, anchors, rows, columns = wanted.shape
        flat = ((matches.image * anchors + matches.anchor) * rows + matches.row) * columns + matches.column
        wanted.view(-1).scatter_reduce_(0, flat, iou, reduce="amax")

    def _class_term(self, logits: Tensor, classes: Tensor) -> Tensor:
        if self.head.num_classes == 1:  # objectness says all there is to say
            return logits.new_zeros(())
        wanted = class_targets(logits, classes, self.gains.label_smoothing)
        return self._cross_entropy(logits, wanted, self.gains.cls_positive)

    def _cross_entropy(self, logits: Tensor, wanted: Tensor, positive: float) -> Tensor:
        return cross_entropy(logits, wanted, positive, self.gains.focal_gamma).mean()


def decode_cells(raw: Tensor, anchor_wh: Tensor) -> Tensor:
    """YOLOv5's boxes, (M, 4): centre relative to the cell's corner, width, height, in cells.

    Args:
        raw: (M, nc+5) raw predictions.
        anchor_wh: (M, 2) sizes of their anchors in cells.
    """
    offset = raw[:, 0:2].sigmoid() * 2 - 0.5
    return torch.cat((offset, (raw[:, 2:4].sigmoid() * 2).square() * anchor_wh), dim=1)


def class_targets(logits: Tensor, classes: Tensor, smoothing: float) -> Tensor:
    """Targets (M, nc) of `logits` for class indices (M,): 1 - smoothing/2 for the class, smoothing/2 for the others."""
    low = 0.5 * smoothing
    return torch.full_like(logits, low).scatter_(1, classes[:, None], 1 - low)


def cross_entropy(logits: Tensor, wanted: Tensor, positive: float = 1.0, focal_gamma: float = 0.0) -> Tensor:
    """Binary cross-entropy, element by element; with `focal_gamma` the focal loss at its paper's alpha, 0.25.

    Args:
        logits: Any shape.
        wanted: Targets from 0 to 1, of the same shape.
        positive: Weight of the positive part.
        focal_gamma: Exponent; 0 is plain cross-entropy.
    """
    weight = None if positive == 1 else logits.new_tensor(positive)
    loss = F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight, reduction="none")
    if focal_gamma == 0:
        return loss
    probability = logits.sigmoid()
    miss = wanted * (1 - probability) + (1 - wanted) * probability
    alpha = wanted * 0.25 + (1 - wanted) * 0.75
    return alpha * miss**focal_gamma * loss
