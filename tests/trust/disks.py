"""Disks that run full and folders that cannot be written to, for the tests; real ones where the system allows it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def mount(*arguments: object) -> bool:
    """Mount something; false where that is not allowed."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True).returncode == 0


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[bool]:
    """Make a folder a disk of that size; gives whether that was allowed."""
    folder.mkdir(exist_ok=True)
    mounted = mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder)
    try:
        yield mounted
    finally:
        if mounted:
            unmount(folder)


def fill(folder: Path, spare_kilobytes: int) -> None:
    """Leave so much room on a disk."""
    free = os.statvfs(folder)
    with open(folder / "filler", "wb") as file:
        file.write(bytes(max(0, free.f_bavail * free.f_bsize - (spare_kilobytes << 10))))


@contextmanager
def limited_files(kilobytes: int) -> Iterator[None]:
    """While the block runs, this process cannot write files beyond that size: the fault of a quota, for any user."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    earlier = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, earlier)


@contextmanager
def read_only(folder: Path) -> Iterator[bool]:
    """Make a folder one that cannot be written to, also by root; gives whether that is so."""
    bound = mount("--bind", folder, folder) and mount("-o", "remount,ro,bind", folder)
    if not bound:
        folder.chmod(0o555)
    try:
        yield bound or not os.access(folder, os.W_OK)
    finally:
        if bound:
            unmount(folder)
        else:
            folder.chmod(0o755)
