"""Exported files that are broken, hostile or used wrongly: one clear line, and nothing of theirs is run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import detect
import val
from mgil.engine.cli import run_cli
from mgil.engine.runtimes.metadata import read_metadata
from mgil.engine.runtimes.model import is_exported, load_exported
from mgil.files.packages import MissingPackage
from mgil.networks.detector import DetectionModel
from tests.engine.export.exported import METADATA, export

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit:FutureWarning")


def fails(capsys: Any, monkeypatch: Any, door: Callable[[], None], *flags: object) -> str:
    """Run a door that must end with one line on standard error and exit code 1; return the line."""
    monkeypatch.setattr("sys.argv", ["door", *map(str, flags)])
    with pytest.raises(SystemExit) as stop:
        run_cli(door)
    message = capsys.readouterr().err
    assert stop.value.code == 1
    assert message.startswith("error: ") and message.count("\n") == 1
    return message


# --- metadata -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "names", "stride"),
    [
        ({"stride": "32", "names": "{0: 'person', 1: 'helmet'}"}, ("person", "helmet"), 32),
        ({"stride": 64, "names": ["a"], "nms": False}, ("a",), 64),
        ({"stride": "32.0", "names": {"1": "b", "0": "a"}, "imgsz": "[96, 160]", "half": "True"}, ("a", "b"), 32),
    ],
)
def test_metadata_as_others_write_it(facts: dict[str, Any], names: tuple[str, ...], stride: int) -> None:
    info = read_metadata(facts, Path("x.onnx"))
    assert (info.names, info.stride) == (names, stride)
    assert info.imgsz_hw == ((96, 160) if "imgsz" in facts else None)


@pytest.mark.parametrize(
    "facts",
    [
        {"names": "__import__('os').system('touch pwned')"},
        {"names": "{0: open('pwned', 'w')}"},
        {"names": "{0: 'a', 2: 'b'}"},
        {"names": "{0: 'a', 0.5: 'b'}"},
        {"names": "{True: 'a'}"},
        {"names": "[]"},
        {"names": "'person'"},
        {"names": "[1, 2]"},
        {"names": "['a\\x1b[2J']"},
        {"names": "['" + "a" * 300 + "']"},
        {"names": "(" * 1000 + ")" * 1000},
        {"names": "-" * 100_000 + "1"},
        {"names": "[" + "'a'," * 200_000 + "]"},
        {"names": "{0: 'a'"},
        {"stride": "0"},
        {"stride": "True"},
        {"stride": "1e400"},
        {"stride": "9" * 10_000},
        {"imgsz": "[64]"},
        {"imgsz": "[64, -64]"},
        {"nms": "perhaps"},
        {"conf_thres": "nan"},
        {"task": "segment"},
        {"task": 3},
    ],
)
def test_hostile_metadata_is_refused(facts: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^x\.onnx: ") as refusal:
        read_metadata(METADATA | facts, Path("x.onnx"))
    assert len(str(refusal.value)) < 300
    assert not (tmp_path / "pwned").exists()


# --- broken and hostile files -------------------------------------------------------------------------------------


def test_which_paths_are_exported_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("a.onnx", "a.torchscript", "a.engine", "a.xml", "a.tflite", "gone_openvino_model", "folder"):
        assert is_exported(tmp_path / name), name
    for name in ("a.pt", "a", "yolov5n.yaml"):
        assert not is_exported(name), name


@pytest.mark.parametrize("kept", [0, 10, 0.5])
@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_truncated_files(kind: str, kept: float, model: DetectionModel, tmp_path: Path, capsys: Any) -> None:
    path = export(model, kind, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept != 0.5 else len(content) * kept)])
    with pytest.raises(ValueError, match=f"best.{kind}: ") as refusal:
        load_exported(path, CPU)
    assert "\n" not in str(refusal.value)
    assert capsys.readouterr().err == ""


def test_a_model_that_is_no_detector(model: DetectionModel, tmp_path: Path) -> None:
    path = export(model, "onnx", tmp_path, metadata={"stride": "32"})
    with pytest.raises(ValueError, match=r"best\.onnx: no names in its metadata"):
        load_exported(path, CPU)
    path = export(model, "onnx", tmp_path, metadata={})
    with pytest.raises(ValueError, match=r"no stride and no names in its metadata"):
        load_exported(path, CPU)
    path = export(model, "onnx", tmp_path, metadata=METADATA | {"names": "['a', 'b']"})
    with pytest.raises(ValueError, match=r"gives \(1, 252, 8\); a detector of 2 classes gives \(batch, n, 7\)"):
        load_exported(path, CPU)
    path = export(model, "onnx", tmp_path, metadata=METADATA | {"stride": "48"})
    with pytest.raises(ValueError, match="64x64 is no multiple of its stride 48"):
        load_exported(path, CPU)


def write_constant(path: Path, input_shapes: list[list[Any]], output: np.ndarray, output_shape: list[Any]) -> Path:
    """An ONNX file with a detector's metadata that gives the same numbers whatever it gets."""
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Identity", ["value"], ["output0"])],
        "g",
        [helper.make_tensor_value_info(f"images{place}", kind, shape) for place, shape in enumerate(input_shapes)],
        [helper.make_tensor_value_info("output0", kind, output_shape)],
        [onnx.numpy_helper.from_array(output, "value")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, METADATA)
    onnx.save(model, str(path))
    return path


FOUR, FREE = [4, 3, 64, 64], ["batch", 3, 64, 64]
ONE_ROW = np.ones((1, 252, 8), np.float32)


@pytest.mark.parametrize(
    ("inputs", "output", "output_shape", "words"),
    [
        ([], ONE_ROW, [1, 252, 8], "has 0 inputs and 1 outputs; a network here has one input"),
        ([FOUR, FOUR], ONE_ROW, [1, 252, 8], "has 2 inputs and 1 outputs; a network here has one input"),
        ([FOUR], ONE_ROW, [1, 252, 8], "gives the results of 1 images for a batch of 4"),
        ([FREE], ONE_ROW, ["batch", 252, 8], "gives the results of 1 images for a batch of 4"),
        ([FOUR], np.array(1.0, np.float32), [], r"gives \(\); a detector of 3 classes gives \(batch, n, 8\)"),
    ],
)
def test_files_whose_ends_are_no_detectors(
    inputs: list[list[Any]], output: np.ndarray, output_shape: list[Any], words: str, tmp_path: Path
) -> None:
    path = write_constant(tmp_path / "odd.onnx", inputs, output, output_shape)
    with pytest.raises(ValueError, match=rf"odd\.onnx: {words}$"):
        load_exported(path, CPU)(torch.zeros(4, 3, 64, 64))


def test_an_openvino_folder_without_inputs(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    result = openvino.opset13.result(openvino.opset13.constant(ONE_ROW))
    openvino.save_model(openvino.Model([result], []), str(tmp_path / "best.xml"))
    with pytest.raises(ValueError, match="has 0 inputs and 1 outputs; a network here has one input"):
        load_exported(tmp_path, CPU)


def test_weights_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    folder = tmp_path / "model"
    folder.mkdir()
    np.ones(4, np.float32).tofile(tmp_path / "secret.bin")
    np.ones(4, np.float32).tofile(folder / "inside.bin")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    for location, opens in (("inside.bin", True), ("../secret.bin", False), (str(tmp_path / "secret.bin"), False)):
        weight = onnx.TensorProto(name="w", data_type=kind, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
        weight.external_data.add(key="location", value=location)
        graph = helper.make_graph(
            [helper.make_node("Add", ["images", "w"], ["output0"])],
            "g",
            [helper.make_tensor_value_info("images", kind, [1, 3, 4, 4])],
            [helper.make_tensor_value_info("output0", kind, [1, 3, 4, 4])],
            [weight],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (folder / "best.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(ValueError, match="metadata" if opens else "cannot open") as refusal:
            load_exported(folder / "best.onnx", CPU)
        assert opens or "model directory" in str(refusal.value) or "bsolute path" in str(refusal.value)


class Waves(torch.nn.Module):
    """A detector that computes with operators which few others have."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Rows of eight numbers."""
        spectrum = torch.fft.rfft2(images).abs().cumsum(3)
        return torch.special.erf(spectrum[:, :, :, :32].flatten(1)[:, : 252 * 8].reshape(-1, 252, 8))


def test_a_torchscript_file_may_use_any_operator(tmp_path: Path) -> None:
    path, images = tmp_path / "best.torchscript", torch.rand(1, 3, 64, 64)
    facts = METADATA | {"shape": [1, 3, 64, 64]}
    torch.jit.save(torch.jit.script(Waves()), str(path), _extra_files={"config.txt": json.dumps(facts)})
    assert torch.equal(load_exported(path, CPU)(images), Waves()(images))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no metadata found"),
        (b"ftrt" + bytes(100), "no metadata found"),  # an engine of YOLOv5 itself begins with the plan
        ((5).to_bytes(4, "little") + b"[1, 2" + bytes(9), "no metadata found"),
        ((2).to_bytes(4, "little") + b"{}" + bytes(9), "engines need an NVIDIA GPU, not cpu"),
    ],
)
def test_engines(content: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "best.engine").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        load_exported(tmp_path / "best.engine", CPU)
    if "GPU" in words:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(MissingPackage, match="tensorrt is not installed: pip install tensorrt"):
            load_exported(tmp_path / "best.engine", torch.device("cuda"))


@pytest.mark.parametrize(("package", "kind"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_a_runtime_that_is_not_installed(
    package: str, kind: str, model: DetectionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = export(model, kind, tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackage, match=f"^{package} is not installed: pip install {package}$"):
        load_exported(path, CPU)


def test_broken_uses_end_in_one_line(
    fixed_onnx: Path, weights: Path, data: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    empty, lite = tmp_path / "best_openvino_model", tmp_path / "best.tflite"
    empty.mkdir()
    lite.write_bytes(b"TFL3")
    other = tmp_path / "other.yaml"
    other.write_text(
        data.read_text().replace("[red, green, blue]", "[red, green]").replace("images/", f"{data.parent}/images/")
    )
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((40, 40, 3), np.uint8))
    on_data, on_picture = (val.main, "--data", data), (detect.main, "--source", picture)
    table: list[tuple[tuple[Any, ...], tuple[object, ...], str]] = [
        (on_data, ("--weights", empty), "a folder with no .xml file"),
        (on_picture, ("--weights", empty), "a folder with no .xml file"),
        (on_data, ("--weights", lite), "this format is run by other programs"),
        (on_data, ("--weights", tmp_path / "gone.onnx"), "gone.onnx do not exist"),
        (on_data, ("--weights", fixed_onnx, "--imgsz", 96), "--imgsz 96: "),
        (on_picture, ("--weights", fixed_onnx, "--imgsz", 64, 96), "was exported for 64x64 pixels"),
        (on_data, ("--weights", fixed_onnx, "--task", "study"), "--task study needs a model of any input size"),
        (on_data, ("--weights", fixed_onnx, "--augment"), "--augment needs the PyTorch weights"),
        (on_picture, ("--weights", fixed_onnx, "--augment"), "--augment needs the PyTorch weights"),
        (on_data, ("--weights", fixed_onnx, "--half"), "computes in the numbers it was exported with"),
        (on_picture, ("--weights", fixed_onnx, "--half"), "computes in the numbers it was exported with"),
        (on_picture, ("--weights", fixed_onnx, "--visualize"), "--visualize needs PyTorch weights"),
        ((val.main, "--data", other), ("--weights", fixed_onnx), "the weights know 3 classes"),
    ]
    for (door, *where), flags, words in table:
        message = fails(capsys, monkeypatch, door, *where, "--device", "cpu", *flags)
        assert words in message, message
