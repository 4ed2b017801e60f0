"""The skeleton of a data set: from its YAML, else from its COCO json, else known by the number of points."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mgil.datasets.reading.categories import is_json
from mgil.datasets.reading.coco_json import is_number
from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.json_file import is_coco, read_json_file
from mgil.files.text import printable
from mgil.tasks.pose.reading.known_points import NAMES_BY_COUNT, flip_of, limbs_of, plain_name, sigmas_of
from mgil.tasks.pose.skeleton import Skeleton, checked

MOST_POINTS = 1000


@dataclass(frozen=True)
class PointCategory:
    """The category of a COCO json whose annotations have key points.

    Attributes:
        number: Its id.
        names: Of its key points.
        limbs: Pairs from 0.
    """

    number: int
    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]


def as_key_points(data: DataConfig) -> DataConfig:
    """The data set as pose sees it: its `names` are those of the key points."""
    names = skeleton_of(data).names
    return replace(data, names=names, category_ids=tuple(range(1, len(names) + 1)), names_from="")


def skeleton_of(data: DataConfig) -> Skeleton:
    """The skeleton of a data set.

    Names are the YAML's `kpt_names`, else those of the json's category, else the list of the well-known set with so
    many points as `kpt_shape` says (17 COCO, 16 MPII, 14 LSP), else numbers. `flip_idx`, `sigmas` and `skeleton` (pairs
    from 0) are the YAML's; else mirror images are left and right of the same name, sigmas those of points that COCO
    knows and 1/K of others, limbs the json's or those between points known by name.

    Raises:
        ValueError: Nothing says what the key points are, or a key makes no sense; names the file and the key.
    """
    written, path = data.key_points, data.yaml_path
    count = None if data.kpt_shape is None else data.kpt_shape[0]
    names = _names(written.get("kpt_names"), data)
    category = None if names or data.generate else _category_of_set(data)  # what is made may not be there yet
    if names is None:
        names = category.names if category else NAMES_BY_COUNT.get(count or 0) or tuple(map(str, range(count or 0)))
    if not names:
        raise ValueError(
            f"{path}: does not say what the key points are; add 'kpt_shape: [17, 3]' with their number, or 'kpt_names:'"
        )
    if count is not None and count != len(names):
        source = "kpt_names has" if "kpt_names" in written else "the json's category has"
        raise ValueError(f"{path}: kpt_shape says {count} key points, {source} {len(names)}")
    flip = _flip(written.get("flip_idx"), len(names), data)
    sigmas = _sigmas(written.get("sigmas"), len(names), data)
    limbs = _limbs(written.get("skeleton"), len(names), data)
    if limbs is None:
        limbs = list(category.limbs) if category and category.limbs else limbs_of(names)
    try:
        return checked(names, flip or flip_of(names), sigmas or sigmas_of(names), limbs)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def category_with_points(content: Mapping[str, Any], json_path: str) -> PointCategory | None:
    """The category of a COCO json that has key points, `person` where several have; None: none has.

    Raises:
        ValueError: Several have, or its lists make no sense.
    """
    found = [entry for entry in content["categories"] if isinstance(entry, dict) and entry.get("keypoints")]
    people = [entry for entry in found if plain_name(str(entry.get("name"))) == "person"]
    if len(people or found) > 1:
        raise ValueError(
            f"{printable(json_path)}: {len(found)} categories have key points, and none or several are 'person'"
        )
    if not found:
        return None
    entry = (people or found)[0]
    names, limbs = entry["keypoints"], entry.get("skeleton") or []
    number = entry.get("id")
    if type(number) is not int:
        raise ValueError(f"{printable(json_path)}: the category with key points has the id {number!r}, no whole number")
    if not isinstance(names, list) or len(names) > MOST_POINTS or not all(_is_name(name) for name in names):
        raise ValueError(f"{printable(json_path)}: keypoints of category {number} must be a list of names")
    if not _are_pairs(limbs):
        raise ValueError(f"{printable(json_path)}: skeleton of category {number} must be a list of pairs")
    ends = [end for pair in limbs for end in pair]
    first = 0 if 0 in ends else 1  # COCO counts from 1, some programs from 0
    if ends and not first <= min(ends) <= max(ends) < len(names) + first:
        raise ValueError(
            f"{printable(json_path)}: skeleton of category {number} has {max(ends)}, there are {len(names)} key points"
        )
    return PointCategory(number, tuple(map(str, names)), tuple((a - first, b - first) for a, b in limbs))


def _category_of_set(data: DataConfig) -> PointCategory | None:
    """The category of the smallest COCO json of the set that is there."""
    sources = [paths[0] for paths in (data.train, data.val, data.test) if paths and is_json(paths[0])]
    for json_path in sorted(filter(os.path.isfile, sources), key=os.path.getsize):
        content = read_json_file(json_path)
        if is_coco(content):
            return category_with_points(content, json_path)
    return None


def _names(value: Any, data: DataConfig) -> tuple[str, ...] | None:
    """`kpt_names`: a list, or as ultralytics writes it a list for each class."""
    if value is None:
        return None
    if isinstance(value, dict):
        value = value.get(0, next(iter(value.values()), None))
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_POINTS or not all(map(_is_name, value)):
        raise ValueError(f"{data.yaml_path}: kpt_names must be a list of names, found {_shown(value)}")
    return tuple(map(str, value))


def _flip(value: Any, count: int, data: DataConfig) -> list[int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(index) is int for index in value) or len(value) != count:
        raise ValueError(f"{data.yaml_path}: flip_idx must be {count} whole numbers, found {_shown(value)}")
    return value


def _sigmas(value: Any, count: int, data: DataConfig) -> list[float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(map(is_number, value)) or len(value) != count:
        raise ValueError(f"{data.yaml_path}: sigmas must be {count} numbers, found {_shown(value)}")
    return value


def _limbs(value: Any, count: int, data: DataConfig) -> list[tuple[int, int]] | None:
    if value is None:
        return None
    if not _are_pairs(value) or not all(0 <= end < count for pair in value for end in pair):
        raise ValueError(
            f"{data.yaml_path}: skeleton must be pairs of key points from 0 to {count - 1}, found {_shown(value)}"
        )
    return [(first, second) for first, second in value]


def _are_pairs(value: Any) -> bool:
    pairs = isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value)
    return pairs and all(type(end) is int for pair in value for end in pair)


def _is_name(value: Any) -> bool:
    return isinstance(value, str | int) and bool(str(value).strip()) and str(value).isprintable()


def _shown(value: Any) -> str:
    return repr(value)[:80]
