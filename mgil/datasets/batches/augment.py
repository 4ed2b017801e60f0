"""How strongly training images are augmented, and the colour part of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

# Rec. 601 luma weights of R, G, B: the grey that a colour keeps when its saturation changes.
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class AugmentConfig:
    """Strengths of the training augmentation; names and defaults are those of YOLOv5's scratch-low recipe.

    Raises:
        ValueError: a strength is not a number or outside its range.
    """

    degrees: float = 0.0  # rotation, uniform in +-degrees
    translate: float = 0.1  # shift, uniform in +- this fraction of the output's side
    scale: float = 0.5  # zoom, uniform in 1 +- scale; below 1, so that an image never vanishes
    shear: float = 0.0  # shear along x and along y, uniform in +-degrees
    perspective: float = 0.0  # tilt about x and about y, uniform in +- this, per pixel of the canvas
    flipud: float = 0.0  # probability of an up-down flip
    fliplr: float = 0.5  # probability of a left-right flip
    mosaic: float = 1.0  # probability that an image is a mosaic of four
    mixup: float = 0.0  # probability that a second mosaic is blended into a mosaic
    copy_paste: float = 0.0  # share of a mosaic's outlined objects that are tried to be pasted mirrored
    hsv_h: float = 0.015  # hue gain
    hsv_s: float = 0.7  # saturation gain, uniform in 1 +- hsv_s
    hsv_v: float = 0.4  # value (brightness) gain, uniform in 1 +- hsv_v
    min_box_px: float = 2.0  # a box survives when both its sides are longer than this after augmentation
    min_area_ratio: float = 0.1  # ... when more than this part of it is still visible
    max_aspect: float = 100.0  # ... and when its longer side is below this multiple of the shorter

    def __post_init__(self) -> None:
        limits = {
            "degrees": 180.0,
            "scale": 0.99,
            "shear": 80.0,
            "perspective": 0.1,
            "min_box_px": math.inf,
            "max_aspect": math.inf,
        }
        for field in fields(self):
            value = getattr(self, field.name)
            limit = limits.get(field.name, 1.0)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= limit:
                raise ValueError(f"augmentation {field.name}: {value!r} is not a number between 0 and {limit:g}")

    @classmethod
    def none(cls) -> AugmentConfig:
        """No augmentation at all: plain letterboxed images."""
        return cls(translate=0.0, scale=0.0, fliplr=0.0, mosaic=0.0, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0)

    @property
    def changes_colour(self) -> bool:
        """Whether any colour gain is above zero."""
        return max(self.hsv_h, self.hsv_s, self.hsv_v) > 0


def hue_matrices(radians: np.ndarray) -> np.ndarray:
    """Rotations of RGB space about the grey axis (Rodrigues' formula), which turn the hue and keep R + G + B.

    Args:
        radians: (B,) angles; a positive one turns red towards green.

    Returns:
        (B, 3, 3).
    """
    axis = np.full(3, 1 / math.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    cosine, sine = np.cos(radians)[:, None, None], np.sin(radians)[:, None, None]
    return cosine * np.eye(3) + sine * cross + (1 - cosine) * np.outer(axis, axis)


def colour_matrices(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """One linear map of RGB per image that stands in for gains on hue, saturation and value.

    YOLOv5 converts to HSV, multiplies the three channels and converts back. Multiplying the hue by 1 + g moves it by g
    times itself, 180 degrees * g for the mean hue: here every hue is turned by that much. Multiplying the saturation
    moves a colour away from its grey; here the grey is the luma, so the brightness stays. The value gain is exact.

    Args:
        hue: (B,) hue gains minus one.
        saturation: (B,) saturation gains.
        value: (B,) value gains.

    Returns:
        (B, 3, 3) float64, applied to column vectors (R, G, B).
    """
    grey = np.broadcast_to(LUMA, (3, 3))
    gain = saturation[:, None, None]
    saturate = grey * (1 - gain) + np.eye(3) * gain
    return value[:, None, None] * (saturate @ hue_matrices(hue * math.pi))


def draw_colours(rng: np.random.Generator, config: AugmentConfig, count: int) -> np.ndarray | None:
    """Random colour maps for `count` images.

    Returns:
        (count, 3, 3) float64, or None when every colour gain is zero.
    """
    if not config.changes_colour:
        return None
    gains = rng.uniform(-1, 1, (3, count)) * np.array([[config.hsv_h], [config.hsv_s], [config.hsv_v]])
    return colour_matrices(gains[0], 1 + gains[1], 1 + gains[2])
