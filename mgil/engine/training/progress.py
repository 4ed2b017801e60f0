"""Where a training run stands: epochs, the best of them, validations that failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_FAULTY_VALIDATIONS = 3  # in a row
START_EPOCH = -1  # the weights that training began with, before epoch 0; so in results.csv too


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: The next epoch to train, from 0.
        best_fitness: Highest fitness so far; -1 before the first validation.
        best_epoch: The epoch that reached it; `START_EPOCH`: the weights that training began with.
        bad_validations: How many of the last validations gave NaN or Inf.
        start_fitness: That of the weights that training began with; -1 where it began from scratch, or unmeasured.
    """

    epoch: int = 0
    best_fitness: float = -1.0
    best_epoch: int = 0
    bad_validations: int = 0
    start_fitness: float = -1.0

    def accept(self, losses: Sequence[float], last: bool) -> bool:
        """Note a validation's losses; whether they are numbers. If not, the averaged weights have diverged.

        Raises:
            FloatingPointError: They are not, in the last epoch or once too often.
        """
        if all(map(math.isfinite, losses)):
            self.bad_validations = 0
            return True
        self.bad_validations += 1
        if last or self.bad_validations >= MOST_FAULTY_VALIDATIONS:
            shown = ", ".join(f"{value:.4g}" for value in losses)
            raise FloatingPointError(f"epoch {self.epoch + 1}: the validation losses are {shown}; lower lr0")
        return False

    def begin(self, fitness: float, kept: bool) -> None:
        """Note the fitness of the weights that training begins with; if they are `kept`, they are the best so far."""
        self.start_fitness = fitness
        if kept:
            self.best_fitness, self.best_epoch = fitness, START_EPOCH

    def record(self, fitness: float) -> bool:
        """Note an epoch's fitness; whether it is the best so far."""
        if fitness > self.best_fitness or math.isnan(self.best_fitness):
            self.best_fitness, self.best_epoch = fitness, self.epoch
            return True
        return False
