"""What goes wrong with exported files in other people's hands: each ends in one line that names it and says what to do.

Each row of the tables is a command, run in a folder of good and broken files, and what its line must contain.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import detect
import export
import val
from mgil.engine.cli import run_cli
from mgil.engine.weights.checkpoints import model_from_checkpoint
from tests.engine.export.exported import METADATA, save_tiny_detector
from tests.engine.export.exported import export as write_plainly
from tests.engine.tiny import make_data, random_squares

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit:FutureWarning")

REPOSITORY = Path(__file__).resolve().parents[3]
DOORS: dict[str, Callable[[], None]] = {"export": export.main, "val": val.main, "detect": detect.main}
OTHER_CARD = {**METADATA, "tensorrt": "TensorRT 10.1", "gpu": "Card A"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, exported files and a data set, whole and broken."""
    place = tmp_path_factory.mktemp("deployed")
    model = model_from_checkpoint(save_tiny_detector(place / "best.pt"))
    whole = write_plainly(model, "onnx", place).read_bytes()
    (place / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    (place / "renamed.pt").write_bytes(whole)
    write_foreign(place / "foreign.onnx", {})
    write_foreign(place / "pretender.onnx", METADATA)
    write_plainly(model, "openvino", place)
    for name in ("no_bin", "cut_bin", "cut_xml"):
        shutil.copytree(place / "best_openvino_model", place / f"{name}_openvino_model")
    (place / "no_bin_openvino_model/best.bin").unlink()
    os.truncate(place / "cut_bin_openvino_model/best.bin", 1000)
    os.truncate(place / "cut_xml_openvino_model/best.xml", 1000)
    (place / "garbage.engine").write_bytes(b"no engine at all")
    metadata = json.dumps(OTHER_CARD).encode()
    (place / "other_card.engine").write_bytes(len(metadata).to_bytes(4, "little") + metadata + b"machine code")
    (place / "text.pt").write_text("no weights at all")
    data = make_data(place / "data", random_squares(2), random_squares(2)).read_text()
    (place / "data/two.yaml").write_text(data.replace("[red, green, blue]", "[red, green]"))
    (place / "data/images/none").mkdir()
    (place / "data/empty.yaml").write_text(data.replace("images/train", "images/none").replace("/val", "/none"))
    (place / "file").touch()
    return place


def write_foreign(path: Path, metadata: dict[str, str]) -> None:
    """An ONNX model that takes pictures and gives something else than boxes."""
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("GlobalAveragePool", ["images"], ["output0"])],
        "classifier",
        [onnx.helper.make_tensor_value_info("images", kind, [1, 3, 64, 64])],
        [onnx.helper.make_tensor_value_info("output0", kind, [1, 3, 1, 1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, str(path))


def complaint(monkeypatch: Any, capsys: Any, folder: Path, command: str, status: int = 1) -> str:
    """The one line on standard error that a command ends with; it leaves no file of its own behind."""
    door, *flags = command.split()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr("sys.argv", [f"{door}.py", *flags])
    before = set(folder.iterdir())
    with pytest.raises(SystemExit) as stop:
        run_cli(DOORS[door])
    message = capsys.readouterr().err
    assert stop.value.code == status, message
    assert message.startswith("error: ") and message.count("\n") == 1, message
    assert {path.name for path in set(folder.iterdir()) - before} <= {"cache"}
    return message


VAL = "val --data data/squares.yaml --workers 0 --device cpu --weights"
INT8 = "export --weights best.pt --include onnx --int8 --data"
BROKEN_FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "data of other classes": (
        "val --data data/two.yaml --workers 0 --weights best.onnx",
        ("the weights know 3 classes (red, green", "two.yaml has 2", "give weights and data that belong together"),
    ),
    "names of other classes": ("detect --data data/two.yaml --weights best.onnx", ("has 2 class names", "has 3")),
    "half an ONNX file": (f"{VAL} cut.onnx", ("cut.onnx: ", "copy or export it again if it is damaged")),
    "half an ONNX file in detect.py": ("detect --weights cut.onnx", ("cut.onnx: ", "copy or export it again")),
    "an ONNX file of another kind": (f"{VAL} foreign.onnx", ("foreign.onnx: no stride and no names", "export.py")),
    "an ONNX file with other outputs": (
        f"{VAL} pretender.onnx",
        ("pretender.onnx: gives (1, 3, 1, 1); a detector of 3 classes gives (batch, n, 8)",),
    ),
    "OpenVINO without its weights": (f"{VAL} no_bin_openvino_model", ("best.xml: its weights best.bin are not",)),
    "OpenVINO with half its weights": (f"{VAL} cut_bin_openvino_model", ("cut_bin_openvino_model: ", "export it")),
    "OpenVINO with half its graph": (f"{VAL} cut_xml_openvino_model", ("cut_xml_openvino_model: ", "export it")),
    "an engine that is none": (f"{VAL} garbage.engine", ("garbage.engine: no metadata found",)),
    "an engine without a GPU": (f"{VAL} other_card.engine", ("other_card.engine: ", "need an NVIDIA GPU")),
    "a file that is not there": ("detect --weights gone.onnx", ("gone.onnx do not exist",)),
    "another size than exported": (f"{VAL} best.onnx --imgsz 96", ("--imgsz 96: best.onnx was exported for 64x64",)),
    "weights that are none": ("export --weights text.pt", ("text.pt: not a PyTorch checkpoint",)),
    "weights that are ONNX": ("export --weights renamed.pt", ("renamed.pt: not a PyTorch checkpoint",)),
    "an exported file as weights": ("export --weights best.onnx", ("--weights best.onnx is no .pt file",)),
    "a folder as weights": ("export --weights data", ("--weights data is no .pt file",)),
    "calibration without data": (INT8.removesuffix("--data"), ("--int8", "name a data set with --data")),
    "calibration without images": (f"{INT8} data/empty.yaml", ("images/none: no images found", "empty.yaml")),
    "calibration on other classes": (f"{INT8} data/two.yaml", ("the weights know 3 classes", "two.yaml has 2")),
    "results into a file": (f"{VAL} best.onnx --project file", ("file/exp: Not a directory",)),
    "results into a file, detect.py": ("detect --weights best.onnx --project file", ("file/exp: Not a directory",)),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_FILES)
def test_broken_files(case: str, folder: Path, monkeypatch: Any, capsys: Any) -> None:
    command, words = BROKEN_FILES[case]
    line = complaint(monkeypatch, capsys, folder, command)
    assert all(word in line for word in words), line


EXPORT = "export --weights best.pt --include"
# exit status 2: a value that no run could have, 1: one that this run cannot have
BROKEN_FLAGS: dict[str, tuple[int, str]] = {
    f"{EXPORT} onnix": (1, "--include onnix: no such format; did you mean onnx?"),
    f"{EXPORT} onnx openvino --optimize": (1, "--optimize is not available: "),
    f"{EXPORT} torchscript --half": (1, "--half needs --device 0"),
    f"{EXPORT} tflite --half": (1, "--half is not available for tflite, only for"),
    f"{EXPORT} torchscript --int8": (1, "--int8 is not available for torchscript, only for onnx, openvino"),
    f"{EXPORT} onnx --half --int8": (1, "--half and --int8 are two number types; give one of them"),
    f"{EXPORT} onnx --opset 3": (1, "--opset 3: give 11 to 20"),
    f"{EXPORT} onnx --opset 99": (1, "--opset 99: give 11 to 20"),
    f"{EXPORT} onnx --opset x": (2, "--opset: 'x' is not an integer of 1 or more"),
    f"{EXPORT} onnx --imgsz 20": (1, "--imgsz 20: the smallest size is 32"),
    f"{VAL} best.pt --imgsz 20": (1, "--imgsz 20: the smallest size is 32"),
    "detect --weights best.pt --imgsz 64 20": (1, "--imgsz 64 20: the smallest size is 32"),
    f"{EXPORT} onnx --imgsz 0": (2, "--img-size: '0' is not an integer of 1 or more"),
    f"{EXPORT} onnx --imgsz abc": (2, "--img-size: 'abc' is not an integer of 1 or more"),
    f"{EXPORT} onnx --imgsz 100000000": (2, "--img-size: '100000000' is not an integer of 1 or more, up to 16384"),
    f"{EXPORT} onnx --batch-size 0": (2, "--batch-size/--batch: '0' is not an integer of 1 or more"),
    f"{EXPORT} onnx --batch-size -5": (2, "--batch-size/--batch: '-5' is not"),
    f"{EXPORT} onnx --batch-size 100000000": (2, "--batch: '100000000' is not an integer of 1 or more, up to 16384"),
    f"{EXPORT} onnx --device 9": (1, "--device 9: there is no GPU 9 here"),
    f"{EXPORT} onnx --device gpu": (1, "--device 'gpu': give cpu, mps, a GPU number"),
    f"{EXPORT} engine --workspace nan": (2, "--workspace: 'nan' is not a number above 0 (GiB)"),
    f"{EXPORT} onnx --nms --conf-thres nan": (2, "--conf-thres/--conf: 'nan' is not a number from 0 to 1"),
    f"{EXPORT} onnx --nms --topk-all 0": (2, "--topk-all: '0' is not an integer of 1 or more"),
    f"{EXPORT} onnx --nms --topk-all 30001": (2, "--topk-all: '30001' is not an integer of 1 or more, up to 30000"),
    f"{EXPORT} onnx --image-size 64": (2, "--image-size: no such flag; did you mean --img-size?"),
    "export --weight best.pt": (2, "--weight: no such flag; did you mean --weights?"),
    "export": (2, "the following arguments are required: --weights"),
    f"{VAL} best.onnx --conf-thres 7": (2, "--conf-thres/--conf: '7' is not a number from 0 to 1"),
    f"{VAL} best.onnx --iou-thres -1": (2, "--iou-thres/--iou: '-1' is not a number from 0 to 1"),
    f"{VAL} best.onnx --max-det 0": (2, "--max-det: '0' is not an integer of 1 or more"),
    f"{VAL} best.onnx --max-det 99999999999999999999": (2, "is not an integer of 1 or more, up to 4294967295"),
    f"{VAL} best.onnx --workers -1": (2, "--workers: '-1' is not an integer of 0 or more"),
    f"{VAL} best.onnx --batch-size -5": (2, "--batch-size/--batch: '-5' is not"),
    f"{VAL} best.onnx --task all": (2, "--task: 'all' is not one of train, val, test, speed, study"),
    f"{VAL} best.onnx --device 9": (1, "--device 9: there is no GPU 9 here"),
    f"{VAL} best.pt --project cache --imgsz 100000000": (1, "--imgsz 100000000: the largest size is 16384"),
    "detect --weights best.onnx --conf 7": (2, "--conf-thres/--conf: '7' is not a number from 0 to 1"),
    "detect --weights best.onnx --iou -1": (2, "--iou-thres/--iou: '-1' is not a number from 0 to 1"),
    "detect --weights best.onnx --max-det 0": (2, "--max-det: '0' is not an integer of 1 or more"),
    "detect --weights best.onnx --vid-stride 0": (2, "--vid-stride: '0' is not an integer of 1 or more"),
    "detect --weights best.onnx --line-thickness 99999": (
        2,
        "--line-thickness: '99999' is not an integer of 1 or more, up to 1000",
    ),
    "detect --weights best.pt --nosave --imgsz 100000000": (1, "--imgsz 100000000: the largest size is 16384"),
    "detect --weights best.onnx --imgsz 0": (2, "--img-size: '0' is not an integer of 1 or more"),
    "detect --weights best.onnx --imgsz 1 2 3": (2, "--imgsz 1 2 3: give one side, or height and width"),
    "detect --weights best.onnx --classes 99": (1, "--classes 99: the model has 3 classes; give indices from 0 to 2"),
    "detect --weights best.onnx --device 9": (1, "--device 9: there is no GPU 9 here"),
    "detect --weights best.onnx --batch-size 4": (2, "--batch-size: no such flag"),
}


@pytest.mark.parametrize("command", BROKEN_FLAGS)
def test_broken_flags(command: str, folder: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    status, words = BROKEN_FLAGS[command]
    assert words in complaint(monkeypatch, capsys, folder, command, status)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "openvino"])
def test_a_missing_converter(package: str, folder: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    kind = "openvino" if package == "openvino" else "onnx"
    line = complaint(monkeypatch, capsys, folder, f"{EXPORT} {kind}")
    assert f"1 of 1 formats failed: {kind}: {package} is not installed: pip install {package}" in line


def test_an_engine_of_another_card(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    """TensorRT gives back nothing for an engine that it cannot use; here something else does, in its place."""

    class Logger:
        INTERNAL_ERROR = 0

        def __init__(self, _: int) -> None:
            """As TensorRT's own, it is made with a level."""

    runtime = SimpleNamespace(deserialize_cuda_engine=lambda _: None)
    tensorrt = SimpleNamespace(__version__="10.9", Logger=Logger, Runtime=lambda _: runtime)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt)
    monkeypatch.setattr("torch.cuda.device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "Card B")
    monkeypatch.setattr("mgil.engine.evaluation.run.device_for", lambda *_: torch.device("cuda", 0))
    line = complaint(monkeypatch, capsys, folder, f"{VAL} other_card.engine")
    for words in (
        "other_card.engine: TensorRT 10.9 on Card B",
        "built with TensorRT 10.1 and Card A",
        "export it again here",
    ):
        assert words in line


# Disks ---------------------------------------------------------------------------------------------------------------
@pytest.fixture
def disk(folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB with weights on it; skipped where this user may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True).returncode
    ):
        pytest.skip("no disk can be mounted here")
    shutil.copy(folder / "best.pt", place)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path, but_for: int) -> None:
    (disk / "fill").write_bytes(bytes(shutil.disk_usage(disk).free - but_for))


def test_a_read_only_disk(disk: Path, monkeypatch: Any, capsys: Any) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    line = complaint(monkeypatch, capsys, disk.parent, "export --weights disk/best.pt --include onnx torchscript")
    assert line.startswith("error: disk: Read-only file system; what is exported goes beside the weights: copy them to")


def test_a_full_disk_ends_an_export_and_not_the_process(disk: Path) -> None:
    fill(disk, but_for=50_000)
    command = [sys.executable, REPOSITORY / "export.py", "--weights", "best.pt", "--include", "torchscript", "openvino"]
    done = subprocess.run(list(map(str, command)), cwd=disk, capture_output=True, text=True, timeout=300)
    full = "No space left on device"
    line = (
        f"error: 2 of 2 formats failed: torchscript: best.torchscript: {full}; openvino: best_openvino_model: {full}\n"
    )
    assert (done.returncode, done.stderr) == (1, line)
    assert sorted(path.name for path in disk.iterdir()) == ["best.pt", "fill"]


# In a shell ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", ["data of other classes", "half an ONNX file in detect.py"])
def test_in_a_shell(case: str, folder: Path) -> None:
    command, words = BROKEN_FILES[case]
    door, *flags = command.split()
    program = [sys.executable, str(REPOSITORY / f"{door}.py"), *flags]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words)
