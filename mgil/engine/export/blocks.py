"""Parts of a network with fewer operators for runtimes to run; each computes what the part it replaces computes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mgil.block.mgaf import MGAF
from mgil.block.mrie import MRIE
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


class DeployedMRIE(nn.Module):
    """MRIE that joins its rates before the activation, so that there is one activation instead of one a rate."""

    def __init__(self, mrie: MRIE) -> None:
        super().__init__()
        branches = list(mrie.branches)
        self.convolutions = nn.ModuleList(branch.conv for branch in branches)  # type: ignore[misc]
        self.act: nn.Module = branches[0].act  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C1, H, W) to (B, C2, H, W)."""
        return self.act(torch.cat([convolution(x) for convolution in self.convolutions], dim=1))


class DeployedMGAF(nn.Module):
    """MGAF with its two weights as one: softmax over two is a sigmoid of the difference, and they sum to 1."""

    def __init__(self, mgaf: MGAF) -> None:
        super().__init__()
        self.conv = mgaf.conv
        self.fc = nn.Linear(mgaf.fc.in_features, 1)
        weight, bias = mgaf.fc.weight.detach(), mgaf.fc.bias.detach()
        self.fc.weight = nn.Parameter(weight[:1] - weight[1:])
        self.fc.bias = nn.Parameter(bias[:1] - bias[1:])

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Return coarse + share * (fine - coarse), share being the weight of `fine` in each image."""
        pooled = [nn.functional.adaptive_avg_pool2d(feature, 1) for feature in (fine, coarse)]
        hidden = torch.relu(self.conv(torch.cat(pooled, dim=1))).flatten(1)
        # not a 1x1 convolution, which would save two nodes: OpenCV 5.0 cannot spread its output over a map
        share = torch.sigmoid(self.fc(hidden)).view(-1, 1, 1, 1)
        return coarse + share * (fine - coarse)


class _SpaceToDepth(torch.autograd.Function):
    """ONNX's operator of that name, which PyTorch has none for."""

    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:
        """Stack the phases in the order of rows."""
        batch, channels, height, width = x.shape
        phases = x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 3, 5, 1, 2, 4)
        return phases.reshape(batch, 4 * channels, height // 2, width // 2)

    @staticmethod
    def symbolic(graph: Any, x: Any) -> Any:
        """What the ONNX exporter writes; it cannot tell the shape by itself, and would count with it in the graph."""
        written = graph.op("SpaceToDepth", x, blocksize_i=2)
        sizes = x.type().sizes()
        if sizes is None or None in sizes:
            return written
        batch, channels, height, width = sizes
        return written.setType(x.type().with_sizes([batch, 4 * channels, height // 2, width // 2]))


class SpaceToDepth(nn.Module):
    """SCT of maps whose sides are even, as one ONNX operator; its second and third phase change places.

    Args:
        convolutions: those that read it; their kernels change places too.
    """

    def __init__(self, convolutions: list[nn.Conv2d]) -> None:
        super().__init__()
        for convolution in convolutions:
            phases = convolution.weight.detach().chunk(4, dim=1)
            convolution.weight = nn.Parameter(torch.cat([phases[index] for index in (0, 2, 1, 3)], dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 4*C, H/2, W/2)."""
        return _SpaceToDepth.apply(x)
