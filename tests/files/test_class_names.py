"""Class names of two files held against each other."""

from __future__ import annotations

import pytest

from mgil.files.class_names import first_difference, first_double, first_moved, places_in, rows_by_name, same_classes


@pytest.mark.parametrize(
    ("other", "names", "places", "same", "moved"),
    [
        (["a", "b"], ["a", "b"], [0, 1], True, None),
        (["a", "b"], ["b", "a"], [1, 0], True, 0),
        (["a", "b", "c"], ["a", "c", "b"], [0, 2, 1], True, 1),
        (["a", "b"], ["b", "c"], [1, -1], False, 0),
        (["a", "b"], ["c", "b"], [-1, 1], False, None),
        (["Red", "blue "], ["BLUE", "red"], [1, 0], True, 0),
        (["a", "A"], ["A", "a"], [1, 0], True, 0),
        (["a", "A"], ["a", "A"], [0, 1], True, None),
        (["x", "x"], ["x", "x"], [0, 1], True, None),  # of two with one name nobody says which is meant
        (["caf\u00e9", "tea"], ["tea", "cafe\u0301"], [1, 0], True, 0),
        (["hot dog", "cat"], ["cat", "hot  dog"], [1, 0], True, 0),
        (["a"], ["a", "b"], [0, -1], False, None),
    ],
)
def test_names_are_found(other: list[str], names: list[str], places: list[int], same: bool, moved: int | None) -> None:
    assert places_in(other, names) == places
    assert same_classes(other, names) == same
    assert first_moved(other, names) == moved


def test_rows_of_names_that_are_not_there_are_those_left() -> None:
    assert rows_by_name(["a", "b", "c"], ["c", "x", "a"]) == [2, 1, 0]
    assert rows_by_name(["a", "b", "c"], ["x", "y", "z"]) == [0, 1, 2]
    assert rows_by_name(["a", "b", "c"], ["x", "a", "y"]) == [1, 0, 2]


def test_doubles_and_differences() -> None:
    assert first_double(["a", "b", " b", "a"]) == (1, 2) and first_double(["a", "A"]) is None
    assert first_difference(["a", "b"], ["a"]) == (1, "b", None)
