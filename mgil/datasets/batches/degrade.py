"""The pixels of degraded pictures: what the steps of `degradation_steps` do."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from mgil.datasets.batches.degradation_steps import SPANS, Step


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
            if step.strength != SPANS[step.kind].nothing:
                image = _STEPS[step.kind](image, step.strength, rng)
        return image


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
