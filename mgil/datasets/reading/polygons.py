"""The outlines of objects, from label files that have polygons; only perspective and copy_paste need them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np

from mgil.datasets.reading.label_text import parse_polygons
from mgil.datasets.reading.labels import label_path_of
from mgil.datasets.reading.samples import Samples
from mgil.files.regular import open_regular

SAME_BOX = 1e-4  # of the image's side: how far a label's box may be from its polygon's by rounding


@dataclass(frozen=True)
class Polygons:
    """The outlines of a split's M labels, as flat arrays.

    Attributes:
        points: (P, 2) float32 x and y, as fractions of the image.
        ends: (M+1,) int64: label m has points [ends[m]:ends[m+1]]; none where it is a box alone.
    """

    points: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        """How many labels have an outline."""
        return int(np.count_nonzero(np.diff(self.ends)))

    def of(self, label: int) -> np.ndarray:
        """(n, 2) points of a label."""
        return self.points[self.ends[label] : self.ends[label + 1]]


def read_polygons(samples: Samples) -> Polygons:
    """Read the polygons in the label files of a split once more; a label finds its own by the box around it.

    What `scan_yolo` dropped or told is passed over here.

    Args:
        samples: a split from label files. Labels without a file, as those of a COCO json, have no polygon.
    """
    points, counts = array("f"), np.zeros(len(samples.classes), np.int64)
    corners = np.concatenate(
        [
            samples.boxes_cxcywh[:, :2] - samples.boxes_cxcywh[:, 2:] / 2,
            samples.boxes_cxcywh[:, :2] + samples.boxes_cxcywh[:, 2:] / 2,
        ],
        axis=1,
    )
    for image, path in enumerate(samples.image_paths):
        first, end = samples.offsets[image], samples.offsets[image + 1]
        if first == end:
            continue
        outlines = _outlines_in(label_path_of(path))
        for label in range(first, end):
            for number, outline in enumerate(outlines):
                box = np.concatenate([outline.min(axis=0), outline.max(axis=0)])
                if np.abs(box - corners[label]).max() < SAME_BOX:
                    points.extend(outlines.pop(number).ravel().tolist())
                    counts[label] = len(outline)
                    break
    return Polygons(np.array(points, np.float32).reshape(-1, 2), np.concatenate([[0], np.cumsum(counts)]))


def _outlines_in(label_path: str) -> list[np.ndarray]:
    """The polygons of a label file, cut at the image's edge."""
    try:
        with open_regular(label_path) as file:
            content = file.read()
    except OSError:
        return []
    outlines = [np.array(values[1:], np.float64).reshape(-1, 2) for values in parse_polygons(content)]
    return [outline.clip(0, 1) for outline in outlines if np.isfinite(outline).all()]
