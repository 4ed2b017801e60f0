"""Which detector finds the people, and a split with the boxes that it found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from mgil.files.flags import flag_of
from mgil.files.text import Report
from mgil.tasks.abilities import Finder, Followable
from mgil.tasks.pose.boxes import people_classes, people_in, whom
from mgil.tasks.pose.people import People, joined, pictures_of

SHARED = ("conf_thres", "iou_thres", "max_det", "classes")  # flags that are meant for the detector


def finder_of(options: Any) -> Finder | None:
    """The detector that --detector names, with those flags that are meant for it; None: there is none.

    Raises:
        ValueError: Such a flag was given without a detector.
    """
    if options.detector is None:
        _check_unused(options)
        return None
    given = {name: getattr(options, name) for name in SHARED if hasattr(options, name)}
    return Finder(options.detector, "--detector", given)


def _check_unused(options: Any) -> None:
    """Refuse what is said of a detector's boxes where there are none; detect.py chooses among a file's too."""
    in_file = ("conf_thres", "max_det", "classes") if options.boxes is not None and hasattr(options, "classes") else ()
    for item in fields(options):
        if item.name in SHARED and item.name not in in_file and getattr(options, item.name) != item.default:
            raise ValueError(f"{flag_of(item.name)} is for a detector's boxes; give --detector, or leave it out")


def paths_of(people: People) -> Sequence[str]:
    """Paths of all pictures of a split, each once."""
    return list(dict.fromkeys(pictures_of(people).paths))


def with_found(people: People, found: Iterable[tuple[str, Followable]], source: str, report: Report) -> People:
    """The people with the boxes that a detector found, `found`, in place of those that came with the split.

    Args:
        people: The split.
        found: What it found in each picture, by path.
        source: The detector's file, for messages.
        report: Told which of its classes are people, and how many boxes there are.
    """
    labelled, pictures = people.rows(~people.found), pictures_of(people)
    index_of = {path: index for index, path in enumerate(pictures.paths)}
    parts = [np.zeros((0, 6))]
    told, classes = "", None
    for path, result in found:
        if not told:
            classes = people_classes(result.names)
            told = whom(source, result.names, classes, chosen=False)
        boxes = people_in(result, classes).within(*result.image.shape[:2])
        parts.append(np.column_stack((np.full(len(boxes), index_of[path]), boxes.ltwh, boxes.scores)))
    rows = np.concatenate(parts)
    report(f"people: {told or source}: {len(rows):,} boxes in {len(parts) - 1:,} images")
    return joined(labelled, pictures, rows)
