"""`--resume`: what may change and what may not, which run is meant, and what is said when it cannot go on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import train as door
from mgil.datasets.batches.loader import TrainLoader
from mgil.datasets.reading.config import SHIPPED_FOLDER
from mgil.engine.training import resume
from mgil.engine.training.config import MAY_CHANGE_ON_RESUME, TrainConfig
from mgil.engine.training.log import read_results
from mgil.engine.training.precision import Precision
from mgil.engine.training.resume import CONSEQUENCES, find_resume, resumed_config
from mgil.engine.training.run import run_train
from mgil.engine.training.run_claim import RunClaim
from mgil.engine.weights.checkpoints import Checkpoint, load_checkpoint
from tests.engine.tiny import RECIPE, Playground, same_tensors, write_yaml
from tests.files.unfinished import leave_unfinished
from tests.trust.cutting import cut_run, train

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def interrupted(ground: Playground, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A run of three epochs of which one is done; made with --imgsz 60, which was rounded to 64."""
    project = tmp_path_factory.mktemp("runs")
    cut_run(ground.config(project, epochs=3, imgsz=60, freeze=(2,)))
    return load_checkpoint(project / "exp" / "weights" / "last.pt")


def test_what_may_change_is_taken_over(interrupted: Checkpoint) -> None:
    changes: dict[str, Any] = {
        **{"epochs": 7, "patience": 5, "device": "0", "workers": 3, "cache": "none"},
        **{"noplots": False, "nosave": True, "noval": True, "save_period": 2},
        "data": str(SHIPPED_FOLDER / "coco.yaml"),
    }
    assert changes.keys() == set(MAY_CHANGE_ON_RESUME) - {"resume"}
    lines: list[str] = []
    config = resumed_config(TrainConfig(resume="x", **changes), interrupted, changes, lines.append)
    saved = interrupted.training["config"]
    for name, value in config.as_dict().items():
        assert value == changes.get(name, saved[name]), name
    # what ends the equality with the uninterrupted run is told
    assert {line.split()[0] for line in lines} == {f"--{name}" for name in CONSEQUENCES}
    assert any(line.startswith("--epochs 7 instead of 3: the learning rates follow") for line in lines)


def test_what_may_not_change_is_refused_by_name(interrupted: Checkpoint) -> None:
    other: dict[str, Any] = {
        **{"weights": "w.pt", "cfg": "yolov5s.yaml", "hyp": "scratch-low", "batch_size": 4},
        **{"imgsz": 96, "rect": True, "noautoanchor": False, "image_weights": True, "multi_scale": True},
        **{"autoanchor": True},
        **{"single_cls": True, "optimizer": "Adam", "sync_bn": True, "project": "p", "name": "n", "exist_ok": True},
        **{"cos_lr": True, "label_smoothing": 0.1, "freeze": (3,), "seed": 1, "amp": "bf16", "compile": True},
        **{"strict": True, "download": True, "evolve": 3, "teacher_img": 64},
    }
    assert other.keys() == TrainConfig().as_dict().keys() - {"task", "teacher", *MAY_CHANGE_ON_RESUME}
    for name, value in other.items():
        flag = f"--{name.replace('_', '-')}"
        change = {name: value}
        with pytest.raises(ValueError, match=f"^{flag} .* a resumed run keeps its own .*; only --epochs") as caught:
            resumed_config(TrainConfig(resume="run", **change), interrupted, change)
        assert "--data, --teacher may change" in str(caught.value) and "\n" not in str(caught.value)
    both = {"seed": 1, "batch_size": 4, "workers": 2}
    with pytest.raises(ValueError, match=r"--batch-size 4: .* 8; --seed 1: .* 0; only"):
        resumed_config(TrainConfig(**both), interrupted, both)


def test_a_run_from_before_a_key_was_known(interrupted: Checkpoint, ground: Playground) -> None:
    """Its recipe lacks the key, and gets the default, which is what it trained with."""
    hyp = {key: value for key, value in interrupted.training["hyp"].items() if key != "mixup"}
    older = replace(interrupted, training={**interrupted.training, "hyp": hyp})
    given = {"hyp": ground.hyp}
    assert resumed_config(TrainConfig(**given), older, given).as_dict() == interrupted.training["config"]


def test_the_value_that_the_run_has_is_no_change(interrupted: Checkpoint, ground: Playground, tmp_path: Path) -> None:
    saved = interrupted.training["config"]
    moved = write_yaml(tmp_path / "copy.yaml", RECIPE)
    same: list[dict[str, Any]] = [
        *({"imgsz": size} for size in (60, 33, 64)),
        *({"batch_size": size} for size in (8, -1)),
        *({"hyp": path} for path in (ground.hyp, moved)),
        *({"freeze": rows} for rows in ((2,), (0, 1))),
        {"data": os.path.relpath(ground.data)},
        {"project": os.path.relpath(saved["project"]), "name": "exp", "noautoanchor": True},
        {"optimizer": interrupted.training["hyp"]["optimizer"]},
        {"epochs": 3, "device": "cpu", "amp": "auto", "seed": 0},
    ]
    for given in same:
        lines: list[str] = []
        config = resumed_config(TrainConfig(**given), interrupted, given, lines.append)
        assert config.as_dict() == saved and not lines, given
    unnamed = replace(interrupted, training=interrupted.training | {"config": saved | {"cfg": ""}})
    assert resumed_config(TrainConfig(cfg="yolov5n-mgil.yaml"), unnamed).cfg == ""


def test_the_run_goes_on_from_another_folder(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data set was given by a relative path; elsewhere that would be another file, or none."""
    monkeypatch.chdir(ground.folder)
    cut_run(ground.config(tmp_path, data=os.path.relpath(ground.data), noval=True))
    monkeypatch.chdir(tmp_path)
    run = train(TrainConfig(resume="exp"))
    assert len(read_results(run / "results.csv")) == 2


def test_a_folder_where_the_data_yaml_was(interrupted: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "set.yaml").mkdir()
    moved = replace(interrupted, info={**interrupted.info, "data": str(tmp_path / "set.yaml")})
    saved = interrupted.training["config"]
    assert resumed_config(TrainConfig(resume="x"), moved).data == saved["data"]
    gone = replace(moved, training={**interrupted.training, "config": saved | {"data": str(tmp_path / "set.yaml")}})
    with pytest.raises(FileNotFoundError, match=r"was trained on .*set\.yaml, which is not there any more"):
        resumed_config(TrainConfig(resume="x"), gone)


def test_which_run_is_meant(ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no last\.pt in runs/train; name the run's folder"):
        find_resume("latest")
    first, second = (Path("runs/train") / name / "weights" for name in ("exp", "exp2"))
    for number, weights in enumerate((first, second)):
        weights.mkdir(parents=True)
        (weights.parent / "opt.yaml").touch()
        os.utime(weights.parent / "opt.yaml", (1000 + 10 * number,) * 2)
    with pytest.raises(FileNotFoundError, match="exp2: no weights/last.pt, .* before its first checkpoint") as caught:
        find_resume("latest")
    assert "older" not in str(caught.value)
    (first / "last.pt").touch()
    os.utime(first / "last.pt", (1005,) * 2)
    with pytest.raises(FileNotFoundError, match="exp2: .* or name an older run: --resume runs/train/exp$"):
        find_resume("latest")  # and not the older run without a word
    assert find_resume("runs/train/exp") == find_resume(str(first / "last.pt")) == first / "last.pt"
    (second / "last.pt").touch()
    os.utime(second / "last.pt", (1020,) * 2)
    assert find_resume("latest") == second / "last.pt"
    os.utime(first.parent / "opt.yaml", (1030,) * 2)  # resumed by name, and interrupted in its first epoch
    assert find_resume("latest") == first / "last.pt"
    os.utime(second / "last.pt", (1040,) * 2)
    for other in ("runs/study/cell", "runs/demo/train"):  # newer, and elsewhere
        (Path(other) / "weights").mkdir(parents=True)
        for file in ("opt.yaml", "weights/last.pt"):
            (Path(other) / file).touch()
            os.utime(Path(other) / file, (2**31,) * 2)
    assert find_resume("latest") == second / "last.pt"
    assert find_resume("latest", "runs/demo") == Path("runs/demo/train/weights/last.pt")
    for given, words in (("gone", "no such checkpoint"), ("runs", "not a run.s folder")):
        with pytest.raises(FileNotFoundError, match=f"^--resume {given}: .*{words}"):
            find_resume(given)


def test_the_command_line_says_that_there_is_no_checkpoint_yet(tmp_path: Path) -> None:
    (tmp_path / "runs/train/exp/weights").mkdir(parents=True)
    (tmp_path / "runs/train/exp/opt.yaml").touch()
    command = [sys.executable, str(REPOSITORY / "train.py"), "--resume"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr == (
        "error: --resume: the newest run is runs/train/exp: no weights/last.pt, it ended before its first checkpoint; "
        "start it anew without --resume\n"
    )


def test_the_help_says_what_may_change(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        door.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "only --epochs, --patience, --device, --workers, --cache, --noplots" in text
    assert "Changed with --resume, the learning rates follow the new length from there on" in text


def test_a_longer_run_follows_the_longer_schedule_from_there_on(ground: Playground, tmp_path: Path) -> None:
    cut_run(ground.config(tmp_path, noval=True))
    run = train(TrainConfig(resume=str(tmp_path / "exp"), epochs=4))
    rates = [float(row["x/lr0"]) for row in read_results(run / "results.csv")]
    assert rates == pytest.approx([0.01, *(0.01 * (1 - 0.9 * epoch / 4) for epoch in (1, 2, 3))])


def test_a_complete_run_is_refused_and_an_early_stopped_one_goes_on_with_more_patience(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mgil.tasks.detect.scores.DetectScores.fitness", property(lambda _: 0.25))
    run = train(ground.config(tmp_path, epochs=4, patience=1))
    assert len(read_results(run / "results.csv")) == 2
    with pytest.raises(ValueError, match="stopped after 1 epochs without a better fitness; go on with a larger --pat"):
        train(TrainConfig(resume=str(run)))
    assert len(read_results(train(TrainConfig(resume=str(run), patience=2)) / "results.csv")) == 3
    train(TrainConfig(resume=str(run), patience=0), given=["resume", "patience"])
    assert len(read_results(run / "results.csv")) == 4
    with pytest.raises(ValueError, match="4 epochs are done; --epochs 5 or more goes on"):
        train(TrainConfig(resume=str(run)))


def test_the_store_of_the_day_stays(ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of --cache auto free memory makes ram or none, which changes the mosaics: a resumed run keeps the choice."""
    runs = {"whole": train, "cut": cut_run}
    for name, start in runs.items():
        start(ground.config(tmp_path, name=name, noval=True))
    monkeypatch.setattr("mgil.datasets.batches.stores.free_ram_bytes", lambda: 0)
    train(TrainConfig(resume=str(tmp_path / "cut")))
    whole, cut = (load_checkpoint(tmp_path / name / "weights" / "last.pt") for name in runs)
    assert cut.training["store"] == "resident"
    assert same_tensors(whole.state_dict, cut.state_dict)


def test_a_live_run_is_not_trained_twice(interrupted: Checkpoint, tmp_path: Path) -> None:
    """Another process holds the folder: refused. Killed, it holds nothing any more."""
    folder = tmp_path / "exp"
    (folder / "weights").mkdir(parents=True)
    leave_unfinished(folder / "weights", "last.pt")
    leave_unfinished(folder, "results.csv")
    (folder / ".notes.tmp").write_text("the user's own")
    (folder / "weights" / ".export.tmp").mkdir()
    hold = "import sys, time; from pathlib import Path; from mgil.engine.training.run_claim import RunClaim\n"
    hold += "claim = RunClaim(Path(sys.argv[1])); print('held', flush=True); time.sleep(100)"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        assert sorted(path.name for path in folder.rglob("*")) == [".export.tmp", ".lock", ".notes.tmp", "weights"]
        with pytest.raises(ValueError, match=r"exp: another process is training into this folder; wait for it"):
            RunClaim(folder)
    finally:
        holder.kill()
        holder.communicate(timeout=30)
    RunClaim(folder).release()
    assert not (folder / ".lock").exists()


def test_a_set_up_that_fails_gives_the_folder_free(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[TrainLoader] = []
    original = TrainLoader.close

    def close(loader: TrainLoader) -> None:
        original(loader)
        closed.append(loader)

    def fail(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(TrainLoader, "close", close)
    monkeypatch.setattr("mgil.engine.training.log.TensorBoard", fail)
    with pytest.raises(OSError, match="no space left"):
        train(ground.config(tmp_path))
    assert not (tmp_path / "exp" / ".lock").exists() and len(closed) == 1


DAMAGES: dict[str, list[Any]] = {
    "progress": [None, [], {"epoch": "x"}, {"epoch": -1}, {"epoch": 1.5}, {"best_fitness": float("nan")}, {"more": 1}],
    "config": [{"imgszz": 3}, {"imgsz": "big"}, [], None, 3],
    "trainer": [None, {"model": {}}],
    "random": [None, 3, "abc", [], [{}], [{"torch": torch.zeros(3), "cuda": None}]],
    "image_weights": [[1.0, 2.0]],
}


def test_a_damaged_training_state_is_one_line(interrupted: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged: list[Checkpoint] = []
    monkeypatch.setattr("mgil.engine.training.resume.load_checkpoint", lambda _path: damaged[-1])
    for key, values in DAMAGES.items():
        for value in values:
            training = dict(interrupted.training)
            training[key] = training[key] | value if isinstance(value, dict) else value
            damaged.append(replace(interrupted, training=training))
            with pytest.raises(ValueError, match=r"^--resume .*last\.pt: its training state does not fit here"):
                train(TrainConfig(resume=str(interrupted.path)))


def test_a_changed_data_set_is_told(ground: Playground, interrupted: Checkpoint, tmp_path: Path) -> None:
    """Where it is the same file; in checkpoints of older versions, which kept the number of images alone, too."""
    training, content = interrupted.training, interrupted.training["content"]
    older = {key: value for key, value in training.items() if key != "content"} | {"images": 15}
    labels = training | {"content": content | {"val": content["val"] | {"labels": "of a past time"}}}
    for changed, line in (
        (older, "train: 16 images, the run had 15: from here on it is another run"),
        (labels, "val: other labels or image sizes: from here on it is another run"),
    ):
        lines: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resume, "load_checkpoint", lambda _path, found=changed: replace(interrupted, training=found))
            patch.setattr("mgil.engine.training.run.train", lambda _run: None)
            run_train(TrainConfig(resume=str(interrupted.path)), lines.append)
        assert line in lines


def scaled(device: torch.device) -> Precision:
    """As with float16 on a GPU."""
    precision = Precision("off", device)
    precision.scaler = torch.amp.GradScaler(device.type, init_scale=1024.0, growth_interval=4)
    return precision


def steps(precision: Precision, gradients: list[float]) -> list[float]:
    """Weights after each step with these gradients."""
    weight = torch.nn.Parameter(torch.zeros(1, device=precision.device))
    optimizer, found = torch.optim.SGD([weight], lr=1.0), []
    for gradient in gradients:
        optimizer.zero_grad()
        precision.scaler.scale((weight * gradient).sum()).backward()
        precision.scaler.step(optimizer)
        precision.scaler.update()
        found.append(weight.item())
    return found


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_the_scaler_goes_on_where_it_was(name: str) -> None:
    """Scale, and steps since it last changed."""
    before, after = [1.0, float("inf"), 1.0, 1.0, 1.0], [1.0, 1.0]
    device = torch.device(name)
    whole, cut, resumed, fresh = (scaled(device) for _ in range(4))
    steps(whole, before + after)
    steps(cut, before)
    assert cut.scaler.state_dict()["_growth_tracker"] == 3  # in the midst of a stretch
    resumed.scaler.load_state_dict(cut.scaler.state_dict())
    steps(resumed, after)
    assert resumed.scaler.state_dict() == whole.scaler.state_dict()
    steps(fresh, after)
    assert fresh.scaler.state_dict() != whole.scaler.state_dict() != cut.scaler.state_dict()


@pytest.mark.parametrize(("first", "then"), [(scaled, "off"), ("off", scaled)], ids=["to-without", "to-with"])
def test_a_run_goes_on_where_gradients_are_scaled_otherwise(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Any, then: Any
) -> None:
    """From a GPU with bfloat16, or the CPU, to one with float16 and back: the scaler starts anew, or is not needed."""
    make = {scaled: lambda _choice, device: scaled(device), "off": Precision}
    monkeypatch.setattr("mgil.engine.training.parts.Precision", make[first])
    cut_run(ground.config(tmp_path, noval=True))
    monkeypatch.setattr("mgil.engine.training.parts.Precision", make[then])
    run = train(replace(TrainConfig(), resume=str(tmp_path / "exp")))
    assert len(read_results(run / "results.csv")) == 2
