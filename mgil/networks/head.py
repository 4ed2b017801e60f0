"""The anchor-based detection head of YOLOv5."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

MOST_ANCHOR_PX = 1e6
MOST_ANCHORS = 100  # a level
START_REACH = 4.0  # cells: the side of the largest anchor to start with; the smallest is one cell large


class Detect(nn.Module):
    """One 1x1 convolution per feature level, and the decoding of its output into boxes.

    Args:
        num_classes: Number of classes, `nc`.
        anchors: Per level, anchor widths and heights in pixels: w, h, w, h, ... Or a number: each level starts with so
            many squares of one to four cells, see `start_sides`.
        channels: Channels of each level's feature map.

    Attributes:
        start_only: Whether the anchors are such squares, which AutoAnchor has not fitted to labels yet.

    The buffer `anchors` (levels, anchors, 2) is in grid units of its level once the strides are known
    (`set_strides`), as in YOLOv5's checkpoints.
    """

    anchors: Tensor
    stride: Tensor

    def __init__(self, num_classes: int, anchors: int | Sequence[Sequence[float]], channels: Sequence[int]) -> None:
        super().__init__()
        if type(num_classes) is not int or num_classes < 1:
            raise ValueError(f"{num_classes!r:.60} does not count classes; write nc")
        check_anchor_rows(anchors, len(channels))
        self.start_only = isinstance(anchors, int)
        rows = [start_sides(anchors)] * len(channels) if isinstance(anchors, int) else anchors
        self.num_classes = num_classes
        self.num_outputs = num_classes + 5
        self.num_levels = len(rows)
        self.num_anchors = len(rows[0]) // 2
        sizes = torch.tensor(rows, dtype=torch.float32).view(self.num_levels, self.num_anchors, 2)
        self.register_buffer("anchors", sizes)
        self.register_buffer("stride", torch.ones(self.num_levels), persistent=False)
        self.m = nn.ModuleList(nn.Conv2d(c, self.num_outputs * self.num_anchors, 1) for c in channels)

    def set_strides(self, strides: Sequence[float]) -> None:
        """Give each level its stride in pixels, and turn the anchors from pixels into its grid units."""
        self.stride = torch.tensor(strides, dtype=torch.float32, device=self.anchors.device)
        if not self.start_only:  # those are in grid units from the beginning
            self.anchors = self.anchors / self.stride.view(-1, 1, 1)

    @property
    def finest_first(self) -> list[int]:
        """Indices of the levels in order of stride; a YAML may list them in any."""
        return sorted(range(self.num_levels), key=self.stride.tolist().__getitem__)

    @property
    def anchors_px(self) -> Tensor:
        """Anchor sizes (levels, anchors, 2) in pixels of the network input."""
        return self.anchors * self.stride.view(-1, 1, 1)

    def set_anchors_px(self, anchors_px: Tensor) -> None:
        """Replace the anchors by (levels, anchors, 2) sizes in pixels."""
        self.anchors.copy_(anchors_px.to(self.anchors) / self.stride.view(-1, 1, 1))

    def start_biases(self, imgsz: int) -> None:
        """Start the biases at the class and object frequencies to expect (focal loss paper, section 3.3).

        YOLOv5 assumes 8 objects on a level of (640/stride)^2 cells. Here the cells are those of the training size, and
        the probability is held at 1/4 or less: a 64-px image has 4 cells at stride 32, and 8 objects do not fit.
        """
        per_class = math.log(0.6 / (self.num_classes - 0.99999))
        for layer, stride in zip(self.m, self.stride.tolist(), strict=True):
            probability = min(8 / (imgsz / stride) ** 2, 0.25)
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            bias = layer.bias.detach().view(self.num_anchors, -1)
            bias[:, 4] += math.log(probability / (1 - probability))
            bias[:, 5:] += per_class

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map each level's (B, C, ny, nx) to raw predictions (B, anchors, ny, nx, nc+5)."""
        raws = []
        for layer, feature in zip(self.m, features, strict=True):
            x = layer(feature)
            batch, _, height, width = x.shape
            x = x.view(batch, self.num_anchors, self.num_outputs, height, width)
            raws.append(x.permute(0, 1, 3, 4, 2).contiguous())
        return raws

    def decode(self, raws: Sequence[Tensor]) -> Tensor:
        """Turn raw maps into boxes (yolov5: all sigmoid; xy = (2s + grid - 0.5) * stride; wh = (2s)^2 * anchor).

        Returns:
            (B, N, nc+5) float32, also from half-precision maps (float16 cannot tell pixel 512.25 from 512.5): centre
            x, y, width, height in input pixels, objectness, class scores.
        """
        return torch.cat([self._decode_level(raw, level) for level, raw in enumerate(raws)], dim=1)

    def in_class_order(
        self, state_dict: Mapping[str, Tensor], prefix: str, classes: Sequence[int | None], num_theirs: int
    ) -> Mapping[str, Tensor]:
        """A head's tensors, named `prefix` + own name, as this head can take them.

        Args:
            state_dict: Of a network whose head has as many anchors on maps of as many channels; else it is returned as
                it is.
            prefix: Of the head's tensors.
            classes: For each of this head's classes that of the other head; None: there is none, and the rows of this
                head stay.
            num_theirs: Number of the other head's classes.
        """
        changed: dict[str, Tensor] = {}
        for key, own in self.m.state_dict(prefix=f"{prefix}m.").items():
            theirs = state_dict.get(key)
            if theirs is None or theirs.shape != (self.num_anchors * (num_theirs + 5), *own.shape[1:]):
                continue
            rows = theirs.unflatten(0, (self.num_anchors, -1))
            mixed = own.detach().clone().unflatten(0, (self.num_anchors, -1))
            mixed[:, :5] = rows[:, :5].to(mixed)
            for row, index in enumerate(classes):
                if index is not None:
                    mixed[:, 5 + row] = rows[:, 5 + index].to(mixed)
            changed[key] = mixed.flatten(0, 1)
        return {**state_dict, **changed} if changed else state_dict

    def _decode_level(self, raw: Tensor, level: int) -> Tensor:
        batch, _, height, width, _ = raw.shape
        stride = self.stride[level]
        rows = torch.arange(height, device=raw.device, dtype=torch.float32)
        columns = torch.arange(width, device=raw.device, dtype=torch.float32)
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)  # (ny, nx, 2) as x, y
        anchors_px = (self.anchors[level].float() * stride).view(1, -1, 1, 1, 2)
        scores = raw.float().sigmoid()
        centre = (scores[..., 0:2] * 2 + (grid - 0.5)) * stride
        size = (scores[..., 2:4] * 2) ** 2 * anchors_px
        return torch.cat((centre, size, scores[..., 4:]), dim=-1).view(batch, -1, self.num_outputs)


def start_sides(number: int) -> list[float]:
    """Widths and heights in cells (w, h, w, h, ...) of the squares that a level starts with.

    From one cell to `START_REACH` cells in equal ratios, which for three are 1, 2 and 4 cells; a single one has 2.
    """
    steps = [index / (number - 1) for index in range(number)] if number > 1 else [0.5]
    return [START_REACH**step for step in steps for _ in "wh"]


def check_anchor_rows(anchors: object, levels: int) -> None:
    """Raise ValueError for what is neither a number of anchors nor a row of widths and heights for each level."""
    shown = f"anchors {anchors!r:.200}"
    if isinstance(anchors, int) and not isinstance(anchors, bool):
        if not 1 <= anchors <= MOST_ANCHORS:
            raise ValueError(f"{shown}: the number of anchors a level must be from 1 to {MOST_ANCHORS}")
        return
    if not isinstance(anchors, list | tuple) or not all(isinstance(row, list | tuple) for row in anchors):
        raise ValueError(
            f"{shown}: give a whole number of anchors a level, e.g. 3, or one row [width, height, width, height, ...] "
            f"for each of the {levels} feature levels"
        )
    if len(anchors) != levels:
        raise ValueError(f"{len(anchors)} rows of anchors for {levels} feature levels; give one row a level")
    if len({len(row) for row in anchors}) != 1 or len(anchors[0]) % 2 or not anchors[0]:
        raise ValueError(f"{shown}: every row needs the same number of w,h pairs")
    if any(type(side) not in (int, float) or not 0 < side <= MOST_ANCHOR_PX for row in anchors for side in row):
        raise ValueError(f"{shown}: every side must be a positive number of pixels")
