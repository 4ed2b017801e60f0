"""What cameras, distance and compression do to a picture, as steps of a chosen strength: `area:4 jpeg:30 noise:8`.

A step is a kind and a strength, in pixels and grey levels of the picture that it is given:

    area:F    F times fewer pixels a side (means over areas), brought back to the size bilinearly; F >= 1
    blur:S    Gaussian blur of standard deviation S pixels
    gamma:G   v ** G of values v in 0..1: darker above 1, brighter below
    noise:S   Gaussian noise of standard deviation S grey levels of 255, by pixel and channel
    jpeg:Q    compressed as a JPEG of quality Q (1 to 100) and read again
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

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

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 RGB to the same of new pixels; `rng` draws the noise."""
        if self.strength == SPANS[self.kind].nothing:
            return image
        return _STEPS[self.kind](image, self.strength, rng)


@dataclass(frozen=True)
class Degradation:
    """Steps one after another; equal pictures become equal pictures, whatever their name and the order they come in."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return " ".join(map(str, self.steps))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB to the same of new pixels."""
        image = np.ascontiguousarray(image)
        rng = np.random.default_rng(zlib.crc32(image.data))
        for step in self.steps:
            image = step(image, rng)
        return image


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


def _area(image: np.ndarray, factor: float, _rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    fewer = (max(1, round(width / factor)), max(1, round(height / factor)))
    small = cv2.resize(image, fewer, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _blur(image: np.ndarray, deviation: float, _rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), deviation, borderType=cv2.BORDER_REFLECT_101)


def _gamma(image: np.ndarray, exponent: float, _rng: np.random.Generator) -> np.ndarray:
    table: np.ndarray = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return table[image]


def _noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(deviation)
    noisy: np.ndarray = np.rint(image + noise).clip(0, 255).astype(np.uint8)
    return noisy


def _jpeg(image: np.ndarray, quality: float, _rng: np.random.Generator) -> np.ndarray:
    good, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    read = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if good else None
    if read is None:  # JPEG has at most 65,535 pixels a side
        raise ValueError(f"OpenCV cannot make a JPEG of {image.shape[0]}x{image.shape[1]} pixels (height x width)")
    return read


_STEPS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "area": _area,
    "blur": _blur,
    "gamma": _gamma,
    "noise": _noise,
    "jpeg": _jpeg,
}
