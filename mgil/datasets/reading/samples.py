"""One split of a data set as flat arrays, and the views of it that training and evaluation need."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np

from mgil.datasets.reading.faults import Faults


@dataclass(frozen=True)
class JsonKeys:
    """How a COCO json calls what was read from it."""

    path: str
    image_folder: str  # that its file names start from
    category_ids: tuple[int, ...]  # by class index
    lacking: tuple[int, ...]  # classes that it has no category of


class NoImages(ValueError):
    """A split is empty: its folders and lists are there, and name no image."""


@dataclass(frozen=True)
class Samples:
    """A split with N images and M labelled boxes.

    Flat arrays, so that decoding processes share instead of copy. A box has one form here, centre and size as fractions
    of its image; `boxes_xyxy_px` gives its corners in pixels. Rows of boxes are in the order of their images.
    """

    image_paths: Sequence[str]  # N; `load_samples` gives a PathList
    sizes_hw: np.ndarray  # (N, 2) int32 pixels, after EXIF rotation
    boxes_cxcywh: np.ndarray  # (M, 4) float32, normalised to 0..1 of the image
    classes: np.ndarray  # (M,) int32
    areas: np.ndarray  # (M,) float32, original pixels^2: a COCO json's `area`, else width * height of the box
    iscrowd: np.ndarray  # (M,) bool: a region of many objects; for evaluation, where hits in it do not count
    offsets: np.ndarray  # (N+1,) int64: the labels of image i are [offsets[i]:offsets[i+1]]
    image_ids: np.ndarray  # (N,) int64
    json: JsonKeys | None = None  # None: from label files

    @classmethod
    def from_rows(
        cls,
        image_paths: Sequence[str],
        sizes_hw: np.ndarray,
        images: np.ndarray,
        boxes_cxcywh: np.ndarray,
        classes: np.ndarray,
        areas: np.ndarray,
        iscrowd: np.ndarray | None = None,
        image_ids: np.ndarray | None = None,
    ) -> Samples:
        """A split from boxes in the order of the images that they belong to.

        Args:
            image_paths: N paths.
            sizes_hw: (N, 2) pixels.
            images: (M,) the index of each box's image, ascending.
            boxes_cxcywh: (M, 4), as fractions of the image.
            classes: (M,) class indices.
            areas: (M,) in pixels^2.
            iscrowd: (M,) whether a box is a crowd region; None: none is.
            image_ids: (N,) whole numbers; None: 1 to N.
        """
        per_image = np.bincount(images, minlength=len(image_paths))
        return cls(
            image_paths=image_paths,
            sizes_hw=sizes_hw,
            boxes_cxcywh=boxes_cxcywh.astype(np.float32),
            classes=classes.astype(np.int32),
            areas=areas.astype(np.float32),
            iscrowd=np.zeros(len(classes), bool) if iscrowd is None else iscrowd.astype(bool),
            offsets=np.concatenate([[0], np.cumsum(per_image)]).astype(np.int64),
            image_ids=np.arange(1, len(image_paths) + 1, dtype=np.int64) if image_ids is None else image_ids,
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.image_paths)

    def content(self) -> dict[str, Any]:
        """The number of boxes, and a digest of all but the paths and ids of the images."""
        kept = (self.sizes_hw, self.boxes_cxcywh, self.classes, self.areas, self.iscrowd, self.offsets)
        return {"boxes": len(self.classes), "labels": digest_of(*kept)}

    @property
    def image_index(self) -> np.ndarray:
        """(M,) int64, the index of each box's image."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def boxes_xyxy_px(self) -> np.ndarray:
        """(M, 4) float64, the corners of all boxes in pixels of the original images."""
        size_wh = self.sizes_hw[self.image_index][:, ::-1].astype(np.float64)
        centre, half = self.boxes_cxcywh[:, :2] * size_wh, self.boxes_cxcywh[:, 2:] * size_wh / 2
        return np.concatenate((centre - half, centre + half), axis=1)

    def rows_of(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the labels of several images.

        Args:
            images: (K,) image indices, repeats allowed.

        Returns:
            (T,) rows of the label arrays and (T,) index into `images` that each row is for.
        """
        counts = self.offsets[images + 1] - self.offsets[images]
        owners = np.repeat(np.arange(len(images)), counts)
        firsts = np.cumsum(counts) - counts
        rows = np.arange(counts.sum()) - np.repeat(firsts, counts) + np.repeat(self.offsets[images], counts)
        return rows, owners

    def without_crowds(self) -> Samples:
        """What to train on: crowd boxes mark a region and no object."""
        return self._with_rows(~self.iscrowd) if self.iscrowd.any() else self

    def without_labels_of(self, images: Collection[int]) -> Samples:
        """The same images, of which some (by index) have no labels."""
        kept = np.ones(len(self.classes), bool)
        for image in images:
            kept[self.offsets[image] : self.offsets[image + 1]] = False
        return self._with_rows(kept)

    def _with_rows(self, kept: np.ndarray) -> Samples:
        flat = {name: getattr(self, name)[kept] for name in ("boxes_cxcywh", "classes", "areas", "iscrowd")}
        return replace(self, **flat, offsets=np.concatenate([[0], np.cumsum(kept)])[self.offsets])


def digest_of(*arrays: np.ndarray) -> str:
    """The same for the same values, shapes and types alone."""
    digest = sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@dataclass
class Counts:
    """How much of what reading found; all add up when parts of a split are joined."""

    labelled: int = 0  # images with labels
    missing: int = 0  # images without a label file
    empty: int = 0  # images with an empty label file, or without annotations in a COCO json
    dropped: int = 0  # bad lines of label files and lists, bad entries of a COCO json
    bad_images: int = 0  # images that cannot be used
    clipped: int = 0  # boxes cut at the image's edge by more than rounding
    polygons: int = 0  # lines of label files that are polygons
    key_points: int = 0  # lines of label files that have key points behind the box


@dataclass
class Findings:
    """What reading a split has to tell beside the labels."""

    counts: Counts = field(default_factory=Counts)
    problems: list[str] = field(default_factory=list)  # a line for people each
    faults: Faults = field(default_factory=Faults)  # of label files


def join_parts(parts: Sequence[tuple[Samples, Findings]]) -> tuple[Samples, Findings]:
    """Consecutive parts of a split of label files, one after the other; image ids are 1 to N."""
    samples = [part for part, _ in parts]
    found = [told for _, told in parts]
    ends = np.cumsum([0] + [len(part.classes) for part in samples])
    paths = [path for part in samples for path in part.image_paths]
    flat = ("sizes_hw", "boxes_cxcywh", "classes", "areas", "iscrowd")
    faults = Faults()
    for told in found:
        faults.update(told.faults)
    arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in samples]) for name in flat}
    joined = Samples(
        image_paths=paths,
        **arrays,
        offsets=np.concatenate([[0], *(part.offsets[1:] + end for part, end in zip(samples, ends[:-1], strict=True))]),
        image_ids=np.arange(1, len(paths) + 1, dtype=np.int64),
    )
    return joined, Findings(
        Counts(*map(sum, zip(*(astuple(told.counts) for told in found), strict=True))),
        [problem for told in found for problem in told.problems],
        faults,
    )
