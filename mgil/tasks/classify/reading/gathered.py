"""What the readers of all forms share: pictures as they are found, and what there is to tell."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from mgil.datasets.reading.image_list import STRAY_LINES, STRAY_SHARE

EXPECTED = "train/<class>/* and val/<class>/*"  # below the folder of a set


@dataclass
class Gathered:
    """Pictures of a split as they are found.

    Attributes:
        names: Of the data set's classes.
        paths: Of the pictures.
        classes: The class index of each.
        problems: A line for people each.
        notes: What is no problem but told, by what it is.
    """

    names: tuple[str, ...]
    paths: list[str] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, path: str, place: int) -> None:
        """Take a picture of the class with this index."""
        self.paths.append(path)
        self.classes.append(place)

    def check_lines(self, dropped: int, taken: int) -> None:
        """Raise ValueError where too many lines of a list were dropped, the last problems, for a stray mistake."""
        if dropped > max(STRAY_LINES, STRAY_SHARE * (dropped + taken)):
            first = self.problems[-dropped]
            raise ValueError(f"{dropped} of {dropped + taken} lines cannot be used; the first: {first}")
