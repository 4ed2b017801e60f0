"""The layers of YOLOv5, under the attribute names that its checkpoints use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

# YOLOv5 sets these two on every BatchNorm; the official weights were trained with them.
YoloBatchNorm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)


class Conv(nn.Module):
    """Convolution without bias, BatchNorm, activation.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the square kernel.
        stride: Step of the convolution.
        padding: Zero padding; `None` is half the kernel, which keeps H and W at stride 1.
        groups: Number of channel groups.
        act_layer: Activation module class, built without arguments.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        act_layer: type[nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2 if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
        self.bn: nn.Module = YoloBatchNorm(out_channels)
        self.act = act_layer()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C1, H, W) to (B, C2, H', W')."""
        return self.act(self.bn(self.conv(x)))

    def fold(self) -> None:
        """Fold the BatchNorm into the convolution, for inference."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = nn.utils.fusion.fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = nn.Identity()


class Bottleneck(nn.Module):
    """1x1 then 3x3 convolution, added to the input where `shortcut` is set and the channels allow it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        shortcut: bool = True,
        expansion: float = 0.5,
        act_layer: type[nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.cv1 = Conv(in_channels, hidden, 1, act_layer=act_layer)
        self.cv2 = Conv(hidden, out_channels, 3, act_layer=act_layer)
        self.add = shortcut and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C1, H, W) to (B, C2, H, W)."""
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C3(nn.Module):
    """Cross-stage partial block: `number` bottlenecks on one half, the other half past them, 1x1 over both."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        number: int = 1,
        shortcut: bool = True,
        expansion: float = 0.5,
        act_layer: type[nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.cv1 = Conv(in_channels, hidden, 1, act_layer=act_layer)
        self.cv2 = Conv(in_channels, hidden, 1, act_layer=act_layer)
        self.cv3 = Conv(2 * hidden, out_channels, 1, act_layer=act_layer)
        self.m = nn.Sequential(*(Bottleneck(hidden, hidden, shortcut, 1.0, act_layer) for _ in range(number)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C1, H, W) to (B, C2, H, W)."""
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), dim=1))


class SPPF(nn.Module):
    """Spatial pyramid pooling: three chained max pools see 5, 9 and 13 cells; a 1x1 convolution mixes them."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 5, act_layer: type[nn.Module] = nn.SiLU
    ) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.cv1 = Conv(in_channels, hidden, 1, act_layer=act_layer)
        self.cv2 = Conv(4 * hidden, out_channels, 1, act_layer=act_layer)
        self.m = nn.MaxPool2d(kernel_size, stride=1, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C1, H, W) to (B, C2, H, W)."""
        x = self.cv1(x)
        once = self.m(x)
        twice = self.m(once)
        return self.cv2(torch.cat((x, once, twice, self.m(twice)), dim=1))


class Concat(nn.Module):
    """Join feature maps along one dimension (1: channels)."""

    def __init__(self, dimension: int = 1) -> None:
        super().__init__()
        self.dimension = dimension

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Join the maps; all other dimensions must agree."""
        return torch.cat(list(inputs), dim=self.dimension)
