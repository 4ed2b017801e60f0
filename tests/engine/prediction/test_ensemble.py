"""Several weights for detect.py and load_model: their predictions are pooled before suppression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.load import load_model
from mgil.engine.prediction.run import run_detect
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from mgil.tasks.detect.augmented import predict_augmented
from mgil.tasks.detect.ensemble import Ensemble
from mgil.tasks.detect.nms import non_max_suppression
from tests.engine.tiny import TINY

NAMES = ("cat", "dog")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two networks of random weights."""
    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        save_checkpoint(folder / f"{name}.pt", build_model(TINY, names=NAMES, imgsz=64), {"epoch": 0})
    return [str(folder / f"{name}.pt") for name in "ab"]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.mark.parametrize("augment", [False, True])
def test_predictions_are_pooled_before_suppression(augment: bool, weights: list[str], image: np.ndarray) -> None:
    options = {"conf": 0.001, "iou": 0.3, "max_det": 20, "augment": augment}
    found = load_model(weights, device="cpu", **options)(image)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        networks = [load_model(path, device="cpu").model for path in weights]
        parts = [predict_augmented(network, tensor) if augment else network(tensor) for network in networks]
        (expected,) = non_max_suppression(torch.cat(parts, dim=1), 0.001, 0.3, max_det=20)
    assert len(found) == len(expected) == 20
    np.testing.assert_allclose(found.boxes_xyxy, expected[:, :4].clamp(0, 64).numpy(), atol=1e-4)
    np.testing.assert_allclose(found.scores, expected[:, 4].numpy(), atol=1e-6)


def test_the_same_weights_twice_find_what_they_find_once(weights: list[str], image: np.ndarray) -> None:
    once, twice = (
        load_model(paths, device="cpu", conf=0.001, iou=0.3, agnostic=True)(image)
        for paths in (weights[0], [weights[0], Path(weights[0])])
    )
    assert len(once) and len(once) == len(twice)
    np.testing.assert_allclose(once.boxes_xyxy, twice.boxes_xyxy, atol=1e-4)


def test_detect_takes_several(weights: list[str], image: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(image).save(tmp_path / "a.png")
    options = {"source": str(tmp_path / "a.png"), "project": str(tmp_path / "out"), "device": "cpu"}
    lines: list[str] = []
    low = {"conf_thres": 0.001, "iou_thres": 0.3}
    summary = run_detect(DetectConfig(weights=tuple(weights), **low, **options), lines.append)
    assert lines[0].startswith(f"{weights[0]} + {weights[1]}: 2 classes, input up to 64x64 pixels")
    assert summary.detections == len(load_model(weights, device="cpu", conf=0.001, iou=0.3)(image))
    with pytest.raises(ValueError, match=r"^--visualize needs one file of PyTorch weights"):
        run_detect(DetectConfig(weights=tuple(weights), visualize=True, **options), lines.append)


def test_what_does_not_fit_together_is_said_as_val_says_it(weights: list[str], tmp_path: Path) -> None:
    other = str(tmp_path / "other.pt")
    save_checkpoint(other, build_model(TINY, names=("cat", "cow"), imgsz=64), {"epoch": 0})
    with pytest.raises(ValueError, match=r"^\S*other\.pt and \S*a\.pt have different class names"):
        load_model([weights[0], other], device="cpu")
    with pytest.raises(FileNotFoundError, match=r"gone\.pt"):
        load_model([weights[0], tmp_path / "gone.pt"], device="cpu")
    with pytest.raises(ValueError, match="at least one file"):
        load_model([], device="cpu")
    with pytest.raises(ValueError, match="--weights: give at least one|--weights"):
        DetectConfig(weights=(1,))  # type: ignore[arg-type]


def test_a_fixed_size_that_another_member_cannot_take_is_refused(weights: list[str]) -> None:
    """Its maps would have other numbers of cells."""
    one, other = (load_model(path, device="cpu").model for path in weights)
    one.size_hw = (96, 64)
    other.max_stride = 64
    with pytest.raises(ValueError, match=r"a, b: one is exported for 96x64 pixels, and b needs multiples of 64"):
        Ensemble([one, other], ["a", "b"])
    other.max_stride = 32
    assert Ensemble([one, other], ["a", "b"]).size_hw == (96, 64)
