"""Convolution, normalisation, activation: the one brick that every part of the block is laid with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Integral
from typing import TypeGuard

import torch
from torch import nn
from torch.nn.utils import parametrize

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


def check_whole(name: str, value: object) -> None:
    """Raise ValueError where an option is no whole number of at least 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def makes_graph(x: torch.Tensor) -> bool:
    """Say whether a graph is being made from a forward, which must not depend on the size of `x`; fx has no size."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling() or not isinstance(x, torch.Tensor)


def has_own_weight(conv: nn.Module) -> bool:
    """Say whether the weight is a parameter, not computed by weight norm, pruning or another parametrisation."""
    return "weight" in conv._parameters and not parametrize.is_parametrized(conv)


def is_batchnorm(norm: object) -> TypeGuard[nn.BatchNorm2d | nn.SyncBatchNorm]:
    """Say whether `norm` is batch normalisation and nothing else, as classes made from it may be."""
    plain = (nn.BatchNorm2d.forward, nn.SyncBatchNorm.forward)
    return isinstance(norm, (nn.BatchNorm2d, nn.SyncBatchNorm)) and type(norm).forward in plain


def begin_at_zero(layer: ConvNormAct) -> None:
    """Let a brick whose output is added to something begin as zero: gamma and beta of its normalisation become 0.

    The convolution keeps its weights, so that the normalisation's statistics are sound from the first batch on. A
    normalisation without weights to train stays as it is.

    Raises:
        ValueError: the activation is flat at 0, as ReLU is there for PyTorch: gamma, beta and the convolution would
            never get a gradient. Or it is not 0 at 0.
    """
    if not has_weights(layer.bn):
        return
    check_zero(layer)
    nn.init.zeros_(layer.bn.weight)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bn.bias)  # type: ignore[arg-type]


def has_weights(norm: nn.Module) -> bool:
    """Say whether a normalisation has gamma and beta to train."""
    return all(isinstance(getattr(norm, name, None), nn.Parameter) for name in ("weight", "bias"))


def check_zero(layer: ConvNormAct) -> None:
    """Refuse a brick that would never learn when it began as zero; the errors of `begin_at_zero`."""
    if problem := problem_at_zero(layer.act, layer.conv.out_channels):
        raise ValueError(f"a branch that begins as zero cannot end with {problem}")


def problem_at_zero(act: nn.Module, channels: int) -> str:
    """Say why a branch that ends with `act`, of so many channels, cannot begin as zero and learn; empty if it can."""
    if any(parameter.is_meta for parameter in act.parameters()):
        return ""  # it has no values
    with torch.inference_mode(False), torch.enable_grad():
        act = copy.deepcopy(act).to("cpu", torch.float32).eval()
        zero = torch.zeros(1, channels, 1, 1, device="cpu", dtype=torch.float32, requires_grad=True)
        value = act(zero.clone())  # a copy: it may work in place
        (slope,) = torch.autograd.grad(value.sum(), zero)
    name, found = type(act).__name__, value.detach().flatten()
    if found.any():
        return f"{name}, which gives {found[found.abs().argmax()].item():.3g} at 0"
    return "" if slope.all() else f"{name}, whose gradient at 0 is 0; give another one as later_act, e.g. SiLU"
