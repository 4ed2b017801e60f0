"""LIE: learn from what the space-channel transformation kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mgil.block.conv import ActLayer, ConvNormAct, NormLayer, begin_at_zero, check_whole, problem_at_zero


class LIE(nn.Sequential):
    """Lossless information extraction: `convs` stride-1 convolutions; the first one changes the channel count.

    Args:
        in_channels: channels of the input.
        out_channels: channels of every convolution's output.
        convs: number of convolutions, at least 1.
        kernel_size: odd side of every kernel.
        residual: every convolution after the first adds its input to what it returns, and begins by returning 0 where
            it would learn from there: after ReLU, ReLU6 and what is not 0 at 0 it begins as any convolution.
        last_act: what comes out has passed an activation; false where a sum follows, as in shortcuts. With `residual`
            it is then the first convolution that has none.
        first_kernel: odd side of the first kernel, where it is another one.
        later_act: makes the activation of the convolutions after the first, where it is another one.
        norm_layer: makes the normalisation from its channel count.
        act_layer: makes the activation.

    Shape: (B, in_channels, H, W) -> (B, out_channels, H, W).

    Raises:
        ValueError: `convs` is below 1, a kernel size is not a positive odd number or `residual` or `last_act` neither
            true nor false.
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
        check_whole("the number of convolutions", convs)
        first_kernel = kernel_size if first_kernel is None else first_kernel
        for size in (kernel_size, first_kernel):
            check_whole("an odd kernel size", size)
            if size % 2 == 0:
                raise ValueError(f"LIE needs an odd kernel size, so that the map keeps its size, got {size}")
        for name, value in (("residual", residual), ("last_act", last_act)):
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be true or false, got {value!r}")
        options: dict[str, Any] = {"norm_layer": norm_layer, "act_layer": later_act or act_layer}
        super().__init__(
            ConvNormAct(in_channels, out_channels, first_kernel, norm_layer=norm_layer, act_layer=act_layer),
            *(ConvNormAct(out_channels, out_channels, kernel_size, **options) for _ in range(convs - 1)),
        )
        if not last_act:
            self[0 if residual else -1].act = nn.Identity()
        later: list[Any] = list(self)[1:]
        if residual and later and not problem_at_zero(later[0].act, out_channels):
            for convolution in later:
                begin_at_zero(convolution)
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Extract from `x` (B, in_channels, H, W)."""
        for name, convolution in self.named_children():
            x = x + convolution(x) if self.residual and name != "0" else convolution(x)
        return x  # (B, out_channels, H, W)

    def __getitem__(self, index: Any) -> Any:
        """Return one convolution, or a LIE of some: with a slice, `lie[1:](lie[0](x))` is `lie(x)`."""
        if not isinstance(index, slice):
            return super().__getitem__(index)
        part = LIE.__new__(LIE)
        nn.Module.__init__(part)
        # They keep their names: all but the convolution named 0 may have a shortcut.
        part._modules.update(list(self._modules.items())[index])
        part.residual = self.residual
        return part.train(self.training)
