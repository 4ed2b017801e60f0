"""What can be done to a picture, by name and strength: `area:4 jpeg:30 noise:8`. Imports nothing heavy: flags check it.

A step is a kind and a strength, in pixels and grey levels of the picture that it is given:

    area:F    F times fewer pixels a side (means over areas), brought back to the size bilinearly; F >= 1
    blur:S    Gaussian blur of standard deviation S pixels
    gamma:G   v ** G of values v in 0..1: darker above 1, brighter below
    noise:S   Gaussian noise of standard deviation S grey levels of 255, by pixel and channel
    jpeg:Q    compressed as a JPEG of quality Q (1 to 100) and read again
"""

from __future__ import annotations

from dataclasses import dataclass

from mgil.files.names import hint_for


@dataclass(frozen=True)
class Span:
    """Strengths that a kind may have, the one that changes nothing, and whether they are whole numbers."""

    least: float
    most: float
    nothing: float | None
    whole: bool = False


SPANS = {
    "area": Span(1, 64, 1),
    "blur": Span(0, 50, 0),
    "gamma": Span(0.1, 10, 1),
    "noise": Span(0, 255, 0),
    "jpeg": Span(1, 100, None, whole=True),
}
EXAMPLE = "area:4, jpeg:30, noise:8, blur:1.5 or gamma:2"


@dataclass(frozen=True)
class Step:
    """One kind of degradation at one strength.

    Raises:
        ValueError: An unknown kind, or a strength outside its `SPANS`.
    """

    kind: str
    strength: float

    def __post_init__(self) -> None:
        span = SPANS.get(self.kind)
        if span is None:
            hint = hint_for(self.kind, SPANS) or f"known are {', '.join(SPANS)}"
            raise ValueError(f"no degradation is called {self.kind!r:.40}; {hint}")
        value = self.strength
        if not span.least <= value <= span.most or (span.whole and value != int(value)):
            kind = "a whole number" if span.whole else "a number"
            raise ValueError(f"{self.kind} takes {kind} from {span.least:g} to {span.most:g}, not {value:g}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.strength:g}"


def steps_of(text: str) -> tuple[Step, ...]:
    """`area:4` or, of several strengths, `area:2,4,8`.

    Raises:
        ValueError: It is none of these.
    """
    kind, colon, strengths = text.partition(":")
    try:
        values = [float(value) for value in strengths.split(",")]
    except ValueError:
        values = []
    if not colon or not values:
        raise ValueError(f"{text!r:.40} is no degradation; write e.g. {EXAMPLE}")
    steps = tuple(Step(kind, value) for value in values)
    if len(set(map(str, steps))) < len(steps):
        raise ValueError(f"{text!r:.40} names a strength twice")
    return steps
