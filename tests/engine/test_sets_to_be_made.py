"""Doors that read a data set which is made on first use, in a folder without it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mgil.datasets.reading import digits
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.run import prepare
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.run import run_detect
from mgil.engine.training.config import TrainConfig
from mgil.engine.training.log import read_results
from mgil.engine.training.run import run_train
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from tests.engine.tiny import TINY, write_yaml


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The YAML of a small set that is not made yet."""
    monkeypatch.setattr(digits, "SCENES", {"train": 8, "val": 4})
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "made.yaml"
    path.write_text("path: made\ngenerate: digits\ntrain: images/train\nval: images/val\n")
    return path


@pytest.fixture
def weights(tmp_path: Path) -> str:
    save_checkpoint(tmp_path / "best.pt", build_model(TINY, names=digits.NAMES, imgsz=64), {})
    return str(tmp_path / "best.pt")


@pytest.mark.parametrize("download", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_training(data: Path, tmp_path: Path, download: bool) -> None:
    cfg = write_yaml(tmp_path / "tiny.yaml", TINY)
    folder = run_train(
        TrainConfig(cfg=cfg, data=str(data), download=download, imgsz=64, epochs=1, batch_size=4, workers=0),
        report=lambda _line: None,
    )
    assert len(read_results(folder / "results.csv")) == 1
    assert len(list((tmp_path / "made" / "images").rglob("*.png"))) == 12


@pytest.mark.parametrize("download", [False, True])
def test_evaluation(data: Path, weights: str, tmp_path: Path, download: bool) -> None:
    lines: list[str] = []
    config = ValConfig(weights=(weights,), data=str(data), download=download, imgsz=(64,), workers=0)
    run_val(config, report=lines.append)
    assert lines[0].startswith("val: 4 images")


def test_the_images_of_an_export(data: Path, weights: str, tmp_path: Path) -> None:
    config = ExportConfig(weights=weights, data=str(data), int8=True, include=("onnx",))
    job, checked = prepare(config, (), report=lambda _line: None)
    assert sum(map(len, checked)) == 4
    ranges = torch.cat(job.calibration())
    assert ranges.shape == (8, 3, 64, 64) and len(torch.unique(ranges, dim=0)) == 8


def test_detection_reads_the_names_alone(data: Path, weights: str, tmp_path: Path) -> None:
    run_detect(DetectConfig(weights=weights, data=str(data), nosave=True), report=lambda _line: None)
    assert not (tmp_path / "made").exists() and not (tmp_path / "cache").exists()
