"""An exponential moving average of the weights, which is what is validated and saved."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import nn


class ModelEma:
    """YOLOv5's average: decay 0.9999 * (1 - exp(-updates / 2000)), so that early weights are forgotten fast.

    Args:
        model: The model to follow; copied. It stays where it is from here on: no move to another device or layout.
        decay: Limit of the decay.
        tau: Number of updates over which the decay rises.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999, tau: float = 2000.0) -> None:
        self.model = deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.tau = tau
        self._updates: int | torch.Tensor = 0  # a () int64 tensor on the device once that decides what counts
        # Pairs of tensors, listed once: they only ever change in place, and listing takes as long as averaging.
        own, other = self.model.state_dict(), model.state_dict()
        floats = [key for key, value in own.items() if value.is_floating_point()]
        self._own = [own[key] for key in floats]
        self._other = [other[key] for key in floats]
        self._taken_over = [(own[key], other[key]) for key in own if key not in floats]

    @property
    def updates(self) -> int:
        """Number of updates that moved the average; reading it may wait for the device."""
        return int(self._updates)

    @updates.setter
    def updates(self, number: int) -> None:
        self._updates = number

    @torch.no_grad()
    def update(self, unless: torch.Tensor | None = None) -> None:
        """Move towards the followed model's weights and statistics; integer buffers are taken over.

        Args:
            unless: () bool on the model's device; where it is true nothing moves and `updates` stays, found out without
                waiting for the device.
        """
        if unless is None:
            self._updates = self.updates + 1
            share = 1 - self.decay * (1 - math.exp(-self._updates / self.tau))
            torch._foreach_lerp_(self._own, self._other, share)
        else:
            moves = unless.logical_not()
            self._updates = self._updates + moves
            decay = self.decay * (1 - torch.exp(-self._updates.double() / self.tau))
            way = torch._foreach_sub(self._other, self._own)
            torch._foreach_mul_(way, ((1 - decay) * moves).float())
            torch._foreach_add_(self._own, way)
        for own, other in self._taken_over:
            own.copy_(other)
