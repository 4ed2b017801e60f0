"""A study's file, written by a test."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig


def write_study(folder: Path, cells: Iterable[Cell]) -> Path:
    """Write study.py."""
    imports = [f"from {kind.__module__} import {kind.__name__}\n" for kind in (Cell, Model, TrainConfig)]
    path = folder / "study.py"
    path.write_text("".join(imports) + f"cells = {list(cells)!r}\n")
    return path
