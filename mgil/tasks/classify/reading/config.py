"""What --data names in classification: a folder, a csv list, or a YAML."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mgil.datasets.reading.categories import Classes
from mgil.datasets.reading.config import SPLITS, DataConfig, find_data_yaml, load_data_config
from mgil.files.class_names import first_double
from mgil.files.paths import find, glob_paths
from mgil.files.text import check_class_names, printable
from mgil.tasks.classify.reading.cifar import cifar_names, find_cifar
from mgil.tasks.classify.reading.folders import class_folders, is_tiny_val
from mgil.tasks.classify.reading.gathered import EXPECTED
from mgil.tasks.classify.reading.tables import classes_in_tables, is_table

# Folders to validate on, the first that holds classes: YOLOv5's rule, and the other names of val.
VALIDATED = ("test", "val", "valid", "validation")


def class_data(path: str | Path) -> DataConfig:
    """Where a set of pictures with classes has its splits, and what its classes are called. Nothing is written.

    Args:
        path: One of
            a folder with `train/<class>/*` and `test/<class>/*` or, where that is not there, `val/<class>/*`; or with
            TinyImageNet's or CIFAR's files as they are distributed;
            a csv list called train.csv, val.csv or test.csv, beside which the others are looked for;
            a YAML, see `load_data_config`, also by the name of a shipped one. Each entry of its splits is a folder as
            above, a csv list or a file of CIFAR's, and `names` may be left out where train, or else another split, is
            there.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is something else, has one class only, or a value that makes no sense.
    """
    place = class_place(path)
    if place.is_dir():
        return _of_folder(str(place))
    return _of_table(str(place)) if is_table(str(place)) else load_data_config(place, _classes_of)


def class_place(path: str | Path) -> Path:
    """Where `class_data` finds what it is given: the `yaml_path` of the data set, of which nothing is read for it.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: A folder has parts of CIFAR.
    """
    found = find(str(path))
    if found is not None and os.path.isdir(found):
        table = os.path.join(found, "train.csv")
        has_table_only = os.path.isfile(table) and not os.path.isdir(os.path.join(found, "train"))
        return Path(os.path.abspath(table if has_table_only and find_cifar(found) is None else found))
    if is_table(str(path)):
        if found is None:
            raise FileNotFoundError(f"{printable(str(path))}: no such file")
        return Path(os.path.abspath(found))
    return find_data_yaml(path)


def sources_of(entries: Sequence[str]) -> list[str]:
    """The entries of a split with patterns put in place by what they match."""
    return [path for entry in entries for path in ([entry] if os.path.exists(entry) else glob_paths(entry) or [entry])]


def is_folder_set(data: DataConfig) -> bool:
    """Whether `class_data` was given a folder."""
    return data.yaml_path == data.root


def _of_folder(folder: str) -> DataConfig:
    train = os.path.join(folder, "train")
    cifar = find_cifar(folder)
    if cifar is not None:
        return _made(folder, folder, {"train": cifar[0], "val": cifar[1], "test": cifar[1]})
    if os.path.isdir(train):
        class_folders(train)  # says what is wrong with it
        return _made(folder, folder, {"train": (train,), **_others(folder)})
    raise ValueError(
        f"{printable(folder)}: {_why_no_set(folder)}; expected {EXPECTED} in it, or a YAML{_yamls(folder)}"
    )


def _others(folder: str) -> dict[str, tuple[str, ...]]:
    """The entries of val and test of a folder."""
    if is_tiny_val(val := os.path.join(folder, "val")):
        return {"val": (val,)}  # its test pictures have no classes
    with_classes = [name for name in VALIDATED if _has_folders(os.path.join(folder, name))]
    paths = tuple(os.path.join(folder, name) for name in with_classes[:1])
    return {"val": paths, "test": paths if with_classes[:1] == ["test"] else ()}


def _has_folders(folder: str) -> bool:
    try:
        return os.path.isdir(folder) and bool(class_folders(folder))
    except ValueError:
        return False


def _why_no_set(folder: str) -> str:
    names = sorted(os.listdir(folder))
    below = [name for name in names if os.path.isdir(os.path.join(folder, name)) and not name.startswith(".")]
    if {"images", "labels"} <= set(below):
        return "has images/ and labels/, as sets with boxes do"
    if not below:
        return "has no folders"
    return f"has no train/; it has {', '.join(map(printable, below[:5]))}{', ...' if len(below) > 5 else ''}"


def _yamls(folder: str) -> str:
    """A clause about the YAML files in a folder, or ""."""
    inside = sorted(path.name for path in Path(folder).glob("*.y*ml"))
    return f", such as {printable(os.path.join(folder, inside[0]))}" if inside else ""


def _of_table(table_path: str) -> DataConfig:
    folder, name = os.path.split(table_path)
    if name.lower() not in {f"{split}.csv" for split in SPLITS}:
        raise ValueError(
            f"{printable(table_path)}: is it train or val? name the lists train.csv and val.csv, or write a YAML with "
            "`train: LIST.csv` and `val: LIST.csv`"
        )
    beside = {split: os.path.join(folder, f"{split}.csv") for split in SPLITS}
    return _made(table_path, folder, {split: (path,) for split, path in beside.items() if os.path.isfile(path)})


def _made(path: str, root: str, sources: Mapping[str, tuple[str, ...]]) -> DataConfig:
    """A data set without a YAML."""
    splits = {split: sources.get(split, ()) for split in SPLITS}
    classes = _classes_of(None, None, splits, Path(path))
    entries = (splits["train"], splits["val"], splits["test"])
    return DataConfig(Path(path), Path(root), *entries, classes.names, classes.category_ids, classes.source)


def _classes_of(
    names: tuple[str, ...] | None, ids: Any, sources: Mapping[str, tuple[str, ...]], yaml_path: Path
) -> Classes:
    """See `mgil.datasets.reading.config.ClassesOf`: the YAML's names, else what train or the first other split has."""
    shown, source = printable(str(yaml_path)), ""
    if ids is not None:
        raise ValueError(f"{shown}: category_ids are those of boxes in a COCO json; leave them out")
    if names is None:
        entries = next(sources_of(sources[split]) for split in SPLITS if sources[split])
        missing = [entry for entry in entries if not os.path.exists(entry)]
        if missing:
            raise FileNotFoundError(
                f"{shown}: gives no names, and {printable(missing[0])}, which has the classes, is not there; give "
                "names: a set that is to be downloaded needs them"
            )
        source = entries[0]
        names = _classes_in(entries)
        _check_names(names, printable(source))
    if len(names) < 2:
        raise ValueError(f"{source or shown}: has one class only, {names[0]!r}; a classifier tells two or more apart")
    return Classes(names, tuple(range(1, len(names) + 1)), source)


def _classes_in(entries: Sequence[str]) -> tuple[str, ...]:
    """The classes that the entries of a split have, sorted."""
    if all(map(os.path.isdir, entries)):
        tiny = [entry for entry in entries if is_tiny_val(entry)]
        if tiny:
            raise ValueError(
                f"{printable(tiny[0])}: its classes are named in TinyImageNet's train/; give train, or names"
            )
        return tuple(sorted({name for entry in entries for name in class_folders(entry)}))
    if all(map(is_table, entries)):
        return classes_in_tables(entries)
    names = cifar_names(entries[0]) if os.path.isfile(entries[0]) else None
    if names is None:
        raise ValueError(
            f"{printable(entries[0])}: without names, classes are those of a folder with a folder per class, of a csv "
            "list, or of a file beside CIFAR's"
        )
    return names


def _check_names(names: tuple[str, ...], source: str) -> None:
    try:
        check_class_names(names)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    if double := first_double(names):
        first, second = (repr(names[index]) for index in double)
        raise ValueError(f"{source}: the classes {first} and {second} look the same; rename one")
