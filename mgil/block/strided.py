"""Which convolutions a block can stand for."""

from __future__ import annotations

from typing import Any

from torch import nn

from mgil.block.conv import has_own_weight
from mgil.block.host import has_hooks


def obstacle(conv: Any) -> str:
    """Say why `conv` has no equivalent block; empty when it has one."""
    if getattr(conv, "transposed", False):
        return "transposed: it enlarges the map"
    if not isinstance(conv, nn.Conv2d):
        return f"{type(conv).__name__}, not Conv2d"
    if not has_own_weight(conv):
        return "its weight is computed (weight norm, pruning or another parametrisation)"
    if type(conv).forward is not nn.Conv2d.forward or type(conv)._conv_forward is not nn.Conv2d._conv_forward:
        return f"{type(conv).__name__} computes something else than Conv2d"
    if has_hooks(conv):
        return "has hooks, which a block would not call"
    if conv.stride != (2, 2):
        return f"stride {conv.stride}"
    if conv.groups > 1:
        return f"{conv.groups} groups"
    if max(conv.dilation) > 1:
        return f"dilation {conv.dilation}"
    if conv.padding_mode != "zeros":
        return f"padding mode {conv.padding_mode}"
    if len(set(conv.kernel_size)) > 1:
        return f"kernel {conv.kernel_size} is not square"
    # The output is floor((H + slack) / 2) + 1; H/2 for every even H asks for a slack of -1 (odd kernel) or -2 (even).
    padding: tuple[Any, ...] = (0, 0) if conv.padding == "valid" else conv.padding  # type: ignore[assignment]
    if any(2 * each - conv.kernel_size[0] not in (-1, -2) for each in padding):
        return f"kernel {conv.kernel_size} with padding {conv.padding} does not halve the map"
    return ""
