"""Weights of other programs as a start: tensors by names that a task knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mgil.engine.weights.archive import check_archive
from mgil.engine.weights.checkpoints import Checkpoint, load_checkpoint
from mgil.engine.weights.start import Start, filled_facts
from mgil.files.text import Report
from mgil.networks.host_weights import read_tensors
from mgil.networks.network import Network
from mgil.tasks.abilities import ForeignTask
from mgil.tasks.base import Task

SAFETENSORS = ".safetensors"


@dataclass(frozen=True)
class ForeignWeights:
    """Tensors by name, and the file that they came from."""

    path: Path
    tensors: Mapping[str, Tensor]


def load_start(path: str, task: Task) -> Checkpoint | ForeignWeights:
    """A checkpoint of this project or of YOLOv5; or tensors that the task may take.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is neither.
    """
    file = Path(path)
    if file.suffix == SAFETENSORS and file.is_file():
        if not isinstance(task, ForeignTask):
            raise ValueError(f"--weights {path}: the task {task.name} starts from .pt files of train.py or of YOLOv5")
        return ForeignWeights(file, read_tensors(file))
    try:
        return load_checkpoint(path)
    except ValueError as error:
        if not isinstance(task, ForeignTask):
            raise
        try:
            check_archive(file)
            return ForeignWeights(file, read_tensors(file))
        except ValueError:  # the checkpoint's own error says what is wrong
            raise error from None


def start_from_tensors(model: Network, task: ForeignTask, weights: ForeignWeights, report: Report) -> Start:
    """Fill a fresh network from tensors of others, as far as they fit.

    Raises:
        ValueError: None fits.
    """
    try:
        taken = task.take(model, weights.tensors)
    except ValueError as error:
        raise ValueError(f"--weights {weights.path}: {error}") from error
    report(f"{weights.path}: {taken}")
    facts = filled_facts(model, taken.loaded, taken.carried)
    return Start(whole=not taken.left, head=not taken.left, known=1.0, left=taken.left, **facts)
