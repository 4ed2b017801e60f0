"""--degrade from flags to what the networks of all tasks see."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mgil.datasets.batches.decode import decode_image
from mgil.datasets.batches.degradation_steps import steps_of
from mgil.datasets.batches.degrade import Degradation
from mgil.datasets.batches.random_degradation import RandomDegradation
from mgil.datasets.reading.path_list import PathList
from mgil.engine.degradations import points_of
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.found_boxes import find_boxes
from mgil.engine.evaluation.run import run_val
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.run import run_detect
from mgil.engine.training.run import run_train
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from mgil.tasks.base import Loading
from mgil.tasks.classify.batches import ClassLoader
from mgil.tasks.classify.split import ClassSplit
from tests.datasets.scenes import smooth_image
from tests.engine.tiny import NAMES, RECIPE, TINY, Playground, write_yaml

GAMMA = Degradation(steps_of("gamma:2"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {"start": "None"}),
        (("area:4", "jpeg:30"), {"start": "area:4 jpeg:30"}),
        (("jpeg:50,10",), {"start": "None", "jpeg:50": "jpeg:50", "jpeg:10": "jpeg:10"}),
        (
            ("blur:1", "jpeg:50,10", "gamma:2", "noise:8,16"),
            {
                "start": "blur:1 gamma:2",
                "jpeg:50": "blur:1 jpeg:50 gamma:2",
                "jpeg:10": "blur:1 jpeg:10 gamma:2",
                "noise:8": "blur:1 gamma:2 noise:8",
                "noise:16": "blur:1 gamma:2 noise:16",
            },
        ),
    ],
)
def test_points(words: tuple[str, ...], expected: dict[str, str]) -> None:
    assert {str(point): str(point.degradation) for point in points_of(words)} == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"degrade": ("fog:1",)}, "--degrade fog:1: no degradation is called 'fog'"),
        ({"degrade": ("jpeg:50,30", "jpeg:20,10")}, "--degrade jpeg:20,10: write all strengths of jpeg into one word"),
        ({"degrade": ("jpeg:50",), "task": "speed"}, "--task speed measures times alone; leave --degrade out"),
        ({"degrade": ("jpeg:50",), "reduced_jpeg": True}, "--reduced-jpeg on smaller ones; give one"),
        ({"degrade": ("jpeg:50,30",), "imgsz": (64, 96)}, "give one --img, and no study"),
        ({"degrade": ("jpeg:50,30",), "task": "study"}, "give one --img, and no study"),
    ],
)
def test_what_val_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ValConfig(("best.pt",), **fields)


def test_detect_takes_one_strength() -> None:
    with pytest.raises(ValueError, match="--degrade area:2,4: give one strength; val.py compares several"):
        DetectConfig("best.pt", degrade=("area:2,4",))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of four pictures with a box each, and weights.pt, which finds something."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mgil.tasks.detect.plots.plot_result", lambda *_: None)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(smooth_image(random, 50 + number, 64)).save(tmp_path / "images" / f"{number}.png")
        (tmp_path / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.3 0.3\n")
    torch.manual_seed(0)
    model = build_model(TINY, names=NAMES, imgsz=64)
    with torch.no_grad():
        for layer in model.head.m:
            layer.bias.view(3, -1)[:, 4:] = 1.0
    save_checkpoint(tmp_path / "weights.pt", model, {})
    path = tmp_path / "data.yaml"
    path.write_text(f"val: images\nnames: [{', '.join(NAMES)}]\n")
    return path


def seen_by(monkeypatch: pytest.MonkeyPatch, run: Any) -> list[torch.Tensor]:
    """What a network is shown while something runs, in an order that is that of no file."""
    from mgil.networks.detector import DetectionModel

    seen: list[torch.Tensor] = []
    forward = DetectionModel.forward

    def recorded(model: DetectionModel, images: torch.Tensor) -> Any:
        seen.extend(image.clone() for image in images)
        return forward(model, images)

    with monkeypatch.context() as patch:
        patch.setattr(DetectionModel, "forward", recorded)
        run()
    return sorted(seen, key=lambda image: (*image.shape, float(image.double().sum())))


def test_val_and_detect_see_the_same_degraded_pixels(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common: dict[str, Any] = {"imgsz": (64,), "device": "cpu", "degrade": ("gamma:2", "noise:8", "jpeg:30")}
    val = ValConfig(("weights.pt",), str(data), workers=0, **common)
    evaluated = seen_by(monkeypatch, lambda: run_val(val, lambda _line: None))
    clean = seen_by(monkeypatch, lambda: run_val(replace(val, degrade=()), lambda _line: None))
    found = seen_by(monkeypatch, lambda: run_detect(DetectConfig("weights.pt", "images", **common), lambda _line: None))
    assert len(evaluated) == len(found) == 4
    assert all(torch.equal(one, other) for one, other in zip(evaluated, found, strict=True))
    assert all((one - other).abs().mean() > 0.1 for one, other in zip(evaluated, clean, strict=True))
    run_detect(DetectConfig("weights.pt", "images", conf_thres=1.0, name="empty", **common), lambda _line: None)
    drawn = decode_image("runs/detect/empty/0.png")[4::8, 4::8].astype(int)  # small pictures are enlarged for drawing
    before = decode_image("images/0.png")
    degraded = Degradation(tuple(steps_of(word)[0] for word in common["degrade"]))(before)
    assert np.abs(drawn - degraded).mean() < 4 < 20 < np.abs(drawn - before).mean()


def test_a_table_over_strengths(data: Path) -> None:
    lines: list[str] = []
    config = ValConfig(("weights.pt",), str(data), workers=0, device="cpu", degrade=("blur:1", "gamma:1,3", "jpeg:9,5"))
    results = run_val(config, lines.append)
    assert list(results) == ["start", "gamma:1", "gamma:3", "jpeg:9", "jpeg:5"]
    assert "pictures: blur:1" in lines and "pictures: blur:1 gamma:3" in lines
    folder = Path("runs/val/exp")
    with open(folder / "ap_vs_degradation.csv", newline="") as file:
        rows = {row["degradation"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(results)
    assert rows["start"]["AP"] == rows["gamma:1"]["AP"]  # which changes nothing
    assert cv2.imread(str(folder / "ap_vs_degradation.png")) is not None
    assert (folder / "start" / "per_class.csv").is_file() and (folder / "jpeg_5" / "per_class.csv").is_file()
    only = run_val(replace(config, degrade=("blur:1", "jpeg:5"), imgsz=(64,)), lines.append)
    assert list(only) == [64] and only[64].scores.row() == results["jpeg:5"].scores.row()


@pytest.mark.parametrize("in_memory", [False, True])
def test_classes_are_seen_degraded(tmp_path: Path, in_memory: bool) -> None:
    picture = smooth_image(np.random.default_rng(1), 32, 32)
    Image.fromarray(picture).save(tmp_path / "0.png")
    one = np.array([[32, 32]])
    split = ClassSplit(PathList([str(tmp_path / "0.png")]), one, np.array([0]), picture[None] if in_memory else None)
    (batch,) = ClassLoader(split, 32, "center", Loading(1, change=GAMMA))
    assert np.array_equal(batch.images[0].permute(1, 2, 0).numpy(), GAMMA(picture))


def test_people_are_looked_for_in_degraded_pictures(tmp_path: Path) -> None:
    picture = smooth_image(np.random.default_rng(1), 20, 20)
    Image.fromarray(picture).save(tmp_path / "0.png")
    shown: list[np.ndarray] = []

    def predictor(images: list[np.ndarray], paths: list[str]) -> list[Any]:
        shown.extend(images)
        return []

    with pytest.raises(ValueError, match="zip"):
        list(find_boxes(predictor, [str(tmp_path / "0.png")], None, GAMMA))  # type: ignore[arg-type]
    assert np.array_equal(shown[0], GAMMA(picture))


def test_a_recipe_s_degradations_reach_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    used: list[RandomDegradation] = []
    call = RandomDegradation.__call__

    def recorded(self: RandomDegradation, images: torch.Tensor, key: tuple[int, ...]) -> torch.Tensor:
        used.append(self)
        return call(self, images, key)

    monkeypatch.setattr(RandomDegradation, "__call__", recorded)
    playground = Playground(tmp_path / "play")
    run_train(playground.config(tmp_path / "runs", epochs=1), report=lambda _line: None)
    assert not used
    hyp = write_yaml(tmp_path / "hyp.yaml", RECIPE | {"degrade": 0.75, "degrade_blur": 0.5, "degrade_jpeg": 60})
    run_train(playground.config(tmp_path / "runs", epochs=1, hyp=hyp), report=lambda _line: None)
    assert (
        set(used) == {RandomDegradation(0.75, blur=0.5, area=3.0, gamma=2.0, noise=12.0, jpeg=60.0)} and len(used) == 2
    )
