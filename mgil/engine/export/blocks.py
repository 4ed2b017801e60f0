"""Parts of a network with fewer operators for runtimes to run; each computes what the part it replaces computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mgil.block.mgaf import MGAF
from mgil.block.mrie import MRIE


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
