"""The curves of a training run (results.png)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mgil.engine.training.log import read_results
from mgil.files.figures import new_figure, save_figure
from mgil.files.matplotlib_import import load_matplotlib, own_settings
from mgil.files.packages import MissingPackage

WIDE_RANGE = 30  # between the values of one axis; beyond it a linear one hides the small ones


def check_plots() -> None:
    """Raise ValueError before a run that would find only at its end that nothing can be drawn."""
    try:
        load_matplotlib()
    except MissingPackage as error:
        raise MissingPackage(f"{error}; --noplots trains without pictures") from error


@own_settings()
def plot_results(csv_path: Path, path: Path) -> None:
    """Draw the columns of a results.csv over the epochs: losses of training above those of validation, metrics beside.

    The learning rates are left to the table.
    """
    rows = read_results(csv_path)
    train, val, metrics = (
        [column for column in (rows[0] if rows else ()) if column.startswith(start)]
        for start in ("train/", "val/", "metrics/")
    )
    half = -(-len(metrics) // 2)
    above, below = [*train, *metrics[:half]], [*val, *metrics[half:]]
    wide = max(len(above), len(below), 1)
    figure, axes = new_figure(3.2 * wide, 6, rows=2, columns=wide, dpi=120)
    for line, columns in zip(axes, (above, below), strict=True):
        for axis in line[len(columns) :]:
            axis.set_axis_off()
        for axis, column in zip(line, columns, strict=False):
            points = [(int(row["epoch"]), float(row[column])) for row in rows if row.get(column)]
            _curve(axis, column, points)
    save_figure(figure, path)


def _curve(axis: Any, column: str, points: list[tuple[int, float]]) -> None:
    if points:
        axis.plot(*zip(*points, strict=True), marker="." if len(points) < 60 else "", color="tab:blue")
    axis.set(title=column, xlabel="epoch")
    first, *later = [value for _, value in points if math.isfinite(value)] or [0.0]
    # Averaged weights can begin with a loss of thousands, beside which nothing else would be seen.
    if later and column.endswith("_loss") and first > WIDE_RANGE * max(later):
        margin = 0.05 * (max(later) - min(later)) or 1
        axis.set(ylim=(min(later) - margin, max(later) + margin), title=f"{column} (first: {first:.4g})")
    axis.grid(alpha=0.3)
