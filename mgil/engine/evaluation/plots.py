"""Scores against input size, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mgil.files.figures import new_figure, save_figure
from mgil.files.matplotlib_import import own_settings

MARKERS = ("-o", "-s", ":v", ":d", ":^")


@own_settings()
def plot_input_sizes(rows: dict[int, dict[str, float]], path: Path) -> None:
    """Draw the columns of a table over input sizes, a line each; a column without any number is left out."""
    figure, axes = new_figure(8, 5)
    sizes = sorted(rows)
    for place, name in enumerate(next(iter(rows.values()))):
        values = [rows[size][name] for size in sizes]
        if not np.isnan(values).all():  # e.g. AP of large objects, where there are none
            axes.plot(sizes, values, MARKERS[place % len(MARKERS)], label=name)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set(xlabel="Input size, pixels", title="Scores over input size", ylim=(0, None))
    axes.grid(alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    save_figure(figure, path)
