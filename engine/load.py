"""Using a trained model from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from engine.checkpoints import model_from_checkpoint
from engine.devices import select_device
from engine.inference import Detector


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
) -> Detector:
    """Load a detector.

        model = load_model("runs/train/exp/weights/best.pt")
        results = model("image.jpg")
        results.boxes_xyxy, results.scores, results.classes, results.names
        results.save("out.png")

    Args:
        weights: a .pt file of train.py, or an official YOLOv5 detection checkpoint.
        device: "" (the first GPU if there is one, else the CPU), "cpu", "mps" or a GPU's number.
        imgsz: longest side of the network's input, or its (height, width); None takes the size it was trained at.
        conf: lowest score that is kept, 0..1.
        iou: of two boxes of one class that overlap more than this, the lower score goes.
        max_det: boxes kept per image.
        classes: keep these class indices only.
        agnostic: boxes suppress each other across classes.
        augment: look at each image at three sizes, once mirrored.
        half: float16 arithmetic, on CUDA only.

    Raises:
        FileNotFoundError: no such weights.
        ValueError: weights that cannot be used, no such device, or a parameter out of its range.
    """
    place = select_device(str(device))
    if half and place.type != "cuda":
        raise ValueError(f"half precision needs a CUDA device, not {place}")
    model = model_from_checkpoint(weights, place, half=half)
    size = model.imgsz if imgsz is None else imgsz
    size_hw = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    return Detector(
        model,
        device=place,
        size_hw=size_hw,
        conf=conf,
        iou=iou,
        max_det=max_det,
        classes=classes,
        agnostic=agnostic,
        augment=augment,
        half=half,
    )
