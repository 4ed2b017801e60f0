"""What reading a split found: the arrays, the counts and the problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np


@dataclass
class Counts:
    """How much of what; all add up when parts of a split are joined."""

    labelled: int = 0  # images with labels
    missing: int = 0  # images without a label file
    empty: int = 0  # images with an empty label file, or without annotations in a COCO json
    dropped: int = 0  # bad lines of label files and lists, bad entries of a COCO json
    bad_images: int = 0  # images that cannot be used
    clipped: int = 0  # boxes cut at the image's edge by more than rounding
    unknown_class: int = 0  # lines dropped since their class id is not in the data set


@dataclass
class Scan:
    """N usable images with M boxes."""

    image_paths: list[str] = field(default_factory=list)  # N
    sizes_hw: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int32))  # (N, 2) pixels
    boxes_cxcywh: np.ndarray = field(default_factory=lambda: np.empty((0, 4), np.float32))  # (M, 4) normalised
    classes: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))  # (M,)
    areas: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))  # (M,) pixels^2
    iscrowd: np.ndarray = field(default_factory=lambda: np.empty(0, bool))  # (M,)
    offsets: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))  # (N+1,)
    image_ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # (N,), once the split is whole
    problems: list[str] = field(default_factory=list)  # a line for people each
    unknown_classes: list[str] = field(default_factory=list)  # the first of the problems that are unknown class ids
    counts: Counts = field(default_factory=Counts)

    def set_boxes(self, images: np.ndarray, boxes: np.ndarray, classes: np.ndarray, areas: np.ndarray) -> None:
        """Set all boxes, given in the order of the images that they belong to; none is a crowd.

        Args:
            images: (M,) the index of each box's image, ascending.
        """
        self.boxes_cxcywh = boxes.astype(np.float32)
        self.classes = classes.astype(np.int32)
        self.areas = areas.astype(np.float32)
        self.iscrowd = np.zeros(len(classes), bool)
        per_image = np.bincount(images, minlength=len(self.image_paths))
        self.offsets = np.concatenate([[0], np.cumsum(per_image)]).astype(np.int64)


def join_scans(scans: Sequence[Scan]) -> Scan:
    """The scans of consecutive parts of a split, one after the other; they have no image ids of their own."""
    scans = scans or [Scan()]
    ends = np.cumsum([0] + [int(scan.offsets[-1]) for scan in scans])[:-1]
    return Scan(
        image_paths=[path for scan in scans for path in scan.image_paths],
        sizes_hw=np.concatenate([scan.sizes_hw for scan in scans]),
        boxes_cxcywh=np.concatenate([scan.boxes_cxcywh for scan in scans]),
        classes=np.concatenate([scan.classes for scan in scans]),
        areas=np.concatenate([scan.areas for scan in scans]),
        iscrowd=np.concatenate([scan.iscrowd for scan in scans]),
        offsets=np.concatenate([[0], *(scan.offsets[1:] + end for scan, end in zip(scans, ends, strict=True))]),
        problems=[problem for scan in scans for problem in scan.problems],
        unknown_classes=[problem for scan in scans for problem in scan.unknown_classes][:1],
        counts=Counts(*(sum(getattr(scan.counts, field.name) for scan in scans) for field in fields(Counts))),
    )
