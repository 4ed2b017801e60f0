"""Files that are whole or not there at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomic(path: str | Path, write: Callable[[BinaryIO], None], *, durable: bool = True) -> None:
    """Write a file aside, sync it, rename it: readers see the old file or the new one, never half of one.

    A full disk, a kill or a loss of power leaves the file that was there. A symbolic link of that name is replaced, not
    written through. What a kill leaves aside is called `.{beginning of the name}-{random}.tmp`.

    Args:
        path: The file to make or replace.
        write: Gets the open binary file.
        durable: Wait until the disk has it. False, for the many small files of a run, leaves that to the system: they
            are whole after a kill or on a full disk, but not after a loss of power.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name[:40]}-{secrets.token_hex(8)}.tmp")
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
