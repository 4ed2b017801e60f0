"""Carry-over: a block that begins as the trained stride-2 convolution that it replaces."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mgil.block.conv import ConvNormAct, begin_at_zero, check_zero, has_weights, is_batchnorm
from mgil.block.flie import FLIE
from mgil.block.lie import LIE
from mgil.block.mgil import MGIL
from mgil.block.reparameterise import phase_kernel
from mgil.block.space_to_channel import SpaceToChannel
from mgil.block.strided import obstacle

OF_NORMS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def carry_over(block: MGIL | FLIE, conv: nn.Conv2d, norm: nn.Module | None = None) -> None:
    """Fill `block`, in place, so that it computes `norm(conv(x))` followed by its own activation, in both modes.

    The taps of the strided convolution go to the phases that SCT makes of the pixels that they read. The later
    convolutions of the fine branch, and the coarse branch as a whole, begin by adding 0, and learn from there. So
    the block must be made with `residual=True` (unless it has one fine convolution) and `coarse_shortcut=True` (unless
    it has no coarse branch), with the activation that follows `norm`, or `last_act=False` where none does. Equal are
    also the outputs of a convolution with an even kernel (YOLOv5's 6x6 stem), but for maps of an odd size, of which it
    drops the last row or column.

    Args:
        block: a `MGIL`, `FLIE` or `SPDConv` of the same channels.
        conv: a convolution of stride 2 that halves the map; a bias goes into the block's normalisation.
        norm: the batch normalisation after it. None: the block's first convolution loses its normalisation too, and
            takes the bias.

    Raises:
        ValueError: the block cannot compute the same; it is then as it was.
    """
    if norm is not None and not is_batchnorm(norm):
        raise ValueError(f"only batch normalisation is carried over; a {type(norm).__name__} follows the convolution")
    fill(block, conv, norm)


@torch.no_grad()
def fill(block: MGIL | FLIE, conv: nn.Conv2d, norm: nn.Module | None) -> None:
    """Do what `carry_over` does; of a batch normalisation that has an activation inside, take what is before that."""
    flie = _fine(block)
    if not isinstance(flie, FLIE):
        raise ValueError(f"carry_over fills a MGIL, FLIE or SPDConv, not a {type(block).__name__}")
    if not isinstance(flie.sct, SpaceToChannel):
        raise ValueError("the block is re-parameterised, for inference; fill the one that it was made from")
    first = first_layer(block)
    _check_conv(conv, first)
    _check_norm(norm, first)
    for each in _zeros(block, flie.lie):
        _check_zero(each)
    first.conv.weight.copy_(lossless_kernel(conv, first.conv.kernel_size[0]))
    if norm is None:
        first.bn = nn.Identity()
        bias = conv.bias
        first.conv.bias = None if bias is None else nn.Parameter(bias.detach().to(first.conv.weight, copy=True))
    else:
        _copy_norm(norm, first.bn, conv.bias)
    for each in _zeros(block, flie.lie):
        begin_at_zero(each)


def first_layer(block: MGIL | FLIE) -> Any:
    """Return the layer of a block that holds what is carried over."""
    return _fine(block).lie[0]


def _fine(block: MGIL | FLIE) -> FLIE:
    return block.flie if isinstance(block, MGIL) else block


def least_kernel(conv: nn.Conv2d) -> int:
    """Return the least odd kernel size after SCT that holds the taps of `conv`: 3 for a 3x3 or 6x6, 5 for a 7x7."""
    size = 1
    while not _fits(conv, size):
        size += 2
    return size


def _fits(conv: nn.Conv2d, kernel_size: int) -> bool:
    start = _start(conv, kernel_size)
    return start >= 0 and start + conv.kernel_size[0] <= 2 * kernel_size


def _start(conv: nn.Conv2d, kernel_size: int) -> int:
    """Return where the first tap of `conv` is among the 2*k of the strided kernel that SCT and a k x k one make."""
    padding = 0 if isinstance(conv.padding, str) else conv.padding[0]
    return 2 * (kernel_size // 2) - padding


def lossless_kernel(conv: nn.Conv2d, kernel_size: int) -> torch.Tensor:
    """Return the kernel (O, 4*C, k, k) over the phases of SCT that computes `conv`."""
    start, size = _start(conv, kernel_size), conv.kernel_size[0]
    pixels = conv.weight.new_zeros(conv.out_channels, conv.in_channels, 2 * kernel_size, 2 * kernel_size)
    pixels[:, :, start : start + size, start : start + size] = conv.weight
    return phase_kernel(pixels)


def _check_conv(conv: nn.Conv2d, first: ConvNormAct) -> None:
    if reason := obstacle(conv):
        raise ValueError(f"no block computes what this convolution does: {reason}")
    size = first.conv.kernel_size[0]
    if not _fits(conv, size):
        raise ValueError(
            f"a {conv.kernel_size[0]}x{conv.kernel_size[1]} convolution reaches beyond a block's {size}x{size} one; "
            f"make the block with first_kernel={least_kernel(conv)} (a SPDConv with kernel_size)"
        )
    theirs, own = (conv.in_channels, conv.out_channels), (first.conv.in_channels // 4, first.conv.out_channels)
    if theirs != own or first.conv.in_channels % 4:
        raise ValueError(f"the convolution has {theirs[0]} -> {theirs[1]} channels, the block {own[0]} -> {own[1]}")


def _check_norm(norm: nn.Module | None, first: ConvNormAct) -> None:
    if norm is None:
        return
    if not is_batchnorm(first.bn):
        names = f"the convolution has {type(norm).__name__}, the block {type(first.bn).__name__}"
        raise ValueError(f"only batch normalisation is carried over; {names}")
    for name in OF_NORMS:
        theirs, own = getattr(norm, name), getattr(first.bn, name)
        if (theirs is None) != (own is None) or (theirs is not None and theirs.shape != own.shape):
            raise ValueError(f"the normalisation of the block differs: {name}; give norm_layer what the network has")


def _copy_norm(norm: Any, own: Any, bias: torch.Tensor | None) -> None:
    for name in OF_NORMS:
        if getattr(norm, name) is not None:
            getattr(own, name).copy_(getattr(norm, name))
    own.eps, own.momentum = norm.eps, norm.momentum
    if bias is not None and own.running_mean is not None:
        own.running_mean -= bias  # in training the batch's own mean takes it away


def _zeros(block: MGIL | FLIE, fine: LIE) -> list[Any]:
    """Return the bricks that must add 0.

    Raises:
        ValueError: the block has no shortcuts around them.
    """
    coarse = block.cii if isinstance(block, MGIL) else None
    if isinstance(block, MGIL) and coarse is not None and block.mgaf is None:
        raise ValueError("fusion sum counts the fine branch twice; it takes mgaf or none")
    missing = ["residual=True"] if len(fine) > 1 and not fine.residual else []
    if isinstance(block, MGIL) and coarse is not None and not block.coarse_shortcut:
        missing.append("coarse_shortcut=True")
    if missing:
        options = " and ".join(missing)
        raise ValueError(f"the later convolutions need shortcuts around them: make the block with {options}")
    return [*list(fine)[1:], *([coarse.lie[-1]] if coarse is not None else [])]


def _check_zero(brick: ConvNormAct) -> None:
    if not has_weights(brick.bn):
        raise ValueError(f"the block's {type(brick.bn).__name__} has no weight and bias that could begin at 0")
    check_zero(brick)
