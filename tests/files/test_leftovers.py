"""What a killed process leaves aside is removed; what a running one has there, or the user, is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mgil.files.atomic import folder_aside, is_leftover, remove_leftovers, write_atomic
from tests.files.unfinished import leave_unfinished, ours

REPOSITORY = Path(__file__).resolve().parents[2]
HOLD_FILE = "write_atomic(path, lambda file: (file.write(b'half'), print('there', flush=True), time.sleep(100)))"
HOLD_FOLDER = """
with folder_aside(path) as folder:
    (folder / 'onnx').mkdir()
    (folder / 'onnx' / 'half').write_bytes(b'half')
    print('there', flush=True)
    time.sleep(100)
"""


@contextmanager
def unfinished(path: Path, program: str) -> Iterator[Path]:
    """What another process has aside of `path` while it runs; it is killed at the end."""
    header = "import sys, time; from pathlib import Path; from mgil.files.atomic import *; path = Path(sys.argv[1])\n"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", header + program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout and process.stdout.readline() == "there\n"
            (aside,) = path.parent.iterdir()
            yield aside
        finally:
            process.kill()


@pytest.mark.parametrize("program", [HOLD_FILE, HOLD_FOLDER])
def test_a_running_process_keeps_it_and_a_killed_one_does_not(tmp_path: Path, program: str) -> None:
    with unfinished(tmp_path / "best.pt", program) as aside:
        remove_leftovers(tmp_path)
        assert aside.exists() and not is_leftover(aside)
    assert aside.exists() and is_leftover(aside)
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == []


def test_this_process_keeps_its_own(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.txt", lambda file: (file.write(b"whole"), remove_leftovers(tmp_path)))  # type: ignore[arg-type, return-value]
    assert (tmp_path / "a.txt").read_bytes() == b"whole"
    with folder_aside(tmp_path / "b") as folder:
        remove_leftovers(tmp_path)
        assert folder.is_dir()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_earlier_process_of_the_same_number_does_not(tmp_path: Path) -> None:
    """In a container that is started anew, programs get the same numbers again."""
    path = leave_unfinished(tmp_path, process=os.getpid())
    remove_leftovers(tmp_path)
    assert not path.exists()


def test_the_users_files_stay(tmp_path: Path) -> None:
    name = leave_unfinished(tmp_path).name
    (tmp_path / name).unlink()
    machine, process, number = name.removesuffix(".mgil.tmp").split("-")[1:]
    names = [
        ".notes.tmp",
        "notes.tmp",
        ".last.pt.tmp",
        ".last.pt-0123456789abcdef.tmp",
        ".notes.mgil.tmp",
        name.removeprefix("."),
        f"{name}.txt",
        f".a-{machine}-{process}-{number[:-1]}.mgil.tmp",
        f".a-{machine}-x-{number}.mgil.tmp",
    ]
    for user_name in names:
        (tmp_path / user_name).write_text("the user's own")
    (tmp_path / ".folder.tmp").mkdir()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*names, ".folder.tmp"])


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep")
    path = leave_unfinished(tmp_path)
    path.unlink()
    path.symlink_to("precious")
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["precious"] and (tmp_path / "precious" / "file").read_text() == "keep"


@pytest.mark.parametrize(("hours", "stays"), [(23, True), (25, False)])
def test_another_machine_is_given_a_day(tmp_path: Path, hours: int, stays: bool) -> None:
    path = leave_unfinished(tmp_path, machine="not ours")
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))
    remove_leftovers(tmp_path)
    assert path.exists() == stays


def test_what_cannot_be_removed_or_read_blocks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove_leftovers(tmp_path / "absent")
    path = leave_unfinished(tmp_path)

    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    remove_leftovers(tmp_path)
    assert path.exists()


def test_names_say_which_file_it_was(tmp_path: Path) -> None:
    assert ours("last.pt").startswith(".last.pt-") and len(os.fsencode(ours("\u00e4" * 255))) < 255
