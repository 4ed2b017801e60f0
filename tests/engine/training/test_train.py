"""Training from options to a run folder, on pictures of coloured squares."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.engine.training.config import TrainConfig
from mgil.engine.training.log import columns
from mgil.engine.training.precision import Precision
from mgil.engine.training.run import run_train
from mgil.engine.training.trainer import EpochLosses, Trainer
from mgil.engine.weights.checkpoints import load_checkpoint
from mgil.files.written_files import LIST_NAME
from mgil.tasks.detect.aligned_loss import AlignedLoss
from mgil.tasks.detect.image_weights import image_difficulty
from mgil.tasks.detect.loss import DetectionLoss
from mgil.tasks.detect.scores import METRICS
from tests.engine.tiny import ANCHOR, PLAIN, RECIPE, Playground, same_tensors, write_squares, write_yaml
from tests.engine.training.running import rows_of, train, weights_of

pytestmark = pytest.mark.usefixtures("private_cache")
COLUMNS = columns(("box", "obj", "cls"), METRICS)


@pytest.fixture(scope="module")
def plain_run(ground: Playground, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs of the playground's options, as a run to compare with."""
    return train(ground.config(tmp_path_factory.mktemp("runs"), epochs=3))


class Stop(Exception):
    """Ends a run between two epochs, as a power cut would."""


def stop_before(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    original = Trainer.train_epoch

    def train_epoch(self: Trainer, number: int, title: str | None = None) -> EpochLosses:
        if number == epoch:
            raise Stop
        return original(self, number, title)

    monkeypatch.setattr(Trainer, "train_epoch", train_epoch)


def test_the_run_folder_holds_what_yolov5s_holds(ground: Playground, tmp_path: Path) -> None:
    lines: list[str] = []
    run = train(ground.config(tmp_path, noplots=False, noautoanchor=False), lines)
    assert run == tmp_path / "exp"
    pictures = ["labels.jpg", "train_batch0.jpg", "train_batch1.jpg", "results.png", "confusion_matrix.png"]
    pictures += ["F1_curve.png", "P_curve.png", "R_curve.png", "PR_curve.png"]
    pictures += ["val_batch0_labels.jpg", "val_batch0_pred.jpg", "ap_vs_object_size.png"]
    for name in pictures:
        picture = cv2.imread(str(run / name))
        assert picture is not None and picture.std() > 1, name
    texts = {"hyp.yaml", "opt.yaml", "results.csv", "per_class.csv", "weights", LIST_NAME}
    events = {path.name for path in run.iterdir() if path.name.startswith("events.")}
    assert {path.name for path in run.iterdir()} == {*pictures, *texts, *events}
    assert {path.name for path in (run / "weights").iterdir()} == {"last.pt", "best.pt"}
    with open(run / "results.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == COLUMNS and [row[0] for row in rows[1:]] == ["0", "1"]
    assert all(np.isfinite(float(value)) for row in rows[1:] for value in row)
    assert yaml.safe_load((run / "hyp.yaml").read_text()).items() >= RECIPE.items()
    options = yaml.safe_load((run / "opt.yaml").read_text())
    assert (options["imgsz"], options["epochs"], options["batch_size"], options["data"]) == (32, 2, 8, ground.data)
    console = "\n".join(lines)
    for words in ("train: 16 images", "tiny.yaml: ", "AutoAnchor: ", "epoch 2/2", "mAP50-95", "Speed:", str(run)):
        assert words in console, words


def test_checkpoints_say_what_they_are(plain_run: Path, ground: Playground) -> None:
    best, last = (load_checkpoint(plain_run / "weights" / name) for name in ("best.pt", "last.pt"))
    assert (best.names, best.imgsz, best.training) == (("red", "green", "blue"), 32, {})
    assert last.info["epoch"] == 2 and last.info["data"] == ground.data
    assert last.training["progress"]["epoch"] == 3
    # last.pt itself is the average; the weights that go on being trained are beside it
    assert not same_tensors(last.training["trainer"]["model"], last.state_dict)
    assert best.info["fitness"] == last.training["progress"]["best_fitness"]
    fitness = [0.1 * float(r["metrics/mAP_0.5"]) + 0.9 * float(r["metrics/mAP_0.5:0.95"]) for r in rows_of(plain_run)]
    assert last.training["progress"]["best_epoch"] == int(np.argmax(fitness)) == best.info["epoch"]


def test_rates_are_logged(plain_run: Path) -> None:
    """0.01 falling in a straight line to a tenth of it."""
    for row in rows_of(plain_run):
        wanted = 0.01 * (1 - 0.9 * int(row["epoch"]) / 3)
        assert [float(row[f"x/lr{group}"]) for group in range(3)] == pytest.approx([wanted] * 3)


@pytest.mark.parametrize("assignment", [{}, ANCHOR], ids=["aligned", "anchor"])
def test_it_learns(ground: Playground, tmp_path: Path, assignment: dict[str, Any]) -> None:
    hyp = write_yaml(
        tmp_path / "hyp.yaml", RECIPE | assignment | PLAIN | {"lr0": 0.02, "lrf": 0.05, "momentum": 0.9, "nbs": 4}
    )
    options = {"epochs": 30, "batch_size": 4, "optimizer": "Adam", "noval": True}
    run = train(ground.config(tmp_path, hyp=hyp, data=easy_data(tmp_path), **options))
    rows = rows_of(run)
    losses = [sum(float(row[f"train/{part}_loss"]) for part in ("box", "obj", "cls")) for row in rows]
    assert losses[-1] < 0.5 * losses[0]
    assert float(rows[-1]["metrics/mAP_0.5"]) > 0.5


def easy_data(folder: Path) -> str:
    """One square of 12 px a picture; validated on the pictures that were trained on."""
    pictures = [[(number % 3, 4 + 4 * (number % 4), 4 + 4 * (number // 4), 12)] for number in range(16)]
    write_squares(folder / "easy", "train", pictures)
    content = {"train": "images/train", "val": "images/train", "names": ["red", "green", "blue"]}
    return write_yaml(folder / "easy" / "easy.yaml", content)


def test_the_same_seed_gives_the_same_weights(ground: Playground, plain_run: Path, tmp_path: Path) -> None:
    twin = train(ground.config(tmp_path, epochs=3, name="twin"))
    other = train(ground.config(tmp_path, epochs=3, name="other", seed=1))
    assert same_tensors(weights_of(twin), weights_of(plain_run))
    assert (twin / "results.csv").read_bytes() == (plain_run / "results.csv").read_bytes()
    assert not same_tensors(weights_of(other), weights_of(plain_run))


@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "Adam", "image_weights": True, "multi_scale": True, "cos_lr": True, "noautoanchor": False}],
)
def test_a_resumed_run_is_the_uninterrupted_one(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """To the bit: weights, average, optimizer, random state, best.pt and results.csv."""
    whole = train(ground.config(tmp_path, epochs=3, name="whole", **options))
    with monkeypatch.context() as patch:
        stop_before(patch, 2)
        with pytest.raises(Stop):
            train(ground.config(tmp_path, epochs=3, name="cut", **options))
    cut = tmp_path / "cut"
    assert len(rows_of(cut)) == 2
    torch.rand(5), np.random.default_rng().random()  # the state of the process does not matter
    assert train(TrainConfig(resume=str(cut))) == cut
    assert (cut / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    for name in ("last.pt", "best.pt"):
        first, second = (load_checkpoint(run / "weights" / name) for run in (whole, cut))
        assert same_tensors(first.state_dict, second.state_dict)
        assert first.architecture == second.architecture and first.info == second.info
        for key in first.training.keys() - {"config"}:
            assert same_tensors(first.training[key], second.training[key]), key
    assert not list((tmp_path / "cut").rglob("*.tmp"))


def test_the_recipe_names_the_loss(ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    for kind in (AlignedLoss, DetectionLoss):
        call = kind.__call__

        def noted(self: Any, raws: Any, targets: Any, call: Any = call) -> Any:
            used.append(type(self))
            return call(self, raws, targets)

        monkeypatch.setattr(kind, "__call__", noted)
    train(ground.config(tmp_path, epochs=1))
    assert set(used) == {AlignedLoss}
    used.clear()
    train(ground.config(tmp_path, epochs=1, hyp=write_yaml(tmp_path / "anchor.yaml", RECIPE | ANCHOR)))
    assert set(used) == {DetectionLoss}


def test_resume_refuses_what_would_make_it_another_run(ground: Playground, plain_run: Path) -> None:
    path = str(plain_run / "weights" / "last.pt")
    changes: list[dict[str, Any]] = [
        {"batch_size": 4},
        {"imgsz": 64},
        {"hyp": "scratch-high"},
        {"seed": 5},
        {"freeze": (2,)},
        {"cos_lr": True},
        {"label_smoothing": 0.1},
    ]
    for change in changes:
        flag = f"--{next(iter(change)).replace('_', '-')} "
        with pytest.raises(ValueError, match=flag) as caught:
            train(TrainConfig(resume=path, **change))
        assert "a resumed run keeps its own" in str(caught.value)


def test_resume_refuses_a_change_to_the_default_value(plain_run: Path) -> None:
    """The run has batches of 8; to ask for 16, the default, is a change all the same."""
    config = TrainConfig(resume=str(plain_run), batch_size=16)
    with pytest.raises(ValueError, match="--batch-size 16: a resumed run keeps its own 8"):
        run_train(config, lambda _: None, given=["resume", "batch_size"])


def test_resume_a_finished_run(plain_run: Path) -> None:
    with pytest.raises(ValueError, match=r"last\.pt: 3 epochs are done; --epochs 4 or more goes on"):
        train(TrainConfig(resume=str(plain_run)))
    lines: list[str] = []
    with pytest.raises(ValueError, match=r"last\.pt: 3 epochs are done; --epochs 4 or more goes on"):
        train(TrainConfig(resume=str(plain_run), epochs=2), lines)
    assert not lines  # nothing is said of a schedule that will not be


def test_resume_from_what_cannot_be_resumed(plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"best\.pt: made for inference"):
        train(TrainConfig(resume=str(plain_run / "weights" / "best.pt")))
    with pytest.raises(FileNotFoundError, match=r"elsewhere"):
        train(TrainConfig(resume="elsewhere"))
    with pytest.raises(FileNotFoundError, match=r"no last\.pt in runs/train; name the run's folder"):
        train(TrainConfig(resume="latest"))


def test_resume_the_newest_run_for_more_epochs(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(ground.config(Path("runs"), epochs=1))
    newest = train(ground.config(Path("runs"), epochs=1))
    assert train(TrainConfig(resume="latest", project="runs", epochs=2, nosave=True)) == newest.resolve()
    assert [row["epoch"] for row in rows_of(newest)] == ["0", "1"]


def test_nosave_keeps_the_last_checkpoint_alone(ground: Playground, tmp_path: Path) -> None:
    run = train(ground.config(tmp_path, nosave=True))
    assert [path.name for path in (run / "weights").iterdir()] == ["last.pt"]
    assert load_checkpoint(run / "weights" / "last.pt").info["epoch"] == 1


def test_noval_validates_the_last_epoch_alone(ground: Playground, tmp_path: Path) -> None:
    first, last = rows_of(train(ground.config(tmp_path, noval=True)))
    measured = [column for column in COLUMNS if column.startswith(("metrics", "val"))]
    assert all(first[column] == "" and last[column] != "" for column in measured)
    assert first["train/box_loss"] != ""


def test_patience_ends_a_run_and_keeps_its_last_epoch(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fitness never rises after the first epoch: stopped when two epochs have passed, also with --nosave."""
    monkeypatch.setattr("mgil.tasks.detect.scores.DetectScores.fitness", property(lambda _: 0.25))
    lines: list[str] = []
    run = train(ground.config(tmp_path, epochs=6, patience=2, nosave=True), lines)
    assert [row["epoch"] for row in rows_of(run)] == ["0", "1", "2"]
    assert "no better fitness for 2 epochs; stopping" in lines
    assert load_checkpoint(run / "weights" / "last.pt").info["epoch"] == 2


def test_patience_0_never_stops(ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mgil.tasks.detect.scores.DetectScores.fitness", property(lambda _: 0.25))
    run = train(ground.config(tmp_path, epochs=3, patience=0, save_period=2))
    assert len(rows_of(run)) == 3
    assert {path.name for path in (run / "weights").iterdir()} == {"last.pt", "best.pt", "epoch1.pt"}
    assert load_checkpoint(run / "weights" / "best.pt").info["epoch"] == 0


def test_frozen_rows_rest_with_their_statistics(ground: Playground, tmp_path: Path) -> None:
    """The weights of the start train on without moving where they are frozen, BatchNorm's statistics included."""
    start = train(ground.config(tmp_path, epochs=1, name="start"))
    before = weights_of(start)
    options = {"weights": str(start / "weights" / "last.pt"), "freeze": (2,), "label_smoothing": 0.1}
    after = weights_of(train(ground.config(tmp_path, name="frozen", **options)))
    for key, value in before.items():
        frozen = key.startswith(("model.0.", "model.1."))
        if not key.endswith(("num_batches_tracked", ".anchors")) or frozen:
            assert torch.equal(after[key], value) == frozen, key


@pytest.mark.parametrize(
    "options",
    [
        {"cos_lr": True},
        {"optimizer": "AdamW"},
        {"label_smoothing": 0.2},
        {"multi_scale": True},
        {"rect": True},
        {"single_cls": True},
        {"image_weights": True},
        {"amp": "bf16"},
        {"hyp": "mosaic-free"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_every_option_changes_what_is_learnt(
    ground: Playground, plain_run: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    """No option is swallowed: with the same seed the weights come out different, and finite."""
    if "hyp" in options:
        options = {"hyp": write_yaml(tmp_path / "hyp.yaml", RECIPE | {"mosaic": 0.0})}
    run = train(ground.config(tmp_path, epochs=3, noval="image_weights" not in options, **options))
    found, plain = weights_of(run), weights_of(plain_run)
    assert not same_tensors(found, plain)
    assert all(torch.isfinite(value).all() for value in found.values())
    if options.get("single_cls"):
        assert load_checkpoint(run / "weights" / "best.pt").names == ("item",)
        assert all(float(row["train/cls_loss"]) == 0 for row in rows_of(run))


def test_images_are_drawn_by_weight_from_the_first_epoch(
    ground: Playground, plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As rare as their classes before anything was scored; then as hard for the weights that the run begins with."""
    drawn: list[np.ndarray] = []
    train_epoch = Trainer.train_epoch

    def spy(self: Trainer, *arguments: Any) -> Any:
        drawn.append(self.loader.image_weights)
        return train_epoch(self, *arguments)

    monkeypatch.setattr(Trainer, "train_epoch", spy)
    samples = load_samples(load_data_config(ground.data), "train")
    expected = image_difficulty(samples, np.zeros(3))
    train(ground.config(tmp_path / "new", epochs=1, image_weights=True, noval=False))
    np.testing.assert_allclose(drawn[0], expected / expected.sum())
    weights = str(plain_run / "weights" / "best.pt")
    train(ground.config(tmp_path / "on", epochs=1, image_weights=True, noval=False, weights=weights))
    assert drawn[1].shape == expected.shape and not np.allclose(drawn[1], drawn[0])


def test_where_images_are_kept(ground: Playground, plain_run: Path, tmp_path: Path) -> None:
    """In memory by choice or by size is the same; streamed, who decodes does not matter.

    A streamed mosaic knows only images that have arrived, so its partners are others than those of one in memory.
    """
    runs = [{"cache": "ram"}, {"cache": "none"}, {"cache": "none", "workers": 1}]
    ram, alone, helped = (weights_of(train(ground.config(tmp_path, epochs=3, noval=True, **run))) for run in runs)
    assert same_tensors(ram, weights_of(plain_run))
    assert same_tensors(alone, helped) and not same_tensors(alone, ram)


def test_accumulated_batches_make_the_step_of_a_large_one(ground: Playground, tmp_path: Path) -> None:
    """Two batches of 8 up to a nominal 16 are one step an epoch: the average counts them."""
    hyp = write_yaml(tmp_path / "hyp.yaml", RECIPE | {"nbs": 16})
    run = train(ground.config(tmp_path, hyp=hyp, epochs=3))
    assert load_checkpoint(run / "weights" / "last.pt").training["trainer"]["ema_updates"] == 3


def test_steps_of_a_plain_run(plain_run: Path) -> None:
    assert load_checkpoint(plain_run / "weights" / "last.pt").training["trainer"]["ema_updates"] == 6


def test_compiled(ground: Playground, plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--compile runs the captured graph; here without the C++ compiler, which takes most of a minute."""
    original, compiled = torch.compile, []

    def compile_quickly(model: torch.nn.Module) -> Any:
        compiled.append(model)
        return original(model, backend="eager")

    monkeypatch.setattr(torch, "compile", compile_quickly)
    run = train(ground.config(tmp_path, epochs=3, noval=True, compile=True))
    assert len(compiled) == 1
    assert same_tensors(weights_of(run), weights_of(plain_run))


@pytest.mark.cuda
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_on_a_gpu(ground: Playground, tmp_path: Path, amp: str) -> None:
    run = train(replace(ground.config(tmp_path), device="0", amp=amp))
    assert Precision(amp, torch.device("cuda")).choice == amp
    assert all(torch.isfinite(value).all() for value in weights_of(run).values())
