"""The latency benchmark: what it writes, how it times, what its tables say."""

from __future__ import annotations

import sys
from argparse import Namespace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from benchmarks import deploy
from benchmarks.deploy import DEPLOYED, INT8, PEER, PLAIN, choose_formats, measure, prepare_weights, table, write
from benchmarks.deploy_profile import GROUPS, OTHER, by_convolution, by_group, kernels
from mgil.engine.weights.checkpoints import model_from_checkpoint
from mgil.tasks.registry import task_named

SIZE = 64
CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy")
    return prepare_weights(folder, ["yolov5n-mgil"])["yolov5n-mgil"]


@pytest.fixture(scope="module")
def files(weights: Path) -> dict[str, Path]:
    return {form: write(weights, SIZE, form, ["onnx"])[0].path for form in (PLAIN, DEPLOYED)}


def test_plain_is_the_model_as_trained(weights: Path, files: dict[str, Path]) -> None:
    kinds = {form: [node.op_type for node in onnx.load(path).graph.node] for form, path in files.items()}
    trained = model_from_checkpoint(weights, fuse=False)
    convolutions = sum(isinstance(layer, torch.nn.Conv2d) for layer in trained.modules())
    assert kinds[PLAIN].count("Conv") == convolutions
    assert "SpaceToDepth" in kinds[DEPLOYED] and "SpaceToDepth" not in kinds[PLAIN]
    assert len(kinds[DEPLOYED]) < len(kinds[PLAIN])


@pytest.mark.parametrize("module", ["onnx", "torchscript"])
def test_every_writer_of_a_plain_form_leaves_the_model_alone(module: str, weights: Path) -> None:
    model = model_from_checkpoint(weights, fuse=False)
    with deploy.nothing_changed():
        deployed = vars(sys.modules[f"mgil.engine.export.{module}"])["deployed"]
        plain = deployed(task_named("detect"), model, "torchscript", (SIZE, SIZE), False)
    assert plain is not model and type(plain) is type(model)
    assert [name for name, _ in plain.named_modules()] == [name for name, _ in model.named_modules()]


def test_formats_are_those_that_run_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert choose_formats(None, CPU) == ["onnx", "openvino"]
    assert choose_formats(None, GPU) == ["onnx"]
    tensorrt = ModuleType("tensorrt")
    tensorrt.__spec__ = ModuleSpec("tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt)
    assert choose_formats(None, GPU) == ["onnx", "engine"]
    assert choose_formats(["torchscript"], CPU) == ["torchscript"]
    for name, device in (
        ("openvino", GPU),
        ("engine", CPU),
        ("tflite", CPU),
        ("coreml", CPU),
        ("ncnn", CPU),
        ("a", GPU),
    ):
        with pytest.raises(ValueError, match=f"--formats {name} cannot be measured on c"):
            choose_formats([name], device)


def test_int8_is_asked_of_the_formats_that_have_it(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str], Any]] = []
    monkeypatch.setattr(
        deploy, "write", lambda _path, _size, form, formats, **o: asked.append((form, formats, o)) or []
    )
    options = Namespace(device="cpu", data="some.yaml", weights=None, formats=["onnx", "torchscript"])
    deploy.export_all({"yolov5n-mgil": weights}, SIZE, options)
    assert [(form, formats) for form, formats, _ in asked] == [
        (PLAIN, ["onnx", "torchscript"]),
        (DEPLOYED, ["onnx", "torchscript"]),
        (INT8, ["onnx"]),
    ]
    options.formats = ["torchscript"]
    asked.clear()
    deploy.export_all({"yolov5n-mgil": weights}, SIZE, options)
    assert [form for form, _, _ in asked] == [PLAIN, DEPLOYED]


def test_operators_are_all_counted_and_deploying_moves_less(files: dict[str, Path]) -> None:
    runs = 20
    events = {form: kernels(path, SIZE, runs) for form, path in files.items()}
    spent = {form: by_group(found, runs) for form, found in events.items()}
    for form in (PLAIN, DEPLOYED):
        assert all(value > 0 for value in spent[form].values()) and set(spent[form]) == {*GROUPS, OTHER}
        assert sum(spent[form].values()) == pytest.approx(sum(event["dur"] for event in events[form]) / 1000 / runs)
    assert spent[DEPLOYED]["moving data"] < spent[PLAIN]["moving data"]
    layers = by_convolution(events[DEPLOYED], runs)
    assert sum(row["ms"] for row in layers) == pytest.approx(spent[DEPLOYED]["convolutions"])
    graph = onnx.load(files[DEPLOYED]).graph
    assert sum(row["number"] for row in layers) == [node.op_type for node in graph.node].count("Conv")
    stem = next(row for row in layers if row["convolution"] == "16x3x6x6 on 32x32")
    assert stem["GMAC/s"] == pytest.approx(32 * 32 * 16 * 3 * 36 / stem["ms"] / 1e6)


def test_images_of_a_turn_follow_each_other_and_the_first_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    clock = iter(range(10_000))
    monkeypatch.setattr(deploy.time, "perf_counter", lambda: float(next(clock)))

    def forward(name: str) -> deploy.Forward:
        return lambda image: calls.append(f"{name}{image.shape[-1]}") or image  # type: ignore[func-returns-value]

    variants = {("m", "ONNX", "plain"): forward("a"), ("m", "ONNX", "deployed"): forward("b")}
    times = measure(variants, 96, Namespace(device="cpu", rounds=2))
    assert calls == [name for _ in range(3) for name in ["a96"] * 5 + ["b96"] * 5]
    assert all(values.tolist() == [1000.0] * 8 for values in times.values())


def test_ratios_are_taken_within_a_runtime() -> None:
    times = {
        ("yolov5n", "ONNX", PLAIN): np.array([3.0, 4.0, 5.0]),
        ("yolov5n", "ONNX", DEPLOYED): np.array([2.0]),
        ("yolov5n", "ONNX", PEER): np.array([2.5]),
        ("yolov5s", "ONNX", DEPLOYED): np.array([8.0]),
        ("yolov5n", "OpenVINO", INT8): np.array([1.0]),
    }
    plain, deployed, peer, small, alone = table(times, 64)
    assert plain["median ms"] == 4 and plain["p95 ms"] == pytest.approx(4.9)
    assert deployed["plain / this"] == 2 and deployed["this / upstream's"] == 0.8
    assert deployed["this / yolov5s deployed"] == 0.25
    assert peer["this / upstream's"] == 1 and small["plain / this"] == ""
    assert alone["plain / this"] == alone["this / upstream's"] == alone["this / yolov5s deployed"] == ""
