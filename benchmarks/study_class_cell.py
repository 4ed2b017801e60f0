"""A cell of a study of classification: top-1 and top-5 of the best epoch's weights, as val.py finds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.study_training import facts_of, train_ours
from mgil.engine.devices import select_device
from mgil.engine.evaluation.evaluate import evaluate
from mgil.engine.weights.checkpoints import model_from_checkpoint
from mgil.tasks.base import Loading
from mgil.tasks.classify.options import ValOptions
from mgil.tasks.classify.reading.config import class_data
from mgil.tasks.classify.reading.load import read_classes
from mgil.tasks.classify.scores import ClassScores
from mgil.tasks.classify.task import TASK

EVALUATION_BATCH = 64


def run_classes(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train and measure a model."""
    definition, device = job["definition"], select_device(job["device"])
    run = train_ours(job, folder)
    weights = run / "weights" / "best.pt"
    model = model_from_checkpoint(weights, device)
    data, options = class_data(job["data_yaml"]), ValOptions()
    split = read_classes(data, "val", strict=False, report=print)
    loading = Loading(EVALUATION_BATCH, workers=job["data_workers"], ahead=device.type != "cpu")
    loader = TASK.eval_loader(split, definition["size"], model, options, loading)
    scores = evaluate(model, loader, TASK.judge(model, split, data, options), device=device).scores
    assert isinstance(scores, ClassScores)
    return {
        "top-1": scores.top1,
        "top-5": scores.top5,
        **facts_of(run, folder, definition["size"]),
    }
