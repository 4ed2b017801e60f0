"""Convolution, normalisation, activation: the one brick that every part of the block is laid with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

NormLayer = Callable[[int], nn.Module]  # channels -> normalisation
ActLayer = Callable[[], nn.Module]


class ConvNormAct(nn.Module):
    """Convolution without bias, then normalisation, then activation.

    The parts are named `conv`, `bn` and `act`, as in YOLOv5, so that the keys of its weights fit; `bn` is whatever
    `norm_layer` makes.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the square kernel.
        stride: step of the convolution.
        padding: zeros on each side; None keeps the size at stride 1, for an odd kernel.
        dilation: distance between the taps of the kernel.
        groups: number of channel groups.
        conv_layer: class of the convolution.
        norm_layer: makes the normalisation from its channel count.
        act_layer: makes the activation.

    Shape: (B, in_channels, H, W) -> (B, out_channels, H', W').
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | None = None,
        *,
        dilation: int = 1,
        groups: int = 1,
        conv_layer: type[nn.Conv2d] = nn.Conv2d,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.SiLU,
    ) -> None:
        super().__init__()
        if padding is None:
            padding = dilation * (kernel_size // 2)
        self.conv = conv_layer(
            in_channels, out_channels, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=False
        )
        self.bn = norm_layer(out_channels)
        self.act = act_layer()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve, normalise, activate `x`."""
        return self.act(self.bn(self.conv(x)))
