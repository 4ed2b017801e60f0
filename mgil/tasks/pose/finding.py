"""Which detector finds the people, and a split with the boxes that it found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mgil.files.text import Report
from mgil.tasks.base import Finder, Followable
from mgil.tasks.pose.boxes import Boxes, people_classes, people_in, whom
from mgil.tasks.pose.people import People
from mgil.tasks.pose.people import pictures_of as all_pictures

SHARED = ("conf_thres", "iou_thres", "max_det", "classes")  # flags that are meant for the detector


def finder_of(options: Any) -> Finder | None:
    """The detector that --detector names, with those flags that are meant for it; None: there is none."""
    if options.detector is None:
        return None
    given = {name: getattr(options, name) for name in SHARED if hasattr(options, name)}
    return Finder(options.detector, "--detector", given)


def pictures_of(people: People) -> list[str]:
    """Paths of the split's pictures, each once, also of those without anybody: a detector may find somebody there."""
    return list(all_pictures(people).paths)


def with_found(people: People, found: Iterable[tuple[str, Followable]], source: str, report: Report) -> People:
    """The people with the boxes that a detector found, `found`, in place of those that came with the split.

    Args:
        people: The split.
        found: What it found in each picture, by path.
        source: The detector's file, for messages.
        report: Told which of its classes are people, and how many boxes there are.
    """
    labelled = people.rows(~people.found)
    pictures = all_pictures(people)
    numbers = dict(zip(pictures.paths, pictures.ids.tolist(), strict=True))
    paths: list[str] = []
    boxes, sizes, ids = [Boxes(np.zeros((0, 4)), np.zeros(0))], [np.zeros((0, 2), np.int64)], list[int]()
    told, classes, looked_at = "", None, 0
    for path, result in found:
        if not told:
            classes = people_classes(result.names)
            told = whom(source, result.names, classes, chosen=False)
        size_hw = result.image.shape[:2]
        own = people_in(result, classes).within(*size_hw)
        boxes.append(own)
        sizes.append(np.tile(np.array(size_hw), (len(own), 1)))
        paths += [path] * len(own)
        ids += [numbers[path]] * len(own)
        looked_at += 1
    corners, scores = np.concatenate([own.xyxy for own in boxes]), np.concatenate([own.scores for own in boxes])
    report(f"people: {told or source}: {len(scores):,} boxes in {looked_at:,} images")
    return joined(labelled, paths, np.concatenate(sizes), np.array(ids, np.int64), Boxes(corners, scores))


def joined(people: People, paths: Sequence[str], sizes_hw: np.ndarray, image_ids: np.ndarray, boxes: Boxes) -> People:
    """People, and behind them n boxes that were found, in pictures by path, size and number."""
    count, width_height = len(boxes), boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]

    def longer(own: np.ndarray, more: Any) -> np.ndarray:
        return np.concatenate((own, more)).astype(own.dtype)

    optional: dict[str, Any] = {}
    if people.head_sizes is not None:
        optional["head_sizes"] = longer(people.head_sizes, np.full(count, np.nan))
    if people.crowds is not None:
        optional["crowds"] = longer(people.crowds, np.full(count, False))
    return replace(
        people,
        image_paths=[*people.image_paths, *paths],
        sizes_hw=longer(people.sizes_hw, sizes_hw),
        boxes=longer(people.boxes, np.concatenate((boxes.xyxy[:, :2], width_height), axis=1)),
        key_points=longer(people.key_points, np.zeros((count, len(people.skeleton), 3))),
        areas=longer(people.areas, width_height.prod(axis=1)),
        scores=longer(people.scores, boxes.scores),
        found=longer(people.found, np.full(count, True)),
        ignored=longer(people.ignored, np.full(count, False)),
        image_ids=longer(people.image_ids, image_ids),
        **optional,
    )
