"""Files as a killed process leaves them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mgil.files import atomic


def ours(name: str) -> str:
    """The name that is given aside to a file."""
    with atomic._name_aside(Path(name)) as aside:
        return aside.name


def leave_unfinished(folder: Path, name: str = "last.pt", process: int | None = None, machine: str = "") -> Path:
    """Make what a process leaves that was killed while it wrote `name`.

    Args:
        folder: Where.
        name: The file that was not finished.
        process: Its number; None: of one that has ended.
        machine: Its machine's name; "" is this one.
    """
    if process is None:
        with subprocess.Popen([sys.executable, "-S", "-c", ""]) as ended:
            process = ended.pid
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: process)
        if machine:
            patch.setattr("platform.node", lambda: machine)
        path = folder / ours(name)
    path.write_bytes(b"half")
    return path
