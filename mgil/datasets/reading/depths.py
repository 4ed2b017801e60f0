"""Pictures of 16 bits that use few of them: counted while they are decoded, and told once."""

from __future__ import annotations

from array import array
from typing import NamedTuple

from mgil.datasets.reading.value_range import DEEPEST, ValueRange
from mgil.files.text import Report


class Advice(NamedTuple):
    """How a user says what values mean: texts with a place for the number of bits, or places for both ends."""

    bits: str
    ends: str

    def text(self, values: ValueRange) -> str:
        """In words."""
        return self.bits.format(values.bits) if values.bits else self.ends.format(values.low, values.high)


IN_YAML = Advice("set `bits: {}` in the data set's YAML", "set `range: [{}, {}]` in the data set's YAML")


class DepthTally:
    """Counts pictures by the part of their values that they use.

    A picture of more than 8 bits is counted when its values span a quarter of those that it may have, or less, as with
    14 bits in a file of 16: two of the 8 bits that are left of it stay dark. Where the user chose both ends there is
    nothing to say of that. Counting is for several threads; telling, taking and joining for one.

    Args:
        values: What the values mean; None: all 16 bits.
        advice: What the user may do.
        chosen: The user said what the values mean for these pictures, and is told where that changed nothing.
    """

    def __init__(self, values: ValueRange | None = None, advice: Advice = IN_YAML, *, chosen: bool = False) -> None:
        self.values = values
        self.advice = advice
        self.chosen = chosen
        self._new = array("Q")  # lowest and highest value of the pictures that are not summed up yet
        self._deep = self._few = self._cut = 0  # pictures
        self._low, self._high = DEEPEST, 0  # of the few
        self._closed = False

    def add(self, low: int, high: int) -> None:
        """Count a picture of more than 8 bits by its lowest and its highest value."""
        if not self._closed:
            self._new.append(low << 32 | high)

    def take(self) -> array:
        """What was counted since the last call, for the `join` of another process."""
        taken, self._new = self._new, array("Q")
        return taken

    def join(self, taken: array) -> None:
        """Count what another process took."""
        if not self._closed:
            self._new.extend(taken)

    def tell(self, report: Report) -> None:
        """Say what there is to say, and count no more once something was said."""
        self._sum_up()
        for line in self._lines():
            report(line)
            self._closed = True

    def close(self, report: Report) -> None:
        """Say what there is to say: every picture was counted."""
        if not self._closed:
            self.tell(report)
            if self.chosen and self.values is not None and not self._deep:
                report(f"warning: `{self.values}` changed nothing: no picture has more than 8 bits")
        self._closed = True

    @property
    def _bits(self) -> int | None:
        """Of white; None: the user chose both ends."""
        return (self.values or ValueRange(0, DEEPEST)).bits

    def _sum_up(self) -> None:
        for pair in self.take():
            low, high = pair >> 32, pair & 0xFFFFFFFF
            self._deep += 1
            self._cut += self.values is not None and (low < self.values.low or high > self.values.high)
            if self._bits is not None and low < high and _is_small(low, high, self._bits):
                self._few += 1
                self._low, self._high = min(self._low, low), max(self._high, high)

    def _lines(self) -> list[str]:
        """What a user should know, a line each."""
        lines, many = [], f"of {self._deep} pictures of more than 8 bits"
        # each picture may span little, and all of them together much
        if not self._closed and self._few and self._bits and _is_small(self._low, self._high, self._bits):
            lines.append(f"warning: {self._few} {many} use {self._use(self._bits)}")
        if not self._closed and self._cut and self.values is not None:
            chosen = f"{self.values.low} to {self.values.high}"
            lines.append(f"warning: {self._cut} {many} have values outside `{self.values}`, {chosen}; they were cut")
        return lines

    def _use(self, white: int) -> str:
        bits = max(self._high.bit_length(), 8)
        if bits < white and not _is_small(self._low, self._high, bits):
            better, how = ValueRange.of_bits(bits), f"only {bits} of their {white} bits"
        else:
            better, how = ValueRange(self._low, self._high), f"a small part of the values of their {white} bits"
        others = self._deep - self._few
        what = self.advice.text(better)
        if others:
            what = f"the other {others} use more, so no setting suits all: scale the files to the same white"
        return f"{how} (values {self._low} to {self._high}), which takes their contrast away; {what}"


def _is_small(low: int, high: int, bits: int) -> bool:
    """Whether values span a quarter of those of so many bits, or less."""
    return 4 * (high - low) <= ValueRange.of_bits(bits).high
