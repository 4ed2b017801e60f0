"""The text of YOLO label files as rows of numbers: box, polygon or key points, whatever the separators are."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mgil.files.text import to_utf8

PLAIN_CHARACTERS = b"0123456789.+-eE"  # what numbers are written with
PLAIN_GAPS = b"    \n"  # what else a line with five numbers has
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}".encode()
DECIMAL_COMMA = re.compile(rb"[+-]?\d+,\d+(?:[eE][+-]?\d+)?|[+-]?\d+")
MARGIN = 0.01  # of the image: how far a key point may leave its box by rounding
NEAR = 0.1  # of the image: how far the second point of a small polygon may be from the others
FITTING = 0.95  # share of the long lines that must look like key points
MOST_COLUMNS_TOLD = 99  # lines with more columns are counted together
LEAST_LONG = 10  # long lines from which their look says something, where each point is two numbers


class BadLine(NamedTuple):
    """A line that is no row of numbers."""

    kind: str  # "columns 6", "number" or "twice"
    reason: str


class LongRow(tuple[float, ...]):
    """The five numbers of a line that has more."""


@dataclass
class LongLines:
    """What the lines with more than five numbers look like, added up over a split.

    Polygons and key points may have the same number of columns. Key points are told by all lines together: each has the
    same number of columns, begins with a box inside the image, and has its points inside that box. Polygons that lie so
    by chance are small, and so near to each other that the second is no width and height of the others.
    """

    columns: Counter[int] = field(default_factory=Counter)  # lines by their number of columns
    # Lines by (columns, how they fit): "2" and "3" numbers a point, or "flags", where the third is 0, 1 or 2.
    fitting: Counter[tuple[int, str]] = field(default_factory=Counter)
    polygons: Counter[int] = field(default_factory=Counter)  # those that may be polygons as well

    def add(self, values: tuple[float, ...]) -> None:
        """Look at one line."""
        count = len(values)
        self.columns[count] += 1
        fits = [how for numbers in (2, 3) if (how := _fit(values, numbers))]
        self.fitting.update((count, how) for how in fits)
        self.polygons[count] += bool(fits) and count % 2 == 1 and _is_polygon(values)

    def update(self, other: LongLines) -> None:
        """Add what was seen elsewhere."""
        self.columns.update(other.columns)
        self.fitting.update(other.fitting)
        self.polygons.update(other.polygons)

    def key_point_columns(self) -> int | None:
        """How many columns the lines with key points have; None where long lines are polygons."""
        if not self.columns:
            return None
        (count, lines), total = self.columns.most_common(1)[0], self.columns.total()
        if lines < FITTING * total:
            return None
        told = lines >= LEAST_LONG and 2 * self.polygons[count] < lines
        ways = ("flags", "2", "3") if told else ("flags",)
        return count if any(self.fitting[count, how] >= FITTING * lines for how in ways) else None


def _fit(values: tuple[float, ...], numbers: int) -> str:
    """How a line may be a box and key points of 2 or 3 numbers each, as in `LongLines.fitting`; "" if it is not."""
    if (len(values) - 5) % numbers:
        return ""
    cx, cy, half_width, half_height = values[1], values[2], values[3] / 2, values[4] / 2
    left, right, top, bottom = cx - half_width, cx + half_width, cy - half_height, cy + half_height
    in_image = min(left, top) >= -MARGIN and max(right, bottom) <= 1 + MARGIN
    if not in_image or half_width <= 0 or half_height <= 0:
        return ""
    # A point that is not labelled is at 0 0.
    points = [(x, y) for x, y in zip(values[5::numbers], values[6::numbers], strict=True) if x or y]
    inside = sum(left - MARGIN <= x <= right + MARGIN and top - MARGIN <= y <= bottom + MARGIN for x, y in points)
    if numbers == 3 and 2 * inside >= len(points) and all(flag in (0, 1, 2) for flag in values[7::3]):
        return "flags"  # 0 hidden, 1 covered, 2 visible: no coordinates, so that points may lie outside
    return str(numbers) if inside == len(points) > 0 else ""


def _is_polygon(values: tuple[float, ...]) -> bool:
    """Whether a line that fits key points may be a polygon: its second point is where the others are."""
    for column in (1, 2):
        second, others = values[column + 2], (values[column], *values[column + 4 :: 2])
        low, high = min(others), max(others)
        reach = max(high - low, NEAR)
        if high - low > second / 2 or not low - reach <= second <= high + reach:
            return False
    return True


def parse_plain_labels(content: bytes) -> list[float] | None:
    """Parse a label file with nothing unusual in it, three times as fast as `parse_label_file`.

    Returns:
        The five numbers of each line, one line after the other; None if `parse_label_file` must look at it: another
        layout than five numbers between single spaces per line, or two equal lines.
    """
    gaps = content.translate(None, PLAIN_CHARACTERS)
    lines = (len(gaps) + 1) // len(PLAIN_GAPS)
    if gaps != (PLAIN_GAPS * lines)[: len(gaps)]:
        return None
    try:
        values = list(map(float, content.split()))
    except ValueError:
        return None
    columns = iter(values)
    if len(values) != 5 * lines or len(set(zip(columns, columns, columns, columns, columns, strict=True))) != lines:
        return None
    return values


def parse_label_file(
    content: bytes, key_point_columns: int | None = None, long_lines: LongLines | None = None
) -> Iterator[tuple[int, tuple[float, ...] | BadLine]]:
    """Parse `class cx cy w h` lines, and longer ones.

    `class x1 y1 x2 y2 x3 y3 ...` is a polygon, which becomes its box. So do the four corners of a rotated box. A line
    of `key_point_columns` numbers begins with its box.

    Args:
        content: the file, in any of the encodings that `to_utf8` knows.
        key_point_columns: how many columns a line with key points has; None: there are none.
        long_lines: gets each line with more than five numbers.

    Yields:
        (line number, numbers) or (line number, what is wrong with the line); empty lines are passed over.
    """
    seen: set[tuple[float, ...]] = set()
    for number, line in enumerate(to_utf8(content).splitlines(), start=1):
        columns = _columns_of(line)
        if not columns:
            continue
        count = len(columns)
        values = _numbers_of(columns)
        if values is not None and count > 6 and long_lines is not None:
            long_lines.add(values)
        if values is None and count >= 5:  # with fewer, the separators are the matter
            yield number, BadLine("number", f"{_first_not_a_number(columns)} is not a number")
            continue
        if values is None or not _is_expected(count, key_point_columns):
            others = "a polygon" if key_point_columns is None else f"{key_point_columns} with key points"
            reason = f"expected 5 columns (class cx cy w h) or {others}, found {count}"
            yield number, BadLine(f"columns {min(count, MOST_COLUMNS_TOLD)}", reason)
            continue
        if count == 7 and key_point_columns is None and _ends_in_track_id(values):
            yield number, BadLine("columns 7", "found 7 columns, the last of them no coordinate but a whole number")
            continue
        if count > 5:
            values = LongRow(values[:5] if key_point_columns else _box_of_polygon(values))
        if values in seen:
            yield number, BadLine("twice", "the same box as on an earlier line")
            continue
        seen.add(values)
        yield number, values


def parse_polygons(content: bytes) -> Iterator[tuple[float, ...]]:
    """Yield class and x1 y1 x2 y2 x3 y3 ... of the lines of a label file that may be polygons."""
    for line in to_utf8(content).splitlines():
        values = _numbers_of(_columns_of(line))
        if values is not None and len(values) > 6 and len(values) % 2:
            yield values


def numbers_of_line(line: bytes) -> tuple[float, ...] | None:
    """The numbers of a line; None where one is no number."""
    return _numbers_of(_columns_of(line))


def _is_expected(count: int, key_point_columns: int | None) -> bool:
    if key_point_columns is not None:
        return count in (5, key_point_columns)
    return count == 5 or (count >= 7 and count % 2 == 1)


def _columns_of(line: bytes) -> list[bytes]:
    """The columns of a line, between blanks, semicolons or commas; a comma within a number is its decimal point."""
    if b";" in line or NO_BREAK_SPACE in line:
        line = line.replace(b";", b" ").replace(NO_BREAK_SPACE, b" ")
    columns = line.split()
    if b"," not in line:
        return columns
    if b"." not in line and len(columns) >= 5 and all(map(DECIMAL_COMMA.fullmatch, columns)):
        return [column.replace(b",", b".") for column in columns]
    parts = b" ".join(columns).replace(b",", b" ").split()
    if b"." not in line and len(parts) >= 9 and len(parts) % 2 and set(parts[1::2]) <= {b"0", b"1"}:
        # 0,0,5,0,5,0,25,0,5: commas between the columns and in them
        return [parts[0], *(b".".join(pair) for pair in zip(parts[1::2], parts[2::2], strict=True))]
    return parts


def _ends_in_track_id(values: tuple[float, ...]) -> bool:
    return values[6] > 1 and values[6].is_integer() and 0 <= values[5] <= 1


def _numbers_of(columns: list[bytes]) -> tuple[float, ...] | None:
    try:
        values = tuple(map(float, columns))
    except ValueError:
        return None
    # Python reads 1_000 as a number; a label file has no such thing.
    return None if b"_" in b"".join(columns) else values


def _first_not_a_number(columns: list[bytes]) -> str:
    bad = next(column for column in columns if _numbers_of([column]) is None)
    return repr(bad[:20].decode("utf-8", "backslashreplace"))


def _box_of_polygon(values: tuple[float, ...]) -> tuple[float, ...]:
    x1, x2 = min(values[1::2]), max(values[1::2])
    y1, y2 = min(values[2::2]), max(values[2::2])
    if not math.isfinite(sum(values)):
        x1 = float("nan")  # min and max may have passed over one
    return (values[0], (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
