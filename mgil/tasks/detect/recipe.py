"""Detection's recipe: the values of data/hyps/*.yaml, under YOLOv5's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from mgil.datasets.batches.augment import AugmentConfig
from mgil.files.recipe import Recipe
from mgil.tasks.detect.loss import ASSIGNMENTS, LossGains

FINETUNE = "hyp.finetune.yaml"
LOWRES = "hyp.lowres.yaml"
LOW_RESOLUTION_PX = 320  # up to this size hyp.lowres.yaml is the default


@dataclass(frozen=True)
class DetectRecipe(Recipe):
    """One recipe of detection.

    Raises:
        ValueError: A value that cannot be right, named.
    """

    texts: ClassVar[Mapping[str, tuple[str, ...]]] = {**Recipe.texts, "assign": ASSIGNMENTS}
    without_effect: ClassVar[frozenset[str]] = frozenset({"iou_t"})
    searched: ClassVar[Mapping[str, tuple[float, float]]] = {
        **Recipe.searched,
        **dict.fromkeys(("box", "cls", "obj"), (0.01, 20.0)),
        **dict.fromkeys(("cls_pw", "obj_pw"), (0.5, 2.0)),
        "anchor_t": (2.0, 8.0),
        "hsv_h": (0.001, 0.1),
        **dict.fromkeys(("hsv_s", "hsv_v", "translate", "scale"), (0.01, 0.9)),
        "degrees": (0.1, 45.0),
        "shear": (0.1, 10.0),
        "perspective": (1e-5, 0.01),
        **dict.fromkeys(("flipud", "fliplr", "mosaic", "mixup", "copy_paste"), (0.01, 1.0)),
    }

    assign: str = "anchor"  # which cells take a box: anchor, YOLOv5's rule; aligned, those that predict it best
    box: float = 0.05  # gain of the box loss; with assign: aligned its weight, as obj and cls are
    obj: float = 1.0  # gain of the objectness loss at 640 px
    cls: float = 0.5  # gain of the class loss at 80 classes
    cls_pw: float = 1.0  # weight of positive class targets
    obj_pw: float = 1.0  # weight of positive objectness targets
    anchor_t: float = 4.0  # an anchor matches boxes within this factor on both sides
    fl_gamma: float = 0.0  # focal-loss exponent, 0 is off
    hsv_h: float = 0.015  # hue shift, share of the circle
    hsv_s: float = 0.7  # saturation change
    hsv_v: float = 0.4  # brightness change
    degrees: float = 0.0  # rotation, +/- degrees
    translate: float = 0.1  # shift, +/- share of the image
    scale: float = 0.5  # zoom, 1 +/- this
    shear: float = 0.0  # shear, +/- degrees
    perspective: float = 0.0  # tilt, +/- per pixel of the training size: 0.001 at 640 px, 0.01 at 64 px
    flipud: float = 0.0  # probability of an upside-down flip
    fliplr: float = 0.5  # probability of a left-right flip
    mosaic: float = 1.0  # probability of four images in one
    mixup: float = 0.0  # probability of two images blended
    copy_paste: float = 0.0  # share of a mosaic's objects that are pasted mirrored; it needs polygon labels

    teach_scores: float = 1.0  # with --teacher: weight of its scores at every place
    teach_attention: float = 1.0  # with --teacher: weight of where its maps answer strongly

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_most_one(
            "flipud", "fliplr", "mosaic", "mixup", "copy_paste", "hsv_h", "hsv_s", "hsv_v", "translate", "scale"
        )
        if self.anchor_t <= 1:
            raise ValueError(f"hyp anchor_t: {self.anchor_t!r} must be above 1")
        self.augment()  # which has limits of its own, on degrees, shear, scale and perspective

    def augment(self) -> AugmentConfig:
        """The part that the data path needs."""
        return AugmentConfig(
            **{item.name: getattr(self, item.name) for item in fields(AugmentConfig) if hasattr(self, item.name)}
        )

    def loss_gains(self, imgsz: int, num_classes: int, num_levels: int = 3, label_smoothing: float = 0.0) -> LossGains:
        """The gains; with YOLOv5's assignment scaled to input size, classes and levels by its rule.

        Objectness is a mean over cells, and cells grow with the area: its gain does too, so that each cell keeps its
        weight. The class term is a mean over classes, and its gain grows with their number.
        """
        if self.assign == "aligned":  # sums over matches, divided by the sum of their targets: nothing to make up for
            per_level, per_area, per_class = 1.0, 1.0, 1.0
        else:
            per_level, per_area, per_class = 3 / num_levels, (imgsz / 640) ** 2, num_classes / 80
        return LossGains(
            assign=self.assign,
            box=self.box * per_level,
            obj=self.obj * per_area * per_level,
            cls=self.cls * per_class * per_level,
            cls_positive=self.cls_pw,
            obj_positive=self.obj_pw,
            label_smoothing=label_smoothing,
            anchor_ratio=self.anchor_t,
            focal_gamma=self.fl_gamma,
        )


def default_recipe(imgsz: int) -> str:
    """Name of the recipe for an input size in pixels."""
    return LOWRES if imgsz <= LOW_RESOLUTION_PX else "hyp.scratch-low.yaml"
