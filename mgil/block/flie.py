"""FLIE: the fine branch, and SPDConv, its shortest form."""

from __future__ import annotations

import torch
from torch import nn

from mgil.block.conv import ActLayer, NormLayer
from mgil.block.lie import LIE
from mgil.block.space_to_channel import SpaceToChannel


class FLIE(nn.Module):
    """Fine-grained lossless information extraction: SCT, then LIE; the feature F0 of the paper.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        convs: convolutions of LIE, at least 1.
        kernel_size: odd side of their kernels.
        residual: LIE's convolutions after the first add their input to what they return, see `LIE`.
        last_act: what comes out has passed an activation.
        first_kernel: odd side of the first kernel, where it is another one.
        later_act: makes the activation of the convolutions after the first, where it is another one.
        norm_layer: makes the normalisation from its channel count.
        act_layer: makes the activation.

    Shape: (B, in_channels, H, W) -> (B, out_channels, ceil(H/2), ceil(W/2)).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        convs: int = 2,
        kernel_size: int = 3,
        *,
        residual: bool = False,
        last_act: bool = True,
        first_kernel: int | None = None,
        later_act: ActLayer | None = None,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.SiLU,
    ) -> None:
        super().__init__()
        self.sct: nn.Module = SpaceToChannel()
        self.lie = LIE(
            4 * in_channels,
            out_channels,
            convs,
            kernel_size,
            residual=residual,
            last_act=last_act,
            first_kernel=first_kernel,
            later_act=later_act,
            norm_layer=norm_layer,
            act_layer=act_layer,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve `x` (B, in_channels, H, W) without loss and extract."""
        return self.lie(self.sct(x))


class SPDConv(FLIE):
    """SPD-Conv, the ancestor of FLIE: space to depth, then one stride-1 convolution (Sunkara and Luo, ECML PKDD 2022).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd side of the kernel.
        last_act: it ends with an activation.
        norm_layer: makes the normalisation from its channel count.
        act_layer: makes the activation.

    Shape: (B, in_channels, H, W) -> (B, out_channels, ceil(H/2), ceil(W/2)).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        last_act: bool = True,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.SiLU,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            convs=1,
            kernel_size=kernel_size,
            last_act=last_act,
            norm_layer=norm_layer,
            act_layer=act_layer,
        )
