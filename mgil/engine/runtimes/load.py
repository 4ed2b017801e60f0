"""Weights as a network: one file, or several whose predictions are pooled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mgil.datasets.reading.value_range import ValueRange
from mgil.engine.amp import check_amp_and_half
from mgil.engine.devices import amp_on, slow_amp
from mgil.engine.runtimes.model import is_exported, load_exported, refuse_numbers
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint
from mgil.files.text import Report
from mgil.tasks.base import Task
from mgil.tasks.registry import task_named


class _Opened(NamedTuple):
    model: Any
    task: str
    data: Any  # the data set that it was trained on; an exported file names none
    values: ValueRange | None


def check_half(weights: Sequence[str | Path], device: torch.device) -> None:
    """Raise ValueError where float16 arithmetic cannot be had: on a CPU, and for exported files."""
    for path in filter(is_exported, weights):
        refuse_numbers(path, "--half")
    if device.type != "cuda":
        raise ValueError(f"--half needs a CUDA device, this run is on {device.type}; leave it out")


def chosen_amp(weights: Sequence[str | Path], amp: str, half: bool, device: torch.device, report: Report) -> str:
    """The number type of the networks among `weights`: off (float32), bf16 or fp16.

    Args:
        weights: Files; exported ones compute in their own numbers.
        amp: Of `--amp`.
        half: Of `--half`: fp16.
        device: Of this run.
        report: Told where it is slow.

    Raises:
        ValueError: A number type that cannot be had here, or that no file is computed in; two number types.
    """
    check_amp_and_half(amp, half)
    if half:
        check_half(weights, device)
        return "fp16"
    exported = list(filter(is_exported, weights))
    all_exported = len(exported) == len(weights)
    if exported and amp != "auto" and (all_exported or amp != "off"):
        refuse_numbers(exported[0], f"--amp {amp}")
    chosen = "off" if all_exported else amp_on(device, amp)
    if line := slow_amp(chosen, device):
        report(line)
    return chosen


def load_networks(
    weights: Sequence[str | Path],
    device: torch.device,
    *,
    half: bool = False,
    amp: str = "off",
    report: Report = lambda _line: None,
) -> tuple[Task, Any, str | None, ValueRange | None]:
    """Load checkpoints and exported files, mixed or not.

    Args:
        weights: One or more.
        device: For all of them.
        half: Make the weights of checkpoints float16.
        amp: Number type that checkpoints' networks compute in, see `Network.amp`.
        report: Told in which numbers an exported file computes, where that is not what it was exported for.

    Returns:
        Their task and the network; of the first of them the data set that it names, and what the values of its
        pictures mean.

    Raises:
        FileNotFoundError: No such file.
        ValueError: One cannot be used, or they do not fit together.
    """
    opened = [_opened(path, device, half, amp, report) for path in weights]
    models, tasks = [each.model for each in opened], [each.task for each in opened]
    other = next((i for i, name in enumerate(tasks) if name != tasks[0]), None)
    if other is not None:
        raise ValueError(f"{weights[other]} is of the task {tasks[other]}, {weights[0]} of {tasks[0]}; give one task's")
    task = task_named(tasks[0])
    model = models[0] if len(models) == 1 else task.pooled(models, [str(path) for path in weights])
    return task, model, str(opened[0].data) if opened[0].data else None, opened[0].values


def _opened(path: str | Path, device: torch.device, half: bool, amp: str, report: Report) -> _Opened:
    if is_exported(path):
        exported = load_exported(path, device)
        if exported.note:
            report(f"{path}: {exported.note}")
        return _Opened(exported, exported.task.name, None, exported.info.values)
    checkpoint = load_checkpoint(path)
    model = model_from_checkpoint(checkpoint, device, half=half).computing_in(amp)
    return _Opened(model, checkpoint.task, checkpoint.info.get("data"), checkpoint.values)
