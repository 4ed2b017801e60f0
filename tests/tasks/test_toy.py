"""The smallest task through all doors: train, resume, val, detect, export and `load_model`.

What it learns has a closed form: the mean colour of a picture, times the brightness that was asked for.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from mgil.engine.prediction.load import load_model
from mgil.engine.training.log import read_results
from mgil.engine.weights.checkpoints import load_checkpoint
from mgil.tasks import registry
from tests.tasks.doors import door, line_of
from tests.tasks.toy.data import make_colours

BRIGHTNESS, EPOCHS = 0.9, 30
ERROR = 0.05  # on the mean over channels and pictures; all pictures taken for the mean of the set have 0.15 or more
COMMON = ("--device", "cpu")

pytestmark = pytest.mark.usefixtures("toy_task", "private_cache")


def colours_of(paths: list[Path]) -> np.ndarray:
    """Their mean colours, (N, 3) RGB in 0..1."""
    return np.array([cv2.imread(str(path))[..., ::-1].mean(axis=(0, 1)) / 255 for path in paths])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_colours(tmp_path_factory.mktemp("colours"), 32, 8))


@pytest.fixture(scope="module")
def run(toy_task: None, private_cache: None, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "hyp.yaml").write_text(yaml.safe_dump({"lr0": 0.01, "lrf": 0.1, "nbs": 8, "warmup_epochs": 0}))
    options = {"data": data, "hyp": folder / "hyp.yaml", "imgsz": 32, "epochs": EPOCHS, "batch-size": 8, "workers": 0}
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    door("train", "toy", *given, "--brightness", BRIGHTNESS, "--project", folder, *COMMON)
    return folder / "exp"


@pytest.fixture(scope="module")
def weights(run: Path) -> Path:
    return run / "weights" / "best.pt"


@pytest.fixture(scope="module")
def pictures(data: Path) -> list[Path]:
    """Those of the validation split."""
    return sorted((data.parent / "val").glob("*.png"))


def found_in(weights: Path, pictures: list[Path]) -> np.ndarray:
    """The colours that a model finds, by the network alone: (N, 3)."""
    model = load_model(weights, device="cpu").model
    images = np.stack([cv2.imread(str(path))[..., ::-1] for path in pictures])
    with torch.inference_mode():
        return model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).numpy()


def test_train_learns_it(run: Path, weights: Path, pictures: list[Path]) -> None:
    wanted = BRIGHTNESS * colours_of(pictures)
    error = float(np.abs(found_in(weights, pictures) - wanted).mean())
    assert error < ERROR < 0.15 < np.abs(wanted - wanted.mean(axis=0)).mean()
    rows = read_results(run / "results.csv")
    assert tuple(rows[0]) == (
        *("epoch", "train/colour_loss", "train/light_loss", "metrics/error"),
        *("val/colour_loss", "val/light_loss", "x/lr0", "x/lr1", "x/lr2"),
    )
    assert len(rows) == EPOCHS and all(np.isfinite([float(value) for value in row.values()]).all() for row in rows)
    assert min(float(row["metrics/error"]) for row in rows) == pytest.approx(error, rel=1e-4)


def test_the_run_folder_is_that_of_any_task(run: Path, data: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names >= {"labels.jpg", "train_batch0.jpg", "results.png", "results.csv", "opt.yaml", "hyp.yaml"}
    options = yaml.safe_load((run / "opt.yaml").read_text())
    assert (options["task"], options["brightness"]) == ("toy", BRIGHTNESS) and "iou_thres" not in options
    assert yaml.safe_load((run / "hyp.yaml").read_text())["flip"] == 0.5
    checkpoint = load_checkpoint(run / "weights" / "last.pt")
    assert (checkpoint.task, checkpoint.names, checkpoint.imgsz) == ("toy", ("colour",), 32)
    assert checkpoint.training["config"]["task"] == "toy"


def test_resume_knows_the_task_from_the_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No word of the task beside --resume, which takes the newest run."""
    copy = tmp_path / "runs" / "train" / "exp"
    shutil.copytree(run, copy)
    monkeypatch.chdir(tmp_path)
    line = line_of(capsys, "train", "--resume", status=1)
    assert (copy / "error.csv").is_file() and not (copy / "per_class.csv").exists()  # the toy's table, not detection's
    assert line.endswith(f"last.pt: {EPOCHS} epochs are done; --epochs {EPOCHS + 1} or more goes on")
    door("train", "--resume", "--epochs", EPOCHS + 2)
    rows = read_results(copy / "results.csv")
    assert [int(row["epoch"]) for row in rows] == list(range(EPOCHS + 2))
    assert rows[:EPOCHS] == read_results(run / "results.csv")
    last = load_checkpoint(copy / "weights" / "last.pt")
    assert last.task == "toy" and last.training["config"]["brightness"] == BRIGHTNESS


def test_resume_holds_flags_against_the_task_of_the_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(capsys, "train", "toy", "--resume", run, "--brightness", 0.5, status=1)
    assert line.startswith("--brightness 0.5: a resumed run keeps its own 0.9; ")
    line = line_of(capsys, "train", "--resume", run, "--rect", status=1)
    assert line == f"--resume {run}/weights/last.pt: its task is toy, which has no --rect"


@pytest.mark.parametrize("brightness", [BRIGHTNESS, 0.4])
def test_val_measures_it(
    weights: Path,
    data: Path,
    pictures: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    brightness: float,
) -> None:
    flags = ("--brightness", brightness, "--workers", 0, "--project", tmp_path)
    door("val", "--weights", weights, "--data", data, *flags, *COMMON)
    error = np.abs(found_in(weights, pictures) - brightness * colours_of(pictures)).mean()
    assert f"8 images at 32 px: error {error:.4f}\n" in capsys.readouterr().out
    with (tmp_path / "exp" / "error.csv").open(newline="") as file:
        assert float(list(csv.DictReader(file))[0]["error"]) == pytest.approx(error, rel=1e-4)


def test_val_over_sizes_names_its_columns(weights: Path, data: Path, tmp_path: Path) -> None:
    door("val", "--weights", weights, "--data", data, "--imgsz", 32, 48, "--workers", 0, "--project", tmp_path, *COMMON)
    (table,) = tmp_path.rglob("error_vs_input_size.csv")
    with table.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["imgsz", "error", "preprocess_ms", "inference_ms", "mean_ms"]
    assert [row[0] for row in rows] == ["32", "48"]


def test_detect_writes_it(weights: Path, pictures: list[Path], tmp_path: Path) -> None:
    flags = ("--save-txt", "--save-csv", "--save-crop", "--project", tmp_path)
    door("detect", "--weights", weights, "--source", pictures[0].parent, *flags, *COMMON)
    run = tmp_path / "exp"
    found = found_in(weights, pictures)
    for path, colour in zip(pictures, found, strict=True):
        np.testing.assert_allclose(np.loadtxt(run / "labels" / f"{path.stem}.txt"), colour, atol=1e-4)
        drawn = cv2.imread(str(run / path.name))[..., ::-1]
        np.testing.assert_allclose(drawn / 255, np.broadcast_to(colour, drawn.shape), atol=1 / 255)
        assert (run / "crops" / "all" / f"{path.stem}_det1.jpg").exists()
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Image Name"] for row in rows] == [path.name for path in pictures]
    assert all(row["Prediction"].startswith("#") and row["Confidence"] == "1.00" for row in rows)


@pytest.mark.parametrize(("kind", "needs"), [("torchscript", "torch"), ("onnx", "onnxruntime")])
def test_export_is_compared_and_runs(
    weights: Path,
    data: Path,
    pictures: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    needs: str,
) -> None:
    pytest.importorskip(needs)
    copy = Path(shutil.copy(weights, tmp_path))
    door("export", "--weights", copy, "--include", kind, "--imgsz", 32, *COMMON)
    assert "largest difference" in capsys.readouterr().out
    exported = copy.with_suffix(f".{kind}")
    model = load_model(exported, device="cpu")
    assert model.names == ("colour",)
    for path, colour in zip(pictures, found_in(weights, pictures), strict=True):
        np.testing.assert_allclose(model(str(path)).colour, colour, atol=1e-5)
    door("val", "--weights", exported, "--data", data, "--workers", 0, "--project", tmp_path / "val", *COMMON)
    error = np.abs(found_in(weights, pictures) - colours_of(pictures)).mean()
    assert f"8 images at 32 px: error {error:.4f}\n" in capsys.readouterr().out


def test_load_model_takes_its_options(weights: Path, pictures: list[Path]) -> None:
    model = load_model(weights, device="cpu", brightness=0.5)
    np.testing.assert_allclose(model(str(pictures[0])).colour, found_in(weights, pictures[:1])[0], atol=1e-6)
    with pytest.raises(ValueError, match="unknown option 'conf'; known are brightness"):
        load_model(weights, device="cpu", conf=0.5)


@pytest.mark.parametrize(
    ("name", "flags", "foreign"),
    [
        ("val", ("--iou-thres", 0.3), "--iou-thres"),
        ("detect", ("--iou-thres", 0.3), "--iou-thres"),
        ("export", ("--include", "torchscript", "--nms"), "--nms"),
    ],
)
def test_a_flag_of_another_task_is_refused(
    name: str,
    flags: tuple[object, ...],
    foreign: str,
    weights: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = {"val": ("--data", data), "detect": ("--source", data.parent / "val"), "export": ()}[name]
    project = () if name == "export" else ("--project", tmp_path / "none")
    line = line_of(capsys, name, "--weights", weights, *where, *flags, *project, status=1)
    assert line == f"{foreign}: {weights} is of the task toy, which has no such flag"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("segment --epochs 2", "segment: no such task; there is detect, classify, pose, toy"),
        ("detct --epochs 2", "detct: no such task; did you mean detect?"),
        ("toy --iou-thres 0.3", "--iou-thres: no such flag; --help lists them"),
        ("--brightness 0.3", "--brightness: no such flag; --help lists them"),
        ("toy --brightness 3", "--brightness: '3' is not a number from 0 to 1"),
    ],
)
def test_words_and_flags_that_are_not_there(capsys: pytest.CaptureFixture[str], arguments: str, line: str) -> None:
    assert line_of(capsys, "train", *arguments.split(), status=2) == line


def test_weights_of_a_task_that_is_not_there_are_refused(
    weights: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a program that does not know the toy."""
    monkeypatch.setattr(registry, "_PACKAGES", {"detect": "mgil.tasks.detect"})
    refusal = f"{weights}: its task is 'toy'; this program knows detect"
    flags = {"detect": ("--source", pictures[0]), "val": (), "export": ("--include", "torchscript")}
    for name, more in flags.items():
        assert line_of(capsys, name, "--weights", weights, *more, status=1) == refusal
    assert line_of(capsys, "train", "--weights", weights, status=1) == refusal
    last = weights.with_name("last.pt")
    assert line_of(capsys, "train", "--resume", last, status=1) == refusal.replace("best.pt", "last.pt")


def test_weights_of_one_task_do_not_start_another(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--data", data, "--imgsz", 32, "--project", tmp_path, *COMMON)
    line = line_of(capsys, "train", "--weights", weights, *flags, status=1)
    assert (
        line
        == f"--weights {weights}: its task is toy, not detect; train the task toy to go on with it, or give a --cfg"
    )
    assert not list(tmp_path.iterdir())
