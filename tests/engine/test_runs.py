"""Run folders that nobody else has."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mgil.engine.runs import new_run_folder


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
