"""Using a trained model from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mgil.engine.input_size import check_input_size, warn
from mgil.engine.prediction.detector import Detector
from mgil.engine.runtimes.model import (
    ExportedModel,
    check_fixed_size,
    check_own_suppression,
    check_pytorch_only,
    device_for,
    is_exported,
    load_exported,
)
from mgil.engine.weights.checkpoints import model_from_checkpoint
from mgil.networks.detector import DetectionModel


def load_model(
    weights: str | Path,
    device: str | torch.device = "",
    imgsz: int | tuple[int, int] | None = None,
    conf: float = 0.25,
    iou: float = 0.45,
    max_det: int = 1000,
    classes: Sequence[int] | None = None,
    agnostic: bool = False,
    augment: bool = False,
    half: bool = False,
    report: Callable[[str], None] = warn,
) -> Detector:
    """Load a detector.

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
        conf: lowest score that is kept, 0..1.
        iou: of two boxes of one class that overlap more than this, the lower score goes. A file exported with its own
            suppression has its own, and its own lowest score.
        max_det: boxes kept per image.
        classes: keep these class indices only.
        agnostic: boxes suppress each other across classes.
        augment: look at each image at three sizes, once mirrored; .pt only.
        half: float16 arithmetic, on CUDA; .pt only.
        report: told when `imgsz` is rounded up; by default that is a Python warning.

    Raises:
        FileNotFoundError: no such weights.
        ValueError: weights that cannot be used, no such device, a runtime that is not installed, or a parameter out of
            its range.
    """
    sides = () if imgsz is None else (imgsz,) if isinstance(imgsz, int) else (int(imgsz[0]), int(imgsz[1]))
    check_input_size(sides)
    place = device_for([weights], str(device))
    model = _open(weights, place, augment, half)
    if isinstance(model, ExportedModel):
        check_own_suppression(model, conf, iou, agnostic)
    if sides:
        check_fixed_size(model, sides, weights)
    else:
        sides = (model.imgsz,)
    return Detector(
        model,
        device=place,
        size_hw=(sides[0], sides[-1]),
        conf=conf,
        iou=iou,
        max_det=max_det,
        classes=classes,
        agnostic=agnostic,
        augment=augment,
        half=half,
        report=report,
    )


def _open(weights: str | Path, device: torch.device, augment: bool, half: bool) -> DetectionModel | ExportedModel:
    if is_exported(weights):
        check_pytorch_only(weights, augment=augment, half=half)
        return load_exported(weights, device)
    if half and device.type != "cuda":
        raise ValueError(f"half precision needs a CUDA device, not {device}")
    return model_from_checkpoint(weights, device, half=half)
