"""Text from files, made fit to be shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Report = Callable[[str], None]  # takes the lines for people
MOST_NAMES = 20_000  # classes
MOST_NAME_CHARACTERS = 200


def printable(text: str) -> str:
    """Text as one line that can be printed and written as UTF-8, whatever bytes it came from: no control characters."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def check_class_names(names: Sequence[str]) -> None:
    """Raise ValueError for class names that cannot be shown: they go to the terminal, into pictures and file names."""
    if len(names) > MOST_NAMES:
        raise ValueError(f"{len(names)} class names, more than {MOST_NAMES}")
    for index, name in enumerate(names):
        if len(name) > MOST_NAME_CHARACTERS:
            raise ValueError(f"name of class {index} has {len(name)} characters, more than {MOST_NAME_CHARACTERS}")
        if not name.isprintable():
            raise ValueError(f"name of class {index} is {name!r}, which cannot be printed")
