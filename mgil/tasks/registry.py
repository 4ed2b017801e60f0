"""The tasks by name. What is heavy is imported when a task is first at work; names and flags are there at once."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mgil.files.flags import Config, combined

if TYPE_CHECKING:
    from mgil.tasks.base import Task

DEFAULT_TASK = "detect"  # also of weights that do not say
COMMANDS = ("train", "val", "detect", "export")

# A task's package holds `options.OPTIONS`, a dataclass of flags for each command, and `task.TASK`.
_PACKAGES = {"detect": "mgil.tasks.detect", "classify": "mgil.tasks.classify", "pose": "mgil.tasks.pose"}


def register(name: str, package: str) -> None:
    """Enter a task: the name of its package, which holds the modules `options` and `task`.

    Raises:
        ValueError: Another package has the name.
    """
    if _PACKAGES.setdefault(name, package) != package:
        raise ValueError(f"task {name!r} is {_PACKAGES[name]}; {package} needs another name")


def task_names() -> tuple[str, ...]:
    """All names."""
    return tuple(_PACKAGES)


def check_task(task: object, source: object) -> str:
    """What a network is for, as its file says.

    Raises:
        ValueError: It is no task of this version.
    """
    if not isinstance(task, str) or task not in _PACKAGES:
        shown = repr(task) if len(repr(task)) <= 60 else repr(task)[:59] + "…"
        raise ValueError(f"{source}: its task is {shown}; this program knows {', '.join(_PACKAGES)}")
    return task


def task_named(name: str) -> Task:
    """The task of a name.

    Raises:
        ValueError: There is none.
    """
    if name not in _PACKAGES:
        raise ValueError(f"task {name!r}: this version knows {', '.join(_PACKAGES)}")
    task: Task = import_module(f"{_PACKAGES[name]}.task").TASK
    return task


def with_options(config: type[Config], command: str) -> type[Config]:
    """A command's config class with the flags of all tasks."""
    for name in _PACKAGES:
        config = combined(config, options_of(name, command))  # type: ignore[arg-type]  # classes are hashable
    return config


def options_of(name: str, command: str) -> type:
    """The dataclass of a task's own flags for a command."""
    options: type = import_module(f"{_PACKAGES[name]}.options").OPTIONS[command]
    return options
