"""Many file paths in two arrays instead of one Python object each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


def pack_texts(texts: Iterable[str]) -> np.ndarray:
    """Texts as the bytes of one, each ended by a NUL: file names may hold bytes that are not UTF-8, but never a NUL."""
    if isinstance(texts, PathList):
        return texts.packed
    return np.frombuffer(os.fsencode("\0".join([*texts, ""])), np.uint8)


def unpack_texts(packed: np.ndarray) -> list[str]:
    """The texts that `pack_texts` was given."""
    return os.fsdecode(packed.tobytes()).split("\0")[:-1]


class PathList(Sequence[str]):
    """Paths that worker processes share instead of copy.

    A forked process shares memory with its parent until one of them writes to it, and merely looking at a Python
    string writes to its reference count. The paths of 118,287 images would so be copied, some 9 MiB into each worker.
    """

    def __init__(self, paths: Iterable[str] | np.ndarray) -> None:
        """Take the paths, or what `pack_texts` made of them."""
        packed = paths if isinstance(paths, np.ndarray) else pack_texts(paths)
        self.packed = packed.reshape(-1).view(np.uint8)
        self._ends = np.flatnonzero(self.packed == 0)

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take."""
        return self.packed.nbytes + self._ends.nbytes

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        end = self._ends[index]
        first = index in (0, -len(self))
        return os.fsdecode(self.packed[0 if first else self._ends[index - 1] + 1 : end].tobytes())

    def __iter__(self) -> Iterator[str]:
        return iter(unpack_texts(self.packed))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PathList | list | tuple):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"PathList({list(self)!r})"
