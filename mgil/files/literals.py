"""Values that files hold as text: read as Python literals, which can hold no code, and shown in messages."""

from __future__ import annotations

import ast
from typing import Any

MOST_CHARACTERS = 500_000  # of one value; the names of a thousand classes take 25,000
MOST_SHOWN = 60


def literal(value: Any) -> Any:
    """A string as the literal that it spells, anything else as it is.

    Raises:
        ValueError: It spells none, or is too long.
    """
    if not isinstance(value, str):
        return value
    if len(value) > MOST_CHARACTERS:
        raise ValueError(f"a value of {len(value)} characters")
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"{shown(value)} is no plain value") from error


def whole(value: Any, most: int) -> int:
    """A whole number from 1 to `most`; ValueError for anything else."""
    number = literal(value)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if type(number) is not int or not 1 <= number <= most:
        raise ValueError(f"{shown(value)} is no whole number from 1 to {most}")
    return number


def fraction(value: Any) -> float:
    """A number from 0 to 1; ValueError for anything else."""
    number = literal(value)
    if type(number) not in (int, float) or not 0 <= number <= 1:
        raise ValueError(f"{shown(value)} is not a number from 0 to 1")
    return float(number)


def truth(value: Any) -> bool:
    """True or false, also as JSON and Python write them; ValueError for anything else."""
    text = str(value).lower() if isinstance(value, str | bool) else ""
    if text not in ("true", "false"):
        raise ValueError(f"{shown(value)} is neither true nor false")
    return text == "true"


def shown(value: Any) -> str:
    """The beginning of a value, for a message."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"
