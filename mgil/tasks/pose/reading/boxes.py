"""A detector's boxes: COCO's file of results."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from mgil.datasets.reading.coco_json import is_id, is_number
from mgil.datasets.reading.json_file import read_json_file
from mgil.files.text import Report, printable
from mgil.tasks.pose.people import People, joined, pictures_of
from mgil.tasks.pose.skeleton import COCO_PERSON

LEAST_SCORE = 0.0


def with_boxes(people: People, path: str, report: Report = print) -> People:
    """People and, after them, the boxes that a detector found in the same pictures, as items with `found`.

    The file is a list of `{image_id, category_id, bbox, score}`; persons are category 1. Boxes are cut at the edge of
    their picture. One that makes no sense costs itself alone.

    Args:
        people: The labels, from `read_people`.
        path: The file.
        report: Takes a line about what was read.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is no such file, or no box is of a person in one of the pictures.
    """
    content = read_json_file(path)
    if not isinstance(content, list):
        raise ValueError(f"{printable(path)}: not a list of boxes (image_id, category_id, bbox, score)")
    pictures = pictures_of(people)
    index_of_id = {number: index for index, number in enumerate(pictures.ids.tolist())}
    sizes_wh = pictures.sizes_hw[:, ::-1].tolist()
    notes: Counter[str] = Counter()
    first = ""
    rows: list[tuple[float, ...]] = []
    for position, entry in enumerate(content):
        kind, row = _row(entry, index_of_id, sizes_wh)
        if row is not None:
            rows.append(row)
        notes[kind] += 1
        if kind in BAD and not first:
            first = f" (the first at position {position})"
    what = (f"{count:,} {kind}{first if kind in BAD else ''}" for kind, count in notes.items() if kind)
    told = ", ".join([f"{len(rows):,} boxes of people in {len({row[0] for row in rows}):,} images", *what])
    if not rows:
        raise ValueError(
            f"{printable(path)}: no box is of a person (category 1) in one of the data set's images: {told}"
        )
    report(f"{printable(path)}: {told}")
    return joined(people, pictures, np.array(rows, np.float64))


BAD = ("dropped: no image_id, bbox or score", "dropped: without an area in their image")


def _row(entry: Any, index_of_id: dict[int, int], sizes_wh: list[list[int]]) -> tuple[str, tuple[float, ...] | None]:
    """What a box is counted as, "" where it is taken; and index of the picture, left, top, width, height, score."""
    if not isinstance(entry, dict):
        return BAD[0], None
    if entry.get("category_id") != COCO_PERSON:
        return "of other categories", None
    bbox: Any = entry.get("bbox")
    score: Any = entry.get("score")
    image_id: Any = entry.get("image_id")
    four = isinstance(bbox, list) and len(bbox) == 4 and all(map(is_number, bbox))
    if not four or not is_number(score) or not is_id(image_id):
        return BAD[0], None
    if image_id not in index_of_id:
        return "in images that the data set has not", None
    if score < LEAST_SCORE:
        return "with a score below 0", None
    index = index_of_id[image_id]
    x, y, w, h = bbox
    width, height = sizes_wh[index]
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if min(w, h, right - left, bottom - top) <= 0:
        return BAD[1], None
    return "", (index, left, top, right - left, bottom - top, score)
