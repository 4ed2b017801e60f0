"""LIE: learn from what the space-channel transformation kept."""

from __future__ import annotations

import torch
from torch import nn

from mgil.block.conv import ActLayer, ConvNormAct, NormLayer


class LIE(nn.Sequential):
    """Lossless information extraction: `convs` stride-1 convolutions; the first one changes the channel count.

    Args:
        in_channels: channels of the input.
        out_channels: channels of every convolution's output.
        convs: number of convolutions, at least 1.
        kernel_size: odd side of every kernel.
        residual: every convolution after the first adds its input to what it returns.
        norm_layer: makes the normalisation from its channel count.
        act_layer: makes the activation.

    Shape: (B, in_channels, H, W) -> (B, out_channels, H, W).

    Raises:
        ValueError: `convs` is below 1, `kernel_size` is not a positive odd number or `residual` neither true nor false.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        convs: int = 2,
        kernel_size: int = 3,
        *,
        residual: bool = False,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.SiLU,
    ) -> None:
        if convs < 1:
            raise ValueError(f"LIE needs at least 1 convolution, got {convs}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"LIE needs an odd kernel size, so that the map keeps its size, got {kernel_size}")
        if not isinstance(residual, bool):
            raise ValueError(f"residual must be true or false, got {residual!r}")
        widths = [in_channels] + [out_channels] * convs
        super().__init__(
            *(
                ConvNormAct(width_in, width_out, kernel_size, norm_layer=norm_layer, act_layer=act_layer)
                for width_in, width_out in zip(widths[:-1], widths[1:], strict=True)
            )
        )
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Extract from `x` (B, in_channels, H, W)."""
        for index, convolution in enumerate(self):
            x = x + convolution(x) if index and self.residual else convolution(x)
        return x  # (B, out_channels, H, W)
