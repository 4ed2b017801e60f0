"""Classification through its doors: train, resume, val, detect and export on bars, and what goes wrong in one line."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.hub.load import open_weights
from mgil.engine.prediction.load import load_model
from mgil.engine.training.log import read_results
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint, save_checkpoint
from mgil.tasks.classify.scores import METRICS
from tests.tasks.classify.glyph_sets import CFG, NAMES, make_set, network, picture
from tests.tasks.doors import door, line_of

HYP = {"optimizer": "AdamW", "lr0": 0.02, "lrf": 0.1, "momentum": 0.9, "nbs": 8, "warmup_epochs": 0, "scale_min": 0.8}
HYP |= {"fliplr": 0.0, "dropout": 0.1}
EPOCHS = 6

pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.fixture(scope="module")
def data(private_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of folders, with the files that --cfg and --hyp name beside it."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "cfg.yaml").write_text(yaml.safe_dump(CFG))
    (folder / "hyp.yaml").write_text(yaml.safe_dump(HYP))
    return make_set(folder / "bars", train=16, val=4)


def train(data: Path, *arguments: object) -> None:
    flags = ["--cfg", data.parent / "cfg.yaml", "--hyp", data.parent / "hyp.yaml", "--imgsz", 32, "--batch-size", 8]
    door("train", "classify", "--data", data, *flags, "--workers", 0, "--device", "cpu", *arguments)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train(data, "--epochs", EPOCHS, "--project", folder, "--crop-mode", "squash")
    return folder / "exp"


@pytest.fixture(scope="module")
def weights(run: Path) -> Path:
    return run / "weights" / "best.pt"


def test_a_run_leaves_what_people_look_for(run: Path, weights: Path, data: Path) -> None:
    rows = read_results(run / "results.csv")
    assert len(rows) == EPOCHS and {*METRICS, "train/ce_loss", "val/ce_loss"} <= set(rows[0])
    assert max(float(row[METRICS[0]]) for row in rows) > 0.6 and all(float(row[METRICS[1]]) == 1 for row in rows)
    present = {path.name for path in run.iterdir()}
    assert {"labels.jpg", "train_batch0.jpg", "val_batch0_pred.jpg", "confusion_matrix.png", "results.png"} <= present
    assert {"per_class.csv", "confusion_matrix.csv"} <= present
    checkpoint = load_checkpoint(weights)
    assert (checkpoint.task, checkpoint.names, checkpoint.info["data"]) == ("classify", NAMES, str(data))
    model = model_from_checkpoint(checkpoint)
    assert (model.crop, model.dropout, model.names) == ("squash", 0.1, NAMES)


def test_a_finished_run_goes_on(run: Path, tmp_path: Path) -> None:
    """Its data set is a folder, which a checkpoint names as it does a YAML."""
    copy = tmp_path / "exp"
    shutil.copytree(run, copy)
    door("train", "classify", "--resume", copy, "--epochs", EPOCHS + 1, "--device", "cpu")
    rows = read_results(copy / "results.csv")
    assert len(rows) == EPOCHS + 1 and [row[METRICS[0]] for row in rows[:-1]] == [
        row[METRICS[0]] for row in read_results(run / "results.csv")
    ]


def test_val_reads_the_data_set_that_the_weights_name(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    door("val", "--weights", weights, "--project", tmp_path, "--imgsz", 32, 48, "--workers", 0, "--save-txt")
    lines = capsys.readouterr().out.splitlines()
    best = max(float(row[METRICS[0]]) for row in read_results(weights.parents[1] / "results.csv"))
    all_rows = [line.split() for line in lines if line.strip().startswith("all")]
    assert [row[1] for row in all_rows] == ["12", "12"] and float(all_rows[0][2]) == pytest.approx(best, abs=1e-3)
    folder = tmp_path / "exp"
    assert (folder / "top1_vs_input_size.png").is_file()
    with (folder / "top1_vs_input_size.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["imgsz"] for row in table] == ["32", "48"] and "softmax_ms" in table[0]
    labels = sorted(path.name for path in (folder / "size_32" / "labels").iterdir())
    assert len(labels) == 12 and labels[:3] == ["0-2.txt", "0-3.txt", "0.txt"]
    assert not list(folder.rglob("*.json"))  # nobody asked for it


def test_val_takes_a_csv_and_classes_in_another_order(weights: Path, data: Path, tmp_path: Path) -> None:
    names = NAMES[::-1]
    rows = [f"{path},{path.parent.name}" for path in sorted((data / "val").rglob("*.png"))]
    (tmp_path / "val.csv").write_text("\n".join(["path,class", *rows]) + "\n")
    (tmp_path / "set.yaml").write_text(f"val: val.csv\nnames: {list(names)}\n")
    found = []
    for source in (data, tmp_path / "set.yaml"):
        config = ValConfig((str(weights),), data=str(source), project=str(tmp_path / "runs"), workers=0)
        (evaluation,) = run_val(config, report=lambda _line: None).values()
        found.append(evaluation.scores)
    assert found[1].split.names == names and found[0].top1 == found[1].top1 > 0.6
    assert [row.top1 for row in found[1].per_class][::-1] == [row.top1 for row in found[0].per_class]


def test_detect_writes_what_was_asked_for(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = data / "val" / "up"
    flags = ("--save-txt", "--save-csv", "--save-crop", "--project", tmp_path)
    door("detect", "--weights", weights, "--source", source, *flags)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("image ")]
    folder, model = tmp_path / "exp", load_model(weights, device="cpu")
    assert len(lines) == 4
    for line, path in zip(lines, sorted(source.iterdir()), strict=True):
        result = model(path)
        assert f"32x32 {result.text()}, " in line
        assert (folder / "labels" / f"{path.stem}.txt").read_text() == result.label_lines(False)
        crop = folder / "crops" / result.names[result.top1] / f"{path.stem}_det1.jpg"
        assert cv2.imread(str(crop)).shape == (32, 32, 3)
        drawn = cv2.imread(str(folder / path.name))[..., ::-1]
        np.testing.assert_array_equal(drawn, result.plot())
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["Image Name", "Prediction", "Confidence", "Frame", "Top 5", "Path"] and len(rows) == 4


def test_a_run_without_wishes_writes_no_more(weights: Path, data: Path, tmp_path: Path) -> None:
    door("detect", "--weights", weights, "--source", data / "val" / "up" / "0.png", "--project", tmp_path)
    assert [path.name for path in (tmp_path / "exp").iterdir() if not path.name.startswith(".")] == ["0.png"]


def test_weights_go_on_with_other_classes(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All but the last row comes from the weights, and the crop."""
    data = make_set(tmp_path / "bars", train=4, val=2, names=("up", "flat"))
    door("train", "classify", "--data", data, "--weights", weights, "--epochs", 1, "--workers", 0,
         "--batch-size", 8, "--project", tmp_path, "--freeze", 2)  # fmt: skip
    checkpoint = load_checkpoint(tmp_path / "exp" / "weights" / "best.pt")
    model, start = model_from_checkpoint(checkpoint, fuse=False), load_checkpoint(weights).state_dict
    assert model.names == ("flat", "up") and model.crop == "squash"
    assert (model.state_dict()["model.0.conv.weight"] == start["model.0.conv.weight"]).all()  # frozen
    assert "hyp.cls-finetune.yaml" in (tmp_path / "exp" / "opt.yaml").read_text()
    capsys.readouterr()


TRAIN = [
    (
        "--model resnet18",
        "--model is not available: --cfg names the network (timm:NAME too), --weights a file to begin",
    ),
    ("--pretrained False", "--pretrained is not available: nothing is fetched: --weights FILE"),
    ("--cutoff 10", "--cutoff is not available: --weights with a --cfg of your own takes the layers that fit"),
    ("--lr0 0.1", "--lr0 is not available: lr0 is a key of the recipe: --hyp FILE"),
    ("--label-smoothing 0.1", "--label-smoothing is not available: smoothing is a key of the recipe: --hyp FILE"),
    ("--dropout 0.2", "--dropout is not available: dropout is a key of the recipe: --hyp FILE"),
    ("--image-weights", "--image-weights is not available: every picture is drawn once an epoch"),
]


@pytest.mark.parametrize(("flags", "line"), TRAIN)
def test_yolov5s_flags_say_what_takes_their_place(flags: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line_of(capsys, "train", "classify", *flags.split()).startswith(line)


@pytest.mark.parametrize(
    ("flags", "line", "status"),
    [
        ("--crop-mode border", "--crop-mode: 'border' is not one of center, squash", 2),
        ("--rect", "--rect: no such flag; did you mean --project?", 2),
        ("--data nowhere/", "data set file nowhere not found", 1),
        ("--cfg yolov5n.yaml", "yolov5n.yaml", 1),
        ("--cfg timm:nonsense", "timm:nonsense", 1),
    ],
)
def test_a_wrong_word_ends_training_in_one_line(
    flags: str, line: str, status: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert line in line_of(capsys, "train", "classify", *flags.split(), "--project", tmp_path, status=status)
    assert not list(tmp_path.iterdir())


def test_a_network_of_one_size_does_not_train_at_several(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm")
    words = [
        "classify",
        "--data",
        data,
        "--cfg",
        "timm:test_vit",
        "--imgsz",
        32,
        "--multi-scale",
        "--project",
        tmp_path,
    ]
    line = line_of(capsys, "train", *words)
    assert line == "--multi-scale: timm:test_vit takes inputs of 32 px alone; leave it out"


def test_what_other_doors_refuse(weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of_task = f"{weights} is of the task classify, which has no such flag"
    source = ("--source", data / "val" / "up", "--project", tmp_path)
    cases = [
        ("val", ("--data", data, "--conf-thres", 0.3), f"--conf-thres: {of_task}"),
        ("val", ("--data", data, "--save-txt", "--save-conf"), f"--save-conf: {of_task}"),
        (
            "val",
            ("--data", data, "--task", "speed", "--save-txt"),
            "--save-txt: --task speed measures times and writes",
        ),
        ("detect", (*source, "--line-thickness", 5), f"--line-thickness: {of_task}"),
        ("detect", (*source, "--classes", 0), f"--classes: {of_task}"),
        ("detect", (*source, "--imgsz", 32, 64), "--imgsz 32 64: a network for classes sees squares; give one side"),
        ("detect", (*source, "--track"), "--track"),
        ("export", ("--nms",), f"--nms: {of_task}"),
    ]
    for name, flags, expected in cases:
        assert line_of(capsys, name, "--weights", weights, *flags).startswith(expected), flags
    assert not list(tmp_path.iterdir())


def test_weights_and_data_of_other_classes_are_told_apart(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_set(tmp_path / "two", 2, 2, ("flat", "up"))
    line = line_of(capsys, "val", "--weights", weights, "--data", other, "--project", tmp_path)
    expected = f"the weights know 3 classes (flat, lean, up), {other} has 2 classes (flat, up); {other}/train has some"
    assert line.startswith(expected)
    other = make_set(tmp_path / "three", 2, 2)
    for split in ("train", "val"):
        (other / split / "lean").rename(other / split / "slope")
    line = line_of(capsys, "val", "--weights", weights, "--data", other, "--project", tmp_path)
    assert line.startswith(f"class 1 is 'lean' in the weights and 'slope' in {other}; pictures are scored by")
    assert not (tmp_path / "exp").exists()


def test_a_data_set_that_has_gone_is_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy, weights = tmp_path / "copy", tmp_path / "w.pt"
    save_checkpoint(weights, network(), {"data": str(copy)}, task="classify")
    line = line_of(capsys, "val", "--weights", weights, "--project", tmp_path)
    assert (
        line == f"{weights} was trained on {copy}, which is not there any more; give its new place with --data NEW.yaml"
    )
    shutil.copytree(data, copy)
    door("val", "--weights", weights, "--project", tmp_path, "--workers", 0)


def test_weights_that_name_no_data_are_asked_for_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "w.pt"
    save_checkpoint(weights, network(), {}, task="classify")
    line = line_of(capsys, "val", "--weights", weights, "--project", tmp_path)
    assert line.startswith(
        f"{weights} does not say which data set it was trained on; name one of 3 classes (flat, lean"
    )


def test_torch_hub_and_load_model(weights: Path, data: Path) -> None:
    with pytest.raises(
        ValueError, match=r"is of the task classify; this interface is for detection, use mgil\.load_model"
    ):
        open_weights(str(weights))
    model = load_model(weights, device="cpu", crop_mode="center")
    result = model(picture("up", 7))
    assert result.probs.sum() == pytest.approx(1, abs=1e-5) and result.names == NAMES
    assert [one.top1 for one in model([picture("up", 7)] * 2)] == [result.top1] * 2
    with pytest.raises(ValueError, match=r"^unknown option 'conf'; known are crop_mode"):
        load_model(weights, conf=0.5)
    with pytest.raises(AttributeError, match="conf cannot be set"):
        model.conf = 0.5
