"""train.py --exist-ok into a folder that holds other things: what no run wrote stays as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mgil.engine.training.log import ResultsCsv
from mgil.engine.training.run import run_train
from mgil.files.written_files import LIST_NAME, WrittenFiles
from tests.engine.tiny import Playground
from tests.engine.training.running import rows_of, train

pytestmark = pytest.mark.usefixtures("private_cache")

FILES = ("opt.yaml", "hyp.yaml", "results.csv", "per_class.csv")
PICTURES = ("results.png", "labels.jpg", "train_batch0.jpg", "val_batch0_pred.jpg", "PR_curve.png")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [*FILES, *PICTURES])
def test_a_file_of_the_user_is_not_overwritten(name: str, ground: Playground, tmp_path: Path) -> None:
    run = tmp_path / "exp"
    (run / "weights").mkdir(parents=True)
    (run / "weights" / "last.pt").write_text("the user's own")
    (run / name).write_text("the user's own")
    before = tree(run)
    with pytest.raises(ValueError, match=rf"exp/{name}: no file that train\.py.*not overwritten"):
        train(ground.config(tmp_path, exist_ok=True, noplots=False))
    assert tree(run) == before


def test_pictures_that_are_not_drawn_may_be_there(ground: Playground, tmp_path: Path) -> None:
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "labels.jpg").write_text("the user's own")
    run = train(ground.config(tmp_path, epochs=1, noval=True, exist_ok=True))
    assert (run / "labels.jpg").read_text() == "the user's own" and len(rows_of(run)) == 1


def test_every_file_of_a_run_may_be_overwritten_until_it_is_changed(ground: Playground, tmp_path: Path) -> None:
    config = ground.config(tmp_path, epochs=1, exist_ok=True, noplots=False)
    run = train(config)
    files = {path.name for path in run.iterdir() if path.is_file() and not path.name.startswith("events")}
    listed = (run / LIST_NAME).read_text()
    assert files > {*FILES, *PICTURES}
    assert all(f'["{name}", ' in listed for name in files - {LIST_NAME})
    train(config)
    os.utime(run / "hyp.yaml", (2_000_000_000, 2_000_000_000))
    with pytest.raises(ValueError, match=r"hyp\.yaml: .*or changed since"):
        train(config)


def test_a_killed_run_can_be_begun_again(ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its list was begun an hour before its last epoch, and nothing is noted as finished."""
    real = ResultsCsv.add

    def an_hour_later(table: ResultsCsv, *values: Any) -> None:
        os.utime(tmp_path / "exp" / LIST_NAME, (1_000_000_000, 1_000_000_000))
        real(table, *values)

    monkeypatch.setattr(ResultsCsv, "add", an_hour_later)
    monkeypatch.setattr(WrittenFiles, "finish", lambda *_paths: None)
    monkeypatch.setattr("mgil.engine.training.run.finish", lambda _run: None)
    config = ground.config(tmp_path, epochs=1, noval=True, exist_ok=True)
    train(config)
    monkeypatch.undo()
    train(config)


def test_the_folder_of_a_version_without_the_list(ground: Playground, tmp_path: Path) -> None:
    config = ground.config(tmp_path, epochs=1, exist_ok=True)
    run = train(config)
    (run / LIST_NAME).unlink()
    train(config)
    assert (run / "weights" / "previous_last.pt").exists()
    (run / LIST_NAME).unlink()
    train(ground.config(tmp_path, resume=str(run), epochs=2))
    train(config)
    (run / LIST_NAME).unlink()
    (run / "results.csv").write_text("the user's own,table\n")
    with pytest.raises(ValueError, match=r"no file that train\.py"):
        train(config)


def test_weights_of_single_epochs_are_set_aside(ground: Playground, tmp_path: Path) -> None:
    run = train(ground.config(tmp_path, save_period=1, noval=True))
    earlier = (run / "weights" / "epoch1.pt").read_bytes()
    lines: list[str] = []
    run_train(ground.config(tmp_path, epochs=1, noval=True, exist_ok=True), lines.append)
    names = "previous_last.pt, previous_best.pt, previous_epoch0.pt, previous_epoch1.pt"
    assert f"--exist-ok: the earlier run's weights are now {names}" in lines
    assert (run / "weights" / "previous_epoch1.pt").read_bytes() == earlier
    assert not list((run / "weights").glob("epoch*.pt"))
    for _ in range(2):
        train(ground.config(tmp_path, epochs=1, save_period=1, noval=True, exist_ok=True))
    assert (run / "weights" / "previous_epoch0_2.pt").exists()
