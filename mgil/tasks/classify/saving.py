"""What val.py's --save-txt and --save-json write: the five best classes of every picture."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mgil.files.atomic import write_text_atomic
from mgil.files.names import distinct
from mgil.tasks.classify.report import TABLES

if TYPE_CHECKING:
    from mgil.tasks.classify.options import ValOptions
    from mgil.tasks.classify.scores import ClassScores
    from mgil.tasks.classify.split import ClassSplit


def label_lines(names: Iterable[str], scores: Iterable[float]) -> str:
    """A line a class, YOLOv5's: probability, name."""
    return "".join(f"{score:.2f} {' '.join(name.split())}\n" for name, score in zip(names, scores, strict=True))


def save_txt(scores: ClassScores, folder: Path) -> None:
    """Write a label file of each picture that something was said of."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, guesses, names = label_paths(folder, scores.split), scores.guesses, scores.split.names
    for item, classes, found in zip(guesses.items.tolist(), guesses.classes, guesses.scores, strict=True):
        if classes[0] >= 0:
            text = label_lines([names[index] for index in classes], found)
            write_text_atomic(paths[item], text, durable=False)


def label_paths(folder: Path, split: ClassSplit) -> list[Path]:
    """Where `save_txt` writes about each picture; the later ones of one name get a number that is free."""
    return [folder / f"{name}.txt" for name in distinct([_stem(path, split) for path in split.image_paths])]


def _stem(path: str, split: ClassSplit) -> str:
    if split.pixels is None:
        return Path(path).stem
    file, _, index = path.rpartition(":")
    return f"{Path(file).stem}_{index}"


def json_name(stem: str) -> str:
    """The file of --save-json."""
    return f"{stem}_predictions.json"


def save_json(scores: ClassScores, folder: Path, stem: str) -> Path:
    """Write a list of `file_name`, `label` and `predictions`, best first, of each picture; the path is returned.

    File names begin at the folder that holds all of the split. Nothing was said of a picture whose list is empty.
    """
    guesses, split = scores.guesses, scores.split
    paths = [split.image_paths[item] for item in guesses.items.tolist()]
    start = os.path.join(os.path.commonpath({os.path.dirname(path) for path in paths}), "") if paths else ""
    rows = zip(paths, split.classes[guesses.items].tolist(), guesses.classes, guesses.scores, strict=True)
    entries = [
        {
            "file_name": path.removeprefix(start).replace(os.sep, "/"),
            "label": split.names[label],
            "predictions": [
                {"name": split.names[index], "probability": round(float(score), 6)}
                for index, score in zip(classes.tolist(), found, strict=True)
                if index >= 0
            ],
        }
        for path, label, classes, found in rows
    ]
    path = folder / json_name(stem)
    write_text_atomic(path, "[" + ",\n".join(map(json.dumps, entries)) + "]\n")
    return path


def evaluation_files(split: ClassSplit, options: ValOptions, stem: str) -> list[str]:
    """Paths in the run's folder of the tables, the pictures, and what --save-txt and --save-json ask for."""
    from mgil.files.picture_grid import BATCH_PICTURES
    from mgil.tasks.classify.plots import CONFUSION_PICTURE

    names = [*TABLES, CONFUSION_PICTURE, *BATCH_PICTURES]
    if options.save_json:
        names.append(json_name(stem))
    labels = label_paths(Path("labels"), split) if options.save_txt else ()
    return [*names, *map(str, labels)]
