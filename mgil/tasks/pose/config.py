"""Model YAML files of pose: finding them, reading and checking them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mgil.files.names import hint_for
from mgil.files.shipped import shipped
from mgil.files.yaml_file import read_yaml_mapping
from mgil.networks.host_config import KEYS as HOST_KEYS
from mgil.networks.host_config import check_choice
from mgil.networks.hosts import read_host
from mgil.networks.limits import check_content
from mgil.tasks.pose.head import STARTS
from mgil.tasks.pose.options import CROPS
from mgil.tasks.pose.reading.known_points import flip_of, limbs_of, sigmas_of
from mgil.tasks.pose.simcc import BINS
from mgil.tasks.pose.skeleton import Skeleton, checked, skeleton_from

FOLDER = shipped("models")
PATTERN = "simcc-*.yaml"
UPSAMPLE = ("deconv", "none")
MOST_SPLIT = 16
MOST_MAPS = 64
MOST_ENLARGED = 8
DEFAULTS: dict[str, Any] = {
    "upsample": "deconv",
    "head_maps": 1,
    "head_start": "random",
    "enlarge_input": 1,
    "split": {0: 3, 128: 2},
    "gaussian": False,
    "simcc_bins": "half",
    "crop": "linear",
    "skeleton": None,
}
KEYS = (*HOST_KEYS, *DEFAULTS)


def model_names() -> list[str]:
    """Names accepted without a path, e.g. simcc-hrnet-w32-mgil.yaml."""
    return sorted(path.name for path in FOLDER.glob(PATTERN))


def load_architecture(cfg: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Read a model for key points.

    Args:
        cfg: A path, one of `model_names`, or a mapping already read.

    Returns:
        Every key of `KEYS`, and `source`, the name to use in messages.

    Raises:
        FileNotFoundError: No such file or name; the message lists the names.
        ValueError: Not YAML, an unknown key, or a value that cannot be.
    """
    if isinstance(cfg, Mapping):
        return _resolved(dict(cfg), str(cfg.get("source", "model")))
    path = _find(Path(cfg))
    return _resolved(read_yaml_mapping(path), Path(cfg).name)


def _find(cfg: Path) -> Path:
    if cfg.is_file():
        return cfg
    if (FOLDER / cfg.name).is_file() and cfg.match(PATTERN) and cfg.parent in (Path("."), Path("models")):
        return FOLDER / cfg.name
    names = model_names()
    hint = hint_for(cfg.name.lower(), names, ending=".yaml", quoted=False)
    listed = f"those for key points are {', '.join(names)}"
    raise FileNotFoundError(f"model file {cfg} does not exist; {f'{hint} ' if hint else ''}{listed}")


def _resolved(content: dict[str, Any], source: str) -> dict[str, Any]:
    """Check the keys and fill in what is not said."""
    check_content(content, source)
    if "backbone" in content and "host" not in content:
        raise ValueError(f"{source}: a model of another task; those for key points are {', '.join(model_names())}")
    for key in content:
        if key not in (*KEYS, "source"):
            hint = hint_for(key, KEYS) or f"known keys: {', '.join(KEYS)}"
            raise ValueError(f"{source}: unknown key {key!r}; {hint}")
    resolved = {**read_host(content, source).plain(), **DEFAULTS, **content, "source": source}
    for key, known in (("upsample", UPSAMPLE), ("simcc_bins", BINS), ("crop", CROPS), ("head_start", STARTS)):
        check_choice(resolved[key], known, f"{source}: {key}")
    if type(resolved["gaussian"]) is not bool:
        raise ValueError(f"{source}: gaussian is {resolved['gaussian']!r:.60}, must be true or false")
    for key, most in (("head_maps", MOST_MAPS), ("enlarge_input", MOST_ENLARGED)):
        if type(resolved[key]) is not int or not 1 <= resolved[key] <= most:
            raise ValueError(f"{source}: {key} is {resolved[key]!r:.60}, must be an integer from 1 to {most}")
    splits = resolved["split"] if isinstance(resolved["split"], Mapping) else {0: resolved["split"]}
    if not splits or not all(
        type(size) is int and size >= 0 and type(split) is int and 1 <= split <= MOST_SPLIT
        for size, split in splits.items()
    ):
        raise ValueError(
            f"{source}: split is {resolved['split']!r:.60}, must be bins of a pixel, an integer from 1 to "
            f"{MOST_SPLIT}, or such by the least size of input, e.g. {{0: 3, 128: 2}}"
        )
    resolved["split"] = dict(splits)
    if resolved["skeleton"] is not None:
        try:
            skeleton_from(resolved["skeleton"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{source}: its skeleton cannot be read: {error}") from error
    return resolved


def split_at(splits: Mapping[int, int], imgsz: int) -> int:
    """The bins of a pixel for an input of so many pixels: that of the largest size which is not larger."""
    fitting = [size for size in splits if size <= imgsz] or [min(splits)]
    return splits[max(fitting)]


def guessed_skeleton(names: Sequence[str]) -> Skeleton:
    """What is known of key points whose data set says their names alone."""
    return checked(names, flip_of(names), sigmas_of(names), limbs_of(names))
