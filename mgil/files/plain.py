"""Values made of mappings, lists and scalars, measured before anything walks or prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

MOST_DEPTH = 64


def parts_of(value: Any) -> Iterable[Any]:
    """What a mapping, list, tuple or set holds; nothing for a scalar."""
    if isinstance(value, Mapping):
        return (*value.keys(), *value.values())
    return value if isinstance(value, list | tuple | set | frozenset) else ()


def check_bounded(value: Any, most: int, parts: Callable[[Any], Iterable[Any]] = parts_of) -> None:
    """Raise ValueError where a nesting of values is too deep, too large or contains itself.

    A file of a kilobyte can describe a list of lists of lists in which every list stands nine times in the one above:
    small while its parts are shared, endless for whoever prints, compares or copies it. So parts count as often as
    they can be reached.

    Args:
        value: What a file held.
        most: Largest number of parts.
        parts: What a value is made of.
    """
    known: dict[int, tuple[int, int]] = {}

    def measure(whole: Any, depth: int) -> tuple[int, int]:
        """How many values a value is made of, itself included, and how deep they are nested."""
        if id(whole) in known:
            return known[id(whole)]
        if depth > MOST_DEPTH:
            raise ValueError(f"nested more than {MOST_DEPTH} deep")
        count, height = 1, 0
        for part in parts(whole):
            below = measure(part, depth + 1)
            count, height = count + below[0], max(height, 1 + below[1])
            if count > most:
                raise ValueError(f"more than {most:,} values, those that are repeated counted again")
            if depth + height > MOST_DEPTH:
                raise ValueError(f"nested more than {MOST_DEPTH} deep")
        if height:
            known[id(whole)] = count, height
        return count, height

    measure(value, 0)
