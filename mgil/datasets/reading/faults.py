"""What is wrong with the lines of a split's label files, counted by kind."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TOLERANCE = 0.01  # of the image's side: how far a centre or a size may leave 0..1 by rounding
GROSS = 0.1  # of the image's side: how far a box reaches out of it by no slip of the hand
# What to call lines of a kind, in a sum.
WORDS = {
    "finite": "with nan or inf",
    "class": "with a class id that is no whole number from 0",
    "unknown": "with an unknown class id",
    "size": "without width or height",
    "outside": "outside the image",
    "number": "with a text in the place of a number",
    "twice": "that repeat a box",
    "file": "whole files",
}


@dataclass
class Faults:
    """Lines and files by kind, and the first line of each kind as text.

    Kinds of bad lines are those of `BadLine` and of `labels.checks_of`; "bad" is any of them, "all" every line that is
    not empty. A kind that begins with "sign" counts lines that a mistake of the whole set would explain, good or bad.
    """

    lines: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, lines: int, files: int, example: str | None = None) -> None:
        """Count lines of one kind."""
        if lines:
            self.lines[kind] += lines
            self.files[kind] += files
            if example is not None:
                self.examples.setdefault(kind, example)

    def add_rows(self, kind: str, rows: np.ndarray, files: np.ndarray) -> None:
        """Count lines of one kind.

        Args:
            kind: which.
            rows: (M,) bool, the lines that are of it.
            files: (M,) the number of each line's file.
        """
        self.add(kind, int(np.count_nonzero(rows)), len(np.unique(files[rows])))

    def update(self, other: Faults) -> None:
        """Add what was found elsewhere."""
        self.lines.update(other.lines)
        self.files.update(other.files)
        self.examples = {**other.examples, **self.examples}

    def sums(self) -> str:
        """How many lines are bad in which way, the most first; "" if none is."""
        kinds = [(kind, WORDS.get(kind, f"with {kind[8:]} columns")) for kind in self.lines]
        counts = {words: self.lines[kind] for kind, words in kinds if kind in WORDS or kind.startswith("columns ")}
        return ", ".join(f"{count} {words}" for words, count in sorted(counts.items(), key=lambda pair: -pair[1]))

    def to_json(self) -> str:
        """As text for a cache."""
        return json.dumps([self.lines, self.files, self.examples])

    @classmethod
    def from_json(cls, text: str) -> Faults:
        """What `to_json` gave.

        Raises:
            ValueError: it is something else.
        """
        try:
            content = json.loads(text)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(content, list) or len(content) != 3 or not all(isinstance(part, dict) for part in content):
            raise ValueError("not the faults of a split")
        lines, files, examples = content
        if not all(_is_count(count) for part in (lines, files) for count in part.values()):
            raise ValueError("a count that is none")
        if not all(isinstance(example, str) and example.isprintable() for example in examples.values()):
            raise ValueError("an example that is no text")
        if any(lines.get(kind) and kind not in examples for kind in ("bad", "sign cut")):
            raise ValueError("no example")
        if not all(kind[6:].isdecimal() and len(kind) < 12 for kind in lines if kind.startswith("class ")):
            raise ValueError("a class must be a whole number")
        return cls(Counter(lines), Counter(files), examples)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63
