"""The picture of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mgil.files.figures import literal, new_figure, save_figure
from mgil.files.matplotlib_import import own_settings

_MOST_TICKS, _MOST_NUMBERS = 100, 30  # classes that are named, and whose cells hold numbers
_COMMON_NAME = 10  # letters; longer names need room of their own


@own_settings()
def plot_confusion_matrix(matrix: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Draw shares: columns sum to 1, of what is labelled as a class the part that was predicted as each.

    Args:
        matrix: (C, C) counts, row: predicted class, column: labelled class.
        names: Of the C rows and columns.
        path: .png to write.
    """
    from matplotlib.cm import ScalarMappable

    labels = literal(names)
    share = matrix / np.maximum(matrix.sum(axis=0, keepdims=True), 1)
    room = 0.08 * max(max(map(len, labels)) - _COMMON_NAME, 0)  # for names, which would squeeze the matrix
    side = min(max(5.0, 0.4 * len(labels) + 2) + room, 16.0)
    figure, axes = new_figure(side * 1.15, side)
    scale = ScalarMappable(cmap="Blues")
    scale.set_clim(0, 1)
    # Coloured before it is enlarged, which is cheaper than after.
    colours = scale.to_rgba(np.where(share < 0.005, np.nan, share), bytes=True)
    axes.imshow(colours, interpolation="nearest")
    figure.colorbar(scale, ax=axes, fraction=0.04, pad=0.02)
    axes.set(xlabel="Labelled", ylabel="Predicted", title="Confusion matrix, columns sum to 1")
    if len(labels) <= _MOST_TICKS:
        size = 10 if len(labels) <= 25 else 5
        axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
        axes.set_yticks(range(len(labels)), labels, fontsize=size)
    if len(labels) <= _MOST_NUMBERS:
        for row, column in zip(*np.nonzero(share >= 0.005), strict=True):
            ink = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{share[row, column]:.2f}", ha="center", va="center", color=ink, fontsize=8)
    save_figure(figure, path)
