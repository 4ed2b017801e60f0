"""`train.py --evolve`: what a search tries, keeps and says; that it goes on; that it is of no task."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from mgil.engine.training import evolve, setup
from mgil.engine.training.config import TrainFlags, train_config
from mgil.engine.training.evolve import run_evolve
from mgil.engine.training.log import read_results
from mgil.engine.training.resume import find_resume
from mgil.files.recipe import FOLDER, Recipe, load_recipe
from mgil.tasks.classify.recipe import ClassRecipe
from mgil.tasks.detect.recipe import DetectRecipe
from mgil.tasks.pose.recipe import PoseRecipe
from mgil.tasks.registry import task_named
from tests.tasks.toy.data import make_colours

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.usefixtures("toy_task", "private_cache")
BASE = {"lr0": 0.01, "lrf": 0.1, "nbs": 8, "warmup_epochs": 0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_colours(tmp_path_factory.mktemp("colours"), 8, 4))


@pytest.fixture
def search(toy_task: None, data: str, tmp_path: Path) -> Callable[..., Path]:
    """Searches with one epoch a trial, silently."""
    (tmp_path / "hyp.yaml").write_text(yaml.safe_dump(BASE))
    common: dict[str, Any] = {"data": data, "imgsz": 32, "epochs": 1, "batch_size": 8, "workers": 0, "device": "cpu"}

    def start(trials: int, report: Callable[[str], None] = lambda _line: None, **options: Any) -> Path:
        first = {} if "resume" in options else {**common, "hyp": str(tmp_path / "hyp.yaml")}
        options = {"project": str(tmp_path / "runs"), "noplots": True, **first, **options}
        return run_evolve(config(evolve=trials, **options), report, given=options.keys())

    return start


def config(**options: Any) -> TrainFlags:
    return train_config("toy")(**options)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "evolve.csv").open() as file:
        return list(csv.DictReader(file))


def test_where_a_search_looks() -> None:
    """A third to three times of a value, within YOLOv5's limits; nothing where a recipe has 0; always its own value."""
    recipe = load_recipe(DetectRecipe, "scratch-low")
    spans = recipe.spans()
    assert spans["lr0"] == pytest.approx((0.01 / 3, 0.03)) and spans["box"] == pytest.approx((0.05 / 3, 0.15))
    assert spans["momentum"] == (0.6, 0.98) and spans["mosaic"] == pytest.approx((1 / 3, 1))
    assert not {"degrees", "shear", "flipud", "mixup", "iou_t", "assign", "optimizer", "nbs"} & spans.keys()
    assert load_recipe(DetectRecipe, "lowres").spans()["box"] == pytest.approx((5 / 3, 15))
    assert Recipe(lr0=5.0).spans()["lr0"] == pytest.approx((5 / 3, 5))  # beyond the limit, but its own
    for name, (low, high) in spans.items():
        assert 0 < low <= getattr(recipe, name) <= high
    assert load_recipe(DetectRecipe, {name: low for name, (low, _) in spans.items()})  # and all of it is allowed
    assert load_recipe(DetectRecipe, {name: high for name, (_, high) in spans.items()})


def shipped() -> Iterator[tuple[type[Recipe], str]]:
    """Recipes, each with the class of the one task whose keys it has."""
    for path in sorted(FOLDER.glob("*.yaml")):
        keys = yaml.safe_load(path.read_text()).keys()
        kinds = [
            kind for kind in (DetectRecipe, PoseRecipe, ClassRecipe) if keys <= {item.name for item in fields(kind)}
        ]
        assert kinds, path
        yield kinds[0], path.name


@pytest.mark.parametrize(("kind", "name"), list(shipped()))
def test_every_value_of_a_span_is_a_recipe(kind: type[Recipe], name: str) -> None:
    """All highest and all lowest ones, and each alone."""
    recipe = load_recipe(kind, name)
    spans = recipe.spans()
    for end in (0, 1):
        drawn = {field: span[end] for field, span in spans.items()}
        assert load_recipe(kind, recipe.as_dict() | drawn).spans().keys() <= spans.keys()
        for field, value in drawn.items():
            assert getattr(load_recipe(kind, recipe.as_dict() | {field: value}), field) == value


def test_a_search_and_how_it_goes_on(search: Callable[..., Path]) -> None:
    lines: list[str] = []
    folder = search(3, lines.append, save_period=1)
    first = table(folder)
    assert [row["trial"] for row in first] == ["1", "2", "3"]
    assert float(first[0]["lr0"]) == 0.01 and float(first[0]["lrf"]) == 0.1  # the recipe itself comes first
    assert "warmup_epochs" not in first[0] and len({row["lr0"] for row in first}) == 3
    again = search(5, lines.append, resume=str(folder), noplots=False)
    rows = table(folder)
    assert again == folder and len(rows) == 5 and rows[:3] == first
    assert len({row["lr0"] for row in rows}) == 5  # the generator does not start again
    for row in rows:
        run = folder / "trials" / f"trial{row['trial']}"
        (result,) = read_results(run / "results.csv")
        assert float(row["metrics/error"]) == pytest.approx(float(result["metrics/error"]), rel=1e-4)
        assert float(yaml.safe_load((run / "hyp.yaml").read_text())["lr0"]) == pytest.approx(
            float(row["lr0"]), rel=1e-4
        )
        assert not list(run.glob("weights/*.pt")) and not list(run.glob("*.jpg"))
    best = min(rows, key=lambda row: float(row["metrics/error"]))  # the toy's fitness falls with its error
    assert float(best["fitness"]) == max(float(row["fitness"]) for row in rows)
    kept = yaml.safe_load((folder / "hyp_evolve.yaml").read_text())
    assert {name: kept[name] for name in ("lr0", "lrf", "momentum")} == pytest.approx(
        {name: float(best[name]) for name in ("lr0", "lrf", "momentum")}, rel=1e-4
    )
    assert kept["warmup_epochs"] == 0 and kept["nbs"] == 8
    assert (folder / "evolve.png").stat().st_size > 1000
    assert lines[-1].startswith(f"best: trial {best['trial']}, fitness ") and "--hyp" in lines[-1]
    modified = (folder / "trials").stat().st_mtime_ns
    search(5, resume=str(folder / "study.db"))  # nothing is left to do
    assert (folder / "trials").stat().st_mtime_ns == modified and len(table(folder)) == 5


@pytest.mark.parametrize("spoke", [True, False], ids=["later", "before its first sign of life"])
def test_a_killed_process_loses_its_trial_only(
    search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spoke: bool
) -> None:
    """SIGKILL in the second trial: the trial is done again, with the same values, once it has been silent."""
    monkeypatch.setattr(evolve, "HEARTBEAT_S", 1)
    monkeypatch.setattr(evolve, "SILENCE_S", 2)
    run_train, calls = evolve.run_train, []

    def dies(*arguments: Any, **options: Any) -> Path:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return run_train(*arguments, **options)

    child = os.fork()
    if not child:
        monkeypatch.setattr(evolve, "run_train", dies)
        search(3)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    folder = tmp_path / "runs" / "exp"
    started = yaml.safe_load((folder / "hyps" / "trial2.yaml").read_text())["lr0"]
    if not spoke:
        with sqlite3.connect(folder / "study.db") as study:
            study.execute("delete from trial_heartbeats")
    search(3, resume=str(folder))
    rows = table(folder)
    assert len(rows) == 3 and "2" not in {row["trial"] for row in rows}
    assert sum(math.isclose(float(row["lr0"]), started, rel_tol=1e-4) for row in rows) == 1
    with sqlite3.connect(folder / "study.db") as study:
        assert dict(study.execute("select state, count(*) from trials group by state")) == {"COMPLETE": 3, "FAIL": 1}


def test_a_recipe_that_diverges_counts_as_none(search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    run_train, calls = evolve.run_train, []

    def diverges(*arguments: Any, **options: Any) -> Path:
        calls.append(1)
        if len(calls) == 2:
            raise FloatingPointError("the loss is NaN")
        return run_train(*arguments, **options)

    monkeypatch.setattr(evolve, "run_train", diverges)
    lines: list[str] = []
    rows = table(search(3, lines.append))
    assert float(rows[1]["fitness"]) == 0 and rows[1]["metrics/error"] == "" and float(rows[2]["fitness"]) > 0
    assert "trial2: the loss is NaN; its fitness counts as 0" in lines


def test_ctrl_c_says_how_to_go_on(search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stopped(*_arguments: Any, **_options: Any) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as stop:
        patch.setattr(evolve, "run_train", stopped)
        search(2)
    folder = tmp_path / "runs" / "exp"
    assert str(stop.value) == f"go on with: train.py --evolve 2 --resume {folder}"
    rows = table(search(2, resume="latest"))
    assert len(rows) == 2 and float(rows[0]["lr0"]) == 0.01  # the recipe itself still comes first


def test_a_search_goes_on_from_another_folder(
    search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: str
) -> None:
    monkeypatch.chdir(Path(data).parent)
    search(1, data=Path(data).name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / Path(data).name).write_text("another set of this name")
    other = Path("..", tmp_path.name, "runs", "exp")
    assert len(table(search(2, resume=str(other), data=os.path.relpath(data)))) == 2


def test_a_folder_called_like_a_shipped_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is data where a task takes folders; else the name goes on to mean the shipped file."""
    monkeypatch.chdir(tmp_path)
    names = {"data": "digits.yaml", "cfg": "yolov5n.yaml", "weights": "yolov5n.pt"}
    for name in names.values():
        (tmp_path / name).mkdir()
    for task, full in (("detect", {}), ("classify", {"data": str(tmp_path / "digits.yaml")})):
        given = train_config(task)(**names)
        kept = evolve._from_any_folder(given, task_named(task))
        assert {name: getattr(kept, name) for name in names} == names | full
    for name in names.values():
        (tmp_path / name).rmdir()
        (tmp_path / name).write_text("")
    kept = evolve._from_any_folder(train_config("detect")(**names), task_named("detect"))
    assert {name: getattr(kept, name) for name in names} == {key: str(tmp_path / name) for key, name in names.items()}


def test_what_cannot_be_searched(
    search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: str
) -> None:
    def error(*arguments: Any, **options: Any) -> str:
        with pytest.raises((ValueError, OSError)) as raised:
            search(*arguments, **options)
        return str(raised.value)

    assert "there is no study.db" in error(2, resume="latest")
    assert "no search there" in error(2, resume=str(tmp_path / "nowhere"))
    assert "nowhere.yaml" in error(2, data="nowhere.yaml") and not (tmp_path / "runs").exists()
    assert "hyp lr0" in error(2, hyp=str(_write(tmp_path / "bad.yaml", "lr0: -1"))) and not (tmp_path / "runs").exists()
    no_val = str(_write(tmp_path / "no_val.yaml", f"train: {Path(data).parent}\nnames: [colour]\n"))
    assert "--evolve: " + no_val + " gives no val split" in error(2, data=no_val, noval=True)
    assert not (tmp_path / "runs").exists()
    assert "nowhere.pt" in error(2, weights="nowhere.pt") and not list((tmp_path / "runs").iterdir())
    (tmp_path / "runs" / "exp").mkdir()
    own = _write(tmp_path / "runs" / "exp" / "mine.txt", "")
    assert "nowhere.pt" in error(2, weights="nowhere.pt", exist_ok=True) and list(own.parent.iterdir()) == [own]
    folder = search(1, name="exp", exist_ok=True)
    with pytest.raises(FileNotFoundError, match="a search of recipes, not a run; give --evolve N"):
        find_resume(str(folder))
    with monkeypatch.context() as patch:
        patch.setattr(setup, "_val_split", lambda *_: None)
        assert "no images in val, by which the trials" in error(2, noval=True, name="empty")
    assert "--epochs 7: this search keeps its own 1" in error(2, resume=str(folder), epochs=7)
    assert "holds a search already" in error(2, exist_ok=True)
    assert len(table(search(1, resume=str(folder), data=data, noplots=True))) == 1
    for name, content in (("garbage", b"not a database" * 100), ("empty", b"")):
        other = tmp_path / name
        other.mkdir()
        (other / "study.db").write_bytes(content)
        assert "study.db" in error(2, resume=str(other))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "torchrun" in error(2)
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert "pip install optuna" in error(2)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_two_processes_share_the_trials(search: Callable[..., Path], tmp_path: Path) -> None:
    folder = search(1)
    child = os.fork()
    if not child:
        code = 1
        try:
            search(5, resume=str(folder))
            code = 0
        finally:
            os._exit(code)
    search(5, resume=str(folder))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    rows = table(folder)
    assert len(rows) == 5 and len({row["lr0"] for row in rows}) == 5
    with sqlite3.connect(folder / "study.db") as study:
        counts = dict(study.execute("select state, count(*) from trials group by state"))
    assert counts["COMPLETE"] == 5 and counts.keys() <= {"COMPLETE", "PRUNED"}, json.dumps(counts)
