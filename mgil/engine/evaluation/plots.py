"""Scores against input size and strength of degradations, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mgil.datasets.batches.degradation_steps import Step
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


@own_settings()
def plot_degradations(rows: Sequence[tuple[Step | None, Mapping[str, float]]], path: Path) -> None:
    """Draw the columns of a table over strengths, a line each and a panel for every kind.

    Args:
        rows: A step and the scores with it, a row each; the first has none, and begins every panel.
        path: Of the picture.
    """
    (_, start), *others = rows
    kinds = list(dict.fromkeys(step.kind for step, _ in others if step))
    figure, panels = new_figure(1 + 3.2 * len(kinds), 4, columns=len(kinds))
    panels = np.ravel(panels)
    for panel, kind in zip(panels, kinds, strict=True):
        own = [(step.strength, row) for step, row in others if step and step.kind == kind]
        for place, name in enumerate(start):
            values = [start[name], *(row[name] for _, row in own)]
            if not np.isnan(values).all():
                panel.plot(range(len(values)), values, MARKERS[place % len(MARKERS)], label=name)
        panel.set_xticks(range(len(own) + 1), ["start", *(f"{strength:g}" for strength, _ in own)])
        panel.set(xlabel=kind, ylim=(0, None))
        panel.grid(alpha=0.25)
    panels[0].set(ylabel="Score")
    panels[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    save_figure(figure, path)
