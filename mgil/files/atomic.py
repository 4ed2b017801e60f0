"""Files that are whole or not there at all, and what a killed process leaves of those that were not finished."""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# .{beginning of the name}-{machine}-{process}-{random}.mgil.tmp: no file of the user's is called like that
_NAME_ASIDE = re.compile(r"\..{1,40}-(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,10})-[0-9a-f]{16}\.mgil\.tmp", re.DOTALL)
_ABANDONED_S = 24 * 3600.0  # without a change for so long, what a process of another machine made is given up
_in_use: set[str] = set()  # names of this process


def write_atomic(path: str | Path, write: Callable[[BinaryIO], None], *, durable: bool = True) -> None:
    """Write a file aside, sync it, rename it: readers see the old file or the new one, never half of one.

    A full disk, a kill or a loss of power leaves the file that was there. A symbolic link of that name is replaced, not
    written through. What a kill leaves aside, `remove_leftovers` removes.

    Args:
        path: The file to make or replace.
        write: Gets the open binary file.
        durable: Wait until the disk has it. False, for the many small files of a run, leaves that to the system: they
            are whole after a kill or on a full disk, but not after a loss of power.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    path = Path(path)
    with _name_aside(path) as aside:
        try:
            with open(aside, "xb") as file:
                write(file)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(aside, path)
            if durable:
                sync_folder(path.parent)
        except BaseException as error:
            aside.unlink(missing_ok=True) if path.parent.is_dir() else None
            if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(aside)):
                raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
            raise


def write_bytes_atomic(path: str | Path, content: bytes, *, durable: bool = True) -> None:
    """Write bytes as `write_atomic` does."""

    def write(file: BinaryIO) -> None:
        file.write(content)

    write_atomic(path, write, durable=durable)


def write_text_atomic(path: str | Path, text: str, *, durable: bool = True) -> None:
    """Write a UTF-8 text file as `write_atomic` does."""
    write_bytes_atomic(path, text.encode(), durable=durable)


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """A hidden folder beside a path, for files that are not finished; gone at the end.

    What a kill leaves of it, `remove_leftovers` removes.

    Raises:
        OSError: It cannot be made.
    """
    with _name_aside(path) as aside:
        aside.mkdir(0o700)
        try:
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left aside in a folder; what cannot be removed stays, and blocks nothing."""
    try:
        found = [Path(entry.path) for entry in os.scandir(folder) if is_leftover(Path(entry.path))]
    except OSError:  # no such folder, or one that may not be listed
        return
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def is_leftover(path: Path) -> bool:
    """Whether a file or folder was made aside by `write_atomic` or `folder_aside`, in a process that has ended.

    Of a process on another machine, which cannot be asked for, that is assumed after a day without a change.
    """
    match = _NAME_ASIDE.fullmatch(path.name)
    if match is None or path.name in _in_use:
        return False
    if match["machine"] == _machine() and os.name == "posix":  # on Windows os.kill ends a process
        return not _is_running(int(match["process"]))
    try:
        return time.time() - path.lstat().st_mtime > _ABANDONED_S
    except OSError:  # gone meanwhile
        return False


@contextmanager
def _name_aside(path: Path) -> Iterator[Path]:
    """A name beside a path for what is not finished yet; `is_leftover` knows it, and that it is in use."""
    name = f".{path.name[:40]}-{_machine()}-{os.getpid()}-{secrets.token_hex(8)}.mgil.tmp"
    _in_use.add(name)
    try:
        yield path.with_name(name)
    finally:
        _in_use.discard(name)


def _machine() -> str:
    """Eight characters for this machine, or this container, as the process numbers of others mean nothing here."""
    return f"{zlib.crc32(platform.node().encode(errors='surrogateescape')):08x}"


def _is_running(process: int) -> bool:
    if process == os.getpid():  # an earlier one of the same number: a container's numbers start anew
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # there, and another user's
        return True
    return True


def check_room(path: Path, least: int) -> None:
    """Raise OSError for a disk with fewer free bytes, before a library writes there that would not say so.

    Args:
        path: What is to be written, for the message; its folder is there.
        least: Bytes.
    """
    if shutil.disk_usage(path.parent).free < least:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def sync_tree(path: Path) -> None:
    """Wait until the disk has a file, or a folder with all files in it, that a library wrote.

    Raises:
        OSError: The disk could not take it.
    """
    for place in (path, *(path.rglob("*") if path.is_dir() else ())):
        if place.is_dir():
            sync_folder(place)
        else:
            with open(place, "rb+") as file:
                os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has a folder's names, where the system can do that."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # a folder that may be written but not read
        return
    try:
        os.fsync(descriptor)
    except OSError:  # network file systems that cannot
        pass
    finally:
        os.close(descriptor)
