"""The classes of a data set, and the categories of its COCO jsons: they belong together by name.

Every program numbers categories in its own way, two jsons of one set too, so an id has a meaning in its own file only.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgil.datasets.reading.coco_json import annotated_categories, categories_of, checked_coco, is_id, read_categories
from mgil.datasets.reading.json_file import read_json_file
from mgil.files.class_names import name_key
from mgil.files.names import hint_for
from mgil.files.shipped import shipped
from mgil.files.text import printable
from mgil.files.yaml_file import read_yaml_mapping

if TYPE_CHECKING:
    from mgil.datasets.reading.config import DataConfig

MOST_LISTED = 10  # classes in a message


@dataclass(frozen=True)
class Classes:
    """What the classes of a data set are called, by class index."""

    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    source: str  # the json that the names are from; "": the YAML


@dataclass(frozen=True)
class Matched:
    """The categories of one json as classes of the data set."""

    class_of_category: Mapping[int, int]
    category_ids: tuple[int, ...]  # by class index; one of several that the json lacks has one that no category has
    lacking: tuple[int, ...]  # those classes


def classes_of(
    names: tuple[str, ...] | None, ids: Any, sources: Mapping[str, tuple[str, ...]], yaml_path: Path
) -> Classes:
    """Names and category ids of a data set.

    Names are the YAML's, else those of train's json, else, where train is not given, those of all jsons.
    Ids are the YAML's, else the jsons', else COCO's where the names are COCO's 80, else 1 to N.

    Args:
        names: The YAML's, if it gives any.
        ids: Its `category_ids`, if it gives any.
        sources: The entries of each split.
        yaml_path: For messages.

    Raises:
        FileNotFoundError: The names are to come from a json that is not there.
        ValueError: No names, or ids and names that do not fit together.
    """
    if ids is not None and not (isinstance(ids, list) and all(map(is_id, ids)) and len(set(ids)) == len(ids)):
        raise ValueError(f"{yaml_path}: category_ids must be a list of different whole numbers")
    source = ""
    if names is None:
        categories, source = _named_by_jsons(sources, yaml_path)
        ids = ids or list(categories)
        unknown = [number for number in ids if number not in categories]
        if unknown:
            raise ValueError(f"{yaml_path}: category_ids has {unknown[0]}, which is no category of {source}")
        names = tuple(categories[number] for number in ids)
    ids = ids or _ids_by_name(names, sources)
    if len(ids) != len(names):
        raise ValueError(f"{yaml_path}: has {len(names)} names but {len(ids)} category_ids")
    return Classes(names, tuple(ids), source)


def match_categories(content: dict[str, Any], json_path: str, config: DataConfig) -> Matched:
    """Find the class of each category of a json by its name.

    A category without annotations need not be a class: some programs list the name of the whole group as one.

    Raises:
        ValueError: An annotated category, or each of them, is no class of the data set; both files are named.
    """
    categories = categories_of(content, json_path)
    places = {name_key(name): index for index, name in enumerate(config.names)}
    own = {number: places[name_key(name)] for number, name in categories.items() if name_key(name) in places}
    ids = {index: number for number, index in own.items()}
    if config.one_class:
        number = ids.get(0, config.category_ids[0])
        return Matched(dict.fromkeys(categories, 0), (number,), () if 0 in ids else (0,))
    strangers = [number for number in annotated_categories(content) if number in categories and number not in own]
    if strangers or not own:
        raise ValueError(_contradiction((strangers or list(categories))[0], categories, json_path, config))
    lacking = tuple(index for index in range(len(config.names)) if index not in ids)
    for index in lacking:
        taken = {*categories, *ids.values()}
        wanted = config.category_ids[index]
        ids[index] = wanted if wanted not in taken else next(free_ids({*taken, *config.category_ids}))
    return Matched(own, tuple(ids[index] for index in range(len(config.names))), lacking)


def _contradiction(number: int, categories: Mapping[int, str], json_path: str, config: DataConfig) -> str:
    """What is wrong with a category that no class is called like: what its id means elsewhere, and what to do."""
    name, source = categories[number], printable(config.names_from or str(config.yaml_path))
    jsons = [paths[0] for paths in (config.train, config.val, config.test) if paths and is_json(paths[0])]
    meanings = {printable(path): read_categories(path) for path in jsons if os.path.isfile(path)}
    meanings.setdefault(source, dict(zip(config.category_ids, config.names, strict=True)))
    others = [(path, ids[number]) for path, ids in meanings.items() if ids.get(number, name) != name]
    other = f"; in {others[0][0]} {number} is {others[0][1]!r}" if others else ""
    listed = ", ".join(map(repr, config.names[:MOST_LISTED])) + (", ..." if len(config.names) > MOST_LISTED else "")
    hint = hint_for(name, config.names) or f"the classes are {listed}"
    return (
        f"{printable(json_path)}: category {number} is {name!r}, which is no class of {source}{other}; {hint}; "
        f"categories belong to classes by name, so name all of them in {config.yaml_path}, spelt as in the json"
    )


def _named_by_jsons(sources: Mapping[str, tuple[str, ...]], yaml_path: Path) -> tuple[dict[int, str], str]:
    """Id -> name in the order of the classes, and the file that they are from."""
    jsons = [paths[0] for paths in sources.values() if paths and is_json(paths[0])]
    if not jsons:
        raise ValueError(f"{yaml_path}: has no names; add 'names:' with one name per class")
    if sources["train"] and not is_json(sources["train"][0]):
        raise ValueError(
            f"{yaml_path}: has no names, and the label files of train number the classes by them; add 'names:' with "
            f"one name per class, in that order and spelt as in {printable(jsons[0])}"
        )
    present = [path for path in dict.fromkeys(jsons) if os.path.isfile(path)]
    if not present:
        raise FileNotFoundError(
            f"data set not found: {printable(jsons[0])} ({yaml_path} takes the names of the classes from it)"
        )
    if present[0] == jsons[0] and sources["train"]:
        return read_categories(present[0]), present[0]
    return _union([read_categories(path) for path in present]), " and ".join(present)


def _union(parts: Sequence[dict[int, str]]) -> dict[int, str]:
    """All categories of several jsons, each name once, sorted by id where they agree about the ids."""
    found: dict[int, str] = {}
    agree = True
    for categories in parts:
        numbers = {name_key(name): number for number, name in found.items()}
        for number, name in categories.items():
            known = numbers.get(name_key(name))
            agree &= known == number if known is not None else number not in found
            if known is None:
                found[number if number not in found else next(free_ids(found))] = name
    return dict(sorted(found.items())) if agree else found


def _ids_by_name(names: Sequence[str], sources: Mapping[str, tuple[str, ...]]) -> list[int]:
    """An id of each class: that of a json that has it, else COCO's where these are its 80, else a free one.

    The json of a training split may have gigabytes, so the smallest that has all classes is enough.
    """
    keys = [name_key(name) for name in names]
    jsons = [paths[0] for paths in sources.values() if paths and is_json(paths[0]) and os.path.isfile(paths[0])]
    parts = dict.fromkeys(jsons, dict[str, int]())
    for path in sorted(parts, key=os.path.getsize):
        parts[path] = _ids_in(path)
        if parts[path].keys() >= set(keys):
            parts = {path: parts[path]}
            break
    official = coco_ids()
    found: dict[str, int] = {}
    taken: set[int] = set()  # by a category of whatever name
    for ids in (*parts.values(), official if official.keys() == set(keys) else {}):
        found.update({key: ids[key] for key in keys if key in ids and key not in found and ids[key] not in taken})
        taken.update(ids.values())
    free = free_ids(taken)
    return [found.pop(key) if key in found else next(free) for key in keys]  # popped: a name may be there twice


def _ids_in(json_path: str) -> dict[str, int]:
    """The id of each category of a json; none of a list, as MPII's people are, which have no categories."""
    content = read_json_file(json_path)
    categories = {} if isinstance(content, list) else categories_of(checked_coco(content, json_path), json_path)
    return {name_key(name): number for number, name in categories.items()}


@cache
def coco_ids() -> dict[str, int]:
    """The ids, 1 to 90 with gaps, of COCO's 80 categories."""
    content = read_yaml_mapping(shipped("data") / "coco.yaml")
    return dict(zip(content["names"].values(), content["category_ids"], strict=True))


def is_json(path: str) -> bool:
    """Whether an entry of a split is a COCO json."""
    return path.lower().endswith(".json")


def free_ids(taken: Collection[int]) -> Iterator[int]:
    """The whole numbers from 1 that are not taken."""
    return (number for number in count(1) if number not in taken)
