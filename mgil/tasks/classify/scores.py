"""What an evaluation of classification found: accuracy, by class too, and who was taken for whom."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgil.files.text import Report
from mgil.tasks.classify.options import ValOptions

if TYPE_CHECKING:
    from mgil.tasks.classify.plots import BatchPictures
    from mgil.tasks.classify.split import ClassSplit

METRICS = ("metrics/accuracy_top1", "metrics/accuracy_top5")
BEST = 5  # classes that are kept of each picture, and that top-5 accuracy looks at
SHARE_OF_TOP5, SHARE_OF_LOSS = 1e-6, 1e-9  # in fitness: they decide between equals alone


@dataclass(frozen=True)
class Guesses:
    """What a network said of pictures, a row each; classes are the data set's.

    Attributes:
        items: (N,) int64, of the split.
        classes: (N, k) int64, the k likeliest classes, best first; -1 where it said nothing that is a number.
        scores: (N, k) float64, their probabilities; NaN there.
        true_scores: (N,) float64, the probability of the labelled class; 0 there.
    """

    items: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    true_scores: np.ndarray

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class ClassRow:
    """One row of the per-class table; accuracy is NaN of a class without pictures."""

    name: str
    images: int
    top1: float
    top5: float
    predicted: int  # pictures that were taken for it, rightly or not


@dataclass(frozen=True)
class ClassScores:
    """What an evaluation found. Accuracies are shares of the pictures, NaN where there are none.

    Attributes:
        top1: The likeliest class is the labelled one.
        top5: It is among the five likeliest, or among all of fewer.
        confidence: Mean probability of the likeliest class. Far above `top1` the network is too sure of itself.
        loss: Mean of -log of the labelled class's probability.
        per_class: By class index.
        guesses: Of every picture that counts, in the order of the split.
        split: All of it.
        options: What to write.
        network_px: Side of what the network saw, to which pictures of another side were resized; None: not known.
        batch_pictures: Kept while the batches came.
    """

    top1: float
    top5: float
    confidence: float
    loss: float
    per_class: tuple[ClassRow, ...]
    guesses: Guesses
    split: ClassSplit
    options: ValOptions
    network_px: int | None = None
    batch_pictures: BatchPictures | None = None

    @property
    def images(self) -> int:
        """Pictures that count."""
        return len(self.guesses)

    @property
    def class_mean(self) -> float:
        """Mean over classes of their top-1: every class counts alike, however many pictures it has."""
        known = [row.top1 for row in self.per_class if row.images]
        return float(np.mean(known)) if known else math.nan

    @property
    def fitness(self) -> float:
        """What the best epoch is chosen by: top-1.

        Of equal ones the higher top-5 decides, then the lower loss, as exp(-loss), which is never negative.
        """
        parts = (self.top1, SHARE_OF_TOP5 * self.top5, SHARE_OF_LOSS * math.exp(-self.loss))
        return float(np.nan_to_num(sum(parts)))

    def columns(self) -> dict[str, float]:
        """The columns of results.csv."""
        return dict(zip(METRICS, (self.top1, self.top5), strict=True))

    def summary(self) -> str:
        """For an epoch's line."""
        return f"top1 {self.top1:.4f}  top5 {self.top5:.4f}"

    def lines(self, imgsz: int, verbose: bool) -> list[str]:
        """The console's table."""
        from mgil.tasks.classify.report import result_lines

        return result_lines(self, input_size=imgsz, verbose=verbose)

    def row(self) -> dict[str, float]:
        """The columns of the table over input sizes."""
        return {
            "top1": self.top1,
            "top5": self.top5,
            "class_mean": self.class_mean,
            "confidence": self.confidence,
            "loss": self.loss,
        }

    def confusion(self) -> np.ndarray:
        """(C, C) int64, row: predicted class, column: labelled class; without pictures of which nothing was said."""
        count = len(self.split.names)
        return confusion_matrix(self.guesses.classes[:, 0], self.split.classes[self.guesses.items], count)

    def write(self, folder: Path, pictures: bool) -> None:
        """Write the tables, per_class.csv last; with `pictures` the confusion matrix and some batches too."""
        from mgil.tasks.classify.report import write_tables

        if pictures:
            from mgil.tasks.classify.plots import plot_result

            if self.batch_pictures:
                self.batch_pictures.write()
            plot_result(self, folder)
        write_tables(self, folder)

    def save(self, folder: Path, stem: str, report: Report) -> None:
        """Write what the options ask for: label files, a json of predictions."""
        from mgil.tasks.classify.saving import save_json, save_txt

        if self.options.save_txt:
            save_txt(self, folder / "labels")
            report(f"label files saved to {folder / 'labels'}")
        if self.options.save_json:
            report(f"predictions saved to {save_json(self, folder, stem)}")


def summarise(split: ClassSplit, guesses: Guesses, skipped: Collection[int], options: ValOptions) -> ClassScores:
    """Every figure from the guesses of a whole split; pictures that could not be read have none, and do not count."""
    kept = np.flatnonzero(~np.isin(guesses.items, list(skipped)))
    kept = kept[np.argsort(guesses.items[kept], kind="stable")]
    guesses = Guesses(*(part[kept] for part in (guesses.items, guesses.classes, guesses.scores, guesses.true_scores)))
    truth = split.classes[guesses.items]
    right = guesses.classes == truth[:, None]
    top1, top5 = right[:, :1].any(axis=1), right[:, :BEST].any(axis=1)
    sure = np.nan_to_num(guesses.scores[:, 0])
    lowest = np.finfo(np.float32).tiny  # a probability of 0 would make the loss infinite
    return ClassScores(
        top1=_mean(top1),
        top5=_mean(top5),
        confidence=_mean(sure),
        loss=_mean(-np.log(np.maximum(guesses.true_scores, lowest))),
        per_class=_per_class(split.names, truth, guesses.classes[:, 0], top1, top5),
        guesses=guesses,
        split=split,
        options=options,
    )


def confusion_matrix(predicted: np.ndarray, labelled: np.ndarray, count: int) -> np.ndarray:
    """Count pairs of (N,) classes, (C, C) int64, row: predicted, column: labelled; those predicted as -1 are left out.

    Args:
        predicted: Class indices, or -1.
        labelled: Class indices.
        count: Number of classes, C.
    """
    said = predicted >= 0
    cells = np.bincount(predicted[said] * count + labelled[said], minlength=count * count)
    return cells.reshape(count, count)


def _per_class(
    names: tuple[str, ...], truth: np.ndarray, predicted: np.ndarray, top1: np.ndarray, top5: np.ndarray
) -> tuple[ClassRow, ...]:
    count = len(names)
    images = np.bincount(truth, minlength=count)
    shares = [np.bincount(truth, weights=right, minlength=count) / np.maximum(images, 1) for right in (top1, top5)]
    first, five = (np.where(images > 0, share, np.nan).tolist() for share in shares)
    taken = np.bincount(predicted[predicted >= 0], minlength=count).tolist()
    return tuple(map(ClassRow, names, images.tolist(), first, five, taken))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
