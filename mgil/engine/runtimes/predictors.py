"""Weights as what looks at pictures; where a task looks in boxes, with the weights that find them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mgil.datasets.reading.value_range import ValueRange
from mgil.engine.input_size import input_size_hw
from mgil.engine.runtimes.load import chosen_amp, load_networks
from mgil.engine.runtimes.model import check_fixed_size, device_for, fixed_size_hw, is_exported
from mgil.engine.weights.released import fetch_weights
from mgil.files.flags import build, check_fields
from mgil.files.text import Report
from mgil.tasks.abilities import BoxTask, Finder, FollowingPredictor
from mgil.tasks.base import Predictor, Task
from mgil.tasks.registry import options_of


def open_predictor(
    weights: Sequence[str | Path],
    device: str,
    sides: tuple[int, ...],
    half: bool,
    options: Callable[[Task], Any],
    report: Report,
    amp: str = "auto",
    download: bool = False,
) -> tuple[Task, Predictor, ValueRange | None]:
    """Load a network, or several that answer as one, and those whose boxes its task looks in.

    Args:
        weights: One or more files.
        device: Of `--device`.
        sides: None, one or two of the input.
        half, amp: Number types.
        options: Of detect.py, once the task is known.
        report: Told of what a user should know.
        download: Fetch other weights by their name where they are missing.

    Returns:
        The task, its predictor, and what the values of pictures of more than 8 bits meant in training.

    Raises:
        FileNotFoundError, ValueError, OSError: As for `mgil.engine.prediction.load.load_model`.
    """
    place = device_for(weights, device)
    numbers = chosen_amp(weights, amp, half, place, report)
    task, model, _, values = load_networks(weights, place, half=half, amp="off" if half else numbers, report=report)
    if sides:
        check_fixed_size(model, sides, " + ".join(map(str, weights)))
    own = options(task)
    size_hw = fixed_size_hw(model) or input_size_hw(sides or (model.imgsz,), model.max_stride, report)
    predictor: Any = task.predictor(model, own, device=place, size_hw=size_hw, half=half)
    if isinstance(task, BoxTask):
        finder = task.finder(own)
        found_by = None if finder is None else open_finder(finder, device, half, report, amp, download)
        predictor.use(found_by, "" if finder is None else finder.weights, report)
    return task, predictor, values


def open_finder(
    finder: Finder, device: str, half: bool, report: Report, amp: str = "auto", download: bool = False
) -> FollowingPredictor:
    """Load the weights whose boxes another task looks in; an exported file computes in its own numbers.

    Raises:
        FileNotFoundError, OSError: No such weights.
        ValueError: They cannot be used, or find no boxes by themselves; the flag is named.
    """

    def own(task: Task) -> Any:
        if isinstance(task, BoxTask):
            raise ValueError(
                f"{finder.weights} is of the task {task.name}, which looks in boxes that others find; give a detector"
            )
        config: Any = build(options_of(task.name, "detect"), finder.options)
        check_fields(config)
        return config

    exported = is_exported(finder.weights)
    try:
        if download:
            fetch_weights(finder.weights, report)
        _, predictor, _ = open_predictor(
            [finder.weights], device, (), half and not exported, own, report, "auto" if exported else amp
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{finder.flag}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{finder.flag}: {error}") from error
    if not isinstance(predictor, FollowingPredictor):
        raise ValueError(f"{finder.flag}: {finder.weights} finds no boxes; give a detector")
    return predictor
