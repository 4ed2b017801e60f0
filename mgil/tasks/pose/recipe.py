"""Pose's recipe: the values of data/hyps/hyp.simcc-*.yaml and hyp.pose-*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mgil.datasets.batches.augment import AugmentConfig
from mgil.files.recipe import Recipe

SMALL, FINETUNE = "hyp.pose-small.yaml", "hyp.pose-finetune.yaml"


@dataclass(frozen=True)
class PoseRecipe(Recipe):
    """One recipe of pose; what it draws follows SimpleBaseline's training, which HRNet and SimCC share.

    Raises:
        ValueError: A value that cannot be right, named.
    """

    searched: ClassVar[Mapping[str, tuple[float, float]]] = {
        **Recipe.searched,
        "smoothing": (0.01, 0.4),
        "sigma": (0.5, 12.0),
        "scale": (0.05, 0.6),
        "degrees": (1.0, 60.0),
        **dict.fromkeys(("rotated", "fliplr", "half_body"), (0.01, 1.0)),
        "hsv_h": (0.001, 0.1),
        **dict.fromkeys(("hsv_s", "hsv_v"), (0.01, 0.9)),
    }

    smoothing: float = 0.1  # share of a one-hot target that the other bins divide among themselves
    sigma: float = 6.0  # of a Gaussian target, in bins
    scale: float = 0.35  # standard deviation of the zoom, which is at most 1 +/- this
    degrees: float = 45.0  # standard deviation of the rotation, which is at most twice this
    rotated: float = 0.6  # share of the people that are rotated
    fliplr: float = 0.5  # probability of a left-right flip
    half_body: float = 0.3  # probability of a crop of the upper or the lower body, where 9 joints or more are labelled
    hsv_h: float = 0.0  # hue shift, share of the circle
    hsv_s: float = 0.0  # saturation change
    hsv_v: float = 0.0  # brightness change

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_most_one("rotated", "fliplr", "half_body", "hsv_h", "hsv_s", "hsv_v")
        for name, most in (("smoothing", 0.99), ("scale", 0.9), ("degrees", 90.0)):
            if getattr(self, name) > most:
                raise ValueError(f"hyp {name}: {getattr(self, name)!r} must be at most {most:g}")
        if not self.sigma:
            raise ValueError("hyp sigma: 0 bins is no width")

    def colours(self) -> AugmentConfig:
        """The part that changes colours."""
        return AugmentConfig(
            translate=0, scale=0, fliplr=0, mosaic=0, hsv_h=self.hsv_h, hsv_s=self.hsv_s, hsv_v=self.hsv_v
        )
