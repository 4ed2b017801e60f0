"""One training at a time in a run's folder."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from mgil.files.atomic import remove_leftovers

try:
    import fcntl
except ImportError:  # Windows: the folder is used unguarded
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
ATTEMPTS = 10  # at locking a file that its last holder removes at the same moment


class RunClaim:
    """Holds a run's folder for this process, so that no other one trains into it (`--resume` of a live run).

    The claim ends with the process, however it ends. Parts of files that a killed process left behind are removed.

    Args:
        folder: The run's folder.

    Raises:
        ValueError: Another process has it, or something else than a file has the lock's name.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self._descriptor: int | None = None if fcntl is None else _open_locked(self.path)
        try:
            for place in (folder, folder / "weights"):
                remove_leftovers(place)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the folder free."""
        if self._descriptor is not None:
            self.path.unlink(missing_ok=True)  # while it is locked: a moment later it may be another process's
            os.close(self._descriptor)
            self._descriptor = None


def _open_locked(path: Path) -> int:
    """Descriptor of the lock file, which this process has locked under this name."""
    for _ in range(ATTEMPTS):
        descriptor = _open_file(path)
        try:
            _lock(descriptor, path)
            if _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise _taken(path)


def _open_file(path: Path) -> int:
    """Open a plain file to write, made if need be: no link is followed, no pipe waited for, no content lost."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO):
            raise _no_file(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file(path)
    return descriptor


def _lock(descriptor: int, path: Path) -> None:
    try:
        # not flock: worker processes would share it and outlive us
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise _taken(path) from error
    except OSError:  # a file system without locks
        return


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has this name; if not, its last holder removed it before we had the lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _taken(path: Path) -> ValueError:
    return ValueError(f"{path.parent}: another process is training into this folder; wait for it, or end it first")


def _no_file(path: Path) -> ValueError:
    return ValueError(f"{path}: not a plain file; training keeps its lock there, remove or rename what is in its place")
