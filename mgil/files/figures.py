"""Figures of matplotlib, free of its global state and of any display, and written whole."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mgil.files.atomic import write_bytes_atomic
from mgil.files.fonts import drawable_names, families_of, fonts_beside
from mgil.files.matplotlib_import import load_matplotlib

MOST_COLUMNS = 24  # of a name; a Chinese letter takes two


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, dpi: int = 150) -> tuple[Any, Any]:
    """A figure of a size in inches, and its axes: one, or a (rows, columns) array of them.

    What draws on it is decorated with `own_settings()`.
    """
    load_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, axes[0, 0] if rows == columns == 1 else axes


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure in the format of the path's suffix; figure.savefig would draw it twice for its layout."""
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba()))
    picture = picture if path.suffix == ".png" else picture.convert("RGB")
    content = io.BytesIO()  # given a file, Pillow overlooks that the disk is full
    options: dict[str, Any] = {"compress_level": 2} if path.suffix == ".png" else {"quality": 90}
    picture.save(content, format="PNG" if path.suffix == ".png" else "JPEG", dpi=(figure.dpi, figure.dpi), **options)
    write_bytes_atomic(path, content.getvalue(), durable=False)


def literal(names: Sequence[str]) -> tuple[str, ...]:
    """Class names for matplotlib, which would take what stands between two dollar signs for a formula.

    Long ones lose their middle, as they would leave no room for the figure. Fonts that have their letters are set for
    the rest of the block of `own_settings()`.
    """
    names = [_shortened(name) for name in drawable_names(tuple(names))]
    names = [name if names.count(name) == 1 else f"{index} {name}" for index, name in enumerate(names)]
    if beside := fonts_beside(names):
        load_matplotlib().rcParams["font.family"] = ["DejaVu Sans", *families_of(beside)]
    return tuple(name.replace("$", r"\$") for name in names)


def _shortened(name: str) -> str:
    name = " ".join(name.split())  # one line, whatever the name holds
    columns = [2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name]
    if sum(columns) <= MOST_COLUMNS:
        return name
    kept = int(MOST_COLUMNS * len(name) / sum(columns)) // 2
    return f"{name[:kept]}…{name[1 - kept :]}"
