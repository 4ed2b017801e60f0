"""Which loss a recipe asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from mgil.networks.head import Detect
from mgil.tasks.detect.aligned_loss import AlignedLoss
from mgil.tasks.detect.loss import ASSIGNMENTS, DetectionLoss, LossGains

Criterion: TypeAlias = DetectionLoss | AlignedLoss


def make_loss(head: Detect, gains: LossGains, average: Callable[[Tensor], Tensor] | None = None) -> Criterion:
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
