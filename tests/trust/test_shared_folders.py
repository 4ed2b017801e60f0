"""Processes that start at the same moment, in the same folder."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch

from mgil.datasets.reading import digits
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.run import run_export
from mgil.engine.runs import new_run_folder
from mgil.engine.runtimes.model import load_exported
from mgil.files.atomic import write_text_atomic
from tests.engine.export.exported import save_tiny_detector
from tests.trust.disks import read_only


def claim(project: Path, count: int, start: Any, found: Any) -> None:
    start.wait()
    found.put([str(new_run_folder(project, "exp")) for _ in range(count)])


def test_processes_at_the_same_moment_never_share_a_run_folder(tmp_path: Path) -> None:
    processes, each = 8, 25
    context = multiprocessing.get_context("fork")
    start, found = context.Barrier(processes), context.Queue()
    arguments = (tmp_path / "a" / "b", each, start, found)
    workers = [context.Process(target=claim, args=arguments, daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    folders = [folder for _ in workers for folder in found.get(timeout=60)]
    join_all(workers)
    assert len(set(folders)) == len(folders) == processes * each
    wanted = {"exp", *(f"exp{number}" for number in range(2, processes * each + 1))}
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == wanted


def replace_often(path: Path, letter: str, start: Any) -> None:
    start.wait()
    for number in range(60):
        write_text_atomic(path, letter * (1000 + number), durable=False)


def test_processes_that_write_the_same_file_leave_one_of_theirs(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    path, start = tmp_path / "shared.txt", context.Barrier(4)
    write_text_atomic(path, "z" * 1000)
    workers = [context.Process(target=replace_often, args=(path, letter, start), daemon=True) for letter in "abc"]
    for worker in workers:
        worker.start()
    start.wait()
    while any(worker.is_alive() for worker in workers):
        assert len(set(path.read_text())) == 1
    join_all(workers)
    assert path.read_text()[0] in "abc" and len(path.read_text()) == 1059
    assert len(list(tmp_path.iterdir())) == 1


def make_digits(folder: Path, start: Any) -> None:
    start.wait()
    digits.DIGITS.make(folder)


def test_processes_that_make_the_same_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digits, "SCENES", {"train": 30, "val": 5})
    run_all(make_digits, tmp_path / "digits", processes=3)
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]
    assert len(list((tmp_path / "digits").rglob("*.png"))) == 35


def read_both_splits(yaml_path: Path, start: Any) -> None:
    start.wait()
    config = load_data_config(yaml_path)
    for split, count in (("train", 30), ("val", 5)):
        assert len(load_samples(config, split, report=lambda _line: None)) == count


def test_processes_that_read_a_data_set_that_is_not_made_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digits, "SCENES", {"train": 30, "val": 5})
    yaml_path = tmp_path / "made.yaml"
    yaml_path.write_text("path: sets/digits\ngenerate: digits\ntrain: images/train\nval: images/val\n")
    run_all(read_both_splits, yaml_path, processes=3)
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["digits"]


def test_the_data_set_of_digits_beside_a_checkout_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "cache"))
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    with read_only(checkout) as locked:
        if not locked:
            pytest.skip("root may write everywhere, and nothing can be mounted here")
        assert digits.DIGITS.folder(checkout / "datasets" / "digits") == tmp_path / "cache" / "digits"
    assert digits.DIGITS.folder(checkout / "datasets" / "digits") == checkout / "datasets" / "digits"
    assert [path.name for path in tmp_path.rglob("*")] == ["checkout"]


def export(weights: Path, start: Any) -> None:
    start.wait()
    for _ in range(3):
        run_export(ExportConfig(weights=str(weights), include=("torchscript",)), report=lambda line: None)


def test_processes_that_export_the_same_weights(tmp_path: Path) -> None:
    weights = save_tiny_detector(tmp_path / "best.pt")
    run_all(export, weights, processes=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "best.torchscript"]
    assert load_exported(tmp_path / "best.torchscript", torch.device("cpu")).names == ("red", "green", "blue")


def run_all(target: Any, argument: Path, processes: int) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(processes)
    workers = [context.Process(target=target, args=(argument, start), daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    join_all(workers)


def join_all(workers: list[Any]) -> None:
    """Wait until every process has ended well; daemons, so that one that hangs fails its test and ends with pytest."""
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)
