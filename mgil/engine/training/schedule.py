"""Optimizer, learning rates and warm-up, as in YOLOv5's recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from mgil.files.recipe import OPTIMIZERS, Recipe

BIASES, WEIGHTS, NORMS = 0, 1, 2  # order of the parameter groups; results.csv lists their rates as x/lr0..2
LEAST_WARMUP = 100  # iterations
MOST_WARMUP = 1 / 3  # of the run, however short it is


def build_optimizer(
    model: nn.Module, name: str, recipe: Recipe, weight_decay: float, factors: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """Make an optimizer with three groups: biases, decayed weights, and normalisation weights without decay.

    Args:
        model: Parameters that require no gradient are skipped.
        name: One of `OPTIMIZERS`.
        recipe: Gives learning rate and momentum.
        weight_decay: Already scaled to the batch.
        factors: Parameters by name whose learning rate is that of their group times a factor; they are in groups of
            their own behind the three.
    """
    norms = nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm
    groups: dict[tuple[float, int], list[nn.Parameter]] = {(1.0, kind): [] for kind in (BIASES, WEIGHTS, NORMS)}
    for path, module in model.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            kind = BIASES if key == "bias" else NORMS if isinstance(module, norms) else WEIGHTS
            factor = (factors or {}).get(f"{path}.{key}" if path else key, 1.0)
            if parameter.requires_grad:
                groups.setdefault((factor, kind), []).append(parameter)
    parameters = [
        {"params": group, "weight_decay": weight_decay if kind == WEIGHTS else 0.0, "kind": kind, "factor": factor}
        for (factor, kind), group in groups.items()
    ]
    # one pass over the parameters in place of one per operation; not every device has it
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    if name == "SGD":
        return torch.optim.SGD(
            parameters, lr=recipe.lr0, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=fused
        )
    if name in ("Adam", "AdamW"):
        return getattr(torch.optim, name)(parameters, lr=recipe.lr0, betas=(recipe.momentum, 0.999), fused=fused)
    if name == "RMSProp":  # PyTorch has no fused one
        return torch.optim.RMSprop(parameters, lr=recipe.lr0, momentum=recipe.momentum)
    raise ValueError(f"optimizer {name!r}: choose one of {', '.join(OPTIMIZERS)}")


class Schedule:
    """Learning rate per epoch, and the warm-up of the first iterations.

    Args:
        optimizer: As `build_optimizer` makes it; its rates and momenta are set here.
        recipe: Learning rates and warm-up.
        epochs: Length of the training.
        batches: Batches per epoch.
        batch_size: Images per optimizer step without accumulation.
        cosine: Cosine decay instead of linear.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        epochs: int,
        batches: int,
        batch_size: int,
        cosine: bool = False,
    ) -> None:
        self.optimizer = optimizer
        self.recipe = recipe
        self.batches = batches
        self.nominal = recipe.nbs / batch_size
        self.factor = _decay(epochs, recipe, cosine)
        self.warmup = 0
        if recipe.warmup_epochs > 0:
            wanted = max(round(recipe.warmup_epochs * batches), LEAST_WARMUP)
            self.warmup = min(wanted, int(epochs * batches * MOST_WARMUP))

    def set(self, epoch: int, batch: int) -> int:
        """Set rates and momenta for one batch.

        Returns:
            Over how many batches to accumulate gradients before a step.
        """
        iteration = epoch * self.batches + batch
        target = self.recipe.lr0 * self.factor(epoch)
        warming = iteration < self.warmup
        for number, group in enumerate(self.optimizer.param_groups):
            start = self.recipe.warmup_bias_lr if group.get("kind", number) == BIASES else 0.0
            rate = float(np.interp(iteration, [0, self.warmup], [start, target])) if warming else target
            group["lr"] = rate * group.get("factor", 1.0)  # neither is in checkpoints of earlier versions
            if warming and "momentum" in group:
                momenta = [self.recipe.warmup_momentum, self.recipe.momentum]
                group["momentum"] = float(np.interp(iteration, [0, self.warmup], momenta))
            elif "momentum" in group:
                group["momentum"] = self.recipe.momentum
        if warming:
            return max(1, round(float(np.interp(iteration, [0, self.warmup], [1, self.nominal]))))
        return max(1, round(self.nominal))

    def rates(self) -> list[float]:
        """Current learning rate of each of the three groups."""
        return [float(group["lr"]) for group in self.optimizer.param_groups[:3]]


def scaled_weight_decay(recipe: Recipe, batch_size: int) -> float:
    """Weight decay for the images that really make one step: decay * batch * accumulated batches / nominal batch."""
    return recipe.weight_decay * recipe.images_of_step(batch_size) / recipe.nbs


def _decay(epochs: int, recipe: Recipe, cosine: bool) -> Callable[[int], float]:
    """Share of lr0 by epoch, from 1 towards `lrf`, with the recipe's drops."""
    final = recipe.lrf
    drops = [round(share * epochs) for share in recipe.lr_drops]

    def factor(epoch: int) -> float:
        if cosine:
            smooth = (1 - math.cos(epoch * math.pi / epochs)) / 2 * (final - 1) + 1
        else:
            smooth = (1 - epoch / epochs) * (1 - final) + final
        return smooth * recipe.lr_drop ** sum(epoch >= drop for drop in drops)

    return factor
