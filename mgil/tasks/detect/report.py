"""An evaluation in words and numbers: console tables, csv files, label files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgil.files.atomic import write_text_atomic
from mgil.files.csv_file import write_csv
from mgil.files.names import distinct

if TYPE_CHECKING:
    from mgil.datasets.reading.samples import Samples
    from mgil.tasks.detect.options import ValOptions
    from mgil.tasks.detect.scores import ClassResult, DetectScores

FINAL_TABLE = "per_class.csv"
_NAME_WIDTH = 22
_FEW_CLASSES = 20  # more classes with labels than this are listed on request only (val.py --verbose)
_EXTREMES = 3  # best and worst classes that are named instead


def header_line() -> str:
    """YOLOv5's column titles."""
    titles = ("Images", "Instances", "P", "R", "mAP50", "mAP50-95")
    return f"{'Class':>{_NAME_WIDTH}}" + "".join(f"{title:>11}" for title in titles)


def all_line(result: DetectScores) -> str:
    """The row ``all`` of the table."""
    return _row("all", result.images, result.instances, result.precision, result.recall, result.map50, result.map50_95)


def class_lines(result: DetectScores) -> list[str]:
    """One row per class that has labels."""
    return [
        _row(row.name, row.images, row.instances, row.precision, row.recall, row.ap50, row.ap50_95)
        for row in result.per_class
        if row.instances
    ]


def _row(name: str, images: int, instances: int, *values: float) -> str:
    shown = name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
    return f"{shown:>{_NAME_WIDTH}}{images:>11}{instances:>11}" + "".join(f"{value:>11.3g}" for value in values)


def result_lines(result: DetectScores, *, input_size: int, verbose: bool) -> list[str]:
    """The whole console report of one evaluation; the row ``all`` comes last, where it is seen."""
    lines: list[str] = []
    bins = [f"{row.label} {row.ap:.3f} ({row.instances})" for row in result.size_bins if row.instances]
    if bins:
        lines.append("AP by object size, square root of area in original pixels (instances): " + ", ".join(bins))
    lines.append(coco_line(result, input_size))
    labelled = [row for row in result.per_class if row.instances]
    rows: list[str] = []
    if verbose or len(labelled) <= _FEW_CLASSES:
        rows = class_lines(result) if len(result.per_class) > 1 else []
    else:
        lines.append(extremes_line(labelled))
    return [*lines, header_line(), *rows, all_line(result)]


def extremes_line(labelled: Sequence[ClassResult]) -> str:
    """The classes with the highest and the lowest AP; of equals, those with the most labels."""
    best = sorted(labelled, key=lambda row: (-row.ap50_95, -row.instances))[:_EXTREMES]
    worst = sorted(labelled, key=lambda row: (row.ap50_95, -row.instances))[:_EXTREMES]
    named = [", ".join(f"{row.name} {row.ap50_95:.3f}" for row in rows) for rows in (best, worst)]
    return (
        f"mAP50-95 of {len(labelled)} classes with labels: best {named[0]}; worst {named[1]}; "
        "all are in per_class.csv (val.py --verbose lists them)"
    )


def coco_line(result: DetectScores, input_size: int) -> str:
    """COCO's figures and the input size that they hold for."""
    return (
        f"COCO AP at {input_size} px: AP {result.map50_95:.3f}, AP50 {result.map50:.3f}, AP75 {result.map75:.3f}, "
        f"AP_S {result.map_small:.3f}, AP_M {result.map_medium:.3f}, AP_L {result.map_large:.3f}; "
        f"best mean F1 {result.f1:.3f} at confidence {result.best_confidence:.3f}"
    )


def write_per_class_csv(path: Path, result: DetectScores) -> None:
    """One line per class, every column of ClassResult."""
    columns = [item.name for item in fields(result.per_class[0])]
    write_csv(path, tuple(columns), [[getattr(row, column) for column in columns] for row in result.per_class])


def label_paths(folder: Path, samples: Samples) -> list[Path]:
    """Where `write_label_files` writes about each image of a split.

    Images of one name in different folders would overwrite each other; the later ones get a number that is free.
    """
    return [folder / f"{name}.txt" for name in distinct([Path(path).stem for path in samples.image_paths])]


def write_label_files(folder: Path, result: DetectScores, samples: Samples, *, with_score: bool) -> None:
    """YOLO label files of the detections, one per image with any: ``class x y w h [score]``, 0..1, best score first.

    Those of an earlier run about images without any are deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = result.detections
    size_wh = samples.sizes_hw[found.image_index][:, ::-1].astype(np.float64)
    low, high = found.boxes_xyxy[:, :2] / size_wh, found.boxes_xyxy[:, 2:] / size_wh
    boxes = np.concatenate(((low + high) / 2, high - low), axis=1)
    order = np.lexsort((-found.scores, found.image_index))
    ends = np.cumsum(np.bincount(found.image_index, minlength=len(samples)))
    for path, members in zip(label_paths(folder, samples), np.split(order, ends[:-1]), strict=True):
        if not len(members):
            path.unlink(missing_ok=True)
            continue
        lines = []
        for index in members:
            values = [*boxes[index], found.scores[index]] if with_score else boxes[index]
            lines.append(" ".join([str(found.classes[index]), *(f"{value:.6g}" for value in values)]))
        write_text_atomic(path, "\n".join(lines) + "\n", durable=False)


def evaluation_files(samples: Samples, options: ValOptions, stem: str) -> list[str]:
    """Paths in the run's folder of the tables, the pictures, and what --save-txt and --save-json ask for."""
    from mgil.files.picture_grid import BATCH_PICTURES
    from mgil.tasks.detect.plots import RESULT_PICTURES

    names = [FINAL_TABLE, *RESULT_PICTURES, *BATCH_PICTURES]
    if options.save_json:
        names.append(f"{stem}_predictions.json")
    labels = label_paths(Path("labels"), samples) if options.save_txt else ()
    return [*names, *map(str, labels)]
