"""Which files in a run's folder this program wrote itself: with --exist-ok, no others are overwritten or deleted."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LIST_NAME = ".written.jsonl"
SAME_TIME_NS = 2_000_000_000  # some file systems keep whole seconds, or every second one


class WrittenFiles:
    """The list of the files that runs wrote into a folder, kept there from run to run.

    A folder that is named by --project and --name may hold a data set as well, or labels that were corrected by hand. A
    line of the list is `[path in the folder, time of its last change in ns]`: with null for the time, added before the
    file is written; with the time, after that (0: it was not written). A file that was changed since counts as not
    written by a run.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / LIST_NAME
        self._times: dict[str, int | None] = dict(_read(self._path))
        self._file: BinaryIO | None = None

    def check(self, *paths: Path) -> None:
        """Refuse files that are there and were not written by a run.

        Raises:
            ValueError: One is; it is named.
        """
        for path in paths:
            try:
                found = path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            if not self._is_ours(path, found):
                raise ValueError(
                    f"{path}: no file that detect.py or val.py wrote here, or changed since, so it is not overwritten; "
                    "choose another --project or --name, or move it away"
                )

    @contextmanager
    def writing(self, *paths: Path) -> Iterator[None]:
        """Check files, and note that they are ours when the block has written (or deleted) them.

        Raises:
            ValueError: As `check`; nothing was written then.
        """
        self.start(*paths)
        yield
        self.finish(*paths)

    def start(self, *paths: Path) -> None:
        """Check files that are to be written from now on, and note their names.

        Raises:
            ValueError: As `check`.
        """
        self.check(*paths)
        self._note((path, None) for path in paths)

    def finish(self, *paths: Path) -> None:
        """Note the times of files that are written by now; those that did not come to be are not ours."""
        self._note((path, path.lstat().st_mtime_ns if os.path.lexists(path) else 0) for path in paths)

    def close(self) -> None:
        """Close the list."""
        if self._file is not None:
            self._file.close()

    def _is_ours(self, path: Path, found: os.stat_result) -> bool:
        name = self._name(path)
        if name not in self._times or not stat.S_ISREG(found.st_mode):
            return False
        time = self._times[name]
        return time is None or abs(found.st_mtime_ns - time) <= SAME_TIME_NS

    def _note(self, lines: Iterable[tuple[Path, int | None]]) -> None:
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)  # not through a link
            descriptor = os.open(self._path, flags, 0o666)
            self._file = open(descriptor, "ab", buffering=0)  # noqa: SIM115 - until `close`
            self._write(b"\n")  # a killed run may have left half a line
        for path, time in lines:
            name = self._name(path)
            self._times[name] = time
            self._write(json.dumps([name, time]).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(line)
        except OSError as error:  # a full disk does not say which file
            raise OSError(error.errno, os.strerror(error.errno or 0), str(self._path)) from error

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _read(path: Path) -> Iterator[tuple[str, int | None]]:
    """The lines of a list that are whole; none where there is no list."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            name, time = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(name, str) and (time is None or type(time) is int):
            yield name, time
