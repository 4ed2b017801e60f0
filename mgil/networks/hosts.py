"""Networks of timm as hosts of the block: which one, and what becomes of its downsampling layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mgil.block.flie import SPDConv
from mgil.block.host import is_activation
from mgil.block.mgil import MGIL
from mgil.block.replace import replace_stride2
from mgil.files.names import hint_for
from mgil.networks.csp_host import CSPHost

BLOCKS = ("none", "spd", "flie", "mgil", "mgil-res")
SHORTCUTS = ("keep", "sct1x1", "block")
POOLS = ("keep", "block")
KEYS = ("host", "host_options", "blocks", "block_options", "places", "shortcuts", "pools", "large")
# What timm lets one say of its HRNets and ResNets; the others of its arguments open files or fetch weights.
TIMM_OPTIONS = ("stem_width", "stage1", "stage2", "stage3", "stage4", "layers", "channels")
BLOCK_OPTIONS = {
    "none": (),
    "spd": ("kernel_size",),
    "flie": ("fine_convs", "lie_kernel", "first_kernel", "residual"),
}
MGIL_OPTIONS = (
    *("fine_convs", "coarse_convs", "lie_kernel", "first_kernel", "residual", "coarse_shortcut", "cii_input"),
    *("dilations", "mrie", "fusion", "squeeze", "min_squeeze"),
)
STEM = ("conv1", "conv2", "stem")  # first parts of the names of layers before the first stage
OWN = {"csp": CSPHost}


@dataclass(frozen=True)
class HostConfig:
    """A host and its blocks.

    Attributes:
        host: `csp`, this project's own small one, or a name that timm knows, e.g. hrnet_w32 or resnet50.
        host_options: Its other arguments.
        blocks: What takes the place of its downsampling layers: none, spd, flie, mgil, or mgil-res, which begins as
            what it replaces.
        block_options: Options of every block, see `MGIL`.
        places: `all`; `stem`; or names or patterns of layers, as `replace_stride2` takes them.
        shortcuts: What becomes of 1x1 layers of stride 2: keep, sct1x1 or block.
        pools: What becomes of max pools of stride 2: keep or block.
        large: Blocks in shortcuts are meant, though they have most of all parameters then.
    """

    host: str
    host_options: Mapping[str, Any] = field(default_factory=dict)
    blocks: str = "none"
    block_options: Mapping[str, Any] = field(default_factory=dict)
    places: str | tuple[str, ...] = "all"
    shortcuts: str = "keep"
    pools: str = "keep"
    large: bool = False

    def plain(self) -> dict[str, Any]:
        """Plain values, the keys of a YAML."""
        places = self.places if isinstance(self.places, str) else list(self.places)
        return {
            **{key: getattr(self, key) for key in KEYS},
            "host_options": dict(self.host_options),
            "block_options": dict(self.block_options),
            "places": places,
        }


def host_config(content: Mapping[str, Any], source: str) -> HostConfig:
    """The host that a YAML describes; keys that are not of a host are others' business.

    Raises:
        ValueError: A value that cannot be; the message names the file and the key.
    """
    found = {key: content[key] for key in KEYS if key in content}
    known_host(found.get("host"), source)
    for key, known in (("blocks", BLOCKS), ("shortcuts", SHORTCUTS), ("pools", POOLS)):
        check_choice(found.get(key, known[0]), known, f"{source}: {key}")
    for key in ("host_options", "block_options"):
        if not isinstance(found.get(key, {}), Mapping):
            raise ValueError(f"{source}: {key} is {found[key]!r:.60}, must be `name: value` lines")
    blocks = found.get("blocks", "none")
    _check_keys(found.get("block_options", {}), BLOCK_OPTIONS.get(blocks, MGIL_OPTIONS), f"{source}: block_options")
    places = found.get("places", "all")
    if isinstance(places, list | tuple) and places and all(isinstance(place, str) for place in places):
        found["places"] = tuple(places)
    elif not isinstance(places, str):
        raise ValueError(f"{source}: places is {places!r:.60}, must be all, stem, or names or patterns of layers")
    if type(found.get("large", False)) is not bool:
        raise ValueError(f"{source}: large is {found['large']!r:.60}, must be true or false")
    if found.get("shortcuts") == "block" and blocks != "none" and not found.get("large"):
        raise ValueError(
            f"{source}: shortcuts: block makes a resnet50 of 34 million parameters one of 352 million; sct1x1 is as "
            "lossless and adds 8 million; if it is meant, say `large: true` too"
        )
    return HostConfig(**found)


def check_choice(value: Any, known: tuple[str, ...], where: str) -> None:
    """Raise ValueError for a value that is none of those known."""
    if value not in known:
        hint = hint_for(value, known) or f"known: {', '.join(known)}"
        raise ValueError(f"{where} is {value!r:.60}; {hint}")


def _check_keys(options: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in options:
        if key not in known:
            hint = hint_for(key, known) or f"known: {', '.join(known) or 'none'}"
            raise ValueError(f"{where}: unknown key {key!r:.60}; {hint}")


def known_host(name: Any, source: str) -> None:
    """Raise ValueError for a host that nobody knows.

    timm would fetch or open what other names mean (`hf-hub:...`, `local-dir:...`).
    """
    if name in OWN:
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
        host = OWN[config.host](**config.host_options) if config.host in OWN else _from_timm(config, source)
    except (TypeError, KeyError, IndexError, AttributeError, RuntimeError, ZeroDivisionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"{source}: host {config.host} cannot be built with its host_options: {reason}") from error
    if config.blocks != "none":
        pools = _pools(host) if config.pools == "block" and config.places == "all" else {}
        try:
            _replace(host, config)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        for name, channels in pools.items():
            host.set_submodule(name, _block_for_pool(host, channels, config))
    return host


def _from_timm(config: HostConfig, source: str) -> Any:
    _check_keys(config.host_options, TIMM_OPTIONS, f"{source}: host_options")
    create, options = timm().create_model, {"pretrained": False, "features_only": True, **config.host_options}
    if config.host.startswith("hrnet"):
        host = create(config.host, feature_location="", out_indices=(1,), **options)
        last = host.stage4[-1]
        last.fuse_layers = nn.ModuleList([last.fuse_layers[0]])
        host.max_stride = 32
    else:
        host = create(config.host, **options)
        last = len(host.feature_info.channels()) - 1
        host = create(config.host, out_indices=(last,), **options)
        host.max_stride = host.feature_info.reduction()[-1]
    host.channels, host.strides = tuple(host.feature_info.channels()), tuple(host.feature_info.reduction())
    return host


def _replace(host: nn.Module, config: HostConfig) -> None:
    select: Any = None if config.places == "all" else config.places
    if config.places == "stem":
        select = _in_stem
    block = SPDConv if config.blocks == "spd" else MGIL
    keeps = config.blocks == "mgil-res"
    replace_stride2(host, block, shortcuts=config.shortcuts, select=select, keep_function=keeps, **_options(config))


def _options(config: HostConfig) -> dict[str, Any]:
    options = {"fusion": "none"} if config.blocks == "flie" else {}
    return {**options, **config.block_options}


def _in_stem(name: str, _layer: nn.Module) -> bool:
    return name.partition(".")[0] in STEM


def _pools(host: nn.Module) -> dict[str, int]:
    """Channels of the max pools of stride 2, by name."""
    names = {
        module: name
        for name, module in host.named_modules()
        if isinstance(module, nn.MaxPool2d) and module.stride in (2, (2, 2))
    }
    channels: dict[str, int] = {}
    handles = [
        pool.register_forward_pre_hook(lambda module, given: channels.update({names[module]: given[0].shape[1]}))
        for pool in names
    ]
    was_training = host.training
    with torch.no_grad():
        host.eval()(torch.zeros(1, 3, 64, 64, device=next(host.parameters()).device))
    host.train(was_training)
    for handle in handles:
        handle.remove()
    return channels


def _block_for_pool(host: nn.Module, channels: int, config: HostConfig) -> nn.Module:
    """A block of as many channels as a pool; no block computes a maximum, so that this one begins untrained."""
    act = next((type(module) for module in host.modules() if is_activation(module)), nn.SiLU)
    if config.blocks == "spd":
        return SPDConv(channels, channels, act_layer=act, **config.block_options)
    options = _options(config)
    if config.blocks == "mgil-res":
        options = {"residual": True, "coarse_shortcut": True, "later_act": nn.SiLU, **options}
    return MGIL(channels, channels, act_layer=act, **options)
