"""Pose through its doors: train, resume, val and detect on people of dots, and what goes wrong in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from mgil.engine.training.log import read_results
from mgil.engine.training.trainer import EpochLosses, Trainer
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint
from mgil.tasks.pose.network import build_pose
from mgil.tasks.pose.scores import METRICS
from tests.tasks.doors import door, line_of
from tests.tasks.pose.people_sets import NAMES, make_people

CFG = {"host": "csp", "host_options": {"width": 8, "depth": 1}, "blocks": "mgil"}
HYP = {"optimizer": "AdamW", "lr0": 0.005, "lrf": 0.1, "momentum": 0.9, "nbs": 8, "warmup_epochs": 0, "half_body": 0}
EPOCHS = 3


@pytest.fixture(scope="module")
def data(private_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    path = make_people(folder, train=24, val=6)
    (folder / "cfg.yaml").write_text(yaml.safe_dump(CFG))
    (folder / "hyp.yaml").write_text(yaml.safe_dump(HYP))
    return path


def train(data: Path, *arguments: object) -> None:
    flags = ["--cfg", data.parent / "cfg.yaml", "--hyp", data.parent / "hyp.yaml", "--imgsz", 32, "--batch-size", 8]
    door("train", "pose", "--data", data, *flags, "--workers", 0, "--device", "cpu", *arguments)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train(data, "--epochs", EPOCHS, "--project", folder)
    return folder / "exp"


def test_a_run_leaves_what_people_look_for(run: Path) -> None:
    rows = read_results(run / "results.csv")
    assert len(rows) == EPOCHS and set(METRICS) <= set(rows[0])
    uniform = 2 * len(NAMES) * 3.7839  # what it costs to say nothing
    assert all(0.8 * uniform < float(row["train/kl_loss"]) < 1.05 * uniform for row in rows)
    present = {path.name for path in run.iterdir()}
    assert {"labels.jpg", "train_batch0.jpg", "val_batch0_pred.jpg", "per_joint.csv", "results.png"} <= present
    checkpoint = load_checkpoint(run / "weights" / "best.pt")
    model = model_from_checkpoint(checkpoint)
    assert checkpoint.task == "pose" and model.names == tuple(NAMES)
    assert model.skeleton.flip == (0, 2, 1) and model.skeleton.limbs == ((0, 1), (0, 2)) and model.crop == "linear"


@pytest.mark.nightly  # the engine's resume is the same for all tasks
def test_a_resumed_run_is_the_run(run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Trainer.train_epoch

    def stopped(trainer: Trainer, epoch: int, title: str | None = None) -> EpochLosses:
        if epoch == 1:
            raise KeyboardInterrupt
        return trained(trainer, epoch, title)

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(Trainer, "train_epoch", stopped)
        train(data, "--epochs", EPOCHS, "--project", tmp_path, "--noplots")
    door("train", "pose", "--resume", tmp_path / "exp", "--workers", 0, "--device", "cpu")
    again, whole = (load_checkpoint(folder / "weights" / "last.pt").state_dict for folder in (tmp_path / "exp", run))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_val_at_several_sizes(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    door("val", "--weights", run / "weights" / "best.pt", "--img", 32, 40, "--project", tmp_path, "--workers", 0)
    output = capsys.readouterr().out
    assert "crops of 40 px were resized to the network's own 32 px" in output and "multiple of the stride" not in output
    assert (tmp_path / "exp" / "size_40" / "per_joint.csv").is_file()


def test_detect_looks_at_whole_pictures(run: Path, data: Path, tmp_path: Path) -> None:
    source = data.parent / "val"
    door("detect", "--weights", run / "weights" / "best.pt", "--source", source, "--project", tmp_path, "--save-txt")
    assert len(list((tmp_path / "exp" / "labels").glob("*.txt"))) == 6
    row = (tmp_path / "exp" / "labels" / "val1.txt").read_text().split()
    assert row[0] == "0" and len(row) == 5 + 3 * len(NAMES)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--multi-scale",), "--multi-scale"),
        (("--crop", "cubic"), "--crop"),
        (("--cfg", "yolov5n.yaml"), "simcc"),
        (("--data", "digits.yaml"), "digits.yaml"),
        (("--hyp", "scratch-low"), "unknown key"),
    ],
)
def test_what_cannot_be_trained_ends_in_one_line(
    data: Path, arguments: tuple[str, str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = 2 if arguments[0] == "--crop" else 1
    given = {"--data": data, "--cfg": data.parent / "cfg.yaml", "--epochs": 1, "--imgsz": 32}
    flags = [part for pair in given.items() if pair[0] != arguments[0] for part in pair]
    assert expected in line_of(capsys, "train", "pose", *flags, *arguments, "--device", "cpu", status=status)


def test_other_key_points_than_the_weights_have(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(capsys, "val", "--weights", run / "weights" / "best.pt", "--data", "figures.yaml")
    assert "know 3 key points (nose, left_hand, right_hand)" in line and "figures.yaml has 17 key points" in line


@pytest.mark.parametrize("ending", [pytest.param(".pth", marks=pytest.mark.nightly), ".safetensors"])
def test_weights_of_others_are_a_start(
    data: Path, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tensors by the host's own names, as timm saves them, carried over into blocks."""
    torch.manual_seed(1)
    host = build_pose({**CFG, "blocks": "none"}, NAMES, 32).host
    weights = tmp_path / f"host{ending}"
    if ending == ".pth":
        torch.save({"state_dict": host.state_dict()}, weights)
    else:
        save_file(host.state_dict(), weights)
    (tmp_path / "res.yaml").write_text(yaml.safe_dump({**CFG, "blocks": "mgil-res"}))
    flags = ("--data", data, "--weights", weights, "--imgsz", 32, "--workers", 0, "--device", "cpu", "--noplots")
    train_flags = ("--cfg", tmp_path / "res.yaml", "--epochs", 1, "--hyp", data.parent / "hyp.yaml")
    door("train", "pose", *flags, *train_flags, "--project", tmp_path)
    assert "4 of 4 stride-2 layers carried over" in capsys.readouterr().out
    assert "--cfg" in line_of(capsys, "train", "pose", *flags)
    if ending == ".safetensors":
        assert "the task detect starts from" in line_of(capsys, "train", "--weights", weights)
    torch.save({"model": {"b": torch.zeros(3)}}, tmp_path / "other.pth")
    line = line_of(capsys, "train", "pose", *flags, *train_flags, "--weights", tmp_path / "other.pth")
    assert "other.pth" in line and "none of the tensors fits" in line
