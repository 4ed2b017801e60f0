"""COCO average precision, the one accuracy of this project: fast (hotcoco) and official (pycocotools)."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mgil.tasks.detect.matching import Detections
from mgil.tasks.detect.result_ids import file_names

if TYPE_CHECKING:
    from mgil.datasets.reading.samples import Samples

# COCO's own ranges (object area in original pixels), then finer ones by the square root of the area, for small objects.
_COCO_RANGES = {"all": (0.0, 1e5), "small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, 1e5)}
SIZE_BINS_PX = ((0.0, 8.0), (8.0, 16.0), (16.0, 32.0), (32.0, 64.0), (64.0, 128.0), (128.0, 1e5))
_AREA_RANGES = [[low**2, high**2] for low, high in (*_COCO_RANGES.values(), *SIZE_BINS_PX)]
_AREA_LABELS = [*_COCO_RANGES, *(f"{low:.0f}-{high:.0f}" for low, high in SIZE_BINS_PX)]
_MAX_DETECTIONS = 100  # per image and class
_IMAGES_AT_ONCE = 512


@dataclass(frozen=True)
class SizeBin:
    """AP of the objects whose square root of area lies in a range of original pixels."""

    low_px: float
    high_px: float
    instances: int
    ap: float  # AP50-95; nan without objects

    @property
    def label(self) -> str:
        """For tables: ``8-16 px``."""
        if self.low_px == 0:
            return f"<{self.high_px:.0f} px"
        return f">{self.low_px:.0f} px" if self.high_px >= 1e4 else f"{self.low_px:.0f}-{self.high_px:.0f} px"


@dataclass(frozen=True)
class CocoAverages:
    """COCO's AP (IoU .50:.95, 101 recall points, 100 detections per image and class); nan where there is no label."""

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    size_bins: tuple[SizeBin, ...]
    class_ap: np.ndarray  # (C,) by class index
    class_ap50: np.ndarray  # (C,)
    class_precision: np.ndarray  # (C, 101) at IoU .5 over recall 0, .01 .. 1; nan rows without labels


def coco_averages(
    samples: Samples,
    category_ids: Sequence[int],
    detections: Detections,
    *,
    backend: Literal["fast", "official"] = "fast",
) -> CocoAverages:
    """Score detections by COCO's rule, straight from the arrays.

    Args:
        samples: the split: image ids, areas and crowd flags are taken from it.
        category_ids: COCO category id of each class, distinct.
        detections: original pixels.
        backend: ``fast`` for every epoch, ``official`` for the figure to publish; they agree.

    Raises:
        ValueError: category ids that are not distinct.
    """
    if len(set(category_ids)) != len(category_ids):
        raise ValueError(f"category ids must be distinct, got {list(category_ids)}")
    if backend == "fast":
        return _averages(_fast_precision(samples, len(category_ids), detections), samples)
    return _averages(_official_precision(samples, category_ids, detections), samples)


def _fast_precision(samples: Samples, num_classes: int, detections: Detections) -> np.ndarray:
    """(10 IoUs, 101 recalls, classes, areas) precision of every class, a few images at a time to save memory."""
    import hotcoco

    params = hotcoco.Params("bbox")
    params.area_rng, params.area_rng_lbl, params.max_dets = _AREA_RANGES, _AREA_LABELS, [_MAX_DETECTIONS]
    stream = hotcoco.StreamingEval([{"id": index, "name": str(index)} for index in range(num_classes)], params=params)
    # Of the images' ids only the order has a meaning: equal scores are ranked by it.
    ids = np.argsort(np.argsort(samples.image_ids, kind="stable"))
    truth = _truth_annotations(samples, ids, range(num_classes))
    order = np.argsort(detections.image_index, kind="stable")
    starts = np.searchsorted(detections.image_index[order], np.arange(len(ids) + 1))
    for first in range(0, len(ids), _IMAGES_AT_ONCE):
        last = min(first + _IMAGES_AT_ONCE, len(ids))
        rows = order[starts[first] : starts[last]]
        found = (
            ids[detections.image_index[rows]],
            *xyxy_to_xywh(detections.boxes_xyxy[rows]).T,
            detections.scores[rows],
            detections.classes[rows],
        )
        images = [{"id": number} for number in ids[first:last].tolist()]
        stream.update(images, truth[samples.offsets[first] : samples.offsets[last]], np.column_stack(found))
    evaluator: Any = stream.finalize()
    evaluator.accumulate()
    return np.asarray(evaluator.eval["precision"])[..., -1]


def _official_precision(samples: Samples, category_ids: Sequence[int], detections: Detections) -> np.ndarray:
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it talks
        truth = _as_coco(samples, category_ids, _truth_annotations(samples, samples.image_ids, category_ids))
        found = _as_coco(samples, category_ids, _detection_annotations(samples, category_ids, detections))
        evaluator = COCOeval(truth, found, "bbox")
        evaluator.params.areaRng, evaluator.params.areaRngLbl = _AREA_RANGES, _AREA_LABELS
        evaluator.params.maxDets = [_MAX_DETECTIONS]
        evaluator.evaluate()
        evaluator.accumulate()
    rank_of_class = np.argsort(np.argsort(category_ids))  # it sorts the classes by id
    return evaluator.eval["precision"][..., -1][:, :, rank_of_class]


def _averages(precision: np.ndarray, samples: Samples) -> CocoAverages:
    side_px = np.sqrt(samples.areas[~samples.iscrowd])
    bins = tuple(
        SizeBin(low, high, int(((side_px >= low) & (side_px < high)).sum()), mean_of_valid(precision[..., index]))
        for index, (low, high) in enumerate(SIZE_BINS_PX, start=len(_COCO_RANGES))
    )
    everywhere = precision[..., 0]
    return CocoAverages(
        ap=mean_of_valid(everywhere),
        ap50=mean_of_valid(everywhere[0]),
        ap75=mean_of_valid(everywhere[5]),
        ap_small=mean_of_valid(precision[..., 1]),
        ap_medium=mean_of_valid(precision[..., 2]),
        ap_large=mean_of_valid(precision[..., 3]),
        size_bins=bins,
        class_ap=np.array([mean_of_valid(everywhere[:, :, k]) for k in range(everywhere.shape[2])]),
        class_ap50=np.array([mean_of_valid(everywhere[0, :, k]) for k in range(everywhere.shape[2])]),
        class_precision=np.where(everywhere[0] < 0, np.nan, everywhere[0]).T,
    )


def mean_of_valid(precision: np.ndarray) -> float:
    """Mean without COCO's -1 (no label there); nan when nothing is left."""
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else math.nan


def _as_coco(samples: Samples, category_ids: Sequence[int], annotations: list[dict]) -> Any:
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [
            {"id": int(image_id), "height": int(height), "width": int(width)}
            for image_id, (height, width) in zip(samples.image_ids, samples.sizes_hw, strict=True)
        ],
        "categories": [{"id": int(category), "name": str(category)} for category in category_ids],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _truth_annotations(samples: Samples, image_ids: np.ndarray, category_ids: Sequence[int]) -> list[dict]:
    columns = zip(
        image_ids[samples.image_index].tolist(),
        np.asarray(category_ids, np.int64)[samples.classes].tolist(),
        xyxy_to_xywh(samples.boxes_xyxy_px()).tolist(),
        samples.areas.astype(np.float64).tolist(),
        samples.iscrowd.astype(int).tolist(),
        strict=True,
    )
    return [
        {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
        for number, (image, category, box, area, crowd) in enumerate(columns, start=1)
    ]


def _detection_annotations(samples: Samples, category_ids: Sequence[int], detections: Detections) -> list[dict]:
    boxes_xywh = xyxy_to_xywh(detections.boxes_xyxy)
    columns = zip(
        samples.image_ids[detections.image_index].tolist(),
        np.asarray(category_ids, np.int64)[detections.classes].tolist(),
        boxes_xywh.tolist(),
        boxes_xywh[:, 2:].prod(axis=1).tolist(),
        detections.scores.tolist(),
        strict=True,
    )
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": area,
            "score": score,
            "iscrowd": 0,
        }
        for number, (image, category, box, area, score) in enumerate(columns, start=1)
    ]


def xyxy_to_xywh(boxes_xyxy: np.ndarray) -> np.ndarray:
    """(n, 4) corners -> top-left corner and size, COCO's box."""
    return np.concatenate((boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]), axis=1)


def detections_as_json(samples: Samples, category_ids: Sequence[int], detections: Detections) -> str:
    """COCO result entries with the data set's own image and category ids, whatever path it was loaded from.

    Each has the image's `file_name` too, which readers of COCO results pass over.
    """
    images, places = np.unique(detections.image_index, return_inverse=True)
    names = [json.dumps(name) for name in file_names(samples, images)]
    columns = zip(
        samples.image_ids[detections.image_index].tolist(),
        [names[place] for place in places.tolist()],
        np.asarray(category_ids, np.int64)[detections.classes].tolist(),
        *xyxy_to_xywh(detections.boxes_xyxy).round(3).T.tolist(),
        detections.scores.round(6).tolist(),
        strict=True,
    )
    entry = '{"image_id": %d, "file_name": %s, "category_id": %d, "bbox": [%r, %r, %r, %r], "score": %r}'
    return f"[{', '.join([entry % row for row in columns])}]"


def score_json(path: str | Path, samples: Samples, category_ids: Sequence[int]) -> np.ndarray:
    """Read a result json back, score it by pycocotools and print its table.

    Returns:
        (12,) pycocotools' statistics: AP, AP50, AP75, AP small, medium, large, then six recalls; -1 without labels.
    """
    from pycocotools.cocoeval import COCOeval

    entries = json.loads(Path(path).read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _as_coco(samples, category_ids, _truth_annotations(samples, samples.image_ids, category_ids))
        found = truth.loadRes(entries) if entries else _as_coco(samples, category_ids, [])
        evaluator = COCOeval(truth, found, "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
    evaluator.summarize()
    return evaluator.stats
