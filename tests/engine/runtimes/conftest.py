"""A tiny detector, a file exported from it and a tiny data set, for all tests of running exported files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mgil.engine.weights.checkpoints import model_from_checkpoint
from mgil.networks.detector import DetectionModel
from tests.engine.export.exported import export, save_tiny_detector
from tests.engine.tiny import make_data, random_squares


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_detector(tmp_path_factory.mktemp("weights") / "best.pt")


@pytest.fixture(scope="module")
def model(weights: Path) -> DetectionModel:
    return model_from_checkpoint(weights)


@pytest.fixture(scope="module")
def fixed_onnx(model: DetectionModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made for inputs of 64x64, one at a time."""
    return export(model, "onnx", tmp_path_factory.mktemp("fixed"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    squares = random_squares(6, size=48)
    return make_data(tmp_path_factory.mktemp("data"), squares[:1], squares, size=48)


@pytest.fixture(autouse=True)
def _private_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("mgil.tasks.detect.plots.plot_result", lambda *_: None)  # most of a short run
    monkeypatch.chdir(tmp_path)
