"""Carry-over of a whole network: its blocks begin as the layers of another network of the same rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mgil.block.carry_over import carry_over, first_layer, lossless_kernel
from mgil.block.conv import ConvNormAct
from mgil.block.flie import FLIE
from mgil.block.host import Host
from mgil.block.mgil import MGIL
from mgil.block.space_to_channel import SpaceToChannel
from mgil.networks.layers import Conv
from mgil.networks.network import Network

MOST_COMPARED_PX = 320


@dataclass(frozen=True)
class CarryOver:
    """What became of the blocks in the places of another network's layers.

    Attributes:
        carried: Names of the blocks that compute what those layers do, with the share of the taps of their first
            kernel that the layer fills.
        left: Name -> why a block does not; its start is untrained.
    """

    carried: Mapping[str, float]
    left: Mapping[str, str]

    def __str__(self) -> str:
        total = len(self.carried) + len(self.left)
        text = f"{len(self.carried)} of {total} stride-2 layers carried over"
        reasons: dict[str, list[str]] = {}
        for name, reason in self.left.items():
            reasons.setdefault(reason, []).append(name)
        return text + "".join(f"; untrained: {', '.join(names)}: {reason}" for reason, names in reasons.items())


def carry_over_layers(model: Network, source: Network) -> CarryOver:
    """Let the blocks of `model` begin as the layers of `source` in the same places, as far as that is exact.

    Args:
        model: Filled in place.
        source: A network with plain stride-2 layers in those places; blocks there are left to who copies by name.
    """
    carried, left = {}, {}
    host = Host(source)
    for name, block in blocks_of(model).items():
        there = model.name_in(source, name)
        layer = _plain(host, there) if there else None
        if layer is None:
            continue
        problem = _carry(block, layer)
        if problem:
            left[name] = problem
        else:
            carried[name] = layer.conv.weight.numel() / first_layer(block).conv.weight.numel()
    return CarryOver(carried, left)


@torch.no_grad()
def carry_over_shortcuts(model: nn.Module, source: nn.Module) -> tuple[str, ...]:
    """Let the lossless 1x1 shortcuts of `model` begin as the 1x1 layers of `source` that have the same names.

    Returns:
        Names of the tensors that were filled.
    """
    filled = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Sequential) or len(module) != 2 or not isinstance(module[0], SpaceToChannel):
            continue
        wide, plain = module[1], source.get_submodule(name)
        if isinstance(wide, nn.Conv2d) and isinstance(plain, nn.Conv2d):
            wide.weight.copy_(lossless_kernel(plain, 1))
            filled.append(f"{name}.1.weight")
    return tuple(filled)


@dataclass(frozen=True)
class _Plain:
    """A convolution, with the normalisation and the activation that follow it."""

    conv: nn.Conv2d
    bn: nn.Module | None
    act: nn.Module


def _plain(host: Host, name: str) -> _Plain | None:
    """The layer of a network called `name`; None: there is none, or it is no convolution."""
    try:
        layer: Any = host.model.get_submodule(name)
    except AttributeError:
        return None
    if isinstance(layer, (Conv, ConvNormAct)):
        return _Plain(layer.conv, layer.bn, layer.act)
    if not isinstance(layer, nn.Conv2d):
        return None
    unit = host.unit(name)
    followers = [parent.get_submodule(child) for parent, child in unit.taken]
    norm = followers.pop(0) if unit.norm_layer else None
    return _Plain(layer, norm, followers[0] if followers else getattr(norm, "act", nn.Identity()))


def blocks_of(model: nn.Module) -> dict[str, MGIL | FLIE]:
    """The blocks of a network by name, not those inside of blocks."""
    found: dict[str, MGIL | FLIE] = {}
    for name, module in model.named_modules():
        if isinstance(module, (MGIL, FLIE)) and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    return found


def _carry(block: MGIL | FLIE, layer: _Plain) -> str:
    first = first_layer(block)
    if type(first.act) is not type(layer.act):
        return f"its activation is {type(first.act).__name__}, that of the weights {type(layer.act).__name__}"
    try:
        carry_over(block, layer.conv, layer.bn)
    except ValueError as error:
        return str(error)
    return ""


@torch.no_grad()
def difference(model: Network, source: Network, head: bool) -> float:
    """The largest difference between what two networks make of a picture of noise, in evaluation mode.

    Args:
        model: One network.
        source: The other, on the same device.
        head: Compare what the last row returns; else what it gets.

    Returns:
        The difference; Inf where the two make maps of other shapes.
    """
    side = min(model.imgsz, max(MOST_COMPARED_PX // model.max_stride, 1) * model.max_stride)
    noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    ours, theirs = (_maps(network, noise, head) for network in (model, source))
    if [each.shape for each in ours] != [each.shape for each in theirs]:
        return math.inf
    return max((float((one - other).abs().max()) for one, other in zip(ours, theirs, strict=True)), default=0.0)


def _maps(network: Network, images: Tensor, head: bool) -> list[Tensor]:
    found: list[Tensor] = []

    def look(_module: nn.Module, inputs: Any, outputs: Any) -> None:
        found.extend(_tensors(outputs if head else inputs))

    was_training = network.training
    with network.rows[-1].register_forward_hook(look):
        network.eval()(images.to(next(network.parameters())))
    network.train(was_training)
    return found


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    return [each for value in values for each in _tensors(value)] if isinstance(values, list | tuple) else []
