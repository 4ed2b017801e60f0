"""Class names of two files held against each other: which class of one is which of the other."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest


def name_key(name: str) -> str:
    """What makes two names one to a reader's eye: spaces and the way accents are encoded do not tell them apart."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def first_double(names: Iterable[str]) -> tuple[int, int] | None:
    """Indices of the first two names that are one, if any."""
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if seen.setdefault(name_key(name), index) != index:
            return seen[name_key(name)], index
    return None


def places_in(other: Sequence[str], names: Sequence[str]) -> list[int]:
    """The index in `other` of each of `names`, -1 where it is not there.

    Capitals tell two names apart only where `other` has both.
    """
    keys, own = [name_key(name) for name in other], [name_key(name) for name in names]
    folded = [key.casefold() for key in keys]
    counts = Counter(folded)
    exact = {key: index for index, key in enumerate(keys)}
    loose = {key: index for index, key in enumerate(folded) if counts[key] == 1}
    return [
        index if keys[index : index + 1] == [key] else exact.get(key, loose.get(key.casefold(), -1))
        for index, key in enumerate(own)
    ]


def same_classes(other: Sequence[str], names: Sequence[str]) -> bool:
    """Whether both have the same classes, in whatever order."""
    return len(names) == len(other) and sorted(places_in(other, names)) == list(range(len(other)))


def rows_by_name(other: Sequence[str], names: Sequence[str]) -> list[int]:
    """Which of `other` to take for each of as many `names`: its own, or one that is left where it is not there."""
    places = places_in(other, names)
    left = iter(sorted(set(range(len(other))).difference(places)))
    return [place if place >= 0 else next(left) for place in places]


def first_difference(first: Sequence[str], second: Sequence[str]) -> tuple[int, str | None, str | None]:
    """The first index where two different lists of names are not the same, and what is there."""
    pairs = enumerate(zip_longest(first, second))
    return next((index, one, other) for index, (one, other) in pairs if one != other)


def first_moved(other: Sequence[str], names: Sequence[str]) -> int | None:
    """The first index in `names` of a name that has another index in `other`, if any."""
    places = enumerate(places_in(other, names))
    return next((index for index, place in places if place not in (-1, index)), None)
