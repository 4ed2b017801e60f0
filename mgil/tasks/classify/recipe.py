"""Classification's recipe: the values of data/hyps/hyp.cls-*.yaml, hyp.cifar.yaml and their like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mgil.datasets.batches.augment import AugmentConfig
from mgil.files.recipe import Recipe

SMALL, FINETUNE = "hyp.cls-small.yaml", "hyp.cls-finetune.yaml"


@dataclass(frozen=True)
class ClassRecipe(Recipe):
    """One recipe of classification.

    Raises:
        ValueError: A value that cannot be right, named.
    """

    searched: ClassVar[Mapping[str, tuple[float, float]]] = {
        **Recipe.searched,
        "smoothing": (0.01, 0.4),
        "dropout": (0.01, 0.7),
        **dict.fromkeys(("mixup", "cutmix"), (0.01, 0.5)),
        **dict.fromkeys(("mixup_alpha", "cutmix_alpha"), (0.05, 2.0)),
        "scale_min": (0.05, 1.0),
        "degrees": (1.0, 45.0),
        **dict.fromkeys(("fliplr", "flipud"), (0.01, 1.0)),
        "hsv_h": (0.001, 0.1),
        **dict.fromkeys(("hsv_s", "hsv_v"), (0.01, 0.9)),
    }

    off: ClassVar[Mapping[str, float]] = {**Recipe.off, "scale_min": 1.0}  # the centred square, or the padded picture

    smoothing: float = 0.1  # share of a target that all classes divide evenly
    dropout: float = 0.0  # share of the features that the last row does not see
    mixup: float = 0.0  # probability that a second picture is blended into one
    mixup_alpha: float = 0.2  # both shares are drawn from a beta distribution with this twice
    cutmix: float = 0.0  # probability that a rectangle of a second picture covers a part of one
    cutmix_alpha: float = 1.0  # the same of the areas
    scale_min: float = 0.35  # least area of the random crop, as a share of the picture; 1: the centred square
    ratio: float = 4 / 3  # most of the crop's width over height, and of its height over width
    pad: float = 0.0  # pixels of black around the picture, in which a square of the input's size is placed; 0: no such
    degrees: float = 0.0  # rotation, uniform in +-degrees
    fliplr: float = 0.5  # probability of a left-right flip
    flipud: float = 0.0  # probability of an up-down flip
    hsv_h: float = 0.0  # hue shift, share of the circle
    hsv_s: float = 0.0  # saturation change
    hsv_v: float = 0.0  # brightness change

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_most_one("mixup", "cutmix", "scale_min", "fliplr", "flipud", "hsv_h", "hsv_s", "hsv_v")
        for name, most in (("smoothing", 0.99), ("dropout", 0.99), ("degrees", 180.0), ("pad", 1024.0), ("ratio", 10)):
            if getattr(self, name) > most:
                raise ValueError(f"hyp {name}: {getattr(self, name)!r} must be at most {most:g}")
        if self.mixup + self.cutmix > 1:
            raise ValueError(
                f"hyp mixup and cutmix: {self.mixup!r} + {self.cutmix!r} is more than 1; a picture has one"
            )
        for name in ("mixup_alpha", "cutmix_alpha"):
            if not 0.001 <= getattr(self, name) <= 1000:
                raise ValueError(f"hyp {name}: {getattr(self, name)!r} must be between 0.001 and 1000")
        if self.scale_min < 0.001:
            raise ValueError(f"hyp scale_min: {self.scale_min!r} must be at least 0.001; 1 takes no random crop")
        if self.ratio < 1:
            raise ValueError(f"hyp ratio: {self.ratio!r} is the larger of width:height and height:width, at least 1")
        if self.pad != int(self.pad):
            raise ValueError(f"hyp pad: {self.pad!r} must be a whole number of pixels")
        if self.pad and self.scale_min != 1:
            raise ValueError(f"hyp pad: {self.pad!r} leaves the picture's scale as it is; set scale_min: 1")

    def colours(self) -> AugmentConfig:
        """The part that changes colours."""
        return AugmentConfig(
            translate=0, scale=0, fliplr=0, mosaic=0, hsv_h=self.hsv_h, hsv_s=self.hsv_s, hsv_v=self.hsv_v
        )
