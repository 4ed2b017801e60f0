"""Pictures of a training run: its labels, its first batches, its curves."""

from __future__ import annotations

import io
import math
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mgil.datasets.batches.loader import TrainLoader
from mgil.datasets.reading.samples import Samples
from mgil.engine.training.log import COLUMNS, read_results
from mgil.files.atomic import write_bytes_atomic
from mgil.files.paint import class_colour
from mgil.files.picture_grid import draw_batch_grid, literal

MOST_NAMED_CLASSES = 30  # beyond this the names would overlap
MOST_POINTS = 50_000
WIDE_RANGE = 30  # between the values of one axis; beyond it a linear one hides the small ones


def plot_labels(samples: Samples, names: tuple[str, ...], path: Path) -> None:
    """Draw the number of boxes per class, where boxes lie and how large they are (labels.jpg)."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    counts, places, sizes = figure.subplots(1, 3)
    number = np.bincount(samples.classes, minlength=len(names))
    colours = [tuple(share / 255 for share in class_colour(index)) for index in range(len(names))]
    counts.bar(range(len(names)), number, color=colours)
    if len(names) <= MOST_NAMED_CLASSES:
        counts.set_xticks(range(len(names)), literal(names), rotation=90 if max(map(len, names)) > 2 else 0)
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
    _save(figure, path, dpi=150)


def plot_train_batches(loader: TrainLoader, names: tuple[str, ...], folder: Path, number: int = 3) -> None:
    """Draw the first batches as the network will see them (train_batch0.jpg, ...)."""
    for index in islice(range(len(loader)), number):
        batch = loader.batch(0, index)
        draw_batch_grid(batch.images.cpu(), batch.targets.cpu(), names, folder / f"train_batch{index}.jpg")


def plot_results(csv_path: Path, path: Path) -> None:
    """Draw the columns of a results.csv over the epochs (results.png)."""
    rows = read_results(csv_path)
    figure = Figure(figsize=(16, 6), layout="constrained")
    axes = figure.subplots(2, 5).ravel()
    order = (1, 2, 3, 4, 5, 8, 9, 10, 6, 7)  # losses of training above those of validation, metrics beside them
    for axis, column in zip(axes, (COLUMNS[i] for i in order), strict=True):
        points = [(int(row["epoch"]), float(row[column])) for row in rows if row.get(column)]
        if points:
            axis.plot(*zip(*points, strict=True), marker="." if len(points) < 60 else "", color="tab:blue")
        axis.set(title=column, xlabel="epoch")
        first, *later = [value for _, value in points if math.isfinite(value)] or [0.0]
        # Averaged weights can begin with a loss of thousands, beside which nothing else would be seen.
        if later and column.endswith("_loss") and first > WIDE_RANGE * max(later):
            margin = 0.05 * (max(later) - min(later)) or 1
            axis.set(ylim=(min(later) - margin, max(later) + margin), title=f"{column} (first: {first:.4g})")
        axis.grid(alpha=0.3)
    _save(figure, path, dpi=120)


def _save(figure: Figure, path: Path, dpi: int) -> None:
    content = io.BytesIO()  # given a file, Pillow overlooks that the disk is full
    figure.savefig(content, format=path.suffix[1:], dpi=dpi)
    write_bytes_atomic(path, content.getvalue(), durable=False)
