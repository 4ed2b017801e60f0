"""Hyper-parameters: the values of data/hyps/*.yaml, under YOLOv5's names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mgil.datasets.batches.augment import AugmentConfig
from mgil.engine.training.config import OPTIMIZERS
from mgil.files.names import hint_for
from mgil.files.shipped import shipped
from mgil.files.yaml_file import read_yaml_mapping
from mgil.tasks.detect.loss import ASSIGNMENTS, LossGains

FOLDER = shipped("data") / "hyps"
LOW_RESOLUTION_PX = 320  # up to this size hyp.lowres.yaml is the default
TEXTS = {"optimizer": OPTIMIZERS, "assign": ASSIGNMENTS}  # the fields that are not numbers, and what they may be
# With gradients clipped to a norm of 10, no lower learning rate can make weights Inf in one step.
MOST_RATE = 10.0
WITHOUT_EFFECT = {"iou_t"}  # stands in YOLOv5's files, where nothing reads it
# Recipes and keys of YOLOv5 that are not here, and what to do instead.
LEFT_OUT_RECIPES = {
    r"(hyp\.)?(Objects365|VOC)": r"it was tuned for one data set; use hyp.scratch-low.yaml",
    r"(hyp\.)?no-augmentation": "copy hyp.scratch-low.yaml and set hsv_h, hsv_s, "
    "hsv_v, translate, scale, fliplr and mosaic to 0",
}
LEFT_OUT_KEYS = {"anchors": "write as many anchors as you want into the model's YAML"}


@dataclass(frozen=True)
class Hyp:
    """One training recipe; every field may stand in a hyp YAML.

    Raises:
        ValueError: A value that cannot be right, named.
    """

    lr0: float = 0.01  # learning rate after warm-up
    lrf: float = 0.01  # the last epoch's learning rate, as a share of lr0
    momentum: float = 0.937  # SGD momentum, or Adam's beta1
    weight_decay: float = 5e-4  # at the nominal batch size
    optimizer: str = "SGD"  # SGD, Adam or AdamW; the flag --optimizer overrules it
    nbs: int = 64  # nominal batch size: gradients of smaller batches are accumulated up to it
    warmup_epochs: float = 3.0  # at least 100 iterations
    warmup_momentum: float = 0.8  # momentum at the start of warm-up
    warmup_bias_lr: float = 0.1  # learning rate of the biases at the start of warm-up
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
    perspective: float = 0.0  # only 0: the data path moves pixels by affine maps
    flipud: float = 0.0  # probability of an upside-down flip
    fliplr: float = 0.5  # probability of a left-right flip
    mosaic: float = 1.0  # probability of four images in one
    mixup: float = 0.0  # probability of two images blended
    copy_paste: float = 0.0  # only 0: it needs polygon labels

    def __post_init__(self) -> None:
        for name, choices in TEXTS.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"hyp {name}: {getattr(self, name)!r}; choose one of {', '.join(choices)}")
        for item in fields(self):
            if item.name in TEXTS:
                continue
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"hyp {item.name}: {value!r} is not a number")
            if value < 0:
                raise ValueError(f"hyp {item.name}: {value!r} must not be negative")
        for name in ("flipud", "fliplr", "mosaic", "mixup", "hsv_h", "hsv_s", "hsv_v", "translate", "scale", "lrf"):
            if getattr(self, name) > 1:
                raise ValueError(f"hyp {name}: {getattr(self, name)!r} must be at most 1")
        for name in ("lr0", "warmup_bias_lr"):  # lrf is at most 1, so lr0 * lrf is no larger than lr0
            if getattr(self, name) > MOST_RATE:
                raise ValueError(f"hyp {name}: {getattr(self, name)!r}; the highest learning rate is {MOST_RATE:g}")
        if not self.momentum < 1 or not self.warmup_momentum < 1:
            raise ValueError(f"hyp momentum: {self.momentum!r} and {self.warmup_momentum!r} must be below 1")
        if self.anchor_t <= 1:
            raise ValueError(f"hyp anchor_t: {self.anchor_t!r} must be above 1")
        if self.nbs < 1 or self.nbs != int(self.nbs):
            raise ValueError(f"hyp nbs: {self.nbs!r} must be a whole number of images")
        if self.perspective:
            raise ValueError(f"hyp perspective: {self.perspective!r}; only 0 is supported, use degrees and shear")
        if self.copy_paste:
            raise ValueError(f"hyp copy_paste: {self.copy_paste!r}; only 0 is supported, it needs polygon labels")
        self.augment()  # which has limits of its own, on degrees, shear and scale

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

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for hyp.yaml and checkpoints."""
        return asdict(self)


def default_hyp(imgsz: int) -> str:
    """Name of the recipe for an input size in pixels."""
    return "hyp.lowres.yaml" if imgsz <= LOW_RESOLUTION_PX else "hyp.scratch-low.yaml"


def load_hyp(source: str | Path | Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> Hyp:
    """Read a recipe.

    Args:
        source: A path, a name in data/hyps ("hyp.lowres.yaml", "scratch-low"), or a mapping.
        changes: Values that take the place of the recipe's own.

    Raises:
        FileNotFoundError: No such recipe; the message lists the known ones.
        ValueError: Not YAML, an unknown key (the nearest known one is named), or an impossible value.
    """
    if isinstance(source, Mapping):
        return _from_mapping({**source, **(changes or {})}, "hyp")
    path = _find(Path(source))
    content = read_yaml_mapping(path)
    if not content:
        raise ValueError(f"{path}: empty; a hyp file is a mapping of names to values")
    return _from_mapping({**content, **(changes or {})}, str(path))


def _find(source: Path) -> Path:
    names = (source.name, f"{source.name}.yaml", f"hyp.{source.name}.yaml", f"hyp.{source.name}")
    for candidate in (source, *(FOLDER / name for name in names if source.parent == Path("."))):
        if candidate.is_file():
            return candidate
    known = sorted(path.name for path in FOLDER.glob("*.yaml"))
    hint = hint_for(source.name, known, LEFT_OUT_RECIPES, ending=".yaml", quoted=False)
    shipped = f"the shipped ones are {', '.join(known)}"
    raise FileNotFoundError(f"hyp file {source} does not exist; {shipped}{'; ' if hint else ''}{hint}")


def _from_mapping(content: Mapping[str, Any], where: str) -> Hyp:
    known = [item.name for item in fields(Hyp)]
    for key in content:
        if key not in known and key not in WITHOUT_EFFECT:
            hint = hint_for(key, known, LEFT_OUT_KEYS) or f"known keys: {', '.join(known)}"
            raise ValueError(f"{where}: unknown key {key!r}; {hint}")
    try:
        return Hyp(**{key: _number(value) for key, value in content.items() if key in known})
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _number(value: Any) -> Any:
    """YAML reads 5e-4, which YOLOv5's users write, as a text; here it is the number that it looks like."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    return value
