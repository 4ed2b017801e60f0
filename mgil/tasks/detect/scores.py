"""What an evaluation of a detector found: COCO AP, precision and recall, by class and by object size."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.samples import Samples
from mgil.files.atomic import write_text_atomic
from mgil.files.text import Report
from mgil.tasks.detect.coco import CocoAverages, SizeBin, coco_averages, detections_as_json, score_json
from mgil.tasks.detect.confusion import confusion_matrix
from mgil.tasks.detect.curves import Curves, confidence_curves
from mgil.tasks.detect.matching import Detections
from mgil.tasks.detect.options import ValOptions
from mgil.tasks.detect.result_ids import category_ids_of, notes_on_ids

if TYPE_CHECKING:
    from mgil.tasks.detect.plots import BatchPictures


METRICS = ("metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95")


@dataclass(frozen=True)
class ClassResult:
    """One row of the per-class table; precision, recall and F1 at the confidence of the best mean F1.

    A class that is never found at that confidence has precision 0, as it has recall and F1 0.
    """

    name: str
    images: int  # with at least one label of the class
    instances: int
    precision: float
    recall: float
    f1: float
    ap50: float
    ap50_95: float


@dataclass(frozen=True)
class DetectScores:
    """What an evaluation found. AP is COCO's; NaN where there is no label to be found."""

    map50_95: float
    map50: float
    map75: float
    map_small: float
    map_medium: float
    map_large: float
    precision: float
    recall: float
    f1: float
    best_confidence: float
    images: int
    instances: int
    per_class: tuple[ClassResult, ...]
    size_bins: tuple[SizeBin, ...]
    class_precision: np.ndarray  # (C, 101) at IoU .5 over recall
    curves: Curves
    confusion: np.ndarray  # (C + 1, C + 1), predicted by labelled
    detections: Detections  # original pixels
    unreadable: tuple[int, ...]  # indices of images that could not be read; neither their labels nor they are counted
    samples: Samples  # the split, without the labels of those
    data: DataConfig
    options: ValOptions
    batch_pictures: BatchPictures | None = None  # kept while the batches came

    @property
    def fitness(self) -> float:
        """What the best epoch is chosen by: 0.1 mAP50 + 0.9 mAP50-95, YOLOv5's."""
        return float(np.nan_to_num(0.1 * self.map50 + 0.9 * self.map50_95))

    def columns(self) -> dict[str, float]:
        """The columns of results.csv."""
        return dict(zip(METRICS, (self.precision, self.recall, self.map50, self.map50_95), strict=True))

    def summary(self) -> str:
        """For an epoch's line."""
        return f"P {self.precision:.3f}  R {self.recall:.3f}  mAP50 {self.map50:.3f}  mAP50-95 {self.map50_95:.3f}"

    def lines(self, imgsz: int, verbose: bool) -> list[str]:
        """The console's table."""
        from mgil.tasks.detect.report import result_lines

        return result_lines(self, input_size=imgsz, verbose=verbose)

    def row(self) -> dict[str, float]:
        """The columns of the table over input sizes."""
        return {
            "AP": self.map50_95,
            "AP50": self.map50,
            "AP75": self.map75,
            "AP_S": self.map_small,
            "AP_M": self.map_medium,
            "AP_L": self.map_large,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
        }

    def write(self, folder: Path, pictures: bool) -> None:
        """Write per_class.csv, last; with `pictures` the curves, the confusion matrix and some batches too."""
        from mgil.tasks.detect.report import FINAL_TABLE, write_per_class_csv

        if pictures:
            from mgil.tasks.detect.plots import plot_result

            if self.batch_pictures:
                self.batch_pictures.write()
            plot_result(self, self.data.names, folder)
        write_per_class_csv(folder / FINAL_TABLE, self)

    def save(self, folder: Path, stem: str, report: Report) -> None:
        """Write label files (--save-txt) and COCO results (--save-json), which pycocotools then scores."""
        from mgil.tasks.detect.report import write_label_files

        if self.options.save_txt:
            write_label_files(folder / "labels", self, self.samples, with_score=self.options.save_conf)
            report(f"label files saved to {folder / 'labels'}")
        if self.options.save_json:
            path = folder / f"{stem}_predictions.json"
            ids = category_ids_of(self.samples, self.data)
            write_text_atomic(path, detections_as_json(self.samples, ids, self.detections))
            for line in notes_on_ids(self.samples, self.data.names, ids):
                report(line)
            report(f"pycocotools on {path}:")
            score_json(path, self.samples, ids)


def summarise(
    detections: Detections, samples: Samples, skipped: Collection[int], data: DataConfig, options: ValOptions
) -> DetectScores:
    """Every figure from the detections of a whole split, less the images that could not be read."""
    if skipped:
        samples = samples.without_labels_of(skipped)
    coco = coco_averages(samples, category_ids_of(samples, data), detections)
    curves = confidence_curves(detections, samples, len(data.names))
    per_class = _per_class(curves, coco, samples, data.names)
    labelled = [per_class[index] for index in curves.class_index]
    return DetectScores(
        map50_95=coco.ap,
        map50=coco.ap50,
        map75=coco.ap75,
        map_small=coco.ap_small,
        map_medium=coco.ap_medium,
        map_large=coco.ap_large,
        precision=_mean([row.precision for row in labelled]),
        recall=_mean([row.recall for row in labelled]),
        f1=_mean([row.f1 for row in labelled]),
        best_confidence=curves.best_confidence,
        images=len(samples) - len(skipped),
        instances=int((~samples.iscrowd).sum()),
        per_class=per_class,
        size_bins=coco.size_bins,
        class_precision=coco.class_precision,
        curves=curves,
        confusion=confusion_matrix(detections, samples, len(data.names)),
        detections=detections,
        unreadable=tuple(skipped),
        samples=samples,
        data=data,
        options=options,
    )


def _per_class(curves: Curves, coco: CocoAverages, truth: Samples, names: Sequence[str]) -> tuple[ClassResult, ...]:
    single = ~truth.iscrowd
    instances = np.bincount(truth.classes[single], minlength=len(names))
    seen = np.unique(np.stack((truth.image_index[single], truth.classes[single])), axis=1)
    images = np.bincount(seen[1], minlength=len(names))
    at_best = np.full((3, len(names)), np.nan)
    for values, table in zip(at_best, (curves.precision, curves.recall, curves.f1), strict=True):
        values[curves.class_index] = table[:, curves.best]
    # Where all detections have lower scores, the curve's precision is 1, by YOLOv5's convention; nothing was found.
    at_best[0, at_best[1] == 0] = 0
    return tuple(
        ClassResult(
            name=name,
            images=int(images[index]),
            instances=int(instances[index]),
            precision=float(at_best[0, index]),
            recall=float(at_best[1, index]),
            f1=float(at_best[2, index]),
            ap50=float(coco.class_ap50[index]),
            ap50_95=float(coco.class_ap[index]),
        )
        for index, name in enumerate(names)
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
