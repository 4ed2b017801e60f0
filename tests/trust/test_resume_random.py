"""Random numbers of a resumed run: every process goes on where it stood; the loss of these runs draws some."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from mgil.engine.training.config import TrainConfig
from mgil.engine.training.random_state import random_state, restore_random_state
from mgil.engine.training.run import run_train
from mgil.engine.training.trainer import Trainer
from mgil.engine.weights.checkpoints import Checkpoint, load_checkpoint
from mgil.tasks.detect.aligned_loss import AlignedLoss
from tests.engine.tiny import Playground, same_tensors, write_yaml
from tests.tasks.toy.data import make_colours
from tests.trust.ranks import Launcher

CPU = torch.device("cpu")


class Stop(Exception):
    """Ends a run, as a power cut would."""


class CutPair(NamedTuple):
    """A run of two processes that was ended in its second epoch, and what it would have become."""

    whole: list[list[str]]  # digests of the weights after each of three epochs, by rank
    run: Path
    fault: str  # that makes its loss draw random numbers


@pytest.fixture(scope="module", params=[pytest.param("detect", marks=pytest.mark.nightly), "toy"])
def cut_pair(
    request: pytest.FixtureRequest,
    launcher: Launcher,
    ground: Playground,
    toy_task: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> CutPair:
    """Of detection, whose loss is made to draw random numbers, and of the toy, whose dropout does it by itself."""
    folder = tmp_path_factory.mktemp("runs")
    options, fault = ground.config(folder, epochs=3, image_weights=True).as_dict(), "random"
    if request.param == "toy":
        shared = ("imgsz", "epochs", "batch_size", "workers", "noplots", "device", "project")
        files = {"data": make_colours(folder / "colours"), "hyp": write_yaml(folder / "hyp.yaml", {"nbs": 8})}
        options, fault = {"task": "toy", **files} | {name: options[name] for name in shared}, ""
    whole = launcher.train(options, fault)
    assert whole.codes == [0, 0], whole.errors
    cut = launcher.train(options, f"{fault}-error".strip("-"))
    assert cut.codes == [1, 1] and len(cut.weights[0]) == 1
    return CutPair(whole.weights, folder / "exp2", fault)


def test_each_process_goes_on_with_its_own_random_numbers(launcher: Launcher, cut_pair: CutPair) -> None:
    """Bit by bit the weights of the run that was never cut: rank 1 draws what it would have drawn, not rank 0's."""
    whole, run, fault = cut_pair
    last = run / "weights" / "last.pt"
    states = torch.load(last, weights_only=True)["training"]["random"]
    assert len(states) == 2 and not torch.equal(states[0]["torch"], states[1]["torch"])
    before = last.read_bytes()
    resumed = launcher.train({"resume": str(run)}, fault)
    assert resumed.codes == [0, 0], resumed.errors
    assert [epochs[1:] for epochs in whole] == resumed.weights
    last.write_bytes(before)  # for the next test
    for name in ("per_class.csv", "error.csv"):  # detection's, the toy's
        (run / name).unlink(missing_ok=True)


def test_another_number_of_processes_is_told(cut_pair: CutPair, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(Trainer, "train_epoch", lambda *_: (_ for _ in ()).throw(Stop(torch.initial_seed())))
    with pytest.raises(Stop) as stopped:
        run_train(TrainConfig(resume=str(cut_pair.run)), lines.append)
    (line,) = (line for line in lines if "random" in line)
    assert "holds the random states of 2 processes, there are 1 now: each starts anew with one from --seed" in line
    assert stopped.value.args == (int(np.random.SeedSequence([0, 1, 0]).generate_state(1, np.uint64)[0]),)


def checkpoint_of(**training: Any) -> Checkpoint:
    training = {"config": {"seed": 5}, "progress": {"epoch": 3}, **training}
    return Checkpoint(Path("last.pt"), {}, ("a",), 32, {}, training=training)


def test_ranks_of_another_number_draw_different_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    checkpoint, lines = checkpoint_of(random=[random_state(CPU)]), []
    drawn = []
    for number in range(3):
        monkeypatch.setenv("RANK", str(number))
        restore_random_state(checkpoint, CPU, lines.append)
        drawn.append(torch.rand(4).tolist())
        torch.manual_seed(int(np.random.SeedSequence([5, 3, number]).generate_state(1, np.uint64)[0]))
        assert torch.rand(4).tolist() == drawn[-1]
    assert len({tuple(numbers) for numbers in drawn}) == 3
    assert len(lines) == 3 and "1 process, there are 3 now" in lines[0]


def test_a_file_of_an_older_version_is_one_of_a_single_process(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    old = checkpoint_of(torch_rng=torch.get_rng_state(), cuda_rng=[])
    expected = torch.rand(4)
    restore_random_state(old, CPU, lines.append)
    assert torch.equal(torch.rand(4), expected) and lines == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    restore_random_state(old, CPU, lines.append)
    assert len(lines) == 1 and not torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("old", [False, True], ids=["today's file", "an older version's"])
def test_one_process_goes_on_with_its_random_numbers(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    original, train_epoch = AlignedLoss.__call__, Trainer.train_epoch

    def loss(self: AlignedLoss, raws: Any, targets: Any) -> Any:
        total, terms = original(self, raws, targets)
        return total * (0.5 + torch.rand(())), terms

    def cut(self: Trainer, epoch: int, title: str | None = None) -> Any:
        if epoch == 1:
            raise Stop
        return train_epoch(self, epoch, title)

    monkeypatch.setattr(AlignedLoss, "__call__", loss)
    config = ground.config(tmp_path, epochs=2)
    whole = run_train(config, lambda _: None)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Trainer, "train_epoch", cut)
        run_train(replace(config, name="cut"), lambda _: None)
    last = tmp_path / "cut" / "weights" / "last.pt"
    if old:
        content = torch.load(last, weights_only=True)
        (state,) = content["training"].pop("random")
        content["training"] |= {"torch_rng": state["torch"], "cuda_rng": []}
        torch.save(content, last)
    run_train(TrainConfig(resume=str(last)), lambda _: None)
    first, second = (
        load_checkpoint(run / "weights" / "last.pt").training["trainer"] for run in (whole, last.parents[1])
    )
    assert same_tensors(first, second)


@pytest.mark.cuda
def test_a_gpu_goes_on_with_its_random_numbers() -> None:
    device = torch.device("cuda", 0)
    for training in (
        {"random": [random_state(device)]},
        {"torch_rng": torch.get_rng_state(), "cuda_rng": torch.cuda.get_rng_state_all()},
    ):
        expected = torch.rand(4, device=device)
        restore_random_state(checkpoint_of(**training), device, print)
        assert torch.equal(torch.rand(4, device=device), expected)
