"""Networks of timm as hosts of the block: which one, and what becomes of its downsampling layers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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
# What building a network of others can end in, for options that do not go together.
NOT_BUILT = (TypeError, KeyError, IndexError, AttributeError, RuntimeError, ZeroDivisionError, AssertionError)
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
    check_fits(config.plain(), lambda: build_host(config, source), source)


def check_fits(
    facts: Mapping[str, Any], build: Callable[[], nn.Module], source: str, check: Callable[[Any], None] | None = None
) -> None:
    """Raise ValueError for a network that cannot be built, or that would not fit into memory.

    Args:
        facts: Plain values that say all about it.
        build: Makes it.
        source: Its name for messages.
        check: Sees it on the meta device, where it takes no memory.
    """
    key = json.dumps(facts, sort_keys=True, default=repr)
    if key not in _FITTING:
        with torch.device("meta"):
            network = build()
            check_parameters(network, source)
            if check:
                check(network)
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
    return with_blocks(config, source, _own if config.host in OWN else _from_timm)


def with_blocks(config: HostConfig, source: str, create: Callable[[HostConfig, str], nn.Module]) -> nn.Module:
    """What `create` makes, with the blocks of `config` in place.

    Raises:
        ValueError: It cannot be built so; the message names the file and what to change.
    """
    try:
        host = create(config, source)
    except NOT_BUILT as error:
        what = f"{source}: host {config.host} cannot be built with its host_options"
        raise ValueError(f"{what}: {said(error)}") from error
    if config.blocks != "none":
        try:
            put_in_blocks(host, config)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
    return host


def said(error: Exception) -> str:
    """An error of a library in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200] or type(error).__name__


def timm_options(config: HostConfig, source: str) -> dict[str, Any]:
    """The host's options for timm. ValueError: one that it may not have."""
    check_keys(config.host_options, TIMM_OPTIONS, f"{source}: host_options")
    check_row_numbers(list(config.host_options.values()), f"{source}: host_options")
    return {"pretrained": False, **config.host_options}


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
    create, options = timm().create_model, {"features_only": True, **timm_options(config, source)}
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
