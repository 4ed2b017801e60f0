"""Pictures of a training run."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from matplotlib.figure import Figure

from mgil.engine.training import plots as curves
from mgil.engine.training.plots import plot_results
from mgil.files.paint import class_colour
from mgil.tasks.detect import plots
from mgil.tasks.detect.plots import plot_labels
from tests.datasets.scenes import make_samples
from tests.tasks.detect.judging import COLUMNS


def test_labels_of_a_set_without_any_object_are_drawn(tmp_path: Path) -> None:
    plot_labels(make_samples(["a.png"], [(32, 32)]), ("a",), tmp_path / "labels.jpg")
    assert cv2.imread(str(tmp_path / "labels.jpg")).std() > 1


def test_bars_have_the_colours_of_their_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, *_rest, **_options: figures.append(figure))
    plot_labels(make_samples(["a.png"], [(32, 32)]), ("a", "b", "c"), tmp_path / "labels.jpg")
    bars = figures[0].axes[0].patches
    assert [tuple(round(255 * share) for share in bar.get_facecolor()[:3]) for bar in bars] == [
        class_colour(index) for index in range(3)
    ]


def test_a_huge_first_loss_leaves_the_others_in_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, *_rest, **_options: figures.append(figure))
    values = {"val/obj_loss": (2000, 3, 2), "val/box_loss": (4, 3, 2), "val/cls_loss": (100, "nan", 1)}
    values |= {"metrics/recall": (0.9, 0, 0)}  # a collapse is to be seen
    lines = [f"{epoch}," + ",".join(str(values.get(column, (1, 1, 1))[epoch]) for column in COLUMNS[1:])
             for epoch in range(3)]  # fmt: skip
    (tmp_path / "results.csv").write_text("\n".join([",".join(COLUMNS), *lines]))
    plot_results(tmp_path / "results.csv", tmp_path / "results.png")
    limits = {axis.get_title(): axis.get_ylim() for axis in figures[0].axes}
    assert limits["val/obj_loss (first: 2000)"] == pytest.approx((1.95, 3.05))
    assert limits["val/box_loss"][1] > 4 and limits["metrics/recall"][1] > 0.9
    assert limits["val/cls_loss (first: 100)"] == (0, 2)
