"""val.py from flags to files, on a small data set made on the spot."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import val
from mgil.datasets.reading.config import load_data_config
from mgil.engine.cli import parse, run_cli
from mgil.engine.data_of_weights import default_data
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.run import run_export
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from mgil.tasks.pose.reading.skeleton import as_key_points
from mgil.tasks.registry import task_named

NAMES = ("square", "disc", "bar")
TINY = {  # three levels, five convolutions
    "anchors": [[10, 10, 16, 30, 33, 23]] * 3,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]]] * 5,
    "head": [[[2, 3, 4], 1, "Detect", ["nc", "anchors"]]],
}


def test_weights_that_name_no_data_set_have_a_default() -> None:
    detect, names = task_named("detect"), load_data_config("coco.yaml").names
    coco, digits = default_data(detect, names, "w.onnx"), default_data(detect, tuple("0123456789"), "")
    assert (coco.yaml_path.name, digits.yaml_path.name) == ("coco128.yaml", "digits.yaml")
    with pytest.raises(ValueError, match=r"w\.onnx does not say .* of 10 classes \(a, b, c, \.\.\.\) with --data"):
        default_data(detect, tuple("abcdefghij"), "w.onnx")
    pose = task_named("pose")
    figures = default_data(pose, as_key_points(load_data_config("figures.yaml")).names, "w.onnx")
    assert figures.yaml_path.name == "figures.yaml"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "best.pt"
    model = build_model(TINY, names=NAMES, imgsz=64)
    with torch.no_grad():  # a fresh network is sure of nothing; let it find something
        for layer in model.head.m:
            layer.bias.view(3, -1)[:, 4:] = 1.0
    save_checkpoint(path, model, {})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of 40x64 to 64x48, one without labels, as YOLO folders."""
    root = tmp_path_factory.mktemp("shapes")
    (root / "images").mkdir()
    (root / "labels").mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        image = rng.integers(0, 255, (64, 48, 3) if index % 2 else (40, 64, 3), np.uint8)
        cv2.imwrite(str(root / "images" / f"{index + 1:03}.png"), image)
        lines = [f"{(index + k) % 3} {0.3 + 0.3 * k} 0.5 0.25 0.4" for k in range(2)]
        (root / "labels" / f"{index + 1:03}.txt").write_text("\n".join(lines) if index else "")
    path = root / "shapes.yaml"
    path.write_text(f"train: images\nval: images\nnames: [{', '.join(NAMES)}]\n")
    return path


@pytest.fixture(autouse=True)
def _private_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the curves out where they are not the matter: drawing them is most of a short run."""
    monkeypatch.setattr("mgil.tasks.detect.plots.plot_result", lambda *_: None)


def call(monkeypatch: pytest.MonkeyPatch, *flags: object) -> None:
    monkeypatch.setattr("sys.argv", ["val.py", *map(str, flags)])
    run_cli(val.main)


def test_everything_is_written(monkeypatch: Any, capsys: Any, tmp_path: Path, weights: Path, data: Path) -> None:
    call(
        monkeypatch,
        "--weights",
        weights,
        "--data",
        data,
        "--save-json",
        "--save-txt",
        "--save-conf",
        "--project",
        tmp_path / "out",
        "--name",
        "try",
        "--workers",
        0,
        "--batch-size",
        4,
        "--device",
        "cpu",
    )
    folder = tmp_path / "out" / "try"
    pictures = [
        "confusion_matrix.png",
        "F1_curve.png",
        "P_curve.png",
        "R_curve.png",
        "PR_curve.png",
        *(f"val_batch0_{kind}.jpg" for kind in ("labels", "pred")),  # all six images in one
    ]
    for name in pictures:
        assert cv2.imread(str(folder / name)).std() > 1, name
    with open(folder / "per_class.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(NAMES)
    assert sum(int(row["instances"]) for row in rows) == 10
    entries = json.loads((folder / "best_predictions.json").read_text())
    assert {entry["image_id"] for entry in entries} <= set(range(1, 7))
    assert {entry["category_id"] for entry in entries} <= {1, 2, 3}
    assert len(entries) > 0
    labels = np.loadtxt(folder / "labels" / "002.txt", ndmin=2)
    assert labels.shape[1] == 6
    assert (labels[:, 1:] >= 0).all() and (labels[:, 1:] <= 1).all()
    out = capsys.readouterr().out
    for text in ("mAP50-95", "COCO AP at 64 px", "Speed:", "Average Precision", str(folder)):
        assert text in out
    result, place = out.splitlines()[-2:]
    assert result.split()[:3] == ["all", "6", "10"] and place == f"results saved to {folder}"


@pytest.mark.usefixtures("no_curves")
def test_second_run_counts_up(monkeypatch: Any, tmp_path: Path, weights: Path, data: Path) -> None:
    for _ in range(2):
        call(monkeypatch, "--weights", weights, "--data", data, "--workers", 0)
    assert sorted(p.name for p in (tmp_path / "runs" / "val").iterdir()) == ["exp", "exp2"]


def test_speed_prints_times_and_leaves_no_folder(
    monkeypatch: Any, capsys: Any, tmp_path: Path, weights: Path, data: Path
) -> None:
    common = ("--weights", weights, "--data", data, "--task", "speed", "--workers", 0)
    call(monkeypatch, *common, "--conf", 0.25, "--iou", 0.45)  # what it takes anyway
    out = capsys.readouterr().out
    assert "Speed:" in out and "mAP" not in out and "results saved" not in out
    assert not (tmp_path / "runs").exists()
    call(monkeypatch, *common, "--img", 32, 64)
    folder = tmp_path / "runs" / "val" / "exp"
    assert f"results saved to {Path('runs/val/exp')}" in capsys.readouterr().out
    assert not [path for path in folder.iterdir() if path.is_dir()] and (folder / "ap_vs_input_size.csv").is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--save-json", "--save-json: --task speed measures times and writes no results; leave it out"),
        ("--save-txt", "--save-txt: --task speed measures times and writes no results; leave it out"),
        ("--conf 0.7", "--conf-thres 0.7: --task speed measures at 0.25, as detect.py; leave --conf-thres out"),
        ("--iou 0.7", "--iou-thres 0.7: --task speed measures at 0.45, as detect.py; leave --iou-thres out"),
        ("--verbose", "--verbose lists scores by class, --task speed measures times alone; leave --verbose out"),
    ],
)
def test_speed_refuses_what_it_would_ignore(flags: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(ValConfig, ["--weights", "w.pt", "--task", "speed", *flags.split()])
    assert str(caught.value) == message
    parse(ValConfig, ["--weights", "w.pt", *flags.split()])


def test_help_tells_the_sizes_of_a_study(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        parse(ValConfig, ["--help"])
    out = capsys.readouterr().out
    assert "64, 96, 160, 320 for one of up to 320, and 256, 384, ... 1536 for a larger one" in out


@pytest.mark.usefixtures("no_curves")
@pytest.mark.parametrize(("pad", "size_hw"), [(0.0, (64, 64)), (0.5, (96, 96)), (1.0, (96, 96))])
def test_the_network_sees_the_size_asked_for_unless_padded(
    pad: float, size_hw: tuple[int, int], tmp_path: Path, weights: Path, data: Path
) -> None:
    """The images are 40x64 and 64x48: with YOLOv5's border of half a stride they are seen at 64x96 and 96x64."""
    config = ValConfig((str(weights),), str(data), imgsz=(64,), workers=0, device="cpu", pad=pad)
    assert run_val(config, lambda _: None)[64].size_hw == size_hw


def test_the_border_is_refused_where_it_means_nothing(tmp_path: Path, weights: Path, data: Path) -> None:
    with pytest.raises(ValueError, match="--pad 0.5: --task speed times whole squares; leave --pad out"):
        ValConfig((str(weights),), str(data), task="speed", pad=0.5)
    (exported,) = run_export(ExportConfig(str(weights)), lambda _: None)
    fixed = ValConfig((str(exported.path),), str(data), workers=0, device="cpu", pad=0.5)
    with pytest.raises(ValueError, match=r"--pad 0\.5: .* was exported for 64x64 pixels .* leave --pad out"):
        run_val(fixed, lambda _: None)


@pytest.mark.usefixtures("no_curves")
def test_several_sizes(tmp_path: Path, weights: Path, data: Path) -> None:
    lines: list[str] = []
    config = ValConfig(
        (str(weights),), str(data), imgsz=(64, 40), project=str(tmp_path / "out"), workers=0, device="cpu"
    )
    results = run_val(config, lines.append)
    assert list(results) == [64]  # 40 is rounded up to 64, which is there already
    assert any("40 is not a multiple" in line for line in lines)
    results = run_val(ValConfig(**(vars(config) | {"imgsz": (32, 64)})), lines.append)
    assert {size: result.size_hw for size, result in results.items()}.keys() == {32, 64}
    folder = tmp_path / "out" / "exp2"
    with open(folder / "ap_vs_input_size.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["imgsz"] for row in rows] == ["32", "64"]
    assert float(rows[1]["AP"]) == pytest.approx(results[64].scores.map50_95, abs=1e-6)
    assert cv2.imread(str(folder / "ap_vs_input_size.png")) is not None
    assert (folder / "size_32" / "per_class.csv").is_file()


@pytest.mark.usefixtures("no_curves")
def test_ensemble_augment_single_class(tmp_path: Path, weights: Path, data: Path) -> None:
    options: dict[str, Any] = {"augment": True, "single_cls": True, "save_json": True, "device": "cpu", "workers": 0}
    result = run_val(ValConfig((str(weights), str(weights)), str(data), **options), lambda _: None)[64]
    assert [row.name for row in result.scores.per_class] == ["item"]
    assert result.scores.instances == 10
    entries = json.loads(next(tmp_path.rglob("*_predictions.json")).read_text())
    assert {entry["category_id"] for entry in entries} == {1}


@pytest.mark.usefixtures("no_curves")
def test_weights_of_one_class_need_single_cls(tmp_path: Path, data: Path) -> None:
    save_checkpoint(tmp_path / "one.pt", build_model(TINY, names=("item",), imgsz=32), {})
    config = ValConfig((str(tmp_path / "one.pt"),), str(data), device="cpu", workers=0)
    said = r"the weights know 1 class \(item\), .*shapes.yaml has 3 classes \(square, disc, bar\); give --single-cls if"
    with pytest.raises(ValueError, match=said):
        run_val(config, lambda _: None)
    result = run_val(replace(config, single_cls=True), lambda _: None)[32]
    assert [row.name for row in result.scores.per_class] == ["item"]


def test_a_moved_training_set_is_said_to_be_gone(tmp_path: Path) -> None:
    """Not that a file which the user never named is not among the shipped ones."""
    save_checkpoint(tmp_path / "w.pt", build_model(TINY, names=NAMES, imgsz=32), {"data": "/old/h.yaml"})
    config = ValConfig((str(tmp_path / "w.pt"),), device="cpu", workers=0)
    said = r"^\S*w\.pt was trained on /old/h\.yaml, which is not there any more; .* with --data NEW\.yaml$"
    with pytest.raises(FileNotFoundError, match=said):
        run_val(config, lambda _: None)
    stayed = tmp_path / "h.yaml"  # its images did not
    stayed.write_text(f"val: gone\nnames: [{', '.join(NAMES)}]\n")
    save_checkpoint(tmp_path / "w.pt", build_model(TINY, names=NAMES, imgsz=32), {"data": str(stayed)})
    said = r"^data set not found: .*gone .*; the data set is the one named in \S*w\.pt: give its new place"
    with pytest.raises(FileNotFoundError, match=said):
        run_val(config, lambda _: None)
    with pytest.raises(FileNotFoundError, match=r"a relative path is looked for in \S+$"):
        run_val(replace(config, data=str(stayed)), lambda _: None)


@pytest.mark.usefixtures("no_curves")
def test_default_data_is_the_training_set(tmp_path: Path, weights: Path, data: Path) -> None:
    model = build_model(TINY, names=NAMES, imgsz=32)
    save_checkpoint(tmp_path / "w.pt", model, {"data": str(data)})
    results = run_val(ValConfig((str(tmp_path / "w.pt"),), device="cpu", workers=0, task="train"), lambda _: None)
    assert {size: result.scores.images for size, result in results.items()} == {32: 6}


def test_other_names_warn_and_other_count_is_an_error(tmp_path: Path, weights: Path, data: Path) -> None:
    lines: list[str] = []
    other = data.parent / "other.yaml"
    other.write_text("val: images\nnames: [square, ring, bar]\n")
    run_val(ValConfig((str(weights),), str(other), device="cpu", workers=0, task="speed"), lines.append)
    assert any("class 1 is 'disc'" in line and "'ring'" in line for line in lines)
    more = data.parent / "more.yaml"
    more.write_text("val: images\nnames: [a, b, c, d]\n")
    with pytest.raises(ValueError, match=r"3 classes .* 4"):
        run_val(ValConfig((str(weights),), str(more), device="cpu", workers=0), lines.append)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--weights", "absent.pt"], ["absent.pt"]),
        (["--data", "absent.yaml"], ["absent.yaml"]),
        (["--task", "test"], ["test"]),
        (["--half", "--device", "cpu"], ["--half", "CUDA"]),
        (["--save-conf"], ["--save-txt"]),
        (["--device", "77"], ["77"]),
        (["--dnn"], ["--dnn"]),
        (["--save-hybrid"], ["--save-hybrid is not available", "--save-txt"]),
    ],
)
def test_bad_input_is_one_line(
    monkeypatch: Any, capsys: Any, tmp_path: Path, weights: Path, data: Path, flags: list[str], words: list[str]
) -> None:
    defaults = {"--weights": str(weights), "--data": str(data)}
    given = [text for flag, value in defaults.items() if flag not in flags for text in (flag, value)]
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, *given, *flags, "--workers", "0")
    assert stopped.value.code not in (0, None)
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert all(word in error for word in words), error
    assert not (tmp_path / "runs").exists()  # no empty run folder is left behind


def test_unwritable_project(monkeypatch: Any, capsys: Any, tmp_path: Path, weights: Path, data: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        call(monkeypatch, "--weights", weights, "--data", data, "--project", tmp_path / "file", "--workers", 0)
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        ["--imgsz", "0"],
        ["--imgsz", "x"],
        ["--conf-thres", "1.5"],
        ["--pad", "1.1"],
        ["--pad", "-0.5"],
        ["--batch-size", "-1"],
        ["--task", "guess"],
        [],
    ],
)
def test_bad_flags_are_named(monkeypatch: Any, capsys: Any, weights: Path, flags: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, *(["--weights", weights] if flags else []), *flags)
    assert stopped.value.code == 2
    assert (flags or ["--weights"])[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    "fields",
    [
        {"weights": ()},
        {"task": "guess"},
        {"imgsz": (0,)},
        {"conf_thres": 2.0},
        {"pad": 1.5},
        {"pad": float("nan")},
        {"max_det": 0},
        {"save_conf": True},
    ],
)
def test_config_checks_itself(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"weights|task|imgsz|conf|max-det|pad"):
        ValConfig(**({"weights": ("w.pt",)} | fields))


def test_names_that_the_console_lacks_end_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where output that goes to a file has an encoding of few characters."""
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="cp1252"))
    run_cli(lambda: print("2 日本, 1 größer", flush=True))
    assert written.getvalue().rstrip() == "2 \\u65e5\\u672c, 1 größer".encode("cp1252")
