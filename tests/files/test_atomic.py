"""Files that are whole or not there at all; see tests/trust/test_atomic_files.py for full disks and kills."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from mgil.files.atomic import check_room, sync_tree, write_atomic, write_text_atomic


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


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("kept")
    (tmp_path / "a.txt").symlink_to(tmp_path / "elsewhere")
    write_text_atomic(tmp_path / "a.txt", "new")
    assert (tmp_path / "elsewhere").read_text() == "kept"
    assert not (tmp_path / "a.txt").is_symlink() and (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("name", ["x" * 255, "\u00e4" * 127])
def test_names_as_long_as_the_system_allows(tmp_path: Path, name: str) -> None:
    write_text_atomic(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_errors_name_the_file_and_not_its_part(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.txt'"):
        write_atomic(tmp_path / "a.txt", write)
    with pytest.raises(FileNotFoundError, match=r"'.*/absent/a\.txt'"):
        write_text_atomic(tmp_path / "absent" / "a.txt", "")


def test_syncing_a_folder_that_a_library_wrote(tmp_path: Path) -> None:
    (tmp_path / "model" / "inner").mkdir(parents=True)
    (tmp_path / "model" / "inner" / "weights.bin").write_bytes(b"1")
    sync_tree(tmp_path / "model")
    sync_tree(tmp_path / "model" / "inner" / "weights.bin")


def test_room_on_the_disk(tmp_path: Path) -> None:
    check_room(tmp_path / "a", 1)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a'"):
        check_room(tmp_path / "a", 1 << 60)
