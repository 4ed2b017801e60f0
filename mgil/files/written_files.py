"""Which files in a run's folder this program wrote itself: with --exist-ok, no others are overwritten or deleted."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

LIST_NAME = ".written.jsonl"
SAME_TIME_NS = 2_000_000_000  # some file systems keep whole seconds, or every second one
KILLED_AFTER_NS = 60_000_000_000  # a killed run had written its last file by then, from its last line or `keep_up` on


class WrittenFiles:
    """The list of the files that runs wrote into a folder, kept there from run to run.

    A folder that is named by --project and --name may hold a data set as well, or labels that were corrected by hand. A
    line of the list is `[path in the folder, time of its last change in ns]`, added after the file was written (0: it
    was not), or `[path, null, time]`, added before that. A file that was changed since counts as not written by a run.
    So does a file of a killed run that is older than its line, or newer than the end of the list.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / LIST_NAME
        self._times: dict[str, int] = {}
        self._begun: set[str] = set()  # by this run, and not finished
        self._of_killed: list[tuple[Path, int]] = []  # what a killed run left: to be noted with the next file
        self._kept_up = 0
        self._take_up()
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
                    f"{path}: no file that train.py, val.py or detect.py wrote here, or changed since, "
                    "so it is not overwritten; choose another --project or --name, or move it away"
                )

    def lists(self, path: Path) -> bool:
        """Whether a run noted this file, however it is by now."""
        return self._name(path) in self._times

    @contextmanager
    def writing(self, *paths: Path) -> Iterator[None]:
        """Check files, and note that they are ours when the block has written (or deleted) them.

        Raises:
            ValueError: As `check`; nothing was written then.
        """
        self.start(*paths)
        try:
            yield
        except BaseException:
            with suppress(OSError):  # a full disk: the list would fail too, and hide the first error
                self.finish(*paths)
            raise
        self.finish(*paths)

    def start(self, *paths: Path) -> None:
        """Check files that are to be written from now on, and note their names.

        Raises:
            ValueError: As `check`.
        """
        self.check(*paths)
        now = time.time_ns()
        for path in paths:
            self._note([self._name(path), None, now])
            self._begun.add(self._name(path))

    def finish(self, *paths: Path) -> None:
        """Note the times of files that are written by now; those that did not come to be are not ours."""
        for path in paths:
            self._finish(path, path.lstat().st_mtime_ns if os.path.lexists(path) else 0)

    def keep_up(self) -> None:
        """Tell the list that the files that are begun grow still, should this process be killed."""
        if self._begun and time.time_ns() - self._kept_up > KILLED_AFTER_NS // 10:
            self._kept_up = time.time_ns()
            os.utime(self._path)

    def close(self) -> None:
        """Close the list."""
        if self._file is not None:
            self._file.close()

    def _is_ours(self, path: Path, found: os.stat_result) -> bool:
        name = self._name(path)
        if not stat.S_ISREG(found.st_mode):
            return False
        return name in self._begun or _same_time(found.st_mtime_ns, self._times.get(name, 0))

    def _take_up(self) -> None:
        """Take up the list, and decide about the files that a killed run had begun."""
        begun: dict[str, int] = {}
        end = 0
        with suppress(FileNotFoundError):
            end = self._path.stat().st_mtime_ns + KILLED_AFTER_NS
        for name, changed, noted in _read(self._path):
            if changed is None:
                begun[name] = noted
            else:
                self._times[name] = changed
                begun.pop(name, None)
        for name, noted in begun.items():
            path = self.folder / name
            found = path.lstat().st_mtime_ns if os.path.lexists(path) else 0
            if noted - SAME_TIME_NS <= found <= end:
                self._times[name] = found
            self._of_killed.append((path, self._times.setdefault(name, 0)))

    def _finish(self, path: Path, changed: int) -> None:
        name = self._name(path)
        self._note([name, changed])
        self._times[name] = changed
        self._begun.discard(name)

    def _note(self, line: list[str | int | None]) -> None:
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)  # not through a link
            descriptor = os.open(self._path, flags, 0o666)
            self._file = open(descriptor, "ab", buffering=0)  # noqa: SIM115 - until `close`
            self._write(b"\n")  # a killed run may have left half a line
            for path, changed in self._of_killed:  # before the list's own time becomes this run's
                self._finish(path, changed)
        self._write(json.dumps(line).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(line)
        except OSError as error:  # a full disk does not say which file
            raise OSError(error.errno, os.strerror(error.errno or 0), str(self._path)) from error

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _same_time(first: int, second: int) -> bool:
    return abs(first - second) <= SAME_TIME_NS


def _read(path: Path) -> Iterator[tuple[str, int | None, int]]:
    """The lines of a list that are whole: name, time of the last change, time of the line where that is null."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            name, *times = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if not isinstance(name, str):
            continue
        match times:
            case [int(changed)] if type(changed) is int:
                yield name, changed, 0
            case [None, int(noted)] if type(noted) is int:
                yield name, None, noted
