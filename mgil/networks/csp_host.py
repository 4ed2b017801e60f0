"""A small network for CPUs: YOLOv5's backbone, led back to the stride where small things are still told apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mgil.networks.layers import C3, Conv


class CSPHost(nn.Module):
    """Four halvings, each with a C3, and back up to stride 4 by nearest neighbours, joined with the maps of the way.

    Args:
        width: Channels at stride 4; half of that at stride 2, twice and four times at strides 8 and 16.
        depth: Bottlenecks of each C3.

    Shape: (B, 3, H, W) -> [(B, width, H/4, W/4)], H and W multiples of 16.
    """

    strides = (4,)
    max_stride = 16

    def __init__(self, width: int = 32, depth: int = 1) -> None:
        super().__init__()
        self.channels = (width,)
        self.conv1, self.conv2 = Conv(3, width // 2, 3, 2), Conv(width // 2, width, 3, 2)
        self.layer1 = C3(width, width, depth)
        self.conv3, self.layer2 = Conv(width, 2 * width, 3, 2), C3(2 * width, 2 * width, depth)
        self.conv4, self.layer3 = Conv(2 * width, 4 * width, 3, 2), C3(4 * width, 4 * width, depth)
        self.lateral2, self.up2 = Conv(4 * width, 2 * width), C3(4 * width, 2 * width, depth, shortcut=False)
        self.lateral1, self.up1 = Conv(2 * width, width), C3(2 * width, width, depth, shortcut=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images to the features at stride 4."""
        stride4 = self.layer1(self.conv2(self.conv1(x)))
        stride8 = self.layer2(self.conv3(stride4))
        stride16 = self.layer3(self.conv4(stride8))
        stride8 = self.up2(_joined(self.lateral2(stride16), stride8))
        return [self.up1(_joined(self.lateral1(stride8), stride4))]


def _joined(small: Tensor, large: Tensor) -> Tensor:
    return torch.cat((functional.interpolate(small, scale_factor=2.0, mode="nearest"), large), dim=1)
