"""Weights of other programs as a start: tensors by names that a task knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mgil.engine.weights.archive import check_archive, load_plain
from mgil.engine.weights.checkpoints import Checkpoint, load_checkpoint
from mgil.engine.weights.start import Start, filled_facts
from mgil.files.text import Report
from mgil.networks.network import Network
from mgil.tasks.abilities import ForeignTask
from mgil.tasks.base import Task

SAFETENSORS = ".safetensors"


def load_start(path: str, task: Task) -> Checkpoint | Path:
    """A checkpoint of this project or of YOLOv5; or the path of tensors that the task may take.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is neither.
    """
    file = Path(path)
    if file.suffix == SAFETENSORS and file.is_file():
        if not isinstance(task, ForeignTask):
            raise ValueError(f"--weights {path}: the task {task.name} starts from .pt files of train.py or of YOLOv5")
        return file
    try:
        return load_checkpoint(path)
    except ValueError:
        if isinstance(task, ForeignTask) and _holds_tensors(file):
            return file
        raise


def start_from_tensors(model: Network, task: ForeignTask, path: Path, report: Report) -> Start:
    """Fill a fresh network from tensors of others, as far as they fit.

    Raises:
        ValueError: None fits, or they cannot be read.
    """
    taken = task.take(model, path)
    report(f"{path}: {taken}")
    facts = filled_facts(model, taken.loaded, taken.carried)
    return Start(whole=not taken.left, head=not taken.left, classes=True, left=taken.left, **facts)


def _holds_tensors(path: Path) -> bool:
    """Whether a file of PyTorch's is tensors by name, one level down at most."""
    try:
        check_archive(path)
        content: Any = load_plain(path)
    except Exception:  # torch raises many kinds; the checkpoint's own error says what is wrong
        return False
    inner = [content, *content.values()] if isinstance(content, Mapping) else []
    return any(isinstance(value, Tensor) for part in inner if isinstance(part, Mapping) for value in part.values())
