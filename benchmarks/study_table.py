"""The csv of a study: one row a cell, all that a report needs, so that it can be made from a committed file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from mgil.files.atomic import write_text_atomic

KEY = ("model", "data", "size", "seed", "split")  # a cell's place in the study; its row is replaced, never doubled
TEXTS = (
    "study", "baseline", "cell", "model", "data", "split", "machine", "versions", "latency machine", "GPU",
    "PCK kind", "operations of",
)  # fmt: skip
COLUMNS = (
    "study", "baseline", "cell", *KEY, "epochs", "batch", "patience", "epochs run",
    "AP", "AP50", "AP75", "AP small", "AP medium", "AP large",
    "parameters", "GFLOPs at 640", "GFLOPs", "PyTorch ms", "ONNX ms", "OpenVINO ms", "OpenVINO bf16 ms",
    "OpenVINO INT8 ms", "GPU PyTorch ms", "GPU ONNX ms",
    "train seconds", "threads", "cells at once", "machine", "versions", "latency threads", "latency machine", "GPU",
    "curve",
)  # fmt: skip
POSE_SIZES = ("AP <32 px", "AP 32-64 px", "AP 64-128 px", "AP >128 px")  # by the longer side of a person's box
POSE_COLUMNS = (
    "study", "baseline", "cell", *KEY, "epochs", "batch", "patience", "epochs run",
    "AP", "AP50", "AP75", "AR", *POSE_SIZES, "PCK", "PCK kind",
    "parameters", "MFLOPs", "operations of", "published AP",
    "train seconds", "threads", "cells at once", "machine", "versions", "curve",
)  # fmt: skip
CLASS_COLUMNS = (
    "study", "baseline", "cell", *KEY, "epochs", "batch", "patience", "epochs run",
    "top-1", "top-5", "parameters", "MFLOPs", "operations of", "published top-1",
    "train seconds", "threads", "cells at once", "machine", "versions", "curve",
)  # fmt: skip
POSE, CLASSES = "published AP", "published top-1"  # columns that studies of pose, of classification, alone have
Row = dict[str, Any]


def columns_of(names: Collection[str]) -> tuple[str, ...]:
    """The columns of a study's csv, told from the names of some of them."""
    return POSE_COLUMNS if POSE in names else CLASS_COLUMNS if CLASSES in names else COLUMNS


def score_of(names: Collection[str]) -> str:
    """The column that a study is about, told from the names of some of them."""
    return "top-1" if CLASSES in names else "AP"


def read_rows(path: Path) -> list[Row]:
    """The rows of a study's csv: numbers where numbers are meant, None in empty cells, the curve as a list.

    Raises:
        ValueError: not a study's csv.
    """
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    missing = [name for name in (*KEY, score_of(lines[0] if lines else ())) if lines and name not in lines[0]]
    if missing:
        raise ValueError(f"{path}: no column {missing[0]!r}; give the csv that benchmarks.study wrote")
    try:
        return [{name: _value(name, line.get(name) or "") for name in columns_of(line)} for line in lines]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the csv, whole or not at all."""
    text = io.StringIO()
    rows = list(rows)
    columns = columns_of(rows[0]) if rows else COLUMNS
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _text(row.get(name)) for name in columns} for row in rows)
    write_text_atomic(path, text.getvalue())


def merge_rows(old: Iterable[Row], new: Iterable[Row], order: Iterable[tuple[Any, ...]]) -> list[Row]:
    """Rows with `new` in the place of old ones of the same key; a latency that is not new is kept.

    Args:
        old: as they stand in the file, maybe from another machine.
        new: rows of cells that are finished here.
        order: keys in the study's order; others follow.
    """
    rows = {key_of(row): row for row in old}
    for row in new:
        before = rows.get(key_of(row), {})
        kept = {name: value for name, value in before.items() if row.get(name) is None}
        rows[key_of(row)] = {**row, **kept} if before.get("cell") == row["cell"] else row
    places = {key: place for place, key in enumerate(order)}
    return sorted(rows.values(), key=lambda row: places.get(key_of(row), len(places)))


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """A row's place in its study."""
    return tuple(row[name] for name in KEY)


def _value(name: str, text: str) -> Any:
    if name == "curve":
        return [float(part) for part in text.split()]
    if name in TEXTS:
        return text
    if not text:
        return None
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(f"{number:.4g}" for number in value)
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.7g}"
    return value
