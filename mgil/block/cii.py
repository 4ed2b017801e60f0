"""CII: the coarse branch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mgil.block.conv import ActLayer, NormLayer
from mgil.block.lie import LIE
from mgil.block.mrie import MRIE


class CII(nn.Module):
    """Coarse-grained information interaction: MRIE, then LIE; the feature F1 of the paper.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        convs: convolutions of LIE, at least 1.
        kernel_size: odd side of their kernels.
        residual: LIE's convolutions after the first add their input to what they return, see `LIE`.
        last_act: what comes out has passed an activation.
        dilations: rates of MRIE.
        mrie: `split`, `sum` or `concat`, see `MRIE`.
        norm_layer: makes the normalisation from its channel count.
        act_layer: makes the activation.

    Shape: (B, in_channels, H, W) -> (B, out_channels, H, W).
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
        dilations: Sequence[int] = (1, 2, 3),
        mrie: str = "split",
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.SiLU,
    ) -> None:
        super().__init__()
        layers: dict[str, Any] = {"norm_layer": norm_layer, "act_layer": act_layer}
        self.mrie = MRIE(in_channels, out_channels, dilations, mrie, **layers)
        self.lie = LIE(
            self.mrie.out_channels, out_channels, convs, kernel_size, residual=residual, last_act=last_act, **layers
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Widen the view of `x` (B, in_channels, H, W) and extract."""
        return self.lie(self.mrie(x))
