"""One step of training: from gradients to weights and their average."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mgil.engine.training.ema import ModelEma
from mgil.engine.training.precision import Precision
from mgil.engine.training.step_guard import StepGuard

MOST_GRADIENT = 10.0  # norm that gradients are clipped to


class WeightStep:
    """Brings gradients into the weights and these into their average; a step at fault leaves no trace.

    Args:
        model: On its device and in its layout; trained in place.
        optimizer: Over the model's parameters.
        precision: Holds the scaler of float16.
        guard: Judges the steps.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, precision: Precision, guard: StepGuard
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.precision = precision
        self.guard = guard
        self.ema = ModelEma(model)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        start_momentum(optimizer)

    def clear(self) -> None:
        """Forget the gradients that are there."""
        self.optimizer.zero_grad(set_to_none=True)

    def take(self) -> None:
        """Take the step whose gradients are there, and clear them."""
        self.precision.scaler.unscale_(self.optimizer)
        norm = self._clip()
        fault = self.guard.judge(norm, self.precision)
        self._optimize(norm, fault)
        self.guard.finish(fault)
        if self.guard.lazy:
            self.ema.update(unless=fault)
        elif not fault:
            self.ema.update()
        self.precision.update(fault)
        self.clear()

    def _optimize(self, norm: torch.Tensor, fault: torch.Tensor) -> None:
        """Step the optimizer, unless the step is at fault or its gradients overflowed."""
        if self.guard.lazy:  # the fused optimizers leave the step out themselves, on the device
            self.optimizer.found_inf = (fault | ~norm.isfinite()).float()  # type: ignore[attr-defined]
            self.optimizer.step()
            del self.optimizer.found_inf  # type: ignore[attr-defined]
        elif not fault:
            self.precision.scaler.step(self.optimizer)

    def _clip(self) -> torch.Tensor:
        """Bring the gradients' norm down to `MOST_GRADIENT`; the norm before."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        # On the CPU a look at the norm saves the multiplication by one; on a GPU it would wait for the device.
        if self.guard.device.type != "cpu" or not norm <= MOST_GRADIENT:
            nn.utils.clip_grads_with_norm_(self.parameters, MOST_GRADIENT, norm)
        return norm

    def state(self) -> dict[str, Any]:
        """What resuming needs beside the averaged weights: tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "ema_updates": self.ema.updates,
            "bad_steps": self.guard.in_a_row,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any], averaged: dict[str, torch.Tensor]) -> None:
        """Take up a state of `state` and the averaged weights saved with it."""
        self.model.load_state_dict(state["model"])
        self.ema.model.load_state_dict(averaged)
        self.ema.updates = state["ema_updates"]
        self.guard.in_a_row = state.get("bad_steps", 0)
        fused = [group.get("fused") for group in self.optimizer.param_groups]  # RMSProp never is
        self.optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self.optimizer.param_groups, fused, strict=True):
            if own is not None:
                group["fused"] = own  # this device's way to step, not the saved run's
        if state["scaler"]:  # empty where the run did not need one: on another device or with another --amp auto
            self.precision.scaler.load_state_dict(state["scaler"])


def start_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give SGD the momentum buffers of zeros that its first step amounts to.

    The fused SGD makes them in its first step, of whatever lies in memory, and fills them in only if that step is not
    left out. With float16 it usually is: the scaler starts too high.
    """
    for group in optimizer.param_groups if isinstance(optimizer, torch.optim.SGD) else ():
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
