"""Paths packed into arrays: a sequence of strings like any other, small, and of any bytes."""

from __future__ import annotations

import copy
import os
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgil.datasets.reading.path_list import PathList, pack_texts, unpack_texts

PATHS = ["/a/1.jpg", "/a/é 2.png", os.fsdecode(b"/b/caf\xe9.png"), "x"]


def test_it_is_the_sequence_that_it_was_made_of() -> None:
    paths = PathList(PATHS)
    assert len(paths) == 4 and list(paths) == PATHS and paths == PATHS and paths == tuple(PATHS)
    assert [paths[index] for index in range(-4, 4)] == PATHS * 2
    assert paths[np.int64(2)] == PATHS[2]
    assert paths[1:3] == PATHS[1:3] and paths[::-1] == PATHS[::-1] and paths[9:] == []
    assert PATHS[3] in paths and "y" not in paths and paths.index("x") == 3
    assert paths != PATHS[:3] and paths != [*PATHS[:3], "y"] and paths != "x"
    assert PathList(["x"]) == PathList(iter(["x"])) and repr(PathList(["x"])) == "PathList(['x'])"


@pytest.mark.parametrize("index", [4, -5, 10**6])
def test_an_index_outside_is_an_error(index: int) -> None:
    with pytest.raises(IndexError):
        PathList(PATHS)[index]


def test_no_paths() -> None:
    assert len(PathList([])) == 0 and list(PathList([])) == [] and not PathList([])
    with pytest.raises(IndexError):
        PathList([])[0]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)))
def test_any_texts_come_back(texts: list[str]) -> None:
    assert unpack_texts(pack_texts(texts)) == texts
    assert list(PathList(texts)) == texts == [*copy.deepcopy(PathList(texts))]


def test_it_takes_less_room_than_strings() -> None:
    paths = [f"/data/coco/images/train2017/{number:012}.jpg" for number in range(1000)]
    assert PathList(paths).nbytes < 0.6 * sum(map(sys.getsizeof, paths))
