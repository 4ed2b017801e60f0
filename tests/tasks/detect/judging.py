"""Detection's loaders and evaluation in one call each, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import torch

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.loader import TrainLoader
from mgil.datasets.reading.samples import Samples
from mgil.engine.evaluation.evaluate import evaluate as run_evaluation
from mgil.engine.input_size import input_size_hw, warn
from mgil.engine.prediction.predictor import Model
from mgil.engine.runtimes.model import fixed_size_hw
from mgil.engine.training.log import columns
from mgil.files.flags import from_keywords
from mgil.tasks.detect.batches import DetectComposer
from mgil.tasks.detect.judge import DetectJudge
from mgil.tasks.detect.options import PredictOptions, ValOptions
from mgil.tasks.detect.predictor import Detector
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
    engine = {key: options.pop(key) for key in ("device", "loss", "progress") if key in options}
    judge = DetectJudge(model, samples, data, ValOptions(**options))
    found = run_evaluation(model, loader, judge, **engine)
    return SimpleNamespace(
        **vars(found.scores),
        val_losses=found.losses,
        speeds_ms=found.speeds_ms,
        size_hw=found.size_hw,
        scores=found.scores,
    )


def detector(
    model: Any,
    *,
    device: torch.device,
    size_hw: tuple[int, int],
    half: bool = False,
    report: Callable[[str], None] = warn,
    **options: Any,
) -> Model:
    """What `load_model` gives for a model that is no file."""
    own = from_keywords(PredictOptions, options)
    fitting = fixed_size_hw(model) or input_size_hw(size_hw, model.max_stride, report)
    return Model(Detector(model, own, device=device, size_hw=fitting, half=half))
