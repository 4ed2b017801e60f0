"""Using a trained model from Python."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from mgil.datasets.reading.value_range import ValueRange, range_of
from mgil.engine.input_size import check_input_size, warn
from mgil.engine.prediction.predictor import Model
from mgil.engine.runtimes.predictors import open_predictor
from mgil.engine.weights.released import fetch_weights
from mgil.files.flags import from_keywords
from mgil.files.text import Report
from mgil.tasks.base import Task
from mgil.tasks.registry import options_of


def load_model(
    weights: str | Path | Sequence[str | Path],
    device: str | torch.device = "",
    imgsz: int | Sequence[int] | None = None,
    half: bool = False,
    report: Report = warn,
    bits: int | None = None,
    range: Sequence[int] | None = None,
    download: bool = False,
    amp: str = "auto",
    **options: Any,
) -> Model:
    """Load a trained network.

        model = load_model("runs/train/exp/weights/best.pt")
        results = model("image.jpg")
        results.boxes_xyxy, results.scores, results.classes, results.names
        results.save("out.png")

    Args:
        weights: a .pt file of train.py, an official YOLOv5 detection checkpoint, or an exported .torchscript, .onnx or
            .engine file or OpenVINO folder. Several, in a list, are an ensemble: their predictions are pooled before
            non-maximum suppression.
        device: "" (the first GPU if there is one, else the CPU), "cpu", "mps" or a GPU's number.
        imgsz: longest side of the network's input, or its (height, width), 32 pixels or more, rounded up to the
            model's stride; None takes the size it was trained at. A file that was exported for one size takes that
            alone.
        half: float16 weights and arithmetic, on CUDA; .pt only.
        report: told when `imgsz` is rounded up, and of pictures of 16 bits that use few of them; by default that is a
            Python warning.
        bits: how many of their 16 bits pictures use, 8 to 16: 2**bits - 1 is white. None is what the weights were
            trained with. Pictures of 8 bits are not changed.
        range: in place of `bits`, which values of pictures of 16 bits are black and white: (lowest, highest).
        download: fetch YOLOv5's weights by their name (yolov5n.pt) when they are missing; the URL is printed first.
        amp: mixed precision of a .pt: "off" is float32, "bf16" and, on CUDA, "fp16" compute the network's layers in
            these; "auto" is bf16 on a CPU with AMX, off elsewhere. Boxes are decoded and suppressed in float32.
        options: the task's own, by the names of detect.py's flags. Detection: `conf` (0.25), lowest score that is kept;
            `iou` (0.45), of two boxes of a class that overlap more the lower score goes; `max_det` (1000), boxes kept
            per image; `classes`, keep these alone; `agnostic`, boxes suppress each other across classes; `augment`,
            look at three sizes, once mirrored (.pt only). Classification: `crop_mode`, "center" or "squash". Pose:
            `detector`, weights whose boxes are looked in, with their `conf`, `iou`, `classes`, `max_det`, or `boxes`, a
            file of them (else the image is one person); `flip_test` (.pt only); `joint_thres` (0.02), a joint's lowest.

    Returns:
        Call it with an image or several, see `Model.__call__`.

    Raises:
        FileNotFoundError: no such weights.
        ValueError: weights that cannot be used or do not fit together, no such device, a runtime that is not installed,
            or a parameter out of its range.
        OSError: weights cannot be fetched.
    """
    for path in _paths(weights) if download else ():
        fetch_weights(path, print)

    def own(task: Task) -> Any:
        return from_keywords(options_of(task.name, "detect"), options)

    values = range_of(bits, range)
    return open_model(weights, str(device), sides_of(imgsz), half, own, report, values, amp, download)[1]


def sides_of(imgsz: Any) -> tuple[int, ...]:
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


def _paths(weights: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [weights] if isinstance(weights, str | os.PathLike) else list(weights)


def open_model(
    weights: str | Path | Sequence[str | Path],
    device: str,
    sides: tuple[int, ...],
    half: bool,
    options: Callable[[Task], Any],
    report: Report,
    values: ValueRange | None = None,
    amp: str = "auto",
    download: bool = False,
) -> tuple[Task, Model]:
    """Load a trained network with the options of its task.

    Args:
        weights, device, half, report, amp: As for `load_model`.
        sides: None, one or two of the input.
        options: Gives them, once the task is known.
        values: What the values of pictures of more than 8 bits mean; None: what they meant in training.
        download: Fetch weights that the options name, as those of a detector, where they are missing.

    Raises:
        FileNotFoundError, ValueError, OSError: As for `load_model`.
    """
    check_input_size(sides)
    paths = _paths(weights)
    if not paths:
        raise ValueError("weights: give at least one file")
    task, predictor, own_values = open_predictor(paths, device, sides, half, options, report, amp, download)
    return task, Model(predictor, values or own_values, report)
