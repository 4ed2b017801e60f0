"""Using a trained model from Python."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from mgil.datasets.reading.value_range import ValueRange, range_of
from mgil.engine.input_size import check_input_size, input_size_hw, warn
from mgil.engine.prediction.predictor import Model
from mgil.engine.runtimes.model import (
    check_fixed_size,
    check_pytorch_only,
    device_for,
    fixed_size_hw,
    is_exported,
    load_exported,
)
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint
from mgil.files.flags import from_keywords
from mgil.files.text import Report
from mgil.tasks.base import Task
from mgil.tasks.registry import options_of, task_named


def load_model(
    weights: str | Path,
    device: str | torch.device = "",
    imgsz: int | Sequence[int] | None = None,
    half: bool = False,
    report: Report = warn,
    bits: int | None = None,
    range: Sequence[int] | None = None,
    **options: Any,
) -> Model:
    """Load a trained network.

        model = load_model("runs/train/exp/weights/best.pt")
        results = model("image.jpg")
        results.boxes_xyxy, results.scores, results.classes, results.names
        results.save("out.png")

    Args:
        weights: a .pt file of train.py, an official YOLOv5 detection checkpoint, or an exported .torchscript, .onnx or
            .engine file or OpenVINO folder.
        device: "" (the first GPU if there is one, else the CPU), "cpu", "mps" or a GPU's number.
        imgsz: longest side of the network's input, or its (height, width), 32 pixels or more, rounded up to the
            model's stride; None takes the size it was trained at. A file that was exported for one size takes that
            alone.
        half: float16 arithmetic, on CUDA; .pt only.
        report: told when `imgsz` is rounded up, and of pictures of 16 bits that use few of them; by default that is a
            Python warning.
        bits: how many of their 16 bits pictures use, 8 to 16: 2**bits - 1 is white. None is what the weights were
            trained with. Pictures of 8 bits are not changed.
        range: in place of `bits`, which values of pictures of 16 bits are black and white: (lowest, highest).
        options: the task's own, by the names of detect.py's flags. Detection: `conf` (0.25), lowest score that is kept;
            `iou` (0.45), of two boxes of a class that overlap more the lower score goes; `max_det` (1000), boxes kept
            per image; `classes`, keep these class indices only; `agnostic`, boxes suppress each other across classes;
            `augment`, look at each image at three sizes, once mirrored (.pt only).

    Returns:
        Call it with an image or several, see `Model.__call__`.

    Raises:
        FileNotFoundError: no such weights.
        ValueError: weights that cannot be used, no such device, a runtime that is not installed, or a parameter out of
            its range.
    """

    def own(task: Task) -> Any:
        return from_keywords(options_of(task.name, "detect"), options)

    values = range_of(bits, range)
    return open_model(weights, str(device), _sides(imgsz), half, own, report, values)[1]


def _sides(imgsz: Any) -> tuple[int, ...]:
    """None, one or two sides from whatever Python, NumPy or PyTorch has for whole numbers."""
    if imgsz is None:
        return ()
    with suppress(TypeError):
        return (operator.index(imgsz),)
    sides: tuple[int, ...] = ()
    with suppress(TypeError):
        sides = tuple(map(operator.index, imgsz))
    if len(sides) not in (1, 2):
        raise ValueError(f"imgsz {imgsz!r}: give a whole number of pixels, or two: (height, width)")
    return sides


def open_model(
    weights: str | Path,
    device: str,
    sides: tuple[int, ...],
    half: bool,
    options: Callable[[Task], Any],
    report: Report,
    values: ValueRange | None = None,
) -> tuple[Task, Model]:
    """Load a trained network with the options of its task.

    Args:
        weights, device, half, report: As for `load_model`.
        sides: None, one or two of the input.
        options: Gives them, once the task is known.
        values: What the values of pictures of more than 8 bits mean; None: what they meant in training.

    Raises:
        FileNotFoundError, ValueError: As for `load_model`.
    """
    check_input_size(sides)
    place = device_for([weights], device)
    model: Any
    if is_exported(weights):
        check_pytorch_only(weights, half=half)
        model = load_exported(weights, place)
        task = model.task
        values = values or model.info.values
    else:
        if half and place.type != "cuda":
            raise ValueError(f"half precision needs a CUDA device, not {place}")
        checkpoint = load_checkpoint(weights)
        task = task_named(checkpoint.task)
        model = model_from_checkpoint(checkpoint, place, half=half)
        values = values or checkpoint.values
    if sides:
        check_fixed_size(model, sides, weights)
    own = options(task)
    size_hw = fixed_size_hw(model) or input_size_hw(sides or (model.imgsz,), model.max_stride, report)
    return task, Model(task.predictor(model, own, device=place, size_hw=size_hw, half=half), values, report)
