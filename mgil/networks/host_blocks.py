"""Blocks in the places of a host's downsampling layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mgil.block.flie import SPDConv
from mgil.block.host import is_activation
from mgil.block.mgil import MGIL
from mgil.block.replace import replace_stride2
from mgil.block.strided import obstacle
from mgil.networks.host_config import HostConfig

STEM = ("conv1", "conv2", "stem")  # first parts of the names of layers before the first stage
PROBE_PX = 64  # any size shows how many channels a layer gets


def put_in_blocks(host: nn.Module, config: HostConfig) -> None:
    """Replace the layers that `config` means by blocks, in place.

    Raises:
        ValueError: There are none such, or a block refuses an option.
    """
    pools = _pools(host) if config.pools == "block" else {}
    if config.pools == "block" and not pools:
        raise ValueError(f"pools: block, but {config.host} has no max pool of stride 2")
    alone = _alone(host, config) if config.norms == "keep" else {}
    others = {name: layer for name, layer in _strided(host, config).items() if name not in alone}
    meant = (layer for layer in others.values() if layer.kernel_size != (1, 1) or config.shortcuts != "keep")
    if not (alone or pools) or any(not obstacle(layer) for layer in meant):
        _replace(host, config, tuple(alone))
    blocks = {name: (layer.in_channels, layer.out_channels) for name, layer in alone.items()}
    blocks |= {name: (channels, channels) for name, channels in pools.items()}
    act = next((type(module) for module in host.modules() if is_activation(module)), nn.SiLU)
    for name, channels in blocks.items():
        host.set_submodule(name, _block(*channels, act, config))


def _replace(host: nn.Module, config: HostConfig, left_out: tuple[str, ...]) -> None:
    select: Any = config.places
    if isinstance(select, str):
        chosen = _strided(host, config).keys() - set(left_out)
        select = sorted(chosen) if config.places == "stem" or left_out else None
    block = SPDConv if config.blocks == "spd" else MGIL
    keeps = config.blocks == "mgil-res"
    replace_stride2(host, block, shortcuts=config.shortcuts, select=select, keep_function=keeps, **_options(config))


def _strided(host: nn.Module, config: HostConfig) -> dict[str, nn.Conv2d]:
    """The convolutions of stride 2 by name; with places stem those before the first stage."""
    return {
        name: module
        for name, module in host.named_modules()
        if isinstance(module, nn.Conv2d)
        and max(module.stride) > 1
        and (config.places != "stem" or name.partition(".")[0] in STEM)
    }


def _alone(host: nn.Module, config: HostConfig) -> dict[str, nn.Conv2d]:
    """Those of them that do not stand in a Sequential with a normalisation and an activation, to become blocks."""

    def stands_alone(name: str, layer: nn.Conv2d) -> bool:
        around = host.get_submodule(name.rpartition(".")[0])
        together = isinstance(around, nn.Sequential) and is_activation(around[-1])
        meant = layer.kernel_size != (1, 1) or config.shortcuts == "block"
        return meant and not together and not obstacle(layer)

    return {name: layer for name, layer in _strided(host, config).items() if stands_alone(name, layer)}


def _options(config: HostConfig) -> dict[str, Any]:
    options = {"fusion": "none"} if config.blocks == "flie" else {}
    return {**options, **config.block_options}


def _block(in_channels: int, out_channels: int, act: type[nn.Module], config: HostConfig) -> nn.Module:
    """A block that is nobody's equal: untrained, as no block computes a maximum."""
    if config.blocks == "spd":
        return SPDConv(in_channels, out_channels, act_layer=act, **config.block_options)
    options = _options(config)
    if config.blocks == "mgil-res":
        options = {"residual": True, "coarse_shortcut": True, "later_act": nn.SiLU, **options}
    return MGIL(in_channels, out_channels, act_layer=act, **options)


def _pools(host: nn.Module) -> dict[str, int]:
    """Channels of the max pools of stride 2, by name."""
    names = {
        module: name
        for name, module in host.named_modules()
        if isinstance(module, nn.MaxPool2d) and module.stride in (2, (2, 2))
    }
    channels: dict[str, int] = {}
    if not names:
        return channels
    handles = [
        pool.register_forward_pre_hook(lambda module, given: channels.update({names[module]: given[0].shape[1]}))
        for pool in names
    ]
    was_training = host.training
    with torch.no_grad():
        host.eval()(torch.zeros(1, 3, PROBE_PX, PROBE_PX, device=next(host.parameters()).device))
    host.train(was_training)
    for handle in handles:
        handle.remove()
    return channels
