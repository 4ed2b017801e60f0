"""Run folders that nobody else has, and files that are whole or not there."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from engine.runs import new_run_folder, write_atomic, write_text_atomic


def test_folders_count_up(tmp_path: Path) -> None:
    project = tmp_path / "runs" / "train"
    assert [new_run_folder(project, "exp").name for _ in range(3)] == ["exp", "exp2", "exp3"]
    assert new_run_folder(project, "other").name == "other"
    assert sorted(path.name for path in project.iterdir()) == ["exp", "exp2", "exp3", "other"]


def test_a_gap_is_filled(tmp_path: Path) -> None:
    for _ in range(3):
        new_run_folder(tmp_path, "exp")
    (tmp_path / "exp2").rmdir()
    assert new_run_folder(tmp_path, "exp").name == "exp2"


def test_exist_ok_uses_the_folder_again(tmp_path: Path) -> None:
    first = new_run_folder(tmp_path, "exp", exist_ok=True)
    (first / "kept.txt").write_text("here")
    assert new_run_folder(tmp_path, "exp", exist_ok=True) == first
    assert (first / "kept.txt").read_text() == "here"


def test_runs_started_at_once_never_share(tmp_path: Path) -> None:
    count = 24
    start = threading.Barrier(count)

    def make(_: int) -> Path:
        start.wait()
        return new_run_folder(tmp_path, "exp")

    with ThreadPoolExecutor(count) as pool:
        folders = list(pool.map(make, range(count)))
    assert len(set(folders)) == count
    assert {folder.name for folder in folders} == {"exp", *(f"exp{number}" for number in range(2, count + 1))}


def test_a_file_in_place_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for project in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="file"):
            new_run_folder(project, "exp")


def test_a_file_in_place_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "exp").write_text("")
    assert new_run_folder(tmp_path, "exp").name == "exp2"
    with pytest.raises(FileExistsError, match="exp"):
        new_run_folder(tmp_path, "exp", exist_ok=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp").chmod(0o555)
    with pytest.raises(PermissionError, match="exp"):
        new_run_folder(tmp_path, "exp", exist_ok=True)


def test_write_replaces_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    for text in ("first\n", "zweite Zeile, größer\n"):
        write_text_atomic(path, text)
        assert path.read_bytes() == text.encode()
    assert [item.name for item in tmp_path.iterdir()] == ["results.csv"]


def test_a_failing_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half of the n")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        write_atomic(path, write)
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["last.pt"]


def test_the_old_file_is_there_while_the_new_one_is_written(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(b"old")
    seen: list[bytes] = []

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        seen.append(path.read_bytes())

    write_atomic(path, write)
    assert (seen, path.read_bytes()) == ([b"old"], b"new")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text_atomic(tmp_path / "a.txt", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        write_text_atomic(tmp_path / "absent" / "a.txt", "")
