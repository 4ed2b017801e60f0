"""export.py from flags to files: what is refused, what is left behind, and what fails without taking the rest along."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import export
from mgil.engine.cli import run_cli
from mgil.engine.export import run as engine_export
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.formats import FORMATS, check_formats, format_table
from mgil.engine.export.run import ExportError, prepare, replace_path, run_export
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.files.packages import MissingPackage, import_package
from tests.engine.export.export_tiny import save_small, small_model
from tests.engine.tiny import make_data, random_squares
from tests.files.unfinished import leave_unfinished

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save_small(tmp_path / "best.pt")


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[object]) -> str:
    """Run the door as a shell would; return its one line of complaint."""
    monkeypatch.setattr("sys.argv", ["export.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        run_cli(export.main)
    assert stop.value.code != 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--include", "onnix"], "--include onnix: no such format; did you mean onnx?"),
        (["--include", "pb"], "--include pb is not available: TensorFlow's own formats"),
        (["--include", "paddle"], "--include paddle is not available"),
        (["--imgsz", "20"], "--imgsz 20: the smallest size is 32"),
        (["--imgsz", "64", "31"], "--imgsz 64 31: the smallest size is 32"),
        (["--imgsz", "64", "64", "64"], "--imgsz 64 64 64: give a side, or height and width"),
        (["--half", "--int8", "--include", "onnx"], "--half and --int8 are two number types"),
        (["--half"], "--half needs --device 0"),
        (["--int8"], "--int8 is not available for torchscript, only for onnx, openvino"),
        (["--int8", "--include", "onnx"], "name a data set with --data"),
        (["--include", "ncnn", "--batch-size", "2"], "--batch-size 2: ncnn runs one image at a time"),
        (["--include", "ncnn", "--nms"], "--nms is not available for ncnn"),
        (["--include", "coreml", "onnx", "--dynamic"], "--dynamic is not available for coreml"),
        (["--include", "torchscript", "--opset", "17"], "--opset means nothing to torchscript"),
        (["--include", "onnx", "--workspace", "4"], "--workspace means nothing to onnx, only to engine"),
        (["--include", "engine", "--workspace", "0"], "--workspace: '0' is not a number above 0 (GiB)"),
        (["--include", "onnx", "--opset", "99"], "--opset 99: give 11 to 20"),
        (["--include", "onnx", "--opset", "12", "--nms"], "--opset 12: --nms needs 13 or more"),
        (["--include", "onnx", "--conf-thres", "0.3"], "--conf-thres sets suppression inside the file; pass --nms"),
        (["--include", "onnx", "--topk-all", "5"], "--topk-all sets suppression inside the file; pass --nms"),
        (["--include", "engine"], "--include engine needs --device 0"),
        (["--optimize"], "--optimize is not available"),
        (["--keras"], "--keras is not available"),
        (["--inplace"], "--inplace is not available"),
        (["--train"], "--train is not available"),
        (["--data", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_refused(
    arguments: list[str],
    said: str,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = fails(monkeypatch, capsys, ["--weights", weights, *arguments])
    assert line.startswith("error: ")
    assert said in line
    assert [path.name for path in weights.parent.iterdir()] == ["best.pt"]


def test_weights_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "do not exist" in fails(monkeypatch, capsys, ["--weights", tmp_path / "best.pt"])
    (tmp_path / "best.pt").write_bytes(b"PK but no checkpoint")
    assert "best.pt" in fails(monkeypatch, capsys, ["--weights", tmp_path / "best.pt"])


def test_another_number_of_classes(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.yaml"
    data.write_text("train: images\nval: images\nnames: [one, two]\n")
    line = fails(monkeypatch, capsys, ["--weights", weights, "--data", data])
    assert "the weights know 3 classes" in line
    assert "has 2" in line


def test_read_only_folder(weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() == 0:  # nothing is read-only to root

        def refuse(folder: Path, *_: object) -> None:
            raise PermissionError(13, "Permission denied", str(folder))

        monkeypatch.setattr(Path, "mkdir", refuse)
    weights.parent.chmod(0o555)
    line = fails(monkeypatch, capsys, ["--weights", weights])
    weights.parent.chmod(0o755)
    assert f"{weights.parent}" in line
    assert "Permission denied" in line


def test_a_killed_export_leaves_nothing_for_good(weights: Path) -> None:
    """Not even where it cannot clean up: the next export does."""
    folder = leave_unfinished(weights.parent, "best")
    folder.unlink()
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "best.onnx").write_bytes(b"half")
    (weights.parent / ".notes.tmp").write_text("the user's own")
    run_export(ExportConfig(weights=str(weights)), report=lambda _line: None)
    assert sorted(path.name for path in weights.parent.iterdir()) == [".notes.tmp", "best.pt", "best.torchscript"]


@pytest.mark.parametrize(
    "name",
    ["onnx", "ncnn", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("openvino", "coreml", "tflite"))],
)
def test_missing_package_is_named_and_the_rest_is_written(
    name: str, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = {"coreml": "coremltools", "tflite": "litert_torch"}.get(name, name)
    monkeypatch.setitem(sys.modules, module, None)
    line = fails(monkeypatch, capsys, ["--weights", weights, "--include", name, "torchscript"])
    package = module.replace("_", "-")
    assert f"1 of 2 formats failed: {name}: {package} is not installed: pip install {package}" in line
    assert sorted(path.name for path in weights.parent.iterdir()) == ["best.pt", "best.torchscript"]


def test_packages_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("raise ImportError('libbroken.so.3: not found')\n")
    (tmp_path / "needy_package.py").write_text("import something_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackage, match="broken_package is installed but cannot be loaded .libbroken.so.3"):
        import_package("broken_package")
    with pytest.raises(MissingPackage, match="needy-package needs something_that_is_not_there"):
        import_package("needy_package", "needy-package")


def test_a_failed_export_leaves_the_old_file(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = weights.with_suffix(".torchscript")
    old.write_bytes(b"the old one")

    def die(_job: Any, path: Path) -> None:
        path.write_bytes(b"half a file")
        raise RuntimeError("out of disk")

    monkeypatch.setitem(engine_export.WRITERS, "torchscript", die)
    with pytest.raises(ExportError, match="1 of 1 formats failed: torchscript: out of disk"):
        run_export(ExportConfig(weights=str(weights)))
    assert old.read_bytes() == b"the old one"
    assert sorted(path.name for path in weights.parent.iterdir()) == ["best.pt", "best.torchscript"]


def test_a_wrong_file_is_not_kept(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A converter that changes what the model computes is caught by comparing the file with PyTorch."""
    write = engine_export.WRITERS["torchscript"]

    def wrong(job: Any, path: Path) -> None:
        model = small_model()
        model.model[0].flie.lie[0].bn.bias.add_(0.5)
        write(type(job)(**{**vars(job), "model": model}), path)

    monkeypatch.setitem(engine_export.WRITERS, "torchscript", wrong)
    with pytest.raises(ExportError, match="differs from PyTorch beyond what float32 explains"):
        run_export(ExportConfig(weights=str(weights), imgsz=(64,)))
    assert [path.name for path in weights.parent.iterdir()] == ["best.pt"]


def test_files_and_folders_are_replaced(weights: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    folder = weights.parent / "best_openvino_model"
    folder.mkdir()
    (folder / "best.xml").write_text("old")
    run_export(ExportConfig(weights=str(weights), imgsz=(64,), include=("openvino",)))
    assert sorted(path.name for path in folder.iterdir()) == ["best.bin", "best.xml", "metadata.yaml"]
    assert sorted(path.name for path in weights.parent.iterdir()) == ["best.pt", "best_openvino_model"]


def made_and_target(folder: Path) -> tuple[Path, Path]:
    """A new folder and an old one, each with a file `net`, and `aside` beside the new one."""
    for place, content in ((folder / "aside" / "made", "new"), (folder / "target", "old")):
        place.mkdir(parents=True)
        (place / "net").write_text(content)
    return folder / "aside" / "made", folder / "target"


def test_a_folder_with_files_of_the_user_stays(tmp_path: Path) -> None:
    made, target = made_and_target(tmp_path)
    (target / "mine").mkdir()
    (target / "mine" / "notes.txt").write_text("dear to me")
    with pytest.raises(FileExistsError, match=r"holds mine.notes\.txt, which no export wrote"):
        replace_path(made, target, made.parent)
    assert (target / "mine" / "notes.txt").read_text() == "dear to me"
    assert (target / "net").read_text() == "old"


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, target = made_and_target(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="No space left"):
            replace_path(made, target, made.parent)
    assert (target / "net").read_text() == "old"
    replace_path(made, target, made.parent)
    assert (target / "net").read_text() == "new"


def test_the_umask_of_the_user_holds(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        made, target = made_and_target(tmp_path)
        file = tmp_path / "aside" / "file"
        file.touch(0o600)
        made.chmod(0o700)
        replace_path(made, target, made.parent)
        replace_path(file, tmp_path / "file", file.parent)
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("target", "file")] == [0o750, 0o640]


KILLED = """
import os, signal, sys, time
from mgil.engine.export import run
from mgil.engine.export.config import ExportConfig

def write(_job, path):
    path.write_bytes(b"half a file")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)

def not_handled(_number, _frame):
    raise RuntimeError("the signal came through")

run.WRITERS["torchscript"] = write
signal.signal(signal.SIGTERM, not_handled)
try:
    run.run_export(ExportConfig(weights=sys.argv[1]))
finally:
    assert signal.getsignal(signal.SIGTERM) is not_handled
"""


def test_sigterm_leaves_nothing_behind(weights: Path) -> None:
    """In a process of its own: a signal that went astray would end the one that runs the tests."""
    folder = Path(export.__file__).resolve().parent
    command = [sys.executable, "-c", KILLED, str(weights)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 143, done.stderr
    assert [path.name for path in weights.parent.iterdir()] == ["best.pt"]


@pytest.mark.nightly
def test_from_a_shell_with_suppression(weights: Path) -> None:
    """In a process of its own, where nothing else has loaded what suppression needs."""
    door = Path(export.__file__).resolve()
    command = [sys.executable, str(door), "--weights", str(weights), "--imgsz", "64", "--nms", "--conf-thres", "0.01"]
    done = subprocess.run(command, cwd=door.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "largest difference on " in done.stdout
    assert done.stderr == ""


def test_a_folder_in_the_way_of_a_file(weights: Path) -> None:
    weights.with_suffix(".torchscript").mkdir()
    with pytest.raises(ExportError, match=r"best\.torchscript: a folder is in the way"):
        run_export(ExportConfig(weights=str(weights), imgsz=(64,)))


@pytest.mark.parametrize("name", ["onnx", pytest.param("openvino", marks=pytest.mark.nightly)])
def test_int8_is_close_and_smaller(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("nncf" if name == "openvino" else "onnx")
    data = make_data(tmp_path / "data", random_squares(12, seed=3), random_squares(4, seed=4))
    weights = tmp_path / "best.pt"
    save_checkpoint(weights, small_model(width=0.15), {})
    config = ExportConfig(weights=str(weights), data=str(data), imgsz=(64,), include=(name,))
    (plain,) = run_export(config)
    (int8,) = run_export(ExportConfig(**{**vars(config), "int8": True}))
    assert int8.path.name == {"onnx": "best_int8.onnx", "openvino": "best_int8_openvino_model"}[name]
    assert int8.difference is not None
    assert int8.difference.mean_iou is not None
    assert int8.difference.mean_iou > 0.8
    assert size_of(int8.path) < 0.45 * size_of(plain.path)


def test_int8_says_which_data_set_it_reads(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", random_squares(2, seed=3), random_squares(1, seed=4))
    weights = tmp_path / "best.pt"
    save_checkpoint(weights, small_model(names=("red", "green", "blue")), {"data": str(data)})
    for given, said in ((None, 1), (str(data), 0)):
        lines: list[str] = []
        config = ExportConfig(weights=str(weights), data=given, int8=True, include=("onnx",))
        job, _ = prepare(config, check_formats(config.include), lines.append)
        assert len(job.calibration()) == 2
        assert (
            sum(f"its ranges are read off {data}, the data set named in the weights" in line for line in lines) == said
        )


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))


def test_check_images_come_from_the_data_set(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(tmp_path / "data", random_squares(4, seed=3), random_squares(2, seed=4))
    run_export(ExportConfig(weights=str(weights), data=str(data), imgsz=(64, 96)))
    out = capsys.readouterr().out
    assert "warning" in out  # the classes are named otherwise
    assert "largest difference on 2 images: boxes " in out


def test_cuda_flag_is_refused_where_it_means_nothing(weights: Path) -> None:
    with pytest.raises(ValueError, match="--device is not available for openvino, only for"):
        run_export(ExportConfig(weights=str(weights), include=("openvino",), device="0"))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="there is no GPU 0"):
            run_export(ExportConfig(weights=str(weights), include=("onnx",), device="0"))


def test_the_default_size_is_the_training_size(weights: Path) -> None:
    (done,) = run_export(ExportConfig(weights=str(weights)))
    files = {"config.txt": ""}
    torch.jit.load(str(done.path), _extra_files=files)
    assert b'"shape": [1, 3, 64, 64]' in files["config.txt"]


def test_help_shows_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        export.main(["--help"])
    out = capsys.readouterr().out
    for row in FORMATS.values():
        assert f" {row.argument} " in out
    assert format_table() in out


def test_weights_of_one_class_take_the_images_of_any_data_set(tmp_path: Path) -> None:
    """They may be of --single-cls, for which the set's own YAML has several classes."""
    data = make_data(tmp_path / "data", random_squares(2, seed=3), random_squares(1, seed=4))
    save_checkpoint(tmp_path / "one.pt", small_model(names=("item",)), {"data": str(data)})
    for options in ({"data": str(data)}, {"int8": True}):
        config = ExportConfig(weights=str(tmp_path / "one.pt"), include=("onnx",), **options)  # type: ignore[arg-type]
        lines: list[str] = []
        _, images = prepare(config, check_formats(config.include), lines.append)
        assert images[0].shape == (1, 3, 64, 64) and not any("warning" in line for line in lines)
    save_checkpoint(tmp_path / "two.pt", small_model(names=("red", "green")), {"data": "/old/h.yaml"})
    config = ExportConfig(weights=str(tmp_path / "two.pt"), include=("onnx",), data=str(data))
    with pytest.raises(
        ValueError, match=r"know 2 classes \(red, green\), .*squares.yaml has 3 classes \(red, green, blue"
    ):
        prepare(config, check_formats(config.include), lambda _line: None)
    config = ExportConfig(weights=str(tmp_path / "two.pt"), include=("onnx",), int8=True)
    with pytest.raises(FileNotFoundError, match=r"two\.pt was trained on /old/h\.yaml, .* --data NEW\.yaml"):
        prepare(config, check_formats(config.include), lambda _line: None)
