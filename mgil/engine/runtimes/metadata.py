"""What an exported file says about itself: class names, stride, input size. Read as data, and checked."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgil.datasets.reading.value_range import ValueRange, range_of
from mgil.files.limits import MOST_SIDE
from mgil.tasks.registry import DEFAULT_TASK, check_task

MOST_CHARACTERS = 500_000  # of one value; the names of a thousand classes take 25,000
MOST_CLASSES = 20_000
MOST_NAME_CHARACTERS = 200
MOST_STRIDE = 1024


@dataclass(frozen=True)
class ExportInfo:
    """The checked metadata of an exported detector; None where the file does not say."""

    names: tuple[str, ...]
    stride: int  # the largest of the network, pixels
    imgsz_hw: tuple[int, int] | None = None  # the size it was exported for
    batch: int | None = None
    dynamic: bool = False
    half: bool = False
    nms: bool = False
    conf_thres: float | None = None  # of the suppression inside the file
    iou_thres: float | None = None
    agnostic: bool = False
    task: str = DEFAULT_TASK
    values: ValueRange | None = None  # what the values of pictures of more than 8 bits meant in training


def read_metadata(values: Mapping[str, Any], source: Path) -> ExportInfo:
    """Check the metadata of an exported file.

    Args:
        values: by YOLOv5's keys and this project's; strings, or what JSON or YAML made of them. Strings are read as
            Python literals, which can hold no code.
        source: the file, for messages.

    Raises:
        ValueError: it is no detector with names and stride, or a value is not what its key says.
    """
    missing = [key for key in ("stride", "names") if key not in values]
    if missing:
        raise ValueError(
            f"{source}: no {' and no '.join(missing)} in its metadata, so it is no detector of this project or of "
            "YOLOv5; export one with export.py"
        )
    task = check_task(values.get("task", DEFAULT_TASK), source)
    try:
        stride = _whole(values["stride"], MOST_STRIDE)
        info = ExportInfo(
            names=_names(values["names"]),
            stride=stride,
            imgsz_hw=_size(values["imgsz"]) if "imgsz" in values else None,
            batch=_whole(values["batch"], MOST_SIDE) if "batch" in values else None,
            conf_thres=_fraction(values["conf_thres"]) if "conf_thres" in values else None,
            iou_thres=_fraction(values["iou_thres"]) if "iou_thres" in values else None,
            task=task,
            values=range_of(None, _literal(values["range"])) if "range" in values else None,
            **{key: _truth(values[key]) for key in ("dynamic", "half", "nms", "agnostic") if key in values},
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


def _literal(value: Any) -> Any:
    """A string as the literal it spells, anything else as it is."""
    if not isinstance(value, str):
        return value
    if len(value) > MOST_CHARACTERS:
        raise ValueError(f"a value of {len(value)} characters")
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"{_shown(value)} is no plain value") from error


def _whole(value: Any, most: int) -> int:
    number = _literal(value)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if type(number) is not int or not 1 <= number <= most:
        raise ValueError(f"{_shown(value)} is no whole number from 1 to {most}")
    return number


def _fraction(value: Any) -> float:
    number = _literal(value)
    if type(number) not in (int, float) or not 0 <= number <= 1:
        raise ValueError(f"{_shown(value)} is not a number from 0 to 1")
    return float(number)


def _truth(value: Any) -> bool:
    text = str(value).lower() if isinstance(value, str | bool) else ""
    if text not in ("true", "false"):
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return text == "true"


def _size(value: Any) -> tuple[int, int]:
    sides = _literal(value)
    if not isinstance(sides, list | tuple):
        sides = [sides, sides]
    if len(sides) != 2:
        raise ValueError(f"imgsz {_shown(value)} is no height and width")
    return _whole(sides[0], MOST_SIDE), _whole(sides[1], MOST_SIDE)


def _names(value: Any) -> tuple[str, ...]:
    """Class names by index, from a list or from a mapping of index to name."""
    names = _literal(value)
    if isinstance(names, dict):
        by_index = {_class_index(key): name for key, name in names.items()}
        if sorted(by_index) != list(range(len(names))):
            raise ValueError("the indices of its class names are not 0, 1, 2, ...")
        names = [by_index[index] for index in range(len(names))]
    if not isinstance(names, list | tuple) or not 1 <= len(names) <= MOST_CLASSES:
        raise ValueError(f"names {_shown(value)} are no list of 1 to {MOST_CLASSES} class names")
    for name in names:
        if not isinstance(name, str) or not name.isprintable() or len(name) > MOST_NAME_CHARACTERS:
            raise ValueError(f"{_shown(name)} is no class name of up to {MOST_NAME_CHARACTERS} printable characters")
    return tuple(names)


def _class_index(key: Any) -> int:
    if type(key) is int:
        return key
    if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) <= 6:  # JSON has no other keys
        return int(key)
    raise ValueError(f"{_shown(key)} is no index of a class")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
