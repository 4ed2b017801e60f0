"""Exported files through load_model, val.py and detect.py: the same numbers as PyTorch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import detect
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.engine.cli import run_cli
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.run import run_export
from mgil.engine.prediction.load import load_model
from mgil.engine.runtimes.model import ExportedModel, load_exported
from mgil.engine.weights.checkpoints import model_from_checkpoint
from mgil.networks.detector import DetectionModel
from mgil.tasks.detect.batches import detect_eval_loader
from mgil.tasks.detect.ensemble import Ensemble
from mgil.tasks.detect.suppression import take_boxes
from tests.engine.export.exported import METADATA, export
from tests.engine.tiny import NAMES
from tests.tasks.detect.judging import evaluate

CPU = torch.device("cpu")
FORMATS = ("onnx", "torchscript", "openvino")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit:FutureWarning")


# --- the same numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_fixed_file_gives_what_pytorch_gives(kind: str, model: DetectionModel, tmp_path: Path) -> None:
    path = export(model, kind, tmp_path, batch=2, size_hw=(32, 96))
    exported = load_exported(path, CPU)
    assert (exported.names, exported.size_hw, exported.batch_size, exported.imgsz) == (NAMES, (32, 96), 2, 96)
    assert exported.max_stride == 32 and not exported.has_nms
    images = torch.rand(5, 3, 32, 96)
    for batch in (images, images[:1], images[:2], images.to(memory_format=torch.channels_last)):
        found = exported(batch)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, model(batch), rtol=1e-4, atol=1e-3)
    with pytest.raises(ValueError, match=r"takes inputs of 32x96 pixels \(height x width\) only, not 64x64"):
        exported(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize("kind", FORMATS)
def test_dynamic_file_takes_any_multiple_of_the_stride(kind: str, model: DetectionModel, tmp_path: Path) -> None:
    exported = load_exported(export(model, kind, tmp_path, dynamic=True), CPU)
    assert exported.size_hw is None and exported.batch_size is None
    for shape in ((1, 3, 64, 64), (3, 3, 32, 96), (2, 3, 160, 128)):
        images = torch.rand(shape)
        torch.testing.assert_close(exported(images), model(images), rtol=1e-4, atol=1e-3)
    with pytest.raises(ValueError, match="48x64 is no multiple of its stride 32"):
        exported(torch.rand(1, 3, 48, 64))


def test_results_outlive_the_next_call(fixed_onnx: Path) -> None:
    exported = load_exported(fixed_onnx, CPU)
    first = exported(torch.rand(1, 3, 64, 64))
    copy = first.clone()
    exported(torch.zeros(1, 3, 64, 64))
    assert torch.equal(first, copy)


def test_detector_letterboxes_to_exactly_the_size(fixed_onnx: Path, weights: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (30, 80, 3), np.uint8)
    detector = load_model(fixed_onnx, device="cpu", conf=0.1)
    results = detector(image)
    assert results.input_hw == (64, 64) and len(results)
    square = np.full((80, 80, 3), 114, np.uint8)  # what the letterbox makes of it, but for the resampling of edges
    square[25:55] = image
    expected = load_model(weights, device="cpu", conf=0.1)(square)
    assert abs(len(results) - len(expected)) <= 2


@pytest.mark.parametrize("size_hw", [(64, 64), (32, 64), (96, 64)])
def test_val_evaluates_at_exactly_the_size(
    size_hw: tuple[int, int], model: DetectionModel, data: Path, tmp_path: Path
) -> None:
    path = export(model, "onnx", tmp_path, batch=4, size_hw=size_hw)
    lines: list[str] = []
    config = ValConfig((str(path),), str(data), device="cpu", workers=0, project=str(tmp_path / "out"))
    (result,) = run_val(config, lines.append).values()
    assert result.size_hw == size_hw
    samples = load_samples(load_data_config(data), "val", report=lambda _: None)
    expected = evaluate(model, detect_eval_loader(samples, 1, 3, shape_hw=size_hw), samples, load_data_config(data))
    assert result.scores.map50_95 == pytest.approx(expected.map50_95, abs=1e-6)
    assert len(result.scores.detections.scores) == len(expected.detections.scores) > 0
    assert not [line for line in lines if "warning" in line]


def test_val_on_a_dynamic_file_is_val_on_the_weights(
    model: DetectionModel, weights: Path, data: Path, tmp_path: Path
) -> None:
    path = export(model, "onnx", tmp_path, dynamic=True)
    found = [
        run_val(
            ValConfig((str(file),), str(data), imgsz=(32, 64), device="cpu", workers=0, project=str(tmp_path / "out")),
            lambda _: None,
        )
        for file in (path, weights)
    ]
    for size in (32, 64):
        assert found[0][size].size_hw == found[1][size].size_hw
        assert found[0][size].scores.map50_95 == pytest.approx(found[1][size].scores.map50_95, abs=1e-6)


def test_detect_runs_an_exported_file(fixed_onnx: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 255, (40, 90, 3), np.uint8))
    monkeypatch.setattr("sys.argv", ["detect.py", "--weights", str(fixed_onnx), "--source", str(picture), "--save-txt"])
    run_cli(detect.main)
    assert "64x64" in capsys.readouterr().out
    assert (tmp_path / "runs" / "detect" / "exp" / "labels" / "a.txt").read_text()


def test_ensemble_of_a_file_and_weights(fixed_onnx: Path, model: DetectionModel) -> None:
    pair = Ensemble([model, load_exported(fixed_onnx, CPU)], ["a.pt", "b.onnx"])
    assert pair.size_hw == (64, 64) and pair.imgsz == 64
    images = torch.rand(2, 3, 64, 64)
    one, other = pair(images).chunk(2, dim=1)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


@pytest.fixture(scope="module")
def ap_on_coco128(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any, bool], float]:
    """AP of a model at 160 px, in rectangles or squares."""
    config = load_data_config(shared_data / "coco128" / "coco128.yaml")
    samples = load_samples(config, "val", cache_dir=tmp_path_factory.mktemp("cache"), report=lambda _: None)
    loaders = {rect: detect_eval_loader(samples, 160, 32, rect=rect, memory_budget=1 << 30) for rect in (False, True)}
    return lambda model, rect: evaluate(model, loaders[rect], samples, config).map50_95


@pytest.fixture(scope="module")
def official_ap(official_weights: Path, ap_on_coco128: Callable[[Any, bool], float]) -> dict[bool, float]:
    """AP of the official weights in PyTorch, by whether in rectangles."""
    pytorch = model_from_checkpoint(official_weights)
    return {rect: ap_on_coco128(pytorch, rect) for rect in (False, True)}


@pytest.mark.parametrize("kind", FORMATS)
def test_ap_of_the_official_weights(
    kind: str,
    official_weights: Path,
    official_ap: dict[bool, float],
    ap_on_coco128: Callable[[Any, bool], float],
    tmp_path: Path,
) -> None:
    pytest.importorskip({"onnx": "onnxruntime", "torchscript": "torch"}.get(kind, kind))
    weights = shutil.copyfile(official_weights, tmp_path / "yolov5n.pt")
    dynamic = kind != "torchscript"  # so that both ways are tried
    config = ExportConfig(str(weights), include=(kind,), imgsz=(160,), batch_size=1 if dynamic else 32, dynamic=dynamic)
    (written,) = run_export(config, lambda _: None)
    assert ap_on_coco128(load_exported(written.path, CPU), dynamic) == pytest.approx(official_ap[dynamic], abs=0.002)


# --- suppression inside the file ----------------------------------------------------------------------------------


class Suppressed:
    """Stands in for a file with suppression: three boxes of falling score, one of no class, one empty row."""

    def __init__(self, **facts: str) -> None:
        self.metadata: dict[str, Any] = {**METADATA, "nms": "true", "conf_thres": "0.3", "iou_thres": "0.45", **facts}
        self.shape_bhw = (1, 64, 64)
        self.output_shape = (1, 5, 6)
        self.dtype = torch.float32

    def run(self, images: torch.Tensor) -> torch.Tensor:
        rows = [
            [4, 8, 20, 24, 0.9, 1],
            [4, 8, 20, 25, 0.8, 1],
            [30, 30, 60, 50, 0.4, 2],
            [1, 1, 9, 9, 0.7, 99],
            [0] * 6,
        ]
        return torch.tensor(rows, dtype=torch.float32)[None].expand(len(images), -1, -1)


def test_boxes_of_the_file_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, fixed_onnx: Path) -> None:
    monkeypatch.setattr(
        "mgil.engine.runtimes.load.load_exported", lambda path, device: ExportedModel(path, Suppressed(), device)
    )
    image = np.zeros((64, 64, 3), np.uint8)
    results = load_model(Path("own.onnx"), device="cpu")(image)
    assert results.boxes_xyxy.tolist() == [[4, 8, 20, 24], [4, 8, 20, 25], [30, 30, 60, 50]]  # overlapping ones too
    assert results.classes.tolist() == [1, 1, 2]
    assert len(load_model(Path("own.onnx"), device="cpu", conf=0.5)(image)) == 2
    assert len(load_model(Path("own.onnx"), device="cpu", max_det=1)(image)) == 1
    assert load_model(Path("own.onnx"), device="cpu", classes=[2])(image).classes.tolist() == [2]
    for options, words in (
        ({"conf": 0.1}, r"^--conf-thres 0\.1: .* none below 0\.3; give 0\.3 or more, or .* --nms --conf-thres 0\.1$"),
        ({"iou": 0.7}, r"^--iou-thres 0\.7: .*, at 0\.45; leave the flag out, or .* --nms --iou-thres 0\.7$"),
        ({"agnostic": True}, "^--agnostic-nms: .*, each class apart; leave the flag out, or .* with --agnostic-nms$"),
    ):
        with pytest.raises(ValueError, match=words):
            load_model(Path("own.onnx"), device="cpu", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_a_real_file_with_suppression(kind: str, weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    copy = shutil.copyfile(weights, tmp_path / "own.pt")
    options: dict[str, Any] = {"conf_thres": 0.45, "topk_all": 252, "topk_per_class": 252}  # all there are
    (written,) = run_export(ExportConfig(str(copy), include=(kind,), nms=True, **options), lambda _: None)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    found, expected = (load_model(path, device="cpu", conf=0.45)(image) for path in (written.path, copy))
    assert len(found) > 5
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    # boxes of almost equal score may change places
    rows, others = (np.column_stack((r.boxes_xyxy, 64 * r.classes)) for r in (found, expected))
    apart = np.abs(rows[:, None] - others[None]).max(axis=2)  # pixels; a whole input for another class
    assert apart.min(axis=0).max() < 0.01 and apart.min(axis=1).max() < 0.01
    with pytest.raises(ValueError, match=r"--conf-thres 0\.1: .* none below 0\.45"):
        load_model(written.path, device="cpu", conf=0.1)


def test_val_says_that_the_file_suppresses(monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "mgil.engine.runtimes.load.load_exported", lambda path, device: ExportedModel(path, Suppressed(), device)
    )
    lines: list[str] = []
    config = ValConfig(("own.onnx",), str(data), device="cpu", workers=0, project=str(tmp_path / "out"))
    (result,) = run_val(config, lines.append).values()
    assert len(result.scores.detections.scores) == 3 * result.scores.images
    assert any("warning: own.onnx suppresses boxes itself" in line for line in lines)


def test_take_boxes_sorts_and_drops_what_is_not_finite() -> None:
    rows = [[0, 0, 1, 1, 0.5, 0], [0, 0, 1, 1, 0.6, 1], [0, float("nan"), 1, 1, 0.9, 1], [0] * 6]
    (found,) = take_boxes(torch.tensor(rows)[None], 0.25, 0.45, multi_label=True)
    assert found[:, 5].tolist() == [1, 0]
    assert [len(boxes) for boxes in take_boxes(torch.zeros(2, 0, 6))] == [0, 0]
