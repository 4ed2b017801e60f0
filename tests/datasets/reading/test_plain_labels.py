"""The quick reading of label files: it answers for plain files alone, and then as the careful reading does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgil.datasets.reading.label_text import parse_label_file, parse_plain_labels

NUMBERS = ["0", "7", "12", "0.5", ".25", "1.", "1e-3", "-0", "-.5", "+1", "1-2", "e", "1_0", "nan", "1e999", "0x1", ""]


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_the_quick_reading_is_the_careful_reading(data: st.DataObject) -> None:
    numbers = st.sampled_from(NUMBERS[: data.draw(st.sampled_from([8, len(NUMBERS)]))])
    columns = st.integers(5, 5) if data.draw(st.booleans()) else st.integers(3, 7)
    gap, newline = st.sampled_from(["", " ", "  ", "\t"]), st.sampled_from(["\n", "\n", "\n", "\n\n", "\r\n", "\x0b"])
    lines = []
    for count in data.draw(st.lists(columns, max_size=4)):
        gaps = [" "] * count if data.draw(st.booleans()) else data.draw(st.lists(gap, min_size=count, max_size=count))
        lines.append("".join(data.draw(numbers) + gap for gap in gaps[:-1]) + data.draw(numbers))
        lines.append(data.draw(newline))
    content = "".join(lines[: len(lines) - data.draw(st.booleans())]).encode()
    quick = parse_plain_labels(content)
    if quick is not None:
        rows = [(number + 1, tuple(quick[5 * number : 5 * number + 5])) for number in range(len(quick) // 5)]
        assert rows == list(parse_label_file(content))


@pytest.mark.parametrize("content", [b"", b"1 .5 .5 .2 .2", b"1 0.5 0.5 2e-1 0.2\n0 1 1 1 1\n", b"-1 9 9 +9 9\n"])
def test_plain_labels_are_read_quickly(content: bytes) -> None:
    expected = [float(column) for line in content.splitlines() for column in line.split()]
    assert parse_plain_labels(content) == expected


@pytest.mark.parametrize(
    "content",
    [
        *(b"1 .5 .5 .2\n", b"1 .5 .5 .2 .2 .1\n", b"1 .5 .5 .2\n1 .5 .5 .2 .2 .1\n", b"1  .5 .5 .2\n", b"\n"),
        *(b"1 .5 .5 .2 .2\n\n", b"1 .5 .5 .2 .2\r\n", b"1\t.5 .5 .2 .2\n", b"1 .5 .5 .2 nan\n", b"1 .5 .5 .2 1_0\n"),
        *(b"1 .5 .5 .2 .2\n1 .50 .5 .2 .2\n", b"\xef\xbb\xbf1 .5 .5 .2 .2\n", b"1 .5 .5 .2 1-2\n", b" 1 .5 .5 .2\n"),
    ],
)
def test_unusual_labels_are_left_to_the_careful_reading(content: bytes) -> None:
    assert parse_plain_labels(content) is None
