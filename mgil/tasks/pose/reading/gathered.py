"""What the readers of all forms share: people as they are found, and the split that is made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mgil.datasets.reading.path_list import PathList
from mgil.files.text import printable
from mgil.tasks.pose.people import People, Pictures
from mgil.tasks.pose.skeleton import Skeleton

# Of the box: what COCO's people fill of theirs in the mean (0.52 to 0.54), where nobody has measured the person.
AREA_SHARE = 0.53
# How much a box around labelled joints grows on every side, of its longer side: the head and the limbs go beyond them.
MARGIN = 0.12
LEAST_MARGIN = 4.0  # pixels
FAR_OUT = 1e6  # pixels; a key point that far away is none


@dataclass
class Gathered:
    """People of a split as they are found, one by one.

    Attributes:
        count: K.
        image_paths: The pictures that can be used.
        sizes_hw: Their pixels.
        image_ids: Their numbers.
        problems: A line for people each.
        notes: What is no problem but told, by what it is.
    """

    count: int
    image_paths: Sequence[str] = ()
    sizes_hw: Sequence[tuple[int, int]] = ()
    image_ids: Sequence[int] = ()
    problems: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    images: list[int] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    ignored: list[bool] = field(default_factory=list)
    crowds: list[bool] = field(default_factory=list)
    heads: list[float] = field(default_factory=list)

    def add(
        self,
        image: int,
        box: Sequence[float] | None,
        points: np.ndarray,
        area: float | None = None,
        crowd: bool = False,
        whole: bool = False,
        head: float = np.nan,
    ) -> str:
        """Take a person.

        Args:
            image: Index of the picture.
            box: Left, top, width, height in pixels; None: around the labelled key points.
            points: (K, 3) x, y, visibility.
            area: Square pixels; None: a share of the box.
            crowd: A region of many people.
            whole: The box is kept where it reaches out of the picture.
            head: PCKh's unit in pixels.

        Returns:
            What is wrong, in which case nobody is taken; else "".
        """
        rows = points.tolist()  # a quarter of a million people of 17 points are many calls of NumPy
        if wrong := [seen for _, _, seen in rows if seen not in (0, 1, 2)]:
            return f"a visibility is {wrong[0]:g}, must be 0, 1 or 2"
        labelled = [(x, y) for x, y, seen in rows if seen]
        if not all(abs(x) < FAR_OUT and abs(y) < FAR_OUT for x, y in labelled):  # NaN, too
            return "a key point has no place (NaN, or far outside)"
        height, width = self.sizes_hw[image]
        if box is None:
            if not labelled:
                return "has neither a box nor labelled key points"
            box = box_around(np.array(labelled))
        if not all(abs(side) < FAR_OUT for side in box):
            return "a side of the box is NaN, or far outside"
        left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
        if not whole:
            left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)
        if min(box[2], box[3], right - left, bottom - top) <= 0:
            return f"box {' '.join(f'{side:g}' for side in box)} has no area in the picture of {height}x{width} pixels"
        if area is not None and not 0 <= area < FAR_OUT**2:
            return f"area {area!r} is not a number from 0"
        self.images.append(image)
        self.boxes.append((left, top, right - left, bottom - top))
        self.points.append(points)
        self.areas.append((right - left) * (bottom - top) * AREA_SHARE if area is None else area)
        self.ignored.append(crowd or not labelled)
        self.crowds.append(crowd)
        self.heads.append(head)
        self.notes["crowds"] += crowd
        self.notes["people without key points"] += not crowd and not labelled
        return ""

    def drop_person(self, where: str, problem: str) -> None:
        """Tell of a person who cannot be used, at a place that can be printed."""
        self.problems.append(f"{where}: {problem}; person dropped")
        self.notes["people dropped"] += 1

    def skip_picture(self, path: str, problem: str) -> None:
        """Tell of a picture that cannot be used."""
        self.problems.append(f"{printable(path)}: {problem}; image skipped")
        self.notes["pictures skipped"] += 1

    def people(self, skeleton: Skeleton, torso: tuple[int, int] | None) -> People:
        """The split, its people in the order of their pictures."""
        count = len(self.images)
        images = np.array(self.images, np.int64)
        order = np.argsort(images, kind="stable")
        images = images[order]
        heads = np.array(self.heads, np.float64)[order]
        points = np.array(self.points, np.float64).reshape(count, self.count, 3)[order]
        sizes_hw, ids = np.array(self.sizes_hw, np.int64).reshape(-1, 2), np.array(self.image_ids, np.int64)
        return People(
            image_paths=PathList([self.image_paths[image] for image in images.tolist()]),
            sizes_hw=sizes_hw[images],
            boxes=np.array(self.boxes, np.float64).reshape(-1, 4)[order],
            key_points=np.where(points[:, :, 2:] > 0, points, 0.0),
            areas=np.array(self.areas, np.float64)[order],
            scores=np.ones(count),
            found=np.zeros(count, bool),
            ignored=np.array(self.ignored, bool)[order],
            image_ids=ids[images],
            image_count=len(self.image_paths),
            skeleton=skeleton,
            head_sizes=None if np.isnan(heads).all() else heads,
            torso=torso,
            crowds=np.array(self.crowds, bool)[order],
            pictures=Pictures(PathList(self.image_paths), sizes_hw, ids),
        )


def box_around(points: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, width and height around (n, 2) key points, with a margin."""
    (left, top), (right, bottom) = points.min(0), points.max(0) + 1.0  # from middles to edges of pixels
    margin = max(MARGIN * max(right - left, bottom - top), LEAST_MARGIN)
    return float(left - margin), float(top - margin), float(right - left + 2 * margin), float(bottom - top + 2 * margin)
