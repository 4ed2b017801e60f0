"""Model YAML files: finding them by YOLOv5's names, reading and checking them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mgil.files.names import hint_for
from mgil.files.shipped import shipped
from mgil.files.yaml_file import read_yaml_mapping
from mgil.networks.limits import MOST_ROWS, check_content

FOLDER = shipped("models")
CLASSIFIERS = "yolov5-cls*.yaml"
KEYS = (
    "nc", "scale", "scales", "depth_multiple", "width_multiple", "activation", "ch", "anchors", "weights_rows",
    "backbone", "head",
)  # fmt: skip
# yolov5n-mgil.yaml is models/yolov5-mgil.yaml at scale n
SCALED_NAME = re.compile(r"(?P<family>[a-z]+\d+)(?P<scale>[nsmlx])(?P<variant>(-[\w.-]+?)?)\.ya?ml")

# Models of YOLOv5 that are not here, and what to do instead.
NOT_HERE = {
    r"yolov5([nsmlx])6": r"yolov5\1-p6.yaml is that network; AutoAnchor fits its anchors to your labels",
    r"(yolov5[nsmlx])-seg": r"boxes are found here, no masks; use \1.yaml",
    r"yolov5-(p7|fpn|panet|bifpn)|yolov5s-(ghost|transformer|leakyrelu)|yolov3(-spp|-tiny)?":
        r"copy its file from YOLOv5's models/hub, and give its path",
}  # fmt: skip


def load_architecture(cfg: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Read a model architecture.

    Args:
        cfg: A path, one of the names in models/ with its scale letter ("yolov5n-mgil.yaml"), or a mapping already read.

    Returns:
        A dict with `depth_multiple` and `width_multiple` set (from `scales` where the file has that table), and
        `source`, the name to use in messages.

    Raises:
        FileNotFoundError: No such file or name; the message lists the names.
        ValueError: Not YAML, an unknown key, a missing one, or a value that cannot be.
    """
    if isinstance(cfg, Mapping):
        return resolved_rows(dict(cfg), source=str(cfg.get("source", "model")), scale=None)
    path, scale = _find(Path(cfg))
    return resolved_rows(read_yaml_mapping(path), source=Path(cfg).name, scale=scale)


def model_names() -> list[str]:
    """Names of detectors accepted without a path, e.g. yolov5n-mgil.yaml."""
    return scaled_names(path for path in FOLDER.glob("*.yaml") if not path.match(CLASSIFIERS))


def scaled_names(paths: Iterable[Path]) -> list[str]:
    """The names, with a scale letter each, that mean those of the files that have a table of scales."""
    names = []
    for path in sorted(paths):
        scales = read_yaml_mapping(path).get("scales", {})
        family, _, variant = path.stem.partition("-")
        names += [f"{family}{scale}{'-' + variant if variant else ''}.yaml" for scale in scales]
    return names


def _find(cfg: Path) -> tuple[Path, str | None]:
    """The file that a name means, and the scale letter in the name."""
    path, scale = file_of(cfg)
    if path is not None:
        return path, scale
    names = model_names()
    hint = hint_for(cfg.name.lower(), names, NOT_HERE, ending=".yaml", quoted=False)
    hint = hint or f"the shipped ones are {', '.join(names)}"
    raise FileNotFoundError(f"model file {cfg} does not exist; {hint}")


def file_of(cfg: Path) -> tuple[Path | None, str | None]:
    """The file that a name means, None where there is none, and the scale letter in the name."""
    match = SCALED_NAME.fullmatch(cfg.name)
    scale = match["scale"] if match else None
    if cfg.is_file():
        return cfg, scale
    shipped = FOLDER / cfg.name
    if match and not shipped.is_file():
        shipped = FOLDER / f"{match['family']}{match['variant']}.yaml"
    return (shipped if shipped.is_file() and cfg.parent in (Path("."), Path("models")) else None), scale


def resolved_rows(
    content: dict[str, Any], source: str, scale: str | None, keys: Sequence[str] = KEYS
) -> dict[str, Any]:
    """An architecture of rows, its keys checked, with depth and width set.

    Args:
        content: Of the file.
        source: Its name for messages.
        scale: The letter of the table of scales that is meant, if any.
        keys: That it may have.

    Raises:
        ValueError: A value that cannot be.
    """
    check_content(content, source)
    if "host" in content and "backbone" not in content:
        raise ValueError(
            f"{source}: has no rows of layers but a host: a model of another task, train.py classify or train.py pose"
        )
    for key in content:
        if key not in keys and key != "source":
            hint = hint_for(key, keys) or f"known keys: {', '.join(keys)}"
            raise ValueError(f"{source}: unknown key {key!r}; {hint}")
    for key in ("backbone", "head"):
        if not isinstance(content.get(key), list) or not content[key]:
            raise ValueError(f"{source}: `{key}` must be a list of rows [from, number, module, args]")
    _check_weights_rows(content.get("weights_rows", []), len(content["backbone"]) + len(content["head"]), source)
    resolved = {**content, "source": source}
    scales = resolved.pop("scales", None)
    scale = resolved.pop("scale", None) or scale
    if scales is not None and "depth_multiple" not in content:
        if not isinstance(scales, dict) or scale not in scales:
            known = ", ".join(map(str, scales)) if isinstance(scales, dict) else scales
            example = source.replace("yolov5", "yolov5n", 1) if source.startswith("yolov5") else "yolov5n.yaml"
            got = f"; got {scale!r}" if scale is not None else ""
            raise ValueError(f"{source}: needs one of the scales {known} in its name, e.g. {example}{got}")
        row = scales[scale]
        if not isinstance(row, list) or len(row) != 2:
            raise ValueError(f"{source}: scales: {scale}: {row!r} must be [depth, width]")
        resolved["depth_multiple"], resolved["width_multiple"] = row
    for key in ("depth_multiple", "width_multiple"):
        value = resolved.setdefault(key, 1.0)
        if not isinstance(value, int | float) or not 0 < value <= 10:
            raise ValueError(f"{source}: {key} is {value!r}, must be a number above 0 and at most 10")
    return resolved


def _check_weights_rows(pairs: Any, number: int, source: str) -> None:
    """Raise ValueError for anything else than pairs of row numbers, the first of a row before the head, none twice."""
    good = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(type(row) is int for row in pair)
        and 0 <= pair[0] < number - 1 and 0 <= pair[1] < MOST_ROWS
        for pair in pairs
    )  # fmt: skip
    if not good or len({own for own, _ in pairs}) < len(pairs):
        raise ValueError(
            f"{source}: weights_rows is {pairs!r:.80}; write pairs [row here, row of yolov5.yaml], each row here once, "
            f"from 0 to {number - 2}"
        )
