"""Which values of 16-bit pictures are black and white. Imports nothing slow, as flags are checked with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

DEEPEST = 2**16 - 1  # the largest value of 16 bits
BITS = range(8, 17)  # how many of 16 bits a camera may use


@dataclass(frozen=True)
class ValueRange:
    """Which values of a picture of more than 8 bits become 0 and 255; what lies outside becomes the nearer of them."""

    low: int
    high: int

    @classmethod
    def of_bits(cls, bits: int) -> ValueRange:
        """All values of so many bits."""
        return cls(0, 2**bits - 1)

    @property
    def ends(self) -> tuple[int, int]:
        """Both, as plain numbers for a file."""
        return self.low, self.high

    @property
    def bits(self) -> int | None:
        """How many bits have exactly these values; None: no number of bits."""
        return next((bits for bits in BITS if self == self.of_bits(bits)), None)

    def __str__(self) -> str:
        """As it is written in a data set's YAML."""
        return f"bits: {self.bits}" if self.bits else f"range: [{self.low}, {self.high}]"


def range_of(bits: Any, ends: Any, names: tuple[str, str] = ("bits", "range")) -> ValueRange | None:
    """The range that a user gives, by the number of bits or by its two ends; None where neither is given.

    Args:
        bits: 8 to 16, or None.
        ends: The lowest and the highest value, or None.
        names: What the user calls the two.

    Raises:
        ValueError: Both are given, or a value that makes no sense; it is named.
    """
    if bits is not None and (not _is_whole(bits) or bits not in BITS):
        raise ValueError(f"{names[0]} is {bits!r}, must be a whole number from {BITS[0]} to {BITS[-1]}")
    if ends is None:
        return None if bits is None else ValueRange.of_bits(int(bits))
    if bits is not None:
        raise ValueError(f"{names[0]} and {names[1]} both say what the values mean; give one of them")
    pair = tuple(ends) if isinstance(ends, list | tuple) else ()
    if len(pair) != 2 or not all(map(_is_whole, pair)) or not 0 <= pair[0] < pair[1] <= DEEPEST:
        raise ValueError(f"{names[1]} is {ends!r}, must be two whole numbers, 0 <= lowest < highest <= {DEEPEST}")
    return ValueRange(int(pair[0]), int(pair[1]))


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def range_from_file(values: Mapping[str, Any], source: object) -> ValueRange | None:
    """The range that weights were trained with, from what their file says; None where it says nothing.

    Raises:
        ValueError: It is none.
    """
    try:
        return range_of(None, values.get("range"))
    except ValueError as error:
        raise ValueError(f"{source}: {str(error)[:200]}") from error
