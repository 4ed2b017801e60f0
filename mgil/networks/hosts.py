"""Networks of timm as hosts of the block: which one, and what becomes of its downsampling layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mgil.files.names import hint_for
from mgil.networks.csp_host import CSPHost
from mgil.networks.host_blocks import put_in_blocks
from mgil.networks.host_config import HostConfig, check_keys, host_config
from mgil.networks.limits import MOST_CHANNELS, check_parameters, check_row_numbers

# What timm lets one say of its HRNets and ResNets; the others of its arguments open files or fetch weights.
TIMM_OPTIONS = ("stem_width", "stage1", "stage2", "stage3", "stage4", "layers", "channels")
OWN = {"csp": CSPHost}
OWN_OPTIONS = {"width": (2, MOST_CHANNELS), "depth": (1, 100)}
_FITTING: set[str] = set()  # what `check_size` has seen: an evaluation builds the same network again and again


def read_host(content: Mapping[str, Any], source: str) -> HostConfig:
    """The host that a YAML describes, see `host_config`.

    Raises:
        ValueError: A value that cannot be; the message names the file and the key.
    """
    known_host(content.get("host"), source)
    return host_config(content, source)


def check_size(config: HostConfig, source: str) -> None:
    """Raise ValueError for a host that cannot be built, or that would not fit into memory."""
    key = json.dumps(config.plain(), sort_keys=True, default=repr)
    if key not in _FITTING:
        with torch.device("meta"):  # takes no memory
            check_parameters(build_host(config, source), source)
        _FITTING.add(key)


def known_host(name: Any, source: str) -> None:
    """Raise ValueError for a host that nobody knows.

    timm would fetch or open what other names mean (`hf-hub:...`, `local-dir:...`).
    """
    if isinstance(name, str) and name in OWN:
        return
    known = timm().list_models()
    if name not in known:
        hint = hint_for(name, [*OWN, *known]) or "e.g. csp, hrnet_w32, hrnet_w48, resnet18, resnet50"
        raise ValueError(f"{source}: host is {name!r:.60}, which timm does not have; {hint}")


def timm() -> Any:
    """The package; imported where it is used: that takes a second.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import timm as package
    except ImportError as error:
        raise ValueError(
            f"this network is built from timm, which is not installed: pip install timm ({error})"
        ) from None
    return package


def build_host(config: HostConfig, source: str) -> nn.Module:
    """A network that maps images to a list of features, with its blocks in place and untrained weights.

    It has `channels` and `strides` of these features, and `max_stride`. Of an HRNet the features are those of its
    highest resolution alone, without the layers that only others need: the layout of SimCC and of HRNet's own pose
    networks. Of others, the last.

    Raises:
        ValueError: It cannot be built so; the message names the file and what to change.
    """
    try:
        host = _own(config, source) if config.host in OWN else _from_timm(config, source)
    except (TypeError, KeyError, IndexError, AttributeError, RuntimeError, ZeroDivisionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"{source}: host {config.host} cannot be built with its host_options: {reason}") from error
    if config.blocks != "none":
        try:
            put_in_blocks(host, config)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
    return host


def _own(config: HostConfig, source: str) -> nn.Module:
    check_keys(config.host_options, tuple(OWN_OPTIONS), f"{source}: host_options")
    for key, value in config.host_options.items():
        least, most = OWN_OPTIONS[key]
        if type(value) is not int or not least <= value <= most:
            raise ValueError(
                f"{source}: host_options: {key} is {value!r:.60}, must be an integer from {least} to {most}"
            )
    return OWN[config.host](**config.host_options)


def _from_timm(config: HostConfig, source: str) -> Any:
    check_keys(config.host_options, TIMM_OPTIONS, f"{source}: host_options")
    check_row_numbers(list(config.host_options.values()), f"{source}: host_options")
    create, options = timm().create_model, {"pretrained": False, "features_only": True, **config.host_options}
    if config.host.startswith("hrnet"):
        host = create(config.host, feature_location="", out_indices=(1,), **options)
        last = host.stage4[-1]
        last.fuse_layers = nn.ModuleList([last.fuse_layers[0]])
        host.max_stride = 32
    else:
        host = create(config.host, out_indices=(-1,), **options)
        host.max_stride = host.feature_info.reduction()[-1]
    host.channels, host.strides = tuple(host.feature_info.channels()), tuple(host.feature_info.reduction())
    return host
