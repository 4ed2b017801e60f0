"""The detection head as it is exported."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mgil.networks.head import Detect


class DeployedHead(Detect):
    """The detection head with little to decode: xy = s * 2 stride + (grid - 0.5) * stride, wh = s^2 * 4 anchor.

    Where the input size is fixed, the levels are joined first and the factors are constants, a row a prediction. They
    are buffers, and no device is named on the way: a trace would keep that of its example, and its file run there
    alone. Boxes are decoded in float32 also where the network is float16.

    Args:
        head: the head to follow, in float32.
        convolutions: its convolutions, possibly in float16.
        size_hw: the only input size; None: any, read off the feature maps.
    """

    _FACTORS = ("corners", "double_strides", "areas")

    def __init__(self, head: Detect, convolutions: nn.ModuleList, size_hw: tuple[int, int] | None) -> None:
        channels = [convolution.in_channels for convolution in convolutions]
        super().__init__(head.num_classes, head.anchors_px.flatten(1).tolist(), channels)  # type: ignore[arg-type]
        self.set_strides(head.stride.tolist())
        self.m = convolutions
        self.is_fixed = size_hw is not None
        self.cells = grid_cells if self.is_fixed else _scripted(grid_cells)  # traces fix the device, scripts do not
        if size_hw is not None:
            sizes = [(size_hw[0] // int(stride), size_hw[1] // int(stride)) for stride in self.stride]
            for name, factor in zip(self._FACTORS, self._joined(sizes), strict=True):
                self.register_buffer(name, factor)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map each level's (B, C, ny, nx) to boxes and scores: one tensor (B, n, nc+5) for all levels or for each."""
        maps = [layer(feature) for layer, feature in zip(self.m, features, strict=True)]
        batch = maps[0].shape[0]
        rows = [level.view(batch, self.num_anchors, self.num_outputs, -1).transpose(2, 3) for level in maps]
        if self.is_fixed:
            joined = torch.cat([level.reshape(batch, -1, self.num_outputs) for level in rows], dim=1)
            return [self._boxes(joined, *(self.get_buffer(name) for name in self._FACTORS))]
        factors = [self._factors(index, level) for index, level in enumerate(maps)]
        decoded = [self._boxes(level, *factor) for level, factor in zip(rows, factors, strict=True)]
        return [level.reshape(batch, -1, self.num_outputs) for level in decoded]

    def decode(self, raws: Sequence[Tensor]) -> Tensor:
        """Join what `forward` returns to (B, N, nc+5), as `Detect.decode` does."""
        return raws[0] if len(raws) == 1 else torch.cat(list(raws), dim=1)

    def _boxes(self, rows: Tensor, corner: Tensor, double_stride: Tensor, area: Tensor) -> Tensor:
        rows = rows.float() if rows.dtype != torch.float32 else rows  # the exporter writes a Cast for either
        centre, sides, scores = rows.sigmoid().split((2, 2, self.num_outputs - 4), dim=-1)
        return torch.cat((centre * double_stride + corner, sides * sides * area, scores), dim=-1)

    def _factors(self, level: int, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Corners (ny*nx, 2) = (grid - 0.5) * stride; 2 * stride; 4 * anchors (anchors, 1, 2)."""
        stride, anchors_px = self.stride[level], self.anchors_px[level]
        corner = (self.cells(feature) - 0.5) * stride
        return corner, 2 * stride, (4 * anchors_px)[:, None]

    def _joined(self, sizes: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """The factors of every prediction: (N, 2), (N, 1), (N, 2)."""
        columns: list[list[Tensor]] = [[], [], []]
        for level, size_hw in enumerate(sizes):
            corner, double_stride, area = self._factors(level, self.anchors.new_empty(1, 1, *size_hw))
            count = self.num_anchors * len(corner)
            columns[0].append(corner.repeat(self.num_anchors, 1))
            columns[1].append(double_stride.expand(count, 1))
            columns[2].append(area.expand(-1, len(corner), -1).reshape(count, 2))
        corners, double_strides, areas = (torch.cat(column) for column in columns)
        return corners, double_strides, areas


def grid_cells(feature: Tensor) -> Tensor:
    """Column and row of each pixel of a map (B, C, H, W), on its device: (H * W, 2) float32."""
    width = feature.shape[3]
    cells = torch.arange(feature.shape[2] * width, device=feature.device, dtype=torch.float32)
    rows = torch.floor((cells + 0.5) / width)
    return torch.stack((cells - rows * width, rows), dim=1)


def _scripted(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers its newer formats
        return torch.jit.script(function)
