"""One training at a time in a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: the folder is used unguarded
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


class RunClaim:
    """Holds a run's folder for this process, so that no other one trains into it (`--resume` of a live run).

    The claim ends with the process, however it ends. Parts of files that a killed process left behind are removed.

    Args:
        folder: The run's folder.

    Raises:
        ValueError: Another process has it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self._file: IO[bytes] | None = open(self.path, "wb")  # noqa: SIM115 - held until `release`
        if not _lock(self._file):
            self._file.close()
            raise ValueError(f"{folder}: another process is training into this folder; wait for it, or end it first")
        remove_leftovers(folder)

    def release(self) -> None:
        """Give the folder free."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


def remove_leftovers(folder: Path) -> None:
    """Remove what `files.atomic.write_atomic` had not renamed yet when its process was killed."""
    for place in (folder, folder / "weights"):
        for part in place.glob(".*.tmp"):
            part.unlink(missing_ok=True)


def _lock(file: IO[bytes]) -> bool:
    """Lock a file for this process; false if another one has it."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock: worker processes would share it and outlive us
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True
