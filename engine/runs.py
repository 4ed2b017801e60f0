"""Run folders (exp, exp2, exp3, ...) and files that are whole or not there at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

MOST_RUNS = 10_000
FULL_BYTES = 1 << 20  # with less free space a disk is full; what is open can still be finished


def new_run_folder(project: str | Path, name: str, exist_ok: bool = False) -> Path:
    """Make the folder of a run: project/name, or name2, name3, ... where that exists.

    Args:
        project: Parent folder, made where missing.
        name: Wanted name.
        exist_ok: Use project/name even when it exists.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    project = Path(project)
    for number in range(1, MOST_RUNS):
        folder = project / (name if number == 1 else f"{name}{number}")
        try:
            # mkdir either makes the folder or fails: two runs started at once never share one
            folder.mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError:
            if exist_ok:  # a file of that name is in the way
                raise
            continue
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "cannot write into this folder", str(folder))
        return folder
    raise FileExistsError(f"{project / name}: {MOST_RUNS} runs already; choose another --name")


def check_space(path: str | Path) -> None:
    """Raise OSError if the disk that holds a file or folder is full; libraries in C++ seldom tell."""
    usage = shutil.disk_usage(path)
    if usage.total and usage.free < FULL_BYTES:  # some network drives say 0 of 0
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def write_atomic(path: str | Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file aside, sync it, rename it: readers see the old file or the new one, never half of one.

    Args:
        path: The file to make or replace.
        write: Gets the open binary file.
    """
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files that only the owner can read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file as `write_atomic` does."""

    def write(file: BinaryIO) -> None:
        file.write(text.encode())

    write_atomic(path, write)
