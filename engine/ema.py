"""An exponential moving average of the weights, which is what is validated and saved."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import nn


class ModelEma:
    """YOLOv5's average: decay 0.9999 * (1 - exp(-updates / 2000)), so that early weights are forgotten fast.

    Args:
        model: The model to follow; copied.
        decay: Limit of the decay.
        tau: Number of updates over which the decay rises.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999, tau: float = 2000.0) -> None:
        self.model = deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.tau = tau
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the weights and statistics of `model`; integer buffers are taken over."""
        self.updates += 1
        share = 1 - self.decay * (1 - math.exp(-self.updates / self.tau))
        own, other = self.model.state_dict(), model.state_dict()
        floats = [key for key, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[key] for key in floats], [other[key] for key in floats], share)
        for key in own.keys() - set(floats):
            own[key].copy_(other[key])
