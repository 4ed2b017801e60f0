"""Training runs for tests, and what they leave behind."""

from __future__ import annotations

from pathlib import Path

import torch

from mgil.engine.training.config import TrainConfig
from mgil.engine.training.log import read_results
from mgil.engine.training.run import run_train
from mgil.engine.weights.checkpoints import load_checkpoint


def train(config: TrainConfig, lines: list[str] | None = None) -> Path:
    return run_train(config, (lines if lines is not None else []).append)


def rows_of(run: Path) -> list[dict[str, str]]:
    return read_results(run / "results.csv")


def weights_of(run: Path, name: str = "last.pt") -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "weights" / name).state_dict
