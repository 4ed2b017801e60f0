"""What a YAML says of a host network and its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mgil.files.names import hint_for
from mgil.networks.limits import check_row_numbers

BLOCKS = ("none", "spd", "flie", "mgil", "mgil-res")
PLACES = ("all", "stem")
SHORTCUTS = ("keep", "sct1x1", "block")
POOLS = ("keep", "block")
NORMS = ("take", "keep")
PLACING = ("places", "shortcuts", "pools", "norms")  # what says where blocks go
KEYS = ("host", "host_options", "blocks", "block_options", "places", "shortcuts", "pools", "norms", "large")
BLOCK_OPTIONS = {
    "none": (),
    "spd": ("kernel_size",),
    "flie": ("fine_convs", "lie_kernel", "first_kernel", "residual"),
}
MGIL_OPTIONS = (
    *("fine_convs", "coarse_convs", "lie_kernel", "first_kernel", "residual", "coarse_shortcut", "cii_input"),
    *("dilations", "mrie", "fusion", "squeeze", "min_squeeze"),
)


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
        norms: The batch normalisation after a layer goes into its block (take), or stays behind the block wherever it
            and an activation do not stand with the layer in one Sequential (keep), as blocks were counted first.
        large: Blocks in shortcuts are meant, though they have most of all parameters then.
    """

    host: str
    host_options: Mapping[str, Any] = field(default_factory=dict)
    blocks: str = "none"
    block_options: Mapping[str, Any] = field(default_factory=dict)
    places: str | tuple[str, ...] = "all"
    shortcuts: str = "keep"
    pools: str = "keep"
    norms: str = "take"
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
    for key, known in (("blocks", BLOCKS), ("shortcuts", SHORTCUTS), ("pools", POOLS), ("norms", NORMS)):
        check_choice(found.get(key, known[0]), known, f"{source}: {key}")
    for key in ("host_options", "block_options"):
        if not isinstance(found.get(key, {}), Mapping):
            raise ValueError(f"{source}: {key} is {found[key]!r:.60}, must be `name: value` lines")
    check_row_numbers(list(found.get("block_options", {}).values()), f"{source}: block_options")
    blocks = found.get("blocks", "none")
    check_keys(found.get("block_options", {}), BLOCK_OPTIONS.get(blocks, MGIL_OPTIONS), f"{source}: block_options")
    places = found.get("places", "all")
    if isinstance(places, list | tuple) and places and all(isinstance(place, str) for place in places):
        found["places"] = tuple(places)
    elif places not in PLACES:
        raise ValueError(f"{source}: places is {places!r:.60}, must be all, stem, or names or patterns of layers")
    if type(found.get("large", False)) is not bool:
        raise ValueError(f"{source}: large is {found['large']!r:.60}, must be true or false")
    if found.get("shortcuts") == "block" and blocks != "none" and not found.get("large"):
        raise ValueError(
            f"{source}: shortcuts: block makes a resnet50 of 34 million parameters one of 352 million; sct1x1 is as "
            "lossless and adds 8 million; if it is meant, say `large: true` too"
        )
    config = HostConfig(**found)
    if blocks == "none":
        for key in PLACING:
            if getattr(config, key) != getattr(HostConfig, key):
                raise ValueError(f"{source}: {key} says where blocks go, but `blocks` is none")
    elif config.norms == "keep" and (blocks == "mgil-res" or not isinstance(config.places, str)):
        raise ValueError(f"{source}: norms: keep goes with blocks spd, flie and mgil, and places all and stem")
    return config


def without_blocks(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a YAML says of a host and more, with the host as it was before the blocks."""
    places = {key: getattr(HostConfig, key) for key in PLACING}
    return {**content, "blocks": "none", "block_options": {}, **places}


def check_choice(value: Any, known: tuple[str, ...], where: str) -> None:
    """Raise ValueError for a value that is none of those known."""
    if value not in known:
        hint = hint_for(value, known) or f"known: {', '.join(known)}"
        raise ValueError(f"{where} is {value!r:.60}; {hint}")


def check_keys(options: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raise ValueError for a key that is none of those known."""
    for key in options:
        if key not in known:
            hint = hint_for(key, known) or f"known: {', '.join(known) or 'none'}"
            raise ValueError(f"{where}: unknown key {key!r:.60}; {hint}")
