"""Commands run in this process, as their doors run them."""

from __future__ import annotations

import pytest

from mgil.engine import command


def door(name: str, *arguments: object) -> None:
    """Run a command in this process."""
    command.COMMANDS[name](list(map(str, arguments)), f"{name}.py")


def line_of(capsys: pytest.CaptureFixture[str], name: str, *arguments: object, status: int = 1) -> str:
    """Run a command that fails; its one line."""
    with pytest.raises(SystemExit) as ended:
        door(name, *arguments)
    assert ended.value.code == status
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("error: ")
