"""A training that ends in the middle, as by a power cut, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mgil.engine.training.config import TrainConfig
from mgil.engine.training.run import run_train
from mgil.engine.training.trainer import Trainer


class Stop(Exception):
    """Ends a run, as a power cut would."""


def train(config: TrainConfig, **options: Any) -> Path:
    return run_train(config, lambda _line: None, **options)


def cut_run(config: TrainConfig, before: int = 1) -> None:
    """Train, and stop as an epoch begins."""
    original = Trainer.train_epoch

    def train_epoch(self: Trainer, epoch: int, title: str | None = None) -> Any:
        if epoch == before:
            raise Stop
        return original(self, epoch, title)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Trainer, "train_epoch", train_epoch)
        train(config)
