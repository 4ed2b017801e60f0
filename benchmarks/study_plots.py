"""Plots of a study: its score against cost, against latency, against input size, and the learning curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study_summary import Form
from benchmarks.study_table import Row
from mgil.files.matplotlib_import import own_settings

MARKERS = "osD^vP*X<>hp"
PANEL_WH = (4.6, 3.7)  # inches
MOST_COLUMNS = 3
Group = tuple[str, int, str]
Groups = Mapping[Group, Sequence[Row]]


def draw_plots(rows: Sequence[Row], groups: Groups, folder: Path, stem: str, form: Form) -> list[tuple[str, str]]:
    """Draw what the study has figures for.

    Args:
        rows: of the csv.
        groups: lines of the table.
        folder: where the png files go.
        stem: start of their names.
        form: names the score, and the columns that it is drawn against.

    Returns:
        Title and file name of each.
    """
    names = list(dict.fromkeys(line["model"] for models in groups.values() for line in models))
    style = {
        name: {"color": f"C{place % 10}", "marker": MARKERS[place % len(MARKERS)]} for place, name in enumerate(names)
    }
    panels = {_title(group): models for group, models in groups.items()}
    plots: list[tuple[str, str, dict[str, Callable[[Any], None]]]] = []
    for column in form.plotted:
        chosen = {title: [line for line in models if line[column] is not None] for title, models in panels.items()}
        drawn = {title: _scatter(models, form.score, column, style) for title, models in chosen.items() if models}
        plots.append((f"{form.score} against {column}", column.replace(" ", "_"), drawn))
    plots.append((f"{form.score} against input size", "size", _sizes(groups, form.score, style)))
    curves = {title: _curves(title, rows, form.score, style) for title in panels}
    plots.append(("Learning curves", "curves", curves))
    found = []
    for title, name, drawers in plots:
        if drawers:
            file = f"{stem}_{name.lower()}.png"
            _figure(folder / file, title, drawers, style)
            found.append((title, file))
    return found


def _title(row_or_group: Row | Group) -> str:
    data, size, split = (
        row_or_group if isinstance(row_or_group, tuple) else (row_or_group[key] for key in ("data", "size", "split"))
    )
    return f"{data}, {size} px" + ("" if split == "val" else f", {split}")


def _scatter(
    models: Sequence[Row], score: str, column: str, style: Mapping[str, Mapping[str, str]]
) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        for line in models:
            axes.errorbar(line[column], line[score], yerr=line["standard deviation"] or None, capsize=3,
                          markersize=8, linestyle="", label=line["model"], **style[line["model"]])  # fmt: skip
        axes.set_xlabel(f"{column} (multiply-add = 2)" if column.endswith("FLOPs") else f"{column}, batch 1")
        axes.set_ylabel(score)
        axes.margins(0.1)
        axes.set_xlim(0, 1.1 * max(line[column] for line in models))

    return draw


def _sizes(groups: Groups, score: str, style: Mapping[str, Mapping[str, str]]) -> dict[str, Callable[[Any], None]]:
    """A panel for each data set with several sizes."""
    sets: dict[str, list[Row]] = {}
    for (data, _size, split), models in groups.items():
        sets.setdefault(data if split == "val" else f"{data}, {split}", []).extend(models)

    def panel(lines: Sequence[Row]) -> Callable[[Any], None]:
        def draw(axes: Any) -> None:
            for name in dict.fromkeys(line["model"] for line in lines):
                own = sorted((line for line in lines if line["model"] == name), key=lambda line: line["size"])
                axes.errorbar([line["size"] for line in own], [line[score] for line in own], capsize=3, label=name,
                              yerr=[line["standard deviation"] or 0 for line in own], **style[name])  # fmt: skip
            axes.set_xticks(sorted({line["size"] for line in lines}))
            axes.set_xlabel("input size, px")
            axes.set_ylabel(score)

        return draw

    return {data: panel(lines) for data, lines in sets.items() if len({line["size"] for line in lines}) > 1}


def _curves(
    title: str, rows: Sequence[Row], score: str, style: Mapping[str, Mapping[str, str]]
) -> Callable[[Any], None]:
    """Thin lines: seeds; thick lines: their mean, as long as all of them trained."""
    own = [row for row in rows if _title(row) == title and row["curve"]]

    def draw(axes: Any) -> None:
        for name in dict.fromkeys(row["model"] for row in own):
            curves = [row["curve"] for row in own if row["model"] == name]
            shortest = min(map(len, curves))
            mean = np.mean([curve[:shortest] for curve in curves], axis=0)
            colour = style[name]["color"]
            if len(curves) > 1:
                for curve in curves:
                    axes.plot(range(1, len(curve) + 1), curve, color=colour, linewidth=0.6, alpha=0.4)
            marked = {"marker": style[name]["marker"], "markevery": max(shortest // 8, 1), "markersize": 5}
            axes.plot(range(1, shortest + 1), mean, color=colour, linewidth=1.8, label=name, **marked)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{score} on validation, by each project's own rule")

    return draw


@own_settings()
def _figure(
    path: Path, title: str, drawers: Mapping[str, Callable[[Any], None]], style: Mapping[str, Mapping[str, str]]
) -> None:
    """A panel for each drawer, and one legend for all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 2 if len(drawers) == 4 else min(len(drawers), MOST_COLUMNS)
    height = -(-len(drawers) // columns)
    figure = Figure(figsize=(columns * PANEL_WH[0], height * PANEL_WH[1] + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    labelled: dict[str, Any] = {}
    for place, (name, draw) in enumerate(drawers.items(), start=1):
        axes = figure.add_subplot(height, columns, place)
        draw(axes)
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.3)
        handles, labels = axes.get_legend_handles_labels()
        labelled |= dict(zip(labels, handles, strict=True))
    ordered = [name for name in style if name in labelled]
    figure.legend([labelled[name] for name in ordered], ordered, loc="outside lower center",
                  ncols=min(len(ordered), 2 * columns), frameon=False, fontsize=8)  # fmt: skip
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
