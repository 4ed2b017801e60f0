"""Which loss a recipe asks for."""

from __future__ import annotations

from typing import TypeAlias

from models.aligned_loss import AlignedLoss
from models.head import Detect
from models.loss import DetectionLoss, LossGains

Criterion: TypeAlias = DetectionLoss | AlignedLoss


def make_loss(head: Detect, gains: LossGains) -> Criterion:
    """The loss whose assignment `gains` names."""
    return AlignedLoss(head, gains) if gains.assign == "aligned" else DetectionLoss(head, gains)
