"""The outlines of objects, where labels have polygons; only perspective and copy_paste need them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mgil.datasets.reading.coco_json import outlines_in, read_json
from mgil.datasets.reading.label_text import parse_polygons
from mgil.datasets.reading.labels import label_path_of
from mgil.datasets.reading.samples import Samples
from mgil.files.regular import open_regular

SAME_BOX = 1e-4  # of the image's side: how far a label's box may be from its polygon's by rounding
Placed = tuple[int, np.ndarray, np.ndarray]  # index of an image, corners of a box, (n, 2) points, as its fractions


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
    """Read the polygons of a split once more; a label has the one of its image that has the same box.

    What was dropped or told at the first reading is passed over here.

    Args:
        samples: a split from label files or from a COCO json.
    """
    half = samples.boxes_cxcywh[:, 2:] / 2
    corners = np.concatenate([samples.boxes_cxcywh[:, :2] - half, samples.boxes_cxcywh[:, :2] + half], axis=1)
    outlines: dict[int, np.ndarray] = {}  # by label
    for image, box, outline in _in_json(samples) if samples.json else _in_label_files(samples):
        first, end = samples.offsets[image], samples.offsets[image + 1]
        same = first + np.flatnonzero(np.abs(corners[first:end] - box).max(axis=1) < SAME_BOX)
        label = next((int(label) for label in same if label not in outlines), None)
        if label is not None:
            outlines[label] = outline.astype(np.float32)
    counts = np.zeros(len(samples.classes), np.int64)
    counts[list(outlines)] = [len(outline) for outline in outlines.values()]
    points = [np.empty((0, 2), np.float32), *(outlines[label] for label in sorted(outlines))]
    return Polygons(np.concatenate(points), np.concatenate([[0], np.cumsum(counts)]))


def _in_json(samples: Samples) -> Iterator[Placed]:
    assert samples.json is not None
    return outlines_in(read_json(samples.json.path), samples.image_ids.tolist(), samples.sizes_hw)


def _in_label_files(samples: Samples) -> Iterator[Placed]:
    """The polygons in the label files of a split, cut at the image's edge."""
    for image in np.flatnonzero(np.diff(samples.offsets)).tolist():
        try:
            with open_regular(label_path_of(samples.image_paths[image])) as file:
                content = file.read()
        except OSError:
            continue
        for values in parse_polygons(content):
            outline = np.array(values[1:], np.float64).reshape(-1, 2)
            if np.isfinite(outline).all():
                outline = outline.clip(0, 1)
                yield image, np.concatenate([outline.min(axis=0), outline.max(axis=0)]), outline
