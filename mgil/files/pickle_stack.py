"""What the operations of a pickle work on, for programs that follow these without carrying them out."""

from __future__ import annotations

from typing import Any


class Stack:
    """Values, and the places of the marks among them: as in Python's own reader, nothing reaches below a mark."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.marks: list[int] = []

    def push(self, *values: Any) -> None:
        """Put values on top, the last one uppermost."""
        self.values.extend(values)

    def take(self, count: int) -> list[Any]:
        """The uppermost values, which leave the stack; IndexError if there are fewer above the last mark."""
        start = len(self.values) - count
        if start < (self.marks[-1] if self.marks else 0):
            raise IndexError("too few values")
        return self._cut(start)

    def take_marked(self) -> list[Any]:
        """All values above the last mark, which leave the stack with it; IndexError without one."""
        return self._cut(self.marks.pop())

    def top(self) -> Any:
        """The uppermost value, which stays."""
        self.push(*self.take(1))
        return self.values[-1]

    def _cut(self, start: int) -> list[Any]:
        taken = self.values[start:]
        del self.values[start:]
        return taken
