"""An evaluation of classification in words and numbers: the console's table, and csv files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgil.files.csv_file import write_csv

if TYPE_CHECKING:
    from mgil.tasks.classify.scores import ClassScores

FINAL_TABLE = "per_class.csv"
TABLES = ("confusion_matrix.csv", FINAL_TABLE)
_NAME_WIDTH = 22
_FEW_CLASSES = 20  # more classes with pictures than this are listed on request only (val.py --verbose)
_EXTREMES = 3  # best and worst classes that are named instead, and pairs that are mixed up most


def result_lines(scores: ClassScores, *, input_size: int, verbose: bool) -> list[str]:
    """The whole report of one evaluation, YOLOv5's table, in which `all` comes first; the line that counts is last."""
    lines = []
    if scores.network_px not in (None, input_size):
        lines.append(f"pictures of {input_size} px were resized to the network's own {scores.network_px} px")
    seen = [row for row in scores.per_class if row.images]
    lines.append(f"{'Class':>{_NAME_WIDTH}}" + "".join(f"{title:>11}" for title in ("Images", "top1_acc", "top5_acc")))
    lines.append(_row("all", scores.images, scores.top1, scores.top5))
    if verbose or len(seen) <= _FEW_CLASSES:
        lines += [_row(row.name, row.images, row.top1, row.top5) for row in seen]
    else:
        best, worst = (sorted(seen, key=lambda row: (sign * row.top1, -row.images)) for sign in (-1, 1))
        named = [", ".join(f"{row.name} {row.top1:.3f}" for row in rows[:_EXTREMES]) for rows in (best, worst)]
        lines.append(
            f"top1_acc of {len(seen)} classes: best {named[0]}; worst {named[1]}; "
            "all are in per_class.csv (val.py --verbose lists them)"
        )
    if mixed := mixed_up(scores)[:_EXTREMES]:
        lines.append("taken for another most often: " + ", ".join(f"{a} for {b} ({n})" for a, b, n in mixed))
    lines.append(
        f"accuracy at {input_size} px: top-1 {scores.top1:.4f}, top-{min(5, len(scores.per_class))} {scores.top5:.4f}, "
        f"mean of the classes {scores.class_mean:.4f}; mean confidence {scores.confidence:.4f}, loss {scores.loss:.4f}"
    )
    return lines


def _row(name: str, images: int, *values: float) -> str:
    shown = name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
    return f"{shown:>{_NAME_WIDTH}}{images:>11}" + "".join(f"{value:>11.3g}" for value in values)


def mixed_up(scores: ClassScores) -> list[tuple[str, str, int]]:
    """The labelled class, the one that pictures of it were taken for, and how many; most first."""
    return [pair for pair in _pairs(scores) if pair[0] != pair[1]]


def _pairs(scores: ClassScores) -> list[tuple[str, str, int]]:
    """Labelled and predicted class with the number of pictures, where there are any; most first."""
    predicted = scores.guesses.classes[:, 0]
    said = predicted >= 0
    pairs = np.stack((scores.split.classes[scores.guesses.items][said], predicted[said]))
    (labelled, found), counts = np.unique(pairs, axis=1, return_counts=True)
    names = scores.split.names
    rows = zip(labelled.tolist(), found.tolist(), counts.tolist(), strict=True)
    return [(names[own], names[other], count) for own, other, count in sorted(rows, key=lambda row: -row[2])]


def write_tables(scores: ClassScores, folder: Path) -> None:
    """confusion_matrix.csv: pairs of labelled and predicted class that occur; then per_class.csv."""
    write_csv(folder / "confusion_matrix.csv", ("labelled", "predicted", "images"), _pairs(scores))
    rows = [[row.name, row.images, row.top1, row.top5, row.predicted] for row in scores.per_class]
    write_csv(folder / FINAL_TABLE, ("class", "images", "top1_acc", "top5_acc", "predicted"), rows)
