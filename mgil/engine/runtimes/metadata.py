"""What an exported file says about itself: class names, stride, input size. Read as data, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mgil.datasets.reading.value_range import ValueRange, range_of
from mgil.files.limits import MOST_SIDE
from mgil.files.literals import literal, shown, truth, whole
from mgil.tasks.registry import DEFAULT_TASK, check_task, task_named

MOST_CLASSES = 20_000
MOST_NAME_CHARACTERS = 200
MOST_STRIDE = 1024


@dataclass(frozen=True)
class ExportInfo:
    """The checked metadata of an exported network; None where the file does not say."""

    names: tuple[str, ...]
    stride: int  # the largest of the network, pixels
    imgsz_hw: tuple[int, int] | None = None  # the size it was exported for
    batch: int | None = None
    dynamic: bool = False
    half: bool = False
    any_size: bool = True  # what is dynamic has free sides too, not a free number of images alone
    task: str = DEFAULT_TASK
    values: ValueRange | None = None  # what the values of pictures of more than 8 bits meant in training
    own: Mapping[str, Any] = field(default_factory=dict)  # what its task reads, see `Task.export_facts`


def read_metadata(values: Mapping[str, Any], source: Path) -> ExportInfo:
    """Check the metadata of an exported file.

    Args:
        values: by YOLOv5's keys and this project's; strings, or what JSON or YAML made of them. Strings are read as
            Python literals, which can hold no code.
        source: the file, for messages.

    Raises:
        ValueError: it says no names or no stride, or a value is not what its key says.
    """
    missing = [key for key in ("stride", "names") if key not in values]
    if missing:
        raise ValueError(
            f"{source}: no {' and no '.join(missing)} in its metadata, so it is no file of this project or of YOLOv5; "
            "export one with export.py"
        )
    task = check_task(values.get("task", DEFAULT_TASK), source)
    try:
        stride, names = whole(values["stride"], MOST_STRIDE), _names(values["names"])
        info = ExportInfo(
            names=names,
            stride=stride,
            imgsz_hw=_size(values["imgsz"]) if "imgsz" in values else None,
            batch=whole(values["batch"], MOST_SIDE) if "batch" in values else None,
            task=task,
            values=range_of(None, literal(values["range"])) if "range" in values else None,
            own=task_named(task).export_facts(values, names),
            **{key: truth(values[key]) for key in ("dynamic", "half", "any_size") if key in values},
        )
    except ValueError as error:
        raise ValueError(f"{source}: its metadata cannot be used: {error}") from error
    return info


def is_half(values: Mapping[str, Any]) -> bool:
    """Whether metadata that is not checked yet says that a file was exported with `--half`."""
    return str(values.get("half", "false")).lower() == "true"


def one_line(error: BaseException) -> str:
    """The beginning of what a library said, for the end of a message of ours."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"


def _size(value: Any) -> tuple[int, int]:
    sides = literal(value)
    if not isinstance(sides, list | tuple):
        sides = [sides, sides]
    if len(sides) != 2:
        raise ValueError(f"imgsz {shown(value)} is no height and width")
    return whole(sides[0], MOST_SIDE), whole(sides[1], MOST_SIDE)


def _names(value: Any) -> tuple[str, ...]:
    """Class names by index, from a list or from a mapping of index to name."""
    names = literal(value)
    if isinstance(names, dict):
        by_index = {_class_index(key): name for key, name in names.items()}
        if sorted(by_index) != list(range(len(names))):
            raise ValueError("the indices of its class names are not 0, 1, 2, ...")
        names = [by_index[index] for index in range(len(names))]
    if not isinstance(names, list | tuple) or not 1 <= len(names) <= MOST_CLASSES:
        raise ValueError(f"names {shown(value)} are no list of 1 to {MOST_CLASSES} class names")
    for name in names:
        if not isinstance(name, str) or not name.isprintable() or len(name) > MOST_NAME_CHARACTERS:
            raise ValueError(f"{shown(name)} is no class name of up to {MOST_NAME_CHARACTERS} printable characters")
    return tuple(names)


def _class_index(key: Any) -> int:
    if type(key) is int:
        return key
    if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) <= 6:  # JSON has no other keys
        return int(key)
    raise ValueError(f"{shown(key)} is no index of a class")
