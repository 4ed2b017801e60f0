"""Pictures of classification: batches with their classes, what the labels hold, the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mgil.files.confusion_figure import plot_confusion_matrix
from mgil.files.figures import literal, new_figure, save_figure
from mgil.files.fonts import drawable_names
from mgil.files.matplotlib_import import own_settings
from mgil.files.paint import class_colour, paint_texts
from mgil.files.picture_grid import ChosenPictures, draw_grid

if TYPE_CHECKING:
    from mgil.datasets.batches.batch import EvalBatch
    from mgil.tasks.classify.scores import ClassScores, Guesses
    from mgil.tasks.classify.split import ClassSplit

CONFUSION_PICTURE = "confusion_matrix.png"
MOST_DRAWN = 2000  # classes in the confusion matrix's picture; of more a cell is less than a pixel
MOST_NAMED = 30  # classes in labels.jpg; beyond this the names would overlap
BINS = 40
_FONT_PX = 14
_WRONG = (150, 0, 0)  # ground of what is not the labelled class


class BatchPictures(ChosenPictures[tuple[Tensor, int, float]]):
    """Pictures from all over the split, with their classes and with what was said; see `ChosenPictures`.

    Args:
        folder: Where the pictures go.
        split: The split.
    """

    def __init__(self, folder: Path, split: ClassSplit) -> None:
        super().__init__(folder, np.arange(len(split)))
        self.split = split

    def add(self, batch: EvalBatch, guesses: Guesses) -> None:
        """Keep the chosen pictures of a batch, whose guesses are in its order."""
        for row, item in self.wanted(batch.indices):
            self.keep(item, (batch.images[row].clone(), int(guesses.classes[row, 0]), float(guesses.scores[row, 0])))

    def write(self) -> None:
        """Write the pictures; those that could not be read are missing in them."""
        names = drawable_names(self.split.names)
        for kept, labelled, predicted in self.pictures():
            images = torch.stack([image for image, *_ in kept.values()])
            labels = [int(self.split.classes[item]) for item in kept]
            texts, colours = [], []
            for (_, found, score), label in zip(kept.values(), labels, strict=True):
                texts.append([f"{names[found]} {score:.2f}" if found >= 0 else "(no number)"])
                colours.append([class_colour(found) if found == label else _WRONG])
            draw_texts(images, texts, colours, predicted)
            own = [[names[label]] for label in labels], [[class_colour(label)] for label in labels]
            draw_texts(images, *own, labelled)


def draw_texts(
    images: Tensor, texts: Sequence[Sequence[str]], colours: Sequence[Sequence[tuple[int, int, int]]], path: Path
) -> None:
    """Save a grid of (B, 3, H, W) uint8 RGB pictures with lines of text, whose grounds have colours, in each.

    Raises:
        OSError: The picture cannot be written.
    """
    draw_grid(images, lambda cell, index, _: paint_texts(cell, texts[index], colours[index], _FONT_PX), path)


def draw_classes(images: Tensor, targets: Tensor, names: Sequence[str], path: Path) -> None:
    """Save a grid of a training batch with the classes of each picture, and of mixed ones their weights.

    Args:
        images: (B, 3, H, W) uint8 RGB.
        targets: (T, 3) rows: picture, class, weight.
        names: Class names.
        path: .jpg or .png to write.

    Raises:
        OSError: The picture cannot be written.
    """
    names = drawable_names(tuple(names))
    texts: list[list[str]] = [[] for _ in range(len(images))]
    colours: list[list[tuple[int, int, int]]] = [[] for _ in range(len(images))]
    for picture, index, weight in targets.detach().float().cpu().tolist():
        name = names[int(index)]
        texts[int(picture)].append(name if weight == 1 else f"{name} {weight:.2f}")
        colours[int(picture)].append(class_colour(int(index)))
    draw_texts(images, texts, colours, path)


@own_settings()
def plot_labels(split: ClassSplit, path: Path) -> None:
    """Draw how many pictures each class has, and how large pictures are (labels.jpg)."""
    names = literal(split.names)  # before the figure, whose texts take its fonts
    figure, axes = new_figure(12, 5, columns=2)
    counts, sizes = axes[0]
    number = np.bincount(split.classes, minlength=len(names))
    colours = [tuple(share / 255 for share in class_colour(index)) for index in range(len(names))]
    counts.bar(range(len(names)), number, color=colours)
    if len(names) <= MOST_NAMED:
        counts.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    counts.set(xlabel="class", ylabel="pictures", title=f"{len(split):,} pictures of {len(names):,} classes")
    sizes.hist(split.sizes_hw.max(axis=1), bins=BINS)
    sizes.set(xlabel="longer side, pixels of the file", ylabel="pictures", title="sizes")
    save_figure(figure, path)


def plot_result(scores: ClassScores, folder: Path) -> None:
    """Draw the confusion matrix, unless there are too many classes to see anything."""
    names = scores.split.names
    if len(names) <= MOST_DRAWN:
        plot_confusion_matrix(scores.confusion(), names, folder / CONFUSION_PICTURE)
