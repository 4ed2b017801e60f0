"""A split's people: every person is an item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mgil.datasets.reading.path_list import PathList
from mgil.datasets.reading.samples import digest_of
from mgil.tasks.pose.skeleton import Skeleton


@dataclass(frozen=True)
class Pictures:
    """The M pictures of a split, those without anybody too.

    Attributes:
        paths: M.
        sizes_hw: (M, 2) pixels.
        ids: (M,) int64 numbers, as COCO's json has them.
    """

    paths: Sequence[str]
    sizes_hw: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class People:
    """People of M pictures; an item is one person in one picture, to be cropped.

    Coordinates of key points are those of pixel centres, as in COCO's files: the middle of the first pixel is 0. Boxes
    are those of edges: the first pixel covers 0 to 1.

    Attributes:
        image_paths: N, by item: people of one picture share a path.
        sizes_hw: (N, 2) pixels of the picture of each item.
        boxes: (N, 4) float64 left, top, width, height in pixels of the picture, within it; MPII's, which are squares
            around the person, may reach out of it.
        key_points: (N, K, 3) float64 x, y, visibility: 0 no label, 1 hidden, 2 visible. Where the visibility is 0, x
            and y mean nothing; others may lie outside the picture.
        areas: (N,) float64 square pixels of the person, for OKS.
        scores: (N,) float64 of the boxes: 1 for labels, a detector's own for its boxes.
        found: (N,) bool: boxes of a detector, not labels; they have no key points.
        ignored: (N,) bool: crowds and people without key points, who are neither cropped nor counted as missed.
        image_ids: (N,) int64 the picture of each item, as COCO's json numbers it.
        head_sizes: (N,) float64 pixels that PCKh divides distances by (NaN: not known); None: the set has none.
        image_count: M, pictures without anybody counted too.
        skeleton: What the key points are.
        torso: Indices of the two key points between which PCK's unit is measured (LSP: left shoulder, right hip); None:
            PCK divides by the longer side of the box.
        crowds: (N,) bool: ignored people who are a crowd, whom any number of results may fit; None: there are none.
        pictures: All M pictures, where a detector may find somebody; None: they are those of the items.
    """

    image_paths: Sequence[str]
    sizes_hw: np.ndarray
    boxes: np.ndarray
    key_points: np.ndarray
    areas: np.ndarray
    scores: np.ndarray
    found: np.ndarray
    ignored: np.ndarray
    image_ids: np.ndarray
    image_count: int
    skeleton: Skeleton
    head_sizes: np.ndarray | None = None
    torso: tuple[int, int] | None = None
    crowds: np.ndarray | None = None
    pictures: Pictures | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.image_paths)

    def rows(self, chosen: np.ndarray) -> People:
        """Those people alone, (n,) indices or (N,) bool."""
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        arrays = {name: getattr(self, name)[chosen] for name in _ARRAYS}
        known = {name: getattr(self, name) for name in ("head_sizes", "crowds")}
        arrays |= {name: values[chosen] for name, values in known.items() if values is not None}
        return replace(self, image_paths=[self.image_paths[row] for row in chosen.tolist()], **arrays)

    def content(self) -> dict[str, Any]:
        """See `mgil.tasks.base.Split`."""
        return {
            "images": self.image_count,
            "people": int((~self.found & ~self.ignored).sum()),
            "labels": digest_of(*(getattr(self, name) for name in _ARRAYS)),
        }


def pictures_of(people: People) -> Pictures:
    """The pictures of a split."""
    if people.pictures is not None:
        return people.pictures
    ids, rows = np.unique(people.image_ids, return_index=True)
    return Pictures([people.image_paths[row] for row in rows.tolist()], people.sizes_hw[rows], ids)


def joined(people: People, pictures: Pictures, rows: np.ndarray) -> People:
    """People and, after them in the order of their pictures, boxes that were found.

    Args:
        people: The labels.
        pictures: Of the split.
        rows: (n, 6) index of the picture; left, top, width, height; score.
    """
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    count = len(rows)
    images = rows[:, 0].astype(np.int64)
    added: dict[str, np.ndarray] = {
        "sizes_hw": pictures.sizes_hw[images],
        "boxes": rows[:, 1:5],
        "key_points": np.zeros((count, len(people.skeleton), 3)),
        "areas": rows[:, 3] * rows[:, 4],
        "scores": rows[:, 5],
        "found": np.ones(count, bool),
        "ignored": np.zeros(count, bool),
        "image_ids": pictures.ids[images],
    }
    unknown = {"head_sizes": np.full(count, np.nan), "crowds": np.zeros(count, bool)}
    added |= {name: values for name, values in unknown.items() if getattr(people, name) is not None}
    longer: dict[str, Any] = {name: np.concatenate([getattr(people, name), more]) for name, more in added.items()}
    paths = [*people.image_paths, *(pictures.paths[image] for image in images.tolist())]
    return replace(people, image_paths=PathList(paths), **longer)


def trainable(people: People) -> np.ndarray:
    """(N,) bool: those with key points to learn from, no crowds and no boxes of a detector."""
    labelled: np.ndarray = (people.key_points[:, :, 2] > 0).any(1) & ~people.ignored & ~people.found
    return labelled


_ARRAYS = ("sizes_hw", "boxes", "key_points", "areas", "scores", "found", "ignored", "image_ids")
