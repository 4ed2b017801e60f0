"""Ctrl-C in a training: what is said, and that it is true."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from types import SimpleNamespace as Namespace
from typing import Any

import pytest

import train as door
from mgil.engine import command
from mgil.engine.cli import run_cli
from mgil.engine.training.config import TrainConfig
from mgil.engine.training.log import read_results
from mgil.engine.training.run import run_train
from mgil.engine.training.trainer import Trainer
from tests.engine.tiny import Playground


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Playground:
    return Playground(tmp_path_factory.mktemp("ground"))


def train(config: TrainConfig) -> Path:
    return run_train(config, lambda _line: None)


def interrupted_at(number: int) -> Any:
    """`Trainer.train_epoch`, with Ctrl-C as an epoch begins."""
    original = Trainer.train_epoch

    def train_epoch(self: Trainer, epoch: int, title: str | None = None) -> Any:
        if epoch == number:
            raise KeyboardInterrupt
        return original(self, epoch, title)

    return train_epoch


@pytest.mark.parametrize(
    ("epoch", "nosave", "said"),
    [
        (1, False, "to go on: python train.py --resume "),
        (0, False, "no last.pt was saved yet, the first one comes after the first epoch"),
        (1, True, "no last.pt was saved yet, the first one comes after the last epoch (--nosave)"),
    ],
)
def test_ctrl_c_says_how_to_go_on(
    epoch: int,
    nosave: bool,
    said: str,
    ground: Playground,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And what it says works: the command is run as it stands, for a folder with a blank in its name."""
    config = ground.config(tmp_path, name="my run", nosave=nosave, noval=True)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(Trainer, "train_epoch", interrupted_at(epoch))
        run_cli(lambda: train(config))  # type: ignore[arg-type, return-value]
    line = capsys.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 130 and line.startswith(f"stopped; {said}")
    if "to go on" in said:
        words = shlex.split(line.partition("python ")[2])
        monkeypatch.setattr(sys, "argv", words)
        door.main()
        assert words == ["train.py", "--resume", str(tmp_path / "my run")]
        assert len(read_results(tmp_path / "my run" / "results.csv")) == 2


@pytest.mark.parametrize(
    ("processes", "said"),
    [
        (1, {"train.py": "python train.py", "mgil train": "mgil train"}),
        (2, {"train.py": "torchrun ... train.py", "mgil train": "torchrun ... --no-python mgil train"}),
    ],
)
def test_the_program_is_called_as_the_user_called_it(
    processes: int,
    said: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Who installed the package has no train.py."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    run = tmp_path / "exp"
    (run / "weights").mkdir(parents=True)
    (run / "weights" / "last.pt").touch()
    monkeypatch.setattr("mgil.engine.training.resume.load_checkpoint", lambda path: Namespace(path=path))
    monkeypatch.setattr("mgil.engine.training.run.resumed_config", lambda config, *_: config)
    monkeypatch.setattr("mgil.engine.training.run.put_together", interrupt)
    monkeypatch.setattr("mgil.engine.stopping.world_size", lambda: processes)
    for start, flags in ((command.train, []), (command.main, ["train"])):
        with pytest.raises(SystemExit):
            start([*flags, "--resume", str(run), "--device", "cpu"])
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert lines == [f"stopped; to go on: {program} --resume {run}" for program in said.values()]


def test_ctrl_c_before_a_run_begins(ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the labels are read there is no folder yet; a resumed run has its last.pt all the same."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    run = train(ground.config(tmp_path, epochs=1, noval=True))
    monkeypatch.setattr("mgil.engine.training.parts.load_splits", interrupt)
    with pytest.raises(KeyboardInterrupt, match="no last.pt was saved yet"):
        train(ground.config(tmp_path))
    with pytest.raises(KeyboardInterrupt, match=f"--resume {run}$"):
        train(TrainConfig(resume=str(run), epochs=2))
