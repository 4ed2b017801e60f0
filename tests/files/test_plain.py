"""Nestings that are too large or too deep, and those that are not."""

from __future__ import annotations

from typing import Any

import pytest

from mgil.files.plain import MOST_DEPTH, check_bounded
from mgil.files.text import check_class_names, printable


def chain(depth: int) -> list[Any]:
    whole: list[Any] = []
    for _ in range(depth):
        whole = [whole]
    return whole


def doubled(times: int) -> list[Any]:
    whole: list[Any] = [1]
    for _ in range(times):
        whole = [whole, whole]
    return whole


def in_itself() -> list[Any]:
    whole: list[Any] = []
    whole.extend([whole, whole])
    return whole


@pytest.mark.parametrize(
    "value", [1, "text", None, [], {}, {"a": [1, (2, 3)]}, chain(MOST_DEPTH), doubled(8), [[1, 2]] * 20, {1, 2}]
)
def test_what_programs_write(value: Any) -> None:
    check_bounded(value, 1000)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (list(range(1000)), "more than 1,000 values"),
        (doubled(10), "more than 1,000 values"),
        (doubled(60), "more than 1,000 values"),
        ({"a": {"b": doubled(60)}}, "more than 1,000 values"),
        (dict.fromkeys(range(600)), "more than 1,000 values"),
        (chain(MOST_DEPTH + 1), "nested more than"),
        ([chain(3), chain(MOST_DEPTH)], "nested more than"),
        (in_itself(), "nested more than"),
    ],
)
def test_what_no_program_writes(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_bounded(value, 1000)


def test_a_part_counts_as_often_as_it_stands_there() -> None:
    part = [1] * 9  # ten values
    check_bounded([part] * 10, 101)
    with pytest.raises(ValueError, match="more than 100 values"):
        check_bounded([part] * 10, 100)


@pytest.mark.parametrize("text", ["plain", "\u00e4\u4e2d\u6587 \U0001f600", ""])
def test_printable_text_stays(text: str) -> None:
    assert printable(text) == text


def test_what_cannot_be_printed_is_spelt_out() -> None:
    assert printable("a\x1b[2J\nb\u202e\udcff") == r"a\x1b[2J\nb\u202e\udcff"


@pytest.mark.parametrize(
    ("names", "words"),
    [(["a", "b\n"], "class 1 is"), (["x" * 201], "201 characters"), (["x"] * 20_001, "20001 class names")],
)
def test_class_names(names: list[str], words: str) -> None:
    check_class_names(["person", "traffic light", "\u4eba", "$x$", "<b>"])
    with pytest.raises(ValueError, match=words):
        check_class_names(names)
