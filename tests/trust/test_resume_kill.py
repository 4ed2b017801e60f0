"""A training that is killed with SIGKILL, resumed, killed again and so on ends bit by bit as one that never was."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mgil.engine.training.log import read_results
from mgil.engine.weights.checkpoints import load_checkpoint
from tests.engine.tiny import RECIPE, Playground, same_tensors, write_yaml
from tests.tasks.toy.data import make_colours
from tests.trust.killing import Kill, Outcome, Workshop, members

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and reads /proc")

# Everything that has a state: mosaic, mixup and colours, warm-up (its least 100 steps), accumulated gradients.
AUGMENTED = RECIPE | {"warmup_epochs": 3.0, "nbs": 16, "mosaic": 0.8, "mixup": 0.4, "hsv_h": 0.02, "degrees": 5.0}
RESIDENT: dict[str, Any] = {"cache": "ram", "epochs": 4, "batch_size": 4, "cos_lr": True, "save_period": 2}
STREAMED: dict[str, Any] = {
    **{"cache": "none", "workers": 2, "epochs": 9, "patience": 3, "optimizer": "AdamW"},
    **{"image_weights": True, "multi_scale": True, "batch_size": 8, "noautoanchor": False},
}
# Another task, whose dropout draws random numbers in every step.
TOY: dict[str, Any] = {"epochs": 12, "batch_size": 4, "cos_lr": True, "optimizer": "AdamW", "brightness": 0.9}
NAMES = ("resident", "streamed", "toy")


class Ground(Playground):
    """Options of the trainings, and what becomes of them when nobody kills them."""

    def __init__(self, folder: Path, workshop: Workshop) -> None:
        super().__init__(folder)
        self.hyp = write_yaml(folder / "hyp.yaml", AUGMENTED)
        self.toy: dict[str, Any] = {
            **{"task": "toy", "name": "toy", "data": make_colours(folder / "colours"), "imgsz": 32, "workers": 0},
            **{"device": "cpu", "noplots": True, "hyp": write_yaml(folder / "toy.yaml", {"nbs": 8, "lr0": 0.002})},
        }
        self.workshop = workshop
        self.whole = {name: self.start(name, folder / "whole") for name in NAMES}

    def options(self, name: str, project: Path) -> dict[str, Any]:
        if name == "toy":
            return self.toy | TOY | {"project": str(project)}
        more = {"resident": RESIDENT, "streamed": STREAMED}[name]
        return self.config(project, name=name, **more).as_dict() | {"freeze": (0,)}

    def start(self, name: str, project: Path) -> Path:
        outcome = self.train(name, self.options(name, project))
        assert outcome.code == 0, outcome
        return project / name

    def train(self, name: str, options: dict[str, Any], kill: Kill | None = None) -> Outcome:
        # flat, so that early stopping comes for certain
        return self.workshop.train(options, kill, flat=name == "streamed", scaled=name == "resident")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path_factory.mktemp("cache"))
    yield workshop
    workshop.close()


@pytest.fixture(scope="module")
def ground(toy_task: None, tmp_path_factory: pytest.TempPathFactory, workshop: Workshop) -> Ground:
    return Ground(tmp_path_factory.mktemp("ground"), workshop)


def survive(ground: Ground, name: str, project: Path, kills: list[Kill]) -> tuple[Path, list[Outcome]]:
    """Start a training, kill it, resume it, kill it ..., and let it end."""
    run, outcomes = project / name, []
    for kill in [*kills, None]:
        if not outcomes:
            order: dict[str, Any] = ground.options(name, project)
        elif (run / "weights" / "last.pt").exists():
            order = {"resume": str(run)}
        else:  # resuming says that there is nothing to resume
            refusal = ground.train(name, {"resume": str(run)})
            assert refusal.code == 1 and "ended before its first checkpoint; start it anew" in refusal.error
            order = ground.options(name, project) | {"exist_ok": True}
        outcomes.append(ground.train(name, order, kill))
        assert outcomes[-1].killed or kill is None or kill.delay_s is not None, (kill, outcomes[-1])
        if not outcomes[-1].killed and kill:
            assert outcomes[-1].code == 0, outcomes[-1]
            break  # it was faster than the kill
    assert outcomes[-1].code == 0, outcomes[-1]
    return run, outcomes


def assert_same_run(cut: Path, whole: Path) -> None:
    assert (cut / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    (table,) = (name for name in ("per_class.csv", "error.csv") if (whole / name).exists())  # detection's, the toy's
    assert (cut / table).read_bytes() == (whole / table).read_bytes()
    names = [{path.name for path in (run / "weights").iterdir()} for run in (cut, whole)]
    kept = {name for name in names[0] if name.startswith("previous_best")}  # killed before last.pt, and begun again
    assert names[0] - kept == names[1]
    for path in (whole / "weights").iterdir():
        first, second = load_checkpoint(path), load_checkpoint(cut / "weights" / path.name)
        assert first.architecture == second.architecture and first.info == second.info
        assert same_tensors(first.state_dict, second.state_dict), path.name
        for key in first.training.keys() - {"config"}:
            assert same_tensors(first.training[key], second.training[key]), (path.name, key)
    left = [path.name for path in cut.rglob("*") if path.suffix == ".tmp" or path.name == ".lock"]
    assert not left


def test_the_trainings_are_worth_killing(ground: Ground) -> None:
    """They differ by epoch, one scales its gradients ever more, one ends by early stopping, one is another task."""
    resident, streamed = (read_results(ground.whole[name] / "results.csv") for name in ("resident", "streamed"))
    assert len(resident) == 4 and len({row["train/box_loss"] for row in resident}) == 4
    state = load_checkpoint(ground.whole["resident"] / "weights" / "last.pt").training["trainer"]
    assert state["scaler"]["scale"] > 8
    assert len(streamed) == 4 and float(streamed[0]["x/lr0"]) != float(streamed[1]["x/lr0"])
    toy = load_checkpoint(ground.whole["toy"] / "weights" / "last.pt")
    assert toy.task == "toy" and toy.architecture["dropout"] > 0
    assert len({row["train/colour_loss"] for row in read_results(ground.whole["toy"] / "results.csv")}) == 12


FILES = {
    "resident": [
        Kill("after", "best.pt"),  # the first epoch's: later ones are best by chance
        Kill("save", "last.pt", count=2),
        Kill("before", "last.pt"),
        Kill("after", "results.csv"),
        Kill("before", "results.csv"),
        Kill("after", "last.pt"),
        Kill("save", "last.pt"),
    ],
    "streamed": [
        Kill("save", "last.pt"),
        Kill("validation", count=2),
        Kill("after", "results.csv", count=2),
        Kill("line", "no better fitness"),
        Kill("line", "trained in"),
    ],
    "toy": [
        Kill("save", "last.pt"),
        Kill("save", "last.pt", count=2),
        Kill("before", "last.pt"),
        Kill("validation"),
        Kill("after", "results.csv"),
        Kill("after", "last.pt"),
        Kill("line", "trained in"),
    ],
}


STREAMED_AT_NIGHT = [pytest.param(name, marks=[pytest.mark.nightly] * (name == "streamed")) for name in FILES]


@pytest.mark.parametrize("name", STREAMED_AT_NIGHT)
def test_killed_while_it_writes(ground: Ground, name: str, tmp_path: Path) -> None:
    run, outcomes = survive(ground, name, tmp_path, FILES[name])
    assert sum(outcome.killed for outcome in outcomes) == len(FILES[name])
    assert_same_run(run, ground.whole[name])


@pytest.mark.parametrize("name", STREAMED_AT_NIGHT)
def test_killed_at_random(ground: Ground, name: str, tmp_path: Path) -> None:
    """Four times: in a step, in what follows an epoch, or in the next one, as it comes."""
    draw = random.Random(name)
    steps, delay_s = (8, 0.03) if name == "toy" else (4, 0.15)  # two epochs of the toy, which is quick; one of others
    kills = [Kill("step", count=draw.randint(1, steps), delay_s=draw.uniform(0, delay_s)) for _ in range(4)]
    run, outcomes = survive(ground, name, tmp_path, kills)
    assert sum(outcome.killed for outcome in outcomes) >= 3  # else it was faster than the kill
    assert_same_run(run, ground.whole[name])
    deadline = time.monotonic() + 30
    while any(members(outcome.group) for outcome in outcomes) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(members(outcome.group) for outcome in outcomes), "decoding processes outlived their training"
