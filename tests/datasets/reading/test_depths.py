"""Which pictures are said to use few of their values, and what is advised."""

from __future__ import annotations

import pickle

import pytest

from mgil.datasets.reading.depths import DepthTally
from mgil.datasets.reading.value_range import ValueRange

FULL = (0, 65535)
DEEP = "pictures of more than 8 bits"


def told(extents: list[tuple[int, int]], values: ValueRange | None = None) -> list[str]:
    tally, lines = DepthTally(values), list[str]()
    for extent in extents:
        tally.add(*extent)
    tally.close(lines.append)
    return lines


@pytest.mark.parametrize(
    ("extents", "expected"),
    [
        ([(16, 4080)] * 3, f"3 of 3 {DEEP} use only 12 of their 16 bits (values 16 to 4080)"),
        (
            [(0, 900), (100, 1023)],
            f"2 of 2 {DEEP} use only 10 of their 16 bits (values 0 to 1023)",
        ),
        ([(0, 16383)], "use only 14 of their 16 bits (values 0 to 16383)"),
        ([(0, 200)], "use only 8 of their 16 bits"),
        ([(0, 1)], "use a small part of the values of their 16 bits (values 0 to 1)"),
        ([(29000, 30000), (29500, 31000)], "a small part of the values of their 16 bits (values 29000 to 31000)"),
        ([(0, 4095), FULL], f"1 of 2 {DEEP} use only 12 of their 16 bits"),
    ],
)
def test_few_values_are_told(extents: list[tuple[int, int]], expected: str) -> None:
    (line,) = told(extents)
    assert line.startswith("warning: ") and expected in line


@pytest.mark.parametrize(
    ("extents", "advice"),
    [
        ([(16, 4080)], "; set `bits: 12` in the data set's YAML"),
        ([(0, 16383)], "; set `bits: 14` in the data set's YAML"),
        ([(7000, 8500)], "; set `range: [7000, 8500]` in the data set's YAML"),
        ([(0, 4095), FULL], "; the other 1 use more, so no setting suits all: scale the files to the same white"),
    ],
)
def test_advice(extents: list[tuple[int, int]], advice: str) -> None:
    assert told(extents)[0].endswith(advice)


@pytest.mark.parametrize(
    ("extents", "values"),
    [
        ([], None),
        ([FULL, (0, 40000)], None),
        ([(0, 16384)], None),  # more than a quarter of 16 bits
        ([(500, 500), (0, 0)], None),  # of one value: nothing is seen in it with any setting
        ([(0, 9000), (30000, 40000)], None),  # each a little, together much
        ([(0, 4095), (100, 2000)], ValueRange.of_bits(12)),
        ([(29010, 29020)], ValueRange(29000, 31000)),  # both ends are the user's
    ],
)
def test_nothing_to_say(extents: list[tuple[int, int]], values: ValueRange | None) -> None:
    assert told(extents, values) == []


def test_a_setting_that_is_too_wide_or_too_narrow_is_told() -> None:
    assert f"1 of 1 {DEEP} use only 10 of their 12 bits" in told([(0, 1023)], ValueRange(0, 4095))[0]
    (line,) = told([(0, 4096), (0, 4095)], ValueRange.of_bits(12))
    assert line == f"warning: 1 of 2 {DEEP} have values outside `bits: 12`, 0 to 4095; they were cut"
    (line,) = told([(2, 8), (3, 9)], ValueRange(3, 9))
    assert f"1 of 2 {DEEP} have values outside `range: [3, 9]`" in line


def test_a_choice_without_effect_is_told() -> None:
    for chosen, expected in (
        (True, ["warning: `bits: 12` changed nothing: no picture has more than 8 bits"]),
        (False, []),
    ):
        lines: list[str] = []
        DepthTally(ValueRange.of_bits(12), chosen=chosen).close(lines.append)
        assert lines == expected
    DepthTally(chosen=True).close(lines.append)
    assert lines == []


def test_it_is_told_once_and_counted_over_processes() -> None:
    tally, lines = DepthTally(), list[str]()
    tally.tell(lines.append)
    worker: DepthTally = pickle.loads(pickle.dumps(tally))
    for _ in range(2):
        worker.add(0, 4095)
        tally.join(worker.take())
    tally.tell(lines.append)
    assert len(lines) == 1 and "2 of 2" in lines[0]
    tally.add(0, 900)
    tally.close(lines.append)
    tally.close(lines.append)
    assert len(lines) == 1
