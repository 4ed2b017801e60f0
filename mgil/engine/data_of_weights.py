"""Data sets as the task of weights reads them: the one they were trained on, and whether another has their classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mgil.datasets.reading.config import DataConfig, find_data_yaml, load_data_config
from mgil.datasets.reading.download import download_absent
from mgil.files.class_names import first_difference, first_moved, places_in, same_classes
from mgil.files.text import Report
from mgil.tasks.abilities import DataTask
from mgil.tasks.base import Task
from mgil.tasks.registry import options_of

Named = tuple[str, str]  # see `mgil.tasks.base.Task.named`
CLASSES: Named = ("class", "classes")


def load_data(task: Task, path: str) -> DataConfig:
    """Read what --data names: a YAML, or of some tasks something else.

    Raises:
        FileNotFoundError, ValueError: As `load_data_config`, or `DataTask.data`.
    """
    return task.data(path) if isinstance(task, DataTask) else load_data_config(path)


def place_of_data(task: Task, path: str) -> Path:
    """Where what --data names is, looked for as `load_data` does, but not read for it; errors as there."""
    return task.data_place(path) if isinstance(task, DataTask) else find_data_yaml(path)


def may_be_data(task: Task, path: str) -> bool:
    """Whether a path is there as --data may name one: a file, or of some tasks a folder."""
    return os.path.exists(path) if isinstance(task, DataTask) else os.path.isfile(path)


def fetched(task: Task, data: DataConfig, splits: tuple[str, ...], report: Report) -> DataConfig:
    """The data set once what is missing of its splits is downloaded; errors as `download`."""
    return download_absent(data, splits, report, lambda path: load_data(task, str(path)))


def load_trained_on(task: Task, data: str, weights: str) -> DataConfig:
    """Read the data set that a checkpoint names.

    Args:
        task: The checkpoint's.
        data: Its path in the checkpoint.
        weights: The checkpoint's own path.

    Raises:
        FileNotFoundError: It is gone; says that --data gives its new place.
        ValueError: As `load_data_config`.
    """
    try:
        return load_data(task, data)
    except FileNotFoundError as error:
        if os.path.exists(data):  # something that it names is missing
            raise
        raise FileNotFoundError(gone(data, weights)) from error


def default_data(task: Task, names: tuple[str, ...], weights: object) -> DataConfig:
    """The shipped data set with the classes of weights that name none: the task's default, in detection YOLOv5's too.

    Raises:
        ValueError: They have other classes.
    """
    own = getattr(options_of(task.name, "train"), "default_data", "")
    for shipped in (own,) if own else ("coco128.yaml", "digits.yaml"):
        data = load_data(task, shipped)
        if same_classes(task.adapted(data, options_of(task.name, "val")()).names, names):
            return data
    known = _counted(names, task.named)
    raise ValueError(f"{weights} does not say which data set it was trained on; name one of {known} with --data")


@contextmanager
def data_named_by(weights: object) -> Iterator[None]:
    """Say of files that are missing in the block what named them, and what to do.

    Args:
        weights: Checkpoint that the data set's place comes from; None: the user gave it.
    """
    try:
        yield
    except FileNotFoundError as error:
        if weights is None or "--data NEW.yaml" in str(error):
            raise
        raise FileNotFoundError(
            f"{error}; the data set is the one named in {weights}: give its new place with --data NEW.yaml"
        ) from error


def gone(data: str, weights: object) -> str:
    """What to do where the data set YAML that a checkpoint names is not there any more."""
    return f"{weights} was trained on {data}, which is not there any more; give its new place with --data NEW.yaml"


def check_classes(
    names: tuple[str, ...], data: DataConfig, report: Report, one_class_flag: str = "", named: Named = CLASSES
) -> None:
    """Hold the classes of weights against a data set's; the same in another order are matched by name (`Task.judge`).

    Args:
        names: Of the classes in the weights.
        data: The data set.
        report: Told where the classes are called otherwise, or have another order.
        one_class_flag: Makes one class of the data set's, where the command has such a flag.
        named: What the names are of, see `Task.named`.

    Raises:
        ValueError: There are not as many, or some of them have changed places with others.
    """
    if len(names) != len(data.names):
        advice = "give weights and data that belong together"
        if len(names) == 1 and one_class_flag:
            advice = f"give {one_class_flag} if the weights were trained with it, else weights that belong to the data"
        elif data.names_from and -1 not in places_in(names, data.names):
            advice = f"{data.names_from} has some of them only; give the names of all in the YAML"
        known, there = _counted(names, named), _counted(data.names, named)
        raise ValueError(f"the weights know {known}, {data.yaml_path} has {there}; {advice}")
    if has_other_order(names, data, named):
        report(f"{_first_other(names, data, named)}; the {named[1]} are the same and matched by name")
    elif names != data.names:
        report(f"warning: {_first_other(names, data, named)}")


def has_other_order(names: tuple[str, ...], data: DataConfig, named: Named = CLASSES) -> bool:
    """Whether weights have a data set's classes in another order.

    Raises:
        ValueError: Some classes have other places, and others are not there at all: nobody can say what is meant.
    """
    moved = first_moved(data.names, names)
    if moved is not None and not same_classes(data.names, names):
        place = places_in(data.names, names)[moved]
        raise ValueError(
            f"{names[moved]!r} is {named[0]} {moved} in the weights and {named[0]} {place} in {data.yaml_path}, and "
            f"not all {named[1]} are in both; the weights know {_counted(names, named)}, the data set has "
            f"{_counted(data.names, named)}; "
            "give weights and data that belong together"
        )
    return moved is not None


def _first_other(names: tuple[str, ...], data: DataConfig, named: Named) -> str:
    """The first class that weights and data set call otherwise."""
    index, name, other = first_difference(names, data.names)
    return f"{named[0]} {index} is {name!r} in the weights, {other!r} in {data.yaml_path}"


def _counted(names: tuple[str, ...], named: Named = CLASSES) -> str:
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {named[len(names) != 1]} ({some})"
