"""What a cell's training is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import study_training

RECIPE = {"lr0": 0.001}
DEFINITION = {"model": {"nc": 1}, "recipe": RECIPE, "epochs": 2, "batch": 4, "size": 64, "patience": 0, "seed": 3}
JOB = {"device": "cpu", "data_workers": 0, "weights": "start.pt", "data_yaml": "some.yaml", "teacher": ""}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The options of every training that was asked for, none of which is run."""
    asked: list[Any] = []

    def run_train(config: Any, report: Any) -> None:
        asked.append(config)

    monkeypatch.setattr(study_training, "run_train", run_train)
    return asked


def test_a_cell_has_the_settings_of_its_definition(trained: list[Any], tmp_path: Path) -> None:
    study_training.train_ours({**JOB, "definition": DEFINITION}, tmp_path)
    (config,) = trained
    assert (config.weights, config.data, config.imgsz, config.seed) == ("start.pt", "some.yaml", 64, 3)
    assert (config.epochs, config.batch_size, config.patience, config.teacher) == (2, 4, 0, "")


def test_a_taught_cell_finds_its_teacher_where_it_is(trained: list[Any], tmp_path: Path) -> None:
    """The definition has a teacher's name and digest, the job its path on this machine."""
    definition = {**DEFINITION, "teacher": "teacher320.pt, sha256 0123456789abcdef", "teacher_img": 128}
    study_training.train_ours({**JOB, "teacher": "/some/teacher320.pt", "definition": definition}, tmp_path)
    (config,) = trained
    assert (config.teacher, config.teacher_img) == ("/some/teacher320.pt", 128)


def test_a_cell_of_poses_has_its_crop(trained: list[Any], tmp_path: Path) -> None:
    study_training.train_ours({**JOB, "definition": {**DEFINITION, "task": "pose", "crop": "area"}}, tmp_path)
    assert trained[0].crop == "area"
