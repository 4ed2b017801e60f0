"""A study's weights over strengths of degradations."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.degradations import main, table_of
from benchmarks.study_cell import RESULT
from benchmarks.study_models import Model
from benchmarks.study_plan import Cell, load_study
from mgil.engine.training.config import TrainConfig
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from tests.benchmarks.small_study import write_study
from tests.engine.tiny import NAMES, TINY, make_data, random_squares, write_yaml


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cells, of which the first has weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("mgil.tasks.detect.plots.plot_result", lambda *_: None)
    make_data(tmp_path / "data", random_squares(4, seed=3), random_squares(3, seed=4))
    train = TrainConfig(data=str(tmp_path / "data" / "squares.yaml"), imgsz=32, epochs=2, batch_size=8)
    clean = Cell(Model(write_yaml(tmp_path / "tiny.yaml", TINY), "clean"), train)
    return write_study(
        tmp_path, [clean, replace(clean, model=replace(clean.model, name="worse"), recipe={"degrade": 1})]
    )


def test_what_was_trained_is_evaluated(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(study), "--output", str(tmp_path / "out"), "--degrade", "gamma:1,9", "jpeg:5,4"]
    with pytest.raises(ValueError, match="holds no trained cell of the study study; train it first"):
        main(arguments)
    (cell, _) = load_study(study).cells
    folder = tmp_path / "out" / "study" / "cells" / cell.folder_name
    torch.manual_seed(0)
    model = build_model(TINY, names=NAMES, imgsz=32)
    with torch.no_grad():
        for layer in model.head.m:
            layer.bias.view(3, -1)[:, 4:] = 1.0
    (folder / "run" / "weights").mkdir(parents=True)
    save_checkpoint(folder / "run" / "weights" / "best.pt", model, {})
    (folder / RESULT).write_text("{}")
    main(arguments)
    said = capsys.readouterr().out
    assert "worse, squares, 32 px, seed 0: not trained yet, left out" in said
    results = tmp_path / "out" / "study"
    with (results / "degradations_study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["degradation"] for row in rows] == ["start", "gamma:1", "gamma:9", "jpeg:5", "jpeg:4"]
    assert rows[0]["AP"] == rows[1]["AP"] and {row["model"] for row in rows} == {"clean"}
    assert (results / "degradations_study.png").stat().st_size > 5000
    assert f"| gamma:9 | {float(rows[2]['AP']):.4f} (1) |" in (results / "degradations_study.md").read_text()


def test_the_table_by_hand() -> None:
    values = {("clean", "start"): [0.5, 0.7], ("worse", "start"): [0.4, 0.42], ("clean", "jpeg:9"): [0.1, 0.3],
              ("worse", "jpeg:9"): [0.5, 0.52]}  # fmt: skip
    rows = [
        {"data": "digits", "size": 64, "model": model, "degradation": degradation, "AP": value}
        for (model, degradation), found in values.items()
        for value in found
    ]
    *_, start, jpeg = table_of(rows, "clean")
    assert table_of(rows, "another")[-1] == "| jpeg:9 | 0.2000 ± 0.1414 (2) | 0.5100 ± 0.0141 (2) |"
    assert start.startswith("| as they are | 0.6000 ± 0.1414 (2) | 0.4100 ± 0.0141 (2) | -0.1900 [")
    assert jpeg.startswith("| jpeg:9 | 0.2000 ± 0.1414 (2) | 0.5100 ± 0.0141 (2) | +0.3100 [")
