"""What the readers of all forms share: pictures as they are found, and what there is to tell."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field

from mgil.datasets.reading.image_list import STRAY_LINES, STRAY_SHARE
from mgil.files.text import printable

EXPECTED = "train/<class>/* and val/<class>/*"  # below the folder of a set


@dataclass
class Gathered:
    """Pictures of a split as they are found, each file once, by whatever paths and links it is reached.

    Attributes:
        names: Of the data set's classes.
        paths: Of the pictures.
        classes: The class index of each.
        problems: A line for people each.
        notes: What is no problem but told, by what it is.
        again: How many pictures were there already, with the same class.
    """

    names: tuple[str, ...]
    paths: list[str] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    again: int = 0
    _first: dict[str, tuple[int, str, int]] = field(default_factory=dict)  # by real path: class, source and line
    _real: dict[str, str] = field(default_factory=dict)  # the real path of each folder

    def add(self, path: str, place: int, source: str, line: int = 0) -> str:
        """Take a picture, unless it is there already.

        Args:
            path: Its file.
            place: The index of its class.
            source: The list or folder that says so.
            line: Of the list; 0: a folder.

        Returns:
            What is wrong where it is there with another class, for people; else "".
        """
        first = self._first.setdefault(self._real_path(path), told := (place, source, line))
        if first is told:
            self.paths.append(path)
            self.classes.append(place)
            return ""
        if first[0] == place:
            self.again += 1
            return ""
        where = printable(first[1]) + (f":{first[2]}" if first[2] else "")
        return f"in {f'line {first[2]}' if line and first[1] == source else where} it is of another class"

    def _real_path(self, path: str) -> str:
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return os.path.join(self._real[folder], name)

    def check_lines(self, dropped: int, taken: int) -> None:
        """Raise ValueError where too many lines of a list were dropped, the last problems, for a stray mistake."""
        if dropped > max(STRAY_LINES, STRAY_SHARE * (dropped + taken)):
            first = self.problems[-dropped]
            raise ValueError(f"{dropped} of {dropped + taken} lines cannot be used; the first: {first}")
