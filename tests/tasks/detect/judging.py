"""Detection's loaders and evaluation in one call each, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.loader import TrainLoader
from mgil.datasets.reading.samples import Samples
from mgil.engine.evaluation.evaluate import evaluate as run_evaluation
from mgil.engine.training.log import columns
from mgil.tasks.detect.batches import DetectComposer
from mgil.tasks.detect.judge import DetectJudge
from mgil.tasks.detect.options import ValOptions
from mgil.tasks.detect.scores import METRICS

COLUMNS = columns(("box", "obj", "cls"), METRICS)  # of results.csv


def train_loader(
    samples: Samples,
    size: int,
    batch_size: int,
    augment: AugmentConfig,
    *,
    rect: bool = False,
    stride: int = 32,
    **options: Any,
) -> TrainLoader:
    """A loader of augmented boxes."""
    return TrainLoader(DetectComposer(samples, size, augment, rect=rect, stride=stride), batch_size, **options)


def evaluate(model: Any, loader: Iterable[Any], samples: Any, data: Any, **options: Any) -> Any:
    """Scores of a detector together with losses, times and input size, as one namespace."""
    engine = {key: options.pop(key) for key in ("device", "half", "loss", "progress") if key in options}
    judge = DetectJudge(model, samples, data, ValOptions(**options))
    found = run_evaluation(model, loader, judge, **engine)
    return SimpleNamespace(
        **vars(found.scores),
        val_losses=found.losses,
        speeds_ms=found.speeds_ms,
        size_hw=found.size_hw,
        scores=found.scores,
    )
