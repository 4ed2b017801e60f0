"""Size and cost of a model."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Profile:
    """What a model costs.

    Attributes:
        parameters: Number of learned values.
        gflops: Billions of operations for one image, a multiply-add counted as two.
        size_hw: Input height and width in pixels that `gflops` is for.
    """

    parameters: int
    gflops: float
    size_hw: tuple[int, int]

    def __str__(self) -> str:
        height, width = self.size_hw
        cost = f"{self.gflops:.1f} GFLOPs" if self.gflops >= 0.9995 else f"{1000 * self.gflops:.3g} MFLOPs"
        return f"{self.parameters:,} parameters, {cost} at {height}x{width}"


@torch.no_grad()
def profile(model: nn.Module, size_hw: tuple[int, int] = (640, 640), channels: int = 3) -> Profile:
    """Count a model's parameters and operations; the model itself is left as it is.

    Convolutions and matrix products count two operations per multiply-add; a BatchNorm that is not folded counts its
    scale and shift the same way (2 per element), which is how YOLOv5 arrives at its published 4.5 and 16.5 GFLOPs.
    What runs at this size is counted: taps of dilated convolutions that only meet padding on a small map are not.
    """
    parameters = sum(p.numel() for p in model.parameters())
    twin = deepcopy(model).to("meta").eval()  # meta tensors have shapes and no contents: nothing is computed
    normalised: list[int] = []

    def count(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        normalised.append(2 * output.numel())

    for layer in twin.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter:
        twin(torch.empty(1, channels, *size_hw, device="meta"))
    return Profile(parameters, (counter.get_total_flops() + sum(normalised)) / 1e9, size_hw)
