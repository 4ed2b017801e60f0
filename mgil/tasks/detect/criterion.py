"""Which loss a recipe asks for."""

from __future__ import annotations

from typing import TypeAlias

from mgil.networks.detector import DetectionModel
from mgil.networks.head import Detect
from mgil.tasks.base import Average
from mgil.tasks.detect.aligned_loss import AlignedLoss
from mgil.tasks.detect.loss import ASSIGNMENTS, DetectionLoss, LossGains
from mgil.tasks.detect.recipe import DetectRecipe

Criterion: TypeAlias = DetectionLoss | AlignedLoss


def make_loss(head: Detect, gains: LossGains, average: Average | None = None) -> Criterion:
    """The loss whose assignment `gains` names.

    Args:
        head: The model's head.
        gains: Weights of the terms.
        average: Mean over processes, see `AlignedLoss`; YOLOv5's loss, a mean over cells and matches, needs none.

    Raises:
        ValueError: An unknown assignment.
    """
    if gains.assign not in ASSIGNMENTS:
        raise ValueError(f"assign: {gains.assign!r}; choose one of {', '.join(ASSIGNMENTS)}")
    return AlignedLoss(head, gains, average) if gains.assign == "aligned" else DetectionLoss(head, gains)


def detect_loss(
    model: DetectionModel, recipe: DetectRecipe, imgsz: int, label_smoothing: float, average: Average | None
) -> Criterion:
    """The loss whose assignment the recipe names; `average` shares what must not differ between processes."""
    head = model.head
    gains = recipe.loss_gains(imgsz, model.num_classes, head.num_levels, label_smoothing)
    return make_loss(head, gains, average)
