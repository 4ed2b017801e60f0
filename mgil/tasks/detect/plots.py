"""Pictures of an evaluation: confusion matrix, confidence curves, AP against size, labelled and predicted batches."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from mgil.datasets.batches.letterbox import FILL
from mgil.engine.evaluation.evaluate import EvalResult
from mgil.files.atomic import write_bytes_atomic
from mgil.files.paint import class_colour
from mgil.files.picture_grid import draw_batch_grid, literal

if TYPE_CHECKING:
    from mgil.datasets.batches.batch import EvalBatch

_PICTURES, _PICTURED_IMAGES = 3, 16  # val_batch*.jpg, and images in one at most
RESULT_PICTURES = (
    *("confusion_matrix.png", "F1_curve.png", "P_curve.png", "R_curve.png", "PR_curve.png"),
    "ap_vs_object_size.png",
)
BATCH_PICTURES = tuple(f"val_batch{i}_{kind}.jpg" for i in range(_PICTURES) for kind in ("labels", "pred"))
_PICTURED_SCORE = 0.25  # detections below this would cover the picture
_NAMED_CLASSES = 20  # more classes than this are drawn as thin grey lines without names


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure and its axes, free of matplotlib's global state and of any display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Any, path: Path) -> None:
    """Write a figure as PNG; figure.savefig would draw it twice for its layout."""
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba()))

    content = io.BytesIO()  # given a file, Pillow overlooks that the disk is full
    picture.save(content, format="PNG", dpi=(figure.dpi, figure.dpi), compress_level=2)
    write_bytes_atomic(path, content.getvalue(), durable=False)


def plot_result(result: EvalResult, names: tuple[str, ...], folder: Path) -> None:
    """Write the pictures of `RESULT_PICTURES`."""
    names = literal(names)
    plot_confusion_matrix(result.confusion, names, folder / "confusion_matrix.png")
    curves = result.curves
    for values, quantity, stem in (
        (curves.f1, "F1", "F1"),
        (curves.precision, "Precision", "P"),
        (curves.recall, "Recall", "R"),
    ):
        plot_confidence_curve(result, values, names, quantity, folder / f"{stem}_curve.png")
    plot_precision_recall(result, names, folder / "PR_curve.png")
    plot_object_sizes(result, folder / "ap_vs_object_size.png")


def plot_confusion_matrix(matrix: np.ndarray, names: tuple[str, ...], path: Path) -> None:
    """Columns sum to 1: of the objects labelled as a class, the part that was predicted as each."""
    from matplotlib.cm import ScalarMappable

    labels = (*names, "background")
    share = matrix / np.maximum(matrix.sum(axis=0, keepdims=True), 1)
    side = min(max(5.0, 0.4 * len(labels) + 2), 16.0)
    figure, axes = _figure(side * 1.15, side)
    scale = ScalarMappable(cmap="Blues")
    scale.set_clim(0, 1)
    # Coloured before it is enlarged, which is cheaper than after.
    colours = scale.to_rgba(np.where(share < 0.005, np.nan, share), bytes=True)
    axes.imshow(colours, interpolation="nearest")
    figure.colorbar(scale, ax=axes, fraction=0.04, pad=0.02)
    axes.set(xlabel="Labelled", ylabel="Predicted", title="Confusion matrix, columns sum to 1")
    if len(labels) <= 100:
        size = 10 if len(labels) <= 25 else 5
        axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
        axes.set_yticks(range(len(labels)), labels, fontsize=size)
    if len(labels) <= 30:
        for row, column in zip(*np.nonzero(share >= 0.005), strict=True):
            ink = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{share[row, column]:.2f}", ha="center", va="center", color=ink, fontsize=8)
    _save(figure, path)


def plot_confidence_curve(
    result: EvalResult, values: np.ndarray, names: tuple[str, ...], quantity: str, path: Path
) -> None:
    """One line per class, and their mean, over the confidence threshold; the best mean F1 is marked."""
    curves = result.curves
    figure, axes = _figure(9, 6)
    _class_lines(axes, curves.confidence, values, [names[index] for index in curves.class_index], curves.class_index)
    if len(values):
        mean = values.mean(axis=0)
        label = f"all classes: {mean[curves.best]:.2f} at confidence {curves.best_confidence:.2f}"
        axes.plot(curves.confidence, mean, color="tab:blue", linewidth=3, label=label)
        axes.axvline(curves.best_confidence, color="tab:blue", linewidth=0.8, linestyle=":")
    axes.set(xlabel="Confidence", ylabel=quantity, title=f"{quantity} over confidence, IoU 0.5")
    _finish(figure, axes, path)


def plot_precision_recall(result: EvalResult, names: tuple[str, ...], path: Path) -> None:
    """COCO's interpolated precision at 101 recall points, IoU 0.5; the areas under it are AP50."""
    recall = np.linspace(0, 1, result.class_precision.shape[1])
    index = np.flatnonzero(~np.isnan(result.class_precision).any(axis=1))
    figure, axes = _figure(9, 6)
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
    _save(figure, path)


def plot_object_sizes(result: EvalResult, path: Path) -> None:
    """A bar per object-size bin: AP, and how many objects it rests on."""
    figure, axes = _figure(8, 5)
    bins = result.size_bins
    bars = axes.bar(range(len(bins)), np.nan_to_num([row.ap for row in bins]), color="tab:blue")
    captions = [f"{row.ap:.3f}\nn={row.instances}" if row.instances else "no objects" for row in bins]
    axes.bar_label(bars, captions, padding=3, fontsize=9)
    axes.set_xticks(range(len(bins)), [row.label for row in bins])
    axes.margins(y=0.18)
    axes.set(xlabel="Square root of object area in original pixels", ylabel="AP50-95", title="AP by object size")
    axes.set_ylim(bottom=0)
    _save(figure, path)


def plot_input_sizes(results: dict[int, EvalResult], path: Path) -> None:
    """AP against input size, with COCO's three object sizes."""
    figure, axes = _figure(8, 5)
    sizes = sorted(results)
    for label, attribute, style in (
        ("AP", "map50_95", "-o"),
        ("AP50", "map50", "-s"),
        ("AP small", "map_small", ":v"),
        ("AP medium", "map_medium", ":d"),
        ("AP large", "map_large", ":^"),
    ):
        values = [getattr(results[size], attribute) for size in sizes]
        if not np.isnan(values).all():  # no objects of that size in the data set
            axes.plot(sizes, values, style, label=label)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set(xlabel="Input size, pixels", ylabel="COCO AP", title="AP over input size", ylim=(0, None))
    axes.grid(alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    _save(figure, path)


class BatchPictures:
    """An ``on_batch`` hook for evaluate(): the pictures of `BATCH_PICTURES`, of images from all over the split.

    The first batches would not do: a batch holds images of one shape, and the rarest shapes come first.
    """

    def __init__(self, folder: Path, names: tuple[str, ...], image_count: int) -> None:
        """Choose the images.

        Args:
            folder: where the pictures go.
            names: class names.
            image_count: images of the split. Each picture shows some that are spread evenly over it, in its order.
        """
        self.folder, self.names = folder, names
        shown = min(image_count, _PICTURES * _PICTURED_IMAGES)
        chosen = np.linspace(0, image_count - 1, shown).round().astype(int)
        pictures = math.ceil(shown / _PICTURED_IMAGES)
        self.images = [chosen[number::pictures].tolist() for number in range(pictures)]
        self._wanted = set(chosen.tolist())
        self._seen: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def __call__(self, _number: int, batch: EvalBatch, found: list[torch.Tensor]) -> None:
        """Keep the chosen images of a batch, with their labels and sure detections as rows of draw_batch_grid."""
        for row, (image, boxes) in enumerate(zip(batch.indices.tolist(), found, strict=True)):
            if image in self._wanted:
                labels = batch.targets[batch.targets[:, 0] == row]
                sure = detections_as_targets([boxes[boxes[:, 4] > _PICTURED_SCORE].cpu()])
                self._seen[image] = batch.images[row].clone(), labels, sure  # a slice would keep the whole batch

    def write(self) -> None:
        """Write the pictures; images that could not be read are missing in them."""
        for number, chosen in enumerate(self.images):
            seen = [self._seen[image] for image in chosen if image in self._seen]
            if not seen:
                continue
            images, *tables = _in_one_frame(seen)
            for rows, kind in zip(tables, ("labels", "pred"), strict=True):
                draw_batch_grid(images, rows, self.names, self.folder / f"val_batch{number}_{kind}.jpg")


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
