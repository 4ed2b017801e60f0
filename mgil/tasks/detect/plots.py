"""Pictures of an evaluation: confusion matrix, confidence curves, AP against size, labelled and predicted batches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mgil.datasets.batches.letterbox import FILL
from mgil.datasets.reading.samples import Samples
from mgil.files.confusion_figure import plot_confusion_matrix
from mgil.files.figures import literal, new_figure, save_figure
from mgil.files.matplotlib_import import own_settings
from mgil.files.paint import class_colour
from mgil.files.picture_grid import ChosenPictures, draw_batch_grid

if TYPE_CHECKING:
    from mgil.datasets.batches.batch import EvalBatch
    from mgil.tasks.detect.scores import DetectScores

RESULT_PICTURES = (
    *("confusion_matrix.png", "F1_curve.png", "P_curve.png", "R_curve.png", "PR_curve.png"),
    "ap_vs_object_size.png",
)
_PICTURED_SCORE = 0.25  # detections below this would cover the picture
MOST_NAMED_CLASSES = 30  # in labels.jpg; beyond this the names would overlap
MOST_POINTS = 50_000  # in labels.jpg
WIDE_RANGE = 30  # between box sides in labels.jpg; beyond it a linear axis hides the small ones
_NAMED_CLASSES = 20  # more classes than this are drawn as thin grey lines without names


def plot_result(result: DetectScores, names: tuple[str, ...], folder: Path) -> None:
    """Write the pictures of `RESULT_PICTURES`."""
    plot_confusion_matrix(result.confusion, (*names, "background"), folder / "confusion_matrix.png")
    curves = result.curves
    for values, at_best, quantity, stem in (
        (curves.f1, result.f1, "F1", "F1"),
        (curves.precision, result.precision, "Precision", "P"),
        (curves.recall, result.recall, "Recall", "R"),
    ):
        plot_confidence_curve(result, values, at_best, names, quantity, folder / f"{stem}_curve.png")
    plot_precision_recall(result, names, folder / "PR_curve.png")
    plot_object_sizes(result, folder / "ap_vs_object_size.png")


@own_settings()
def plot_confidence_curve(
    result: DetectScores, values: np.ndarray, at_best: float, names: tuple[str, ...], quantity: str, path: Path
) -> None:
    """One line per class, and their mean, over the confidence threshold; the best mean F1 is marked.

    Args:
        result: what was found.
        values: (K, 1000) of the classes with labels.
        at_best: the mean that the table shows, at the best mean F1.
        names: of all classes.
        quantity: what the values are.
        path: .png to write.
    """
    curves, names = result.curves, literal(names)
    figure, axes = new_figure(9, 6)
    _class_lines(axes, curves.confidence, values, [names[index] for index in curves.class_index], curves.class_index)
    if len(values):
        mean = values.mean(axis=0)
        label = f"all classes: {at_best:.2f} at confidence {curves.best_confidence:.2f}"
        axes.plot(curves.confidence, mean, color="tab:blue", linewidth=3, label=label)
        axes.axvline(curves.best_confidence, color="tab:blue", linewidth=0.8, linestyle=":")
    axes.set(xlabel="Confidence", ylabel=quantity, title=f"{quantity} over confidence, IoU 0.5")
    _finish(figure, axes, path)


@own_settings()
def plot_precision_recall(result: DetectScores, names: tuple[str, ...], path: Path) -> None:
    """COCO's interpolated precision at 101 recall points, IoU 0.5; the areas under it are AP50."""
    recall = np.linspace(0, 1, result.class_precision.shape[1])
    index = np.flatnonzero(~np.isnan(result.class_precision).any(axis=1))
    figure, axes = new_figure(9, 6)
    names = literal(names)
    labels = [f"{names[i]} {result.per_class[i].ap50:.3f}" for i in index]
    _class_lines(axes, recall, result.class_precision[index], labels, index)
    if len(index):
        mean = result.class_precision[index].mean(axis=0)
        axes.plot(recall, mean, color="tab:blue", linewidth=3, label=f"all classes: mAP50 {result.map50:.3f}")
    axes.set(xlabel="Recall", ylabel="Precision", title="Precision over recall, IoU 0.5")
    _finish(figure, axes, path)


def _class_lines(axes: Any, x: np.ndarray, rows: np.ndarray, labels: list[str], class_index: np.ndarray) -> None:
    if len(rows) < 2:
        return  # one class: its line is the mean's
    for row, label, index in zip(rows, labels, class_index, strict=True):
        if len(rows) <= _NAMED_CLASSES:
            axes.plot(x, row, linewidth=1, label=label, color=np.array(class_colour(int(index))) / 255 * 0.85)
        else:
            axes.plot(x, row, linewidth=0.6, color="0.75")


def _finish(figure: Any, axes: Any, path: Path) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.25)
    named = len(axes.get_legend_handles_labels()[0])
    if named == 1:
        axes.legend(loc="upper right")
    elif named:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    save_figure(figure, path)


@own_settings()
def plot_object_sizes(result: DetectScores, path: Path) -> None:
    """A bar per object-size bin: AP, and how many objects it rests on."""
    figure, axes = new_figure(8, 5)
    bins = result.size_bins
    bars = axes.bar(range(len(bins)), np.nan_to_num([row.ap for row in bins]), color="tab:blue")
    captions = [f"{row.ap:.3f}\nn={row.instances}" if row.instances else "no objects" for row in bins]
    axes.bar_label(bars, captions, padding=3, fontsize=9)
    axes.set_xticks(range(len(bins)), [row.label for row in bins])
    axes.margins(y=0.18)
    axes.set(xlabel="Square root of object area in original pixels", ylabel="AP50-95", title="AP by object size")
    axes.set_ylim(bottom=0)
    save_figure(figure, path)


@own_settings()
def plot_labels(samples: Samples, names: tuple[str, ...], path: Path) -> None:
    """Draw the number of boxes per class, where boxes lie and how large they are (labels.jpg)."""
    names = literal(names)  # before the figure, whose texts take its fonts
    figure, axes = new_figure(12, 4, columns=3)
    counts, places, sizes = axes[0]
    number = np.bincount(samples.classes, minlength=len(names))
    colours = [tuple(share / 255 for share in class_colour(index)) for index in range(len(names))]
    counts.bar(range(len(names)), number, color=colours)
    if len(names) <= MOST_NAMED_CLASSES:
        counts.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    counts.set(ylabel="boxes", title=f"{len(samples.classes):,} boxes in {len(samples.image_paths):,} images")
    boxes = samples.boxes_cxcywh[:MOST_POINTS]
    sides_px = boxes[:, 2:4] * samples.sizes_hw[samples.image_index[:MOST_POINTS]][:, ::-1]
    places.hist2d(boxes[:, 0], boxes[:, 1], bins=40, range=((0, 1), (0, 1)), cmap="Blues")
    places.invert_yaxis()
    places.set(xlabel="x, share of the width", ylabel="y, share of the height", title="box centres", aspect="equal")
    sizes.scatter(sides_px[:, 0], sides_px[:, 1], s=3, alpha=0.3, linewidths=0)
    # sizes from a few pixels to a whole photograph need a logarithmic axis; on a short one its labels would overlap
    scale = "log" if len(boxes) and sides_px.max() > WIDE_RANGE * max(sides_px.min(), 1) else "linear"
    sizes.set(xlabel="width, pixels of the file", ylabel="height", title="box sizes", xscale=scale, yscale=scale)
    save_figure(figure, path)


class BatchPictures(ChosenPictures[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Images from all over the split with their labels and detections, see `ChosenPictures`."""

    def __init__(self, folder: Path, names: tuple[str, ...], image_count: int) -> None:
        """Choose the images.

        Args:
            folder: where the pictures go.
            names: class names.
            image_count: images of the split.
        """
        super().__init__(folder, np.arange(image_count))
        self.names = names

    def add(self, batch: EvalBatch, found: list[torch.Tensor]) -> None:
        """Keep the chosen images of a batch, with their labels and sure detections as rows of draw_batch_grid."""
        for row, image in self.wanted(batch.indices):
            labels, boxes = batch.targets[batch.targets[:, 0] == row], found[row]
            sure = detections_as_targets([boxes[boxes[:, 4] > _PICTURED_SCORE].cpu()])
            self.keep(image, (batch.images[row].clone(), labels, sure))

    def write(self) -> None:
        """Write the pictures; images that could not be read are missing in them."""
        for kept, *paths in self.pictures():
            images, *tables = _in_one_frame(list(kept.values()))
            for rows, path in zip(tables, paths, strict=True):
                draw_batch_grid(images, rows, self.names, path)


def _in_one_frame(
    seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images of different shapes in the middle of one grey frame each, their boxes moved with them and numbered."""
    height, width = (max(image.shape[side] for image, *_ in seen) for side in (1, 2))
    framed = torch.full((len(seen), 3, height, width), FILL, dtype=torch.uint8)
    tables: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for number, (image, *boxes) in enumerate(seen):
        top, left = (height - image.shape[1]) // 2, (width - image.shape[2]) // 2
        framed[number, :, top : top + image.shape[1], left : left + image.shape[2]] = image
        for table, rows in zip(tables, boxes, strict=True):
            moved = rows.clone()
            moved[:, 0] = number
            moved[:, 2:4] += torch.tensor([left, top])
            table.append(moved)
    return framed, torch.cat(tables[0]), torch.cat(tables[1])


def detections_as_targets(found: list[torch.Tensor]) -> torch.Tensor:
    """(n, 6) boxes per image -> (T, 7) rows of draw_batch_grid: image, class, cx, cy, w, h, score."""
    rows = [
        torch.cat(
            (
                torch.full((len(boxes), 1), float(index)),
                boxes[:, 5:6],
                (boxes[:, :2] + boxes[:, 2:4]) / 2,
                boxes[:, 2:4] - boxes[:, :2],
                boxes[:, 4:5],
            ),
            dim=1,
        )
        for index, boxes in enumerate(found)
    ]
    return torch.cat(rows) if rows else torch.zeros(0, 7)
