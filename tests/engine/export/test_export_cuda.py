"""Exported files on a GPU: TorchScript, ONNX Runtime with CUDA, TensorRT."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mgil.engine.export.config import ExportConfig
from mgil.engine.export.run import run_export
from mgil.engine.runtimes.model import ExportedModel, load_exported
from mgil.engine.runtimes.onnx import gpu_provider_installed
from mgil.networks.detector import DetectionModel
from mgil.tasks.detect.nms import non_max_suppression
from tests.engine.export.export_tiny import pictures, save_small, small_model

FORMATS = ("torchscript", "onnx", "engine")
SIZE_HW = (64, 96)
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit:FutureWarning"),
]


@pytest.fixture(scope="module")
def model() -> DetectionModel:
    return small_model()


def export(folder: Path, name: str, *, on: str = "0", **options: bool) -> ExportedModel:
    """Export the small model, which is compared with PyTorch on the way, and open the file on the GPU."""
    if name == "onnx":
        pytest.importorskip("onnxruntime")
        if not gpu_provider_installed():
            pytest.skip("this ONNX Runtime was built without CUDA")
    if name == "engine":
        pytest.importorskip("tensorrt")
    weights = save_small(folder / "best.pt")
    config = ExportConfig(weights=str(weights), imgsz=SIZE_HW, include=(name,), device=on, **options)
    (done,) = run_export(config)
    assert done.difference is not None
    return load_exported(done.path, torch.device("cuda", 0))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_same_predictions(name: str, half: bool, model: DetectionModel, tmp_path: Path) -> None:
    images = pictures(SIZE_HW, 3)
    found = export(tmp_path, name, half=half)(images)
    assert found.is_cuda and found.dtype == torch.float32
    gap = (found.cpu() - model(images)).abs()
    assert gap[..., :4].max() < (2.0 if half else 0.2)
    assert gap[..., 4:].max() < (0.05 if half else 0.01)


@pytest.mark.parametrize("name", FORMATS)
def test_any_size(name: str, model: DetectionModel, tmp_path: Path) -> None:
    exported = export(tmp_path, name, dynamic=True)
    for size_hw, count in ((SIZE_HW, 1), ((32, 32), 3), ((128, 64), 20)):
        images = pictures(size_hw, count)
        torch.testing.assert_close(exported(images).cpu(), model(images), rtol=5e-3, atol=0.05)


@pytest.mark.parametrize("name", FORMATS)
def test_suppression_inside_the_file(name: str, model: DetectionModel, tmp_path: Path) -> None:
    images = pictures(SIZE_HW, 2)
    found = export(tmp_path, name, nms=True)(images).cpu()
    expected = non_max_suppression(model(images), 0.25, 0.45, max_det=100)
    for rows, truth in zip(found, expected, strict=True):
        kept = rows[rows[:, 4] > 0]
        assert len(truth) > 5
        assert (torch.cdist(kept, truth).amin(dim=1) < 0.5).float().mean() > 0.8


@pytest.mark.parametrize("options", [{}, {"dynamic": True}, {"nms": True}, {"nms": True, "dynamic": True}])
def test_torchscript_written_on_the_cpu(options: dict[str, bool], model: DetectionModel, tmp_path: Path) -> None:
    """Nothing in the file is tied to the device that it was traced on."""
    exported = export(tmp_path, "torchscript", on="cpu", **options)
    images = pictures(SIZE_HW, 1)
    found = exported(images)
    assert found.is_cuda
    if not options.get("nms"):
        torch.testing.assert_close(found.cpu(), model(images), rtol=5e-3, atol=0.05)
    else:
        assert found[0, :, 4].max().item() == pytest.approx(
            float(non_max_suppression(model(images))[0][0, 4]), abs=0.01
        )
