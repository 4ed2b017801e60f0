"""Model YAML files of classification: finding them, reading and checking them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mgil.files.names import hint_for
from mgil.files.yaml_file import read_yaml_mapping
from mgil.networks.class_hosts import STEMS
from mgil.networks.config import CLASSIFIERS, FOLDER, file_of, resolved_rows, scaled_names
from mgil.networks.config import KEYS as ALL_ROW_KEYS
from mgil.networks.host_config import KEYS as ALL_HOST_KEYS
from mgil.networks.host_config import check_choice
from mgil.networks.hosts import read_host
from mgil.networks.limits import check_content
from mgil.tasks.classify.crops import CROPS

UNSCALED = ("cls-*.yaml", "resnet*.yaml")
OF_TIMM = "timm:"
DEFAULTS: dict[str, Any] = {"crop": CROPS[0], "dropout": 0.0, "mean": None, "std": None}
# Of the normalisation: what is far beyond is Inf or 0 in float16 or float32.
BOUNDS = {"mean": (-1e3, 1e3), "std": (1e-6, 1e3)}
ROW_KEYS = (*(key for key in ALL_ROW_KEYS if key != "anchors"), *DEFAULTS)
HOST_KEYS = (*ALL_HOST_KEYS, "stem", *DEFAULTS)


def model_names() -> list[str]:
    """Names accepted without a path, e.g. resnet18-mgil.yaml; `timm:NAME` means any network of timm."""
    unscaled = [path.name for pattern in UNSCALED for path in FOLDER.glob(pattern)]
    return sorted(unscaled) + scaled_names(FOLDER.glob(CLASSIFIERS))


def load_architecture(cfg: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Read a classifier: rows of layers that end in Classify, or a network of timm as a host.

    Args:
        cfg: A path, one of `model_names`, a mapping already read, or a network as timm has it, `timm:NAME`, if wanted
            with blocks, `timm:NAME:mgil`.

    Returns:
        Every key of `HOST_KEYS`, or the rows and every key of `DEFAULTS`; and `source`, the name to use in messages.
        `mean` and `std` are None where they are the network's own.

    Raises:
        FileNotFoundError: No such file or name; the message lists the names.
        ValueError: Not YAML, an unknown key, or a value that cannot be.
    """
    if isinstance(cfg, Mapping):
        return _resolved(dict(cfg), str(cfg.get("source", "model")), None)
    if str(cfg).startswith(OF_TIMM):
        host, _, blocks = str(cfg).removeprefix(OF_TIMM).partition(":")
        return _resolved({"host": host, "blocks": blocks or "none"}, str(cfg), None)
    path, scale = file_of(Path(cfg))
    if path is None or (not Path(cfg).is_file() and Path(cfg).name not in model_names()):
        raise FileNotFoundError(_absent(Path(cfg)))
    return _resolved(read_yaml_mapping(path), Path(cfg).name, scale)


def _absent(cfg: Path) -> str:
    names = model_names()
    hint = hint_for(cfg.name.lower(), names, ending=".yaml", quoted=False)
    listed = f"those that classify are {', '.join(names)}, and timm:NAME for a network of timm"
    return f"model file {cfg} does not exist; {f'{hint} ' if hint else ''}{listed}"


def _resolved(content: dict[str, Any], source: str, scale: str | None) -> dict[str, Any]:
    """Check the keys and fill in what is not said."""
    check_content(content, source)
    if "anchors" in content or not {"backbone", "host"} & content.keys():
        raise ValueError(f"{source}: a model of another task; those that classify are {', '.join(model_names())}")
    rows = "backbone" in content
    for key in content:
        keys = ROW_KEYS if rows else HOST_KEYS
        if key not in (*keys, "source"):
            hint = hint_for(key, keys) or f"known keys: {', '.join(keys)}"
            raise ValueError(f"{source}: unknown key {key!r:.60}; {hint}")
    if rows:
        resolved = {**DEFAULTS, **resolved_rows(content, source, scale, ROW_KEYS)}
    else:
        host = read_host(content, source).plain()
        resolved = {**host, "stem": "imagenet", **DEFAULTS, **content, "source": source}
        _check_stem(resolved["stem"], source)
    check_choice(resolved["crop"], CROPS, f"{source}: crop")
    check_dropout(resolved["dropout"], f"{source}: dropout")
    for key, (least, most) in BOUNDS.items():
        if resolved[key] is not None:
            resolved[key] = _by_channel(resolved[key], least, most, f"{source}: {key}")
    return resolved


def _check_stem(stem: Any, source: str) -> None:
    stems = stem if isinstance(stem, Mapping) else {0: stem}
    sizes = all(type(size) is int and size >= 0 for size in stems)
    if not stems or not sizes or not all(isinstance(name, str) and name in STEMS for name in stems.values()):
        raise ValueError(
            f"{source}: stem is {stem!r:.60}, must be {', '.join(STEMS)}, or such by the least size of input, e.g. "
            "{0: half, 96: imagenet}"
        )


def check_dropout(value: Any, where: str) -> None:
    """Raise ValueError for what is no probability below 1."""
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise ValueError(f"{where} is {value!r:.60}, must be a number from 0 to below 1")


def _by_channel(values: Any, least: float, most: float, where: str) -> list[float]:
    numbers = isinstance(values, list | tuple) and len(values) == 3 and all(type(v) in (int, float) for v in values)
    if not numbers or not all(least <= value <= most for value in values):
        wanted = f"three numbers from {least:g} to {most:g}, for red, green and blue in 0..1"
        raise ValueError(f"{where} is {values!r:.60}, must be {wanted}")
    return [float(value) for value in values]


def stem_at(stem: str | Mapping[int, str], imgsz: int) -> str:
    """The stem for an input of so many pixels: that of the largest size which is not larger."""
    if isinstance(stem, str):
        return stem
    fitting = [size for size in stem if size <= imgsz] or [min(stem)]
    return stem[max(fitting)]
