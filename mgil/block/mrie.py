"""MRIE: look at several distances at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from mgil.block.conv import ActLayer, ConvNormAct, NormLayer, check_whole, makes_graph

MODES = ("split", "sum", "concat")


class DilatedConv2d(nn.Conv2d):
    """3x3 convolution of stride 1 that leaves out the taps which can only meet padding.

    A rate of at least the map's height puts the upper and the lower row of taps outside the map wherever the kernel
    stands, a rate of at least its width the outer columns. What is left is a 1x3, 3x1 or 1x1 convolution with the same
    outputs and the same gradients; those of the left-out taps are zero, as they always were.

    Shape: (B, in_channels, H, W) -> (B, out_channels, H, W); the padding is the dilation.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve `input` (B, in_channels, H, W)."""
        if makes_graph(input) or self.padding_mode != "zeros":
            return self._conv_forward(input, self.weight, self.bias)
        weight, padding, dilation = self._live_taps(input.shape[-2], input.shape[-1])
        return functional.conv2d(input, weight, self.bias, self.stride, padding, dilation, self.groups)

    def at_size(self, height: int, width: int) -> nn.Conv2d:
        """Return the plain convolution that this one is on maps of one size, for inference."""
        if self.padding_mode != "zeros":
            return self
        weight, padding, dilation = self._live_taps(height, width)
        plain = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            (weight.shape[2], weight.shape[3]),
            padding=padding,
            dilation=dilation,
            groups=self.groups,
            device="meta",
        )
        plain.weight, plain.bias = nn.Parameter(weight.detach().contiguous()), self.bias
        return plain.train(self.training)

    def _live_taps(self, height: int, width: int) -> tuple[torch.Tensor, tuple[int, int], tuple[int, int]]:
        """The part of the kernel that meets the map, with its padding and its dilation."""
        weight = self.weight
        rows, columns = self.dilation[0], self.dilation[1]
        if rows >= height:
            weight, rows = weight[:, :, 1:2], 0
        if columns >= width:
            weight, columns = weight[:, :, :, 1:2], 0
        return weight, (rows, columns), (max(rows, 1), max(columns, 1))


class MRIE(nn.Module):
    """Multi-receptive-field information extraction: 3x3 convolutions of several dilation rates side by side.

    Args:
        in_channels: channels of the input.
        out_channels: width of the stage; `self.out_channels` is what `forward` returns.
        dilations: one 3x3 convolution for each rate.
        mode: how the rates share the output. `split`: they divide `out_channels` between them (together the cost of
            one 3x3 convolution), in steps of up to 16 channels where that goes; `sum`: each makes `out_channels`, which
            are added; `concat`: each makes `out_channels`, which are stacked to `len(dilations) * out_channels`.
        norm_layer: makes the normalisation from its channel count.
        act_layer: makes the activation.

    Shape: (B, in_channels, H, W) -> (B, self.out_channels, H, W).

    Raises:
        ValueError: unknown `mode`, no or non-positive `dilations`, or fewer `out_channels` than rates to split them.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dilations: Sequence[int] = (1, 2, 3),
        mode: str = "split",
        *,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.SiLU,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mrie must be one of {', '.join(MODES)}, got {mode!r}")
        if not isinstance(dilations, Sequence) or not dilations:
            raise ValueError(f"dilations must be one or more numbers, got {dilations!r}")
        for rate in dilations:
            check_whole(f"each of dilations {tuple(dilations)}", rate)
        if mode == "split" and out_channels < len(dilations):
            raise ValueError(f"{out_channels} channels cannot be split between the dilations {tuple(dilations)}")
        self.dilations = tuple(dilations)
        self.adds = mode == "sum"
        self.out_channels = out_channels * (len(dilations) if mode == "concat" else 1)
        widths = _shares(out_channels, len(dilations)) if mode == "split" else [out_channels] * len(dilations)
        self.branches = nn.ModuleList(
            ConvNormAct(
                in_channels,
                width,
                3,
                dilation=rate,
                conv_layer=DilatedConv2d,
                norm_layer=norm_layer,
                act_layer=act_layer,
            )
            for width, rate in zip(widths, dilations, strict=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Extract from `x` (B, in_channels, H, W) at every rate."""
        features = [branch(x) for branch in self.branches]
        if not self.adds:
            return torch.cat(features, dim=1)
        total = features[0]
        for feature in features[1:]:
            total = total + feature
        return total


def _shares(total: int, parts: int) -> list[int]:
    """Divide `total` into `parts` whole numbers as equal as whole vectors allow, larger ones first."""
    # Processors compute 16 channels at once (AVX-512, tensor cores), so 22 channels cost what 32 do. Thirds in steps of
    # 16 instead of 1 made exported yolov5n-mgil 1-2 % faster in ONNX Runtime, 4 % in OpenVINO, its training step 2 %.
    unit = next(unit for unit in (16, 8, 4, 2, 1) if total % unit == 0 and total // unit >= parts)
    steps = total // unit
    return [unit * (steps // parts + (part < steps % parts)) for part in range(parts)]
