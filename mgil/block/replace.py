"""Put the block into a network that was built without it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from mgil.block.mgil import MGIL


@dataclass(frozen=True)
class Replacement:
    """What `replace_stride2` did.

    Attributes:
        replaced: names of the convolutions that are blocks now.
        kept: name -> reason of every strided convolution that was left as it was.
    """

    replaced: tuple[str, ...]
    kept: dict[str, str]


def replace_stride2(model: nn.Module, block: Callable[..., nn.Module] = MGIL, **options: Any) -> Replacement:
    """Replace the stride-2 convolutions of `model`, in place, by new blocks of the same channels and output size.

    Where the convolution stands in a container of convolution, batch normalisation and activation (`nn.Sequential`, or
    the attributes conv, bn, act), the block stands for all three and is built with that activation and that
    normalisation's eps and momentum; elsewhere it stands for the convolution alone. The new weights are untrained.
    Pooling is left alone. A convolution with an even kernel gives floor(H/2), the block ceil(H/2): they differ at odd
    sizes.

    Args:
        model: any network; not itself a convolution.
        block: built as `block(in_channels, out_channels, **options)`.
        options: passed to every block.

    Raises:
        ValueError: `model` is itself a strided convolution, or the block refuses an option.
    """
    replaced: list[str] = []
    kept: dict[str, str] = {}
    blocks: dict[nn.Module, nn.Module] = {}  # a convolution used in several places becomes one block
    for name, conv in list(model.named_modules(remove_duplicate=False)):
        if not isinstance(conv, nn.Conv2d) or max(conv.stride) == 1:
            continue
        if not name:
            raise ValueError("replace_stride2 works inside a network: wrap the convolution, e.g. nn.Sequential(conv)")
        reason = _reason_to_keep(conv)
        if reason:
            kept[name] = reason
            continue
        parent_name, _, child_name = name.rpartition(".")
        parent = model.get_submodule(parent_name)
        partners = _norm_and_act(parent, child_name)
        if conv not in blocks:
            blocks[conv] = _build(conv, block, {**_layers(parent, partners), **options})
        setattr(parent, child_name, blocks[conv])
        for partner in partners:
            setattr(parent, partner, nn.Identity())
        replaced.append(name)
    return Replacement(tuple(replaced), kept)


def _reason_to_keep(conv: nn.Conv2d) -> str:
    """Say why `conv` has no equivalent block; empty when it has one."""
    if conv.stride != (2, 2):
        return f"stride {conv.stride}"
    if conv.groups > 1:
        return f"{conv.groups} groups"
    if max(conv.dilation) > 1:
        return f"dilation {conv.dilation}"
    # The output is floor((H + slack) / 2) + 1; H/2 for every even H asks for a slack of -1 (odd kernel) or -2 (even).
    if isinstance(conv.padding, str) or any(
        2 * padding - kernel not in (-1, -2) for padding, kernel in zip(conv.padding, conv.kernel_size, strict=True)
    ):
        return f"kernel {conv.kernel_size} with padding {conv.padding} does not halve the map"
    return ""


def _build(conv: nn.Conv2d, block: Callable[..., nn.Module], options: dict[str, Any]) -> nn.Module:
    return block(conv.in_channels, conv.out_channels, **options).to(conv.weight).train(conv.training)


def _norm_and_act(parent: nn.Module, child_name: str) -> tuple[str, ...]:
    """Return the names of the batch normalisation and activation after the convolution, if `parent` is just these."""
    children = dict(parent.named_children())
    names = tuple(children)
    known = isinstance(parent, nn.Sequential) or names in {("conv", "bn", "act"), ("conv", "norm", "act")}
    if not known or len(names) != 3 or names[0] != child_name:
        return ()
    norm, act = children[names[1]], children[names[2]]
    # Only torch's own activations: whatever else comes third may be pooling or a whole stage, which must not be lost.
    is_act = type(act).__module__ == nn.modules.activation.__name__
    return names[1:] if isinstance(norm, nn.BatchNorm2d) and is_act else ()


def _layers(parent: nn.Module, partners: tuple[str, ...]) -> dict[str, Any]:
    """Return the block options that carry over the normalisation and activation `partners` of `parent`."""
    if not partners:
        return {}
    norm, act = (parent.get_submodule(name) for name in partners)
    norm_layer = partial(nn.BatchNorm2d, eps=norm.eps, momentum=norm.momentum)  # type: ignore[arg-type]
    return {"norm_layer": norm_layer, "act_layer": partial(copy.deepcopy, act)}
