"""ONNX, TorchScript and OpenVINO files against the PyTorch model they came from."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

import mgil
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.job import ExportJob
from mgil.engine.export.onnx import onnx_graph, save_graph
from mgil.engine.export.run import run_export
from mgil.engine.export.torchscript import traced
from mgil.engine.runtimes.model import load_exported
from mgil.networks.detector import DetectionModel
from mgil.tasks.detect.export_nms import append_suppression
from mgil.tasks.detect.nms import non_max_suppression
from mgil.tasks.detect.suppression import Suppression, suppress
from tests.engine.export.export_tiny import NAMES, pictures, save_small, small_model

CPU = torch.device("cpu")
PACKAGES = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "torchscript": ()}
FILES = {"onnx": "best.onnx", "openvino": "best_openvino_model", "torchscript": "best.torchscript"}
formats = pytest.mark.parametrize("name", PACKAGES)
onnx_by_day = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.nightly] * (name != "onnx")) for name in PACKAGES]
)


def need(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package)


# TorchScript works and is in use, however much torch prefers its successors.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit:FutureWarning")


@pytest.fixture(scope="module")
def model() -> DetectionModel:
    return small_model()


def export(folder: Path, name: str, **options: Any) -> Any:
    """Export the small model; return the opened file."""
    need(*PACKAGES[name])
    weights = save_small(folder / "best.pt")
    options = {"imgsz": (64, 64), "include": (name,)} | options
    (done,) = run_export(ExportConfig(weights=str(weights), **options))
    assert sorted(path.name for path in folder.iterdir()) == sorted(["best.pt", done.path.name])
    return load_exported(done.path, CPU)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-3)


@formats
def test_same_predictions_and_metadata(name: str, model: DetectionModel, tmp_path: Path) -> None:
    exported = export(tmp_path, name, imgsz=(64, 96), batch_size=2)
    images = pictures((64, 96), 3)
    assert_same(exported(images), model(images))
    assert exported.names == NAMES
    assert exported.size_hw == (64, 96)
    assert exported.batch_size == 2
    assert exported.max_stride == 32
    assert not exported.has_nms


@onnx_by_day
def test_dynamic_sides_and_batches(name: str, model: DetectionModel, tmp_path: Path) -> None:
    exported = export(tmp_path, name, dynamic=True)
    assert exported.size_hw is None
    assert exported.batch_size is None
    for size_hw, count in [((64, 64), 1), ((32, 32), 3), ((96, 160), 2), ((128, 32), 1)]:
        images = pictures(size_hw, count)
        assert_same(exported(images), model(images))


@onnx_by_day
def test_suppression_inside_the_file(name: str, model: DetectionModel, tmp_path: Path) -> None:
    rule = {"conf_thres": 0.3, "iou_thres": 0.5, "topk_all": 300, "topk_per_class": 300}
    exported = export(tmp_path, name, nms=True, dynamic=True, **rule)
    assert exported.has_nms
    for size_hw, count in [((64, 96), 2), ((32, 32), 1)]:  # 32 px: fewer predictions than rows
        images = pictures(size_hw, count)
        found = exported(images)
        assert found.shape == (count, 300, 6)
        for rows, truth in zip(found, non_max_suppression(model(images), 0.3, 0.5, max_det=300), strict=True):
            kept = rows[rows[:, 4] > 0]
            assert len(truth) > 5
            assert abs(len(kept) - len(truth)) <= 0.05 * len(truth)  # flat parts of a picture make ties
            distances = torch.cdist(kept, truth).amin(dim=1)
            assert (distances < 0.1).float().mean() > 0.8
            assert not rows[len(kept) :].any()


def random_predictions(num_classes: int, count: int = 400) -> torch.Tensor:
    """Boxes that overlap, scores without ties; the second image has no objects."""
    boxes = torch.cat((torch.rand(3, count, 2) * 60, 4 + torch.rand(3, count, 2) * 30), dim=2)
    predictions = torch.cat((boxes, torch.rand(3, count, 1 + num_classes)), dim=2)
    predictions[1, :, 4] = 0
    return predictions


def suppressing_graph(rule: Suppression, num_classes: int, path: Path) -> Path:
    """An ONNX file that does nothing but suppress."""
    import onnx

    shape = ["batch", "rows", 5 + num_classes]
    given, taken = (onnx.helper.make_tensor_value_info(name, 1, shape) for name in ("images", "output0"))
    twice = onnx.helper.make_node("Mul", ["images", "one"], ["output0"])
    one = onnx.numpy_helper.from_array(np.ones(1, np.float32), "one")
    graph = onnx.helper.make_graph([twice], "suppress", [given], [taken], [one])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    append_suppression(model, rule, num_classes)
    save_graph(model, path)
    return path


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch"])
@pytest.mark.parametrize(
    ("num_classes", "rule"),
    [
        (5, Suppression(0.2, 0.4, False, 1000, 120)),
        (5, Suppression(0.2, 0.4, True, 1000, 120)),
        (1, Suppression(0.2, 0.4, False, 1000, 120)),
        (5, Suppression(0.1, 0.6, False, 3, 100)),
        (5, Suppression(0.1, 0.6, False, 1000, 7)),
        (5, Suppression(0.0, 1.0, False, 1000, 500)),  # more rows than predictions, all of which stay
    ],
)
def test_suppression_equals_the_engine(runtime: str, num_classes: int, rule: Suppression, tmp_path: Path) -> None:
    predictions = random_predictions(num_classes)
    if runtime == "torch":
        found = suppress(
            predictions, rule.conf_thres, rule.iou_thres, rule.agnostic, rule.per_class, rule.total
        ).numpy()
    else:
        need("onnx", runtime)
        path = suppressing_graph(rule, num_classes, tmp_path / "suppress.onnx")
        if runtime == "openvino":
            import openvino

            found = openvino.Core().compile_model(str(path), "CPU")([predictions.numpy()])[0]
        else:
            import onnxruntime

            (found,) = onnxruntime.InferenceSession(path).run(None, {"images": predictions.numpy()})
    assert found.shape == (3, rule.total, 6)
    expected = non_max_suppression(
        predictions, rule.conf_thres, rule.iou_thres, agnostic=rule.agnostic, max_det=len(predictions[0])
    )
    for rows, truth in zip(torch.from_numpy(np.array(found)), expected, strict=True):
        by_class: dict[int, int] = {}
        kept = []
        for row in truth:
            by_class[int(row[5])] = by_class.get(int(row[5]), 0) + 1
            if by_class[int(row[5])] <= rule.per_class:
                kept.append(row)
        kept = kept[: rule.total]
        if kept:
            assert_same(rows[: len(kept)], torch.stack(kept))
        assert not rows[len(kept) :].any()


def test_metadata_in_each_format(tmp_path: Path) -> None:
    need("onnx", "onnxruntime", "openvino")
    import onnx

    weights = save_small(tmp_path / "best.pt")
    run_export(ExportConfig(weights=str(weights), imgsz=(64,), include=tuple(PACKAGES), nms=True, conf_thres=0.5))
    in_onnx = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "best.onnx")).metadata_props}
    assert in_onnx["stride"] == "32"
    assert ast.literal_eval(in_onnx["names"]) == dict(enumerate(NAMES))
    expected = {"task": "detect", "imgsz": "[64, 64]", "batch": "1", "dynamic": "false", "half": "false"}
    expected |= {"nms": "true", "int8": "false", "version": mgil.__version__, "conf_thres": "0.5"}
    assert expected.items() <= in_onnx.items()
    assert yaml.safe_load((tmp_path / FILES["openvino"] / "metadata.yaml").read_text()) == in_onnx
    files = {"config.txt": ""}
    torch.jit.load(str(tmp_path / "best.torchscript"), _extra_files=files)
    inside = json.loads(files["config.txt"])
    assert inside["shape"] == [1, 3, 64, 64]
    assert inside["stride"] == 32
    assert inside["names"] == {str(index): name for index, name in enumerate(NAMES)}


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_half(name: str, model: DetectionModel, tmp_path: Path) -> None:
    exported = export(tmp_path, name, half=True)
    images = pictures((64, 64), 2)
    gap = (exported(images) - model(images)).abs()
    assert exported.in_bfloat16 + bool(exported.note) == (name == "openvino")
    scores, pixels = (0.2, 9.6) if exported.in_bfloat16 else (0.03, 1.5)
    assert 0 < gap[..., 4:].max() < scores
    assert gap[..., :4].max() < pixels


@pytest.mark.nightly
@pytest.mark.parametrize(("opset", "dynamic"), [(11, False), (20, True)])
def test_opset_and_simplify_do_something(opset: int, dynamic: bool, model: DetectionModel, tmp_path: Path) -> None:
    need("onnx", "onnxruntime", "onnxslim")
    import onnx

    export(tmp_path, "onnx", opset=opset, simplify=True, dynamic=dynamic)
    simplified = onnx.load(str(tmp_path / "best.onnx"))
    assert simplified.opset_import[0].version == opset
    plain = onnx_graph(ExportJob(model=model, stem="best", size_hw=(64, 64), opset=opset, dynamic=dynamic), "onnx")
    assert len(plain.graph.node) - len(simplified.graph.node) >= (60 if dynamic else 10)


def test_verbose_counts_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(tmp_path, "onnx", verbose=True)
    assert "nodes: " in capsys.readouterr().out


def test_graph_is_lean(model: DetectionModel) -> None:
    """No padding, no slices, no shape arithmetic, no copies of weights: what the network computes and nothing else."""
    need("onnx")
    import onnx

    graph = onnx.shape_inference.infer_shapes(
        onnx_graph(ExportJob(model=model, stem="best", size_hw=(64, 64)), "onnx")
    ).graph
    kinds = [node.op_type for node in graph.node]
    needless = {"Identity", "Cast", "Pad", "Slice", "Shape", "Gather", "Range", "Expand", "Softmax", "ReduceMean"}
    assert not needless & set(kinds)
    assert [entry.name for entry in graph.input] == ["images"]
    assert [entry.name for entry in graph.output] == ["output0"]
    maps = {entry.name: [side.dim_value for side in entry.type.tensor_type.shape.dim] for entry in graph.value_info}
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node.input[0] in maps]
    assert len(convolutions) > 50
    for node in convolutions:
        options = {entry.name: entry.ints for entry in node.attribute}
        taps = zip(options["kernel_shape"], options["dilations"], maps[node.input[0]][2:], strict=True)
        assert all(kernel == 1 or rate < side for kernel, rate, side in taps)  # none meets nothing but padding


def test_opencv_reads_the_default_file(model: DetectionModel, tmp_path: Path) -> None:
    need("onnx", "onnxruntime")
    export(tmp_path, "onnx")
    network = cv2.dnn.readNetFromONNX(str(tmp_path / "best.onnx"))
    images = pictures((64, 64), 1)
    picture = (images[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)[..., ::-1]  # as cv2.imread gives it
    network.setInput(cv2.dnn.blobFromImage(picture, 1 / 255, (64, 64), swapRB=True))
    assert_same(torch.from_numpy(np.array(network.forward())), model(images))


def test_plain_onnxruntime_script(model: DetectionModel, tmp_path: Path) -> None:
    need("onnx", "onnxruntime")
    import onnxruntime

    export(tmp_path, "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "best.onnx")
    images = pictures((64, 64), 1)
    (found,) = session.run(["output0"], {"images": images.numpy()})
    assert found.shape == (1, 252, 8)
    assert_same(torch.from_numpy(found), model(images))
    run_example_script(tmp_path)


def run_example_script(folder: Path) -> None:
    """Run the example of a consumer in docs/export.md beside best.onnx."""
    text = (Path(__file__).resolve().parents[3] / "docs/export.md").read_text(encoding="utf-8")
    (script,) = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "onnxruntime" in code]
    assert "assert " in script
    picture = np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8)
    cv2.imwrite(str(folder / "image.jpg"), cv2.GaussianBlur(picture, (0, 0), 5))
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dynamic", [False, True])
def test_torchscript_names_no_device(dynamic: bool, model: DetectionModel) -> None:
    """A constant device stays what it was in the trace, wherever the file is loaded."""
    job = ExportJob(model=model, stem="best", size_hw=(64, 64), dynamic=dynamic, inside=Suppression())
    graph = str(traced(job).inlined_graph)
    assert "prim::Constant" in graph
    assert "Device = prim::Constant" not in graph


@pytest.mark.parametrize("half", [False, True])
def test_ncnn(half: bool, tmp_path: Path) -> None:
    need("pnnx", "ncnn")
    weights = save_small(tmp_path / "best.pt")
    (done,) = run_export(ExportConfig(weights=str(weights), imgsz=(64, 96), half=half, include=("ncnn",)))
    assert sorted(path.name for path in done.path.iterdir()) == ["metadata.yaml", "model.ncnn.bin", "model.ncnn.param"]
    assert done.difference is not None
    assert done.difference.boxes_px < (1.0 if half else 0.01)


def test_official_weights(official_weights: Path, tmp_path: Path) -> None:
    need("onnx", "onnxruntime")
    weights = tmp_path / "yolov5n.pt"
    weights.symlink_to(official_weights)
    (done,) = run_export(ExportConfig(weights=str(weights), imgsz=(160,), include=("onnx",)))
    assert done.difference is not None
    assert done.difference.boxes_px < 0.05
    assert load_exported(done.path, CPU).names[0] == "person"
