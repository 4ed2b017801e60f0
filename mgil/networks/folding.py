"""A network for inference: every BatchNorm folded into the convolution before it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mgil.block.conv import ConvNormAct
from mgil.block.flie import FLIE
from mgil.block.host import Host
from mgil.block.reparameterise import reparameterise
from mgil.networks.layers import Conv


@torch.no_grad()
def folded(network: nn.Module, convert: str | Callable[[FLIE], bool] = "auto") -> nn.Module:
    """A copy for inference with the same outputs.

    Args:
        network: Any; normalisations are found by what its forwards call, whatever their names.
        convert: Which space-to-channel + conv pairs become one convolution, see `mgil.block.reparameterise`.
    """
    twin = reparameterise(network, convert=convert)
    done = set()
    for layer in twin.modules():
        if isinstance(layer, Conv):
            layer.fold()
        if isinstance(layer, (Conv, ConvNormAct)):
            done.add(layer.conv)
    host = Host(twin)
    for name, conv in [*twin.named_modules()]:
        if conv in done or not isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d)):
            continue
        unit = host.unit(name)
        if unit.obstacle or unit.norm_layer is None:
            continue
        parent, child = unit.taken[0]
        norm = parent.get_submodule(child)
        if type(norm) is nn.BatchNorm2d and norm.running_mean is not None:
            twin.set_submodule(name, fuse_conv_bn_eval(conv, norm, isinstance(conv, nn.ConvTranspose2d)))
            setattr(parent, child, nn.Identity())
    return twin
