"""The lock of a run's folder: what may lie in its place, and who gets it next."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mgil.engine.training.run_claim import RunClaim

REPOSITORY = Path(__file__).resolve().parents[3]


def link_to_file(lock: Path) -> None:
    lock.symlink_to(lock.with_name("precious.txt"))


def link_to_nothing(lock: Path) -> None:
    lock.symlink_to(lock.with_name("nowhere.txt"))


@pytest.mark.parametrize("make", [link_to_file, link_to_nothing, os.mkfifo, Path.mkdir])
def test_what_is_no_file_is_neither_followed_nor_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("keep")
    make(tmp_path / ".lock")
    with pytest.raises(ValueError, match=r"\.lock: not a plain file; .*remove or rename"):
        RunClaim(tmp_path)
    assert precious.read_text() == "keep"
    assert sorted(os.listdir(tmp_path)) == [".lock", "precious.txt"]


def test_a_file_of_that_name_is_not_emptied(tmp_path: Path) -> None:
    other, lock = tmp_path / "other.txt", tmp_path / ".lock"
    other.write_text("keep")
    lock.hardlink_to(other)
    claim = RunClaim(tmp_path)
    assert lock.read_text() == "keep"
    claim.release()
    claim.release()  # a second time does nothing
    assert os.listdir(tmp_path) == ["other.txt"] and other.read_text() == "keep"


def held_by_others(folder: Path) -> bool:
    """Whether another process finds the folder taken."""
    program = (
        "import sys; from pathlib import Path; from mgil.engine.training.run_claim import RunClaim; "
        "RunClaim(Path(sys.argv[1]))"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", program, str(folder)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0 or "another process is training" in ended.stderr
    return ended.returncode != 0


def test_a_lock_that_its_holder_removes_meanwhile_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between our opening and our locking of the file: a lock without a name would keep nobody out."""
    lock, original, calls = tmp_path / ".lock", os.fstat, []

    def fstat(descriptor: int) -> os.stat_result:
        calls.append(descriptor)
        if len(calls) == 1:
            lock.unlink()
        return original(descriptor)

    monkeypatch.setattr("mgil.engine.training.run_claim.os.fstat", fstat)
    claim = RunClaim(tmp_path)
    monkeypatch.undo()
    assert len(calls) > 2 and lock.exists()
    assert held_by_others(tmp_path)
    claim.release()
    assert not lock.exists() and not held_by_others(tmp_path)


def test_a_failed_claim_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_folder: Path) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr("mgil.engine.training.run_claim.remove_leftovers", fail)
    with pytest.raises(PermissionError):
        RunClaim(tmp_path)
    assert os.listdir(tmp_path) == []
