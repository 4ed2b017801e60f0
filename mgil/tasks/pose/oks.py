"""OKS average precision, COCO's measure for key points: COCOeval's ten numbers, and AP by the size of people."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mgil.tasks.pose.people import People
from mgil.tasks.pose.skeleton import COCO_PERSON

SIZE_BINS_PX = ((0.0, 32.0), (32.0, 64.0), (64.0, 128.0), (128.0, 1e5))  # of the longer side of the box
MOST_RESULTS = 20  # that count in a picture, the best first; COCO's for key points
_NOBODYS_AREA = 1e11  # beyond COCO's range "all": such a result is no mistake where it fits nobody


@dataclass(frozen=True)
class Poses:
    """What a network found, a row for each crop.

    Attributes:
        items: (n,) int64 index of each in the People that were cropped.
        key_points: (n, K, 3) float64 x, y in pixels of the picture (the middle of the first one is 0), and score.
        scores: (n,) float64 of the whole person.
    """

    items: np.ndarray
    key_points: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        """n."""
        return len(self.items)

    def flat(self) -> np.ndarray:
        """(n, 3K) key points as COCO's json has them."""
        return self.key_points.reshape(len(self), 3 * self.key_points.shape[1])

    def rows(self, chosen: np.ndarray) -> Poses:
        """Those alone, (m,) indices or (n,) bool."""
        return Poses(self.items[chosen], self.key_points[chosen], self.scores[chosen])


@dataclass(frozen=True)
class OksAverages:
    """COCO's ten numbers for key points; NaN where there is nobody to be found.

    OKS .50:.95 unless a number says which, 20 results a picture; medium: areas of 32^2 to 96^2 pixels, large: above.
    """

    ap: float
    ap50: float
    ap75: float
    ap_medium: float
    ap_large: float
    ar: float
    ar50: float
    ar75: float
    ar_medium: float
    ar_large: float


@dataclass(frozen=True)
class SizeBin:
    """AP of the people whose box has its longer side in a range of pixels of the picture."""

    low_px: float
    high_px: float
    people: int
    ap: float  # NaN without people

    @property
    def label(self) -> str:
        """For tables: `32-64 px`."""
        if self.low_px == 0:
            return f"<{self.high_px:.0f} px"
        return f">{self.low_px:.0f} px" if self.high_px >= 1e4 else f"{self.low_px:.0f}-{self.high_px:.0f} px"


def oks_averages(people: People, poses: Poses, *, backend: Literal["fast", "official"] = "fast") -> OksAverages:
    """Score poses by COCO's rule.

    Args:
        people: Of `poses`; those that are labels are the truth. Who is `ignored` is neither counted as missed nor are
            results that fit them mistakes.
        poses: What was found.
        backend: `fast` (hotcoco) for every epoch, `official` (pycocotools); they agree to the last bit.
    """
    truth, found = as_coco(people, labels_of(people)), as_coco(people, results_of(people, poses))
    precision, recall = evaluated(truth, found, people.skeleton.sigmas, backend)
    return OksAverages(
        *(_mean(part) for part in (precision[..., 0], precision[0, :, :, 0], precision[5, :, :, 0])),
        *(_mean(precision[..., place]) for place in (1, 2)),
        *(_mean(part) for part in (recall[..., 0], recall[0, :, 0], recall[5, :, 0])),
        *(_mean(recall[..., place]) for place in (1, 2)),
    )


def size_bins(people: People, poses: Poses, backend: Literal["fast", "official"] = "fast") -> tuple[SizeBin, ...]:
    """AP by the longer side of the box, as COCO's AP by area.

    In each bin, people of other sizes are ignored: results that fit them do not count. Results that fit nobody are
    mistakes where the box that they were cropped from is of the bin.
    """
    sides = people.boxes[:, 2:].max(axis=1, initial=0.0)
    everyone = _Entries(people, poses)
    bins = []
    for low, high in SIZE_BINS_PX:
        inside = (sides >= low) & (sides < high)
        count = int((inside & ~people.found & ~people.ignored).sum())
        ap = math.nan
        if count:
            ap = _mean(evaluated(*everyone.of_size(inside), people.skeleton.sigmas, backend)[0][..., 0])
        bins.append(SizeBin(low, high, count, ap))
    return tuple(bins)


class _Entries:
    """Annotations and results of all people, made once for all sizes."""

    def __init__(self, people: People, poses: Poses) -> None:
        self.people, self.items = people, poses.items
        self.rows = np.flatnonzero(~people.found)
        self.labels, self.results = labels_of(people), results_of(people, poses)

    def of_size(self, inside: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
        """Truth and results where only people of a size count, (N,) bool; pictures without any change nothing."""
        ids = self.people.image_ids
        concerned = np.concatenate((self.rows, self.items))
        shown = np.isin(ids, ids[concerned[inside[concerned]]])
        truth = [
            entry if inside[row] else {**entry, "num_keypoints": 0}
            for row, entry in zip(self.rows.tolist(), self.labels, strict=True)
            if shown[row]
        ]
        found = [
            entry if inside[item] else {**entry, "area": _NOBODYS_AREA}
            for item, entry in zip(self.items.tolist(), self.results, strict=True)
            if shown[item]
        ]
        return as_coco(self.people, truth), as_coco(self.people, found)


def evaluated(
    truth: dict[str, Any], found: dict[str, Any], sigmas: Sequence[float], backend: Literal["fast", "official"]
) -> tuple[np.ndarray, np.ndarray]:
    """COCOeval's (10 OKS, 101 recalls, 1, 3 areas) precision and (10, 1, 3) recall; -1 where there is nobody."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools talks
        if backend == "fast":
            import hotcoco

            evaluator: Any = hotcoco.COCOeval(hotcoco.COCO(truth), hotcoco.COCO(found), "keypoints")
            evaluator.params.kpt_oks_sigmas = list(sigmas)
        else:
            from pycocotools.cocoeval import COCOeval

            evaluator = COCOeval(indexed(truth), indexed(found), "keypoints")
            evaluator.params.kpt_oks_sigmas = np.array(sigmas)
        evaluator.params.maxDets = [MOST_RESULTS]
        evaluator.evaluate()
        evaluator.accumulate()
    content = evaluator.eval
    return np.asarray(content["precision"])[..., -1], np.asarray(content["recall"])[..., -1]


def indexed(content: dict[str, Any]) -> Any:
    """pycocotools' object of a json's content."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = content
    coco.createIndex()
    return coco


def as_coco(people: People, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of a COCO json: the pictures of people, and annotations."""
    images, first = np.unique(people.image_ids, return_index=True)
    sizes = zip(images.tolist(), people.sizes_hw[first].tolist(), strict=True)
    return {
        "info": {},
        "images": [{"id": image, "height": height, "width": width} for image, (height, width) in sizes],
        "categories": [{"id": COCO_PERSON, "name": "person", "keypoints": list(people.skeleton.names), "skeleton": []}],
        "annotations": annotations,
    }


def labels_of(people: People) -> list[dict[str, Any]]:
    """An annotation of each labelled person."""
    rows = np.flatnonzero(~people.found)
    key_points = people.key_points[rows]
    visible = key_points[..., 2] > 0
    points = np.where(visible[..., None], key_points, 0).reshape(len(rows), 3 * key_points.shape[1])
    counted = np.where(people.ignored[rows], 0, visible.sum(axis=1))
    crowds = np.zeros(len(rows), bool) if people.crowds is None else people.crowds[rows]
    columns = zip(
        people.image_ids[rows].tolist(),
        people.boxes[rows].tolist(),
        people.areas[rows].tolist(),
        crowds.astype(int).tolist(),
        points.tolist(),
        counted.tolist(),
        strict=True,
    )
    names = ("image_id", "bbox", "area", "iscrowd", "keypoints", "num_keypoints")
    return [
        {"id": number, "category_id": COCO_PERSON, **dict(zip(names, values, strict=True))}
        for number, values in enumerate(columns, start=1)
    ]


def results_of(people: People, poses: Poses) -> list[dict[str, Any]]:
    """A result of each pose; its area is that of the box around its joints, as in pycocotools."""
    places = poses.key_points[..., :2]
    low, high = (places.min(axis=1), places.max(axis=1)) if len(poses) else (np.zeros((0, 2)), np.zeros((0, 2)))
    columns = zip(
        people.image_ids[poses.items].tolist(),
        np.concatenate((low, high - low), axis=1).tolist(),
        (high - low).prod(axis=1).tolist(),
        poses.flat().tolist(),
        poses.scores.tolist(),
        strict=True,
    )
    names = ("image_id", "bbox", "area", "keypoints", "score")
    return [
        {"id": number, "category_id": COCO_PERSON, "iscrowd": 0, **dict(zip(names, values, strict=True))}
        for number, values in enumerate(columns, start=1)
    ]


def _mean(values: np.ndarray) -> float:
    """Mean without COCO's -1 (nobody there); NaN when nothing is left."""
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else math.nan
