"""A detector with every kind of layer, small enough to be exported in a moment, and predictions to compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from mgil.datasets.batches.decode import decode_image
from mgil.datasets.batches.letterbox import letterbox_image
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.config import load_architecture
from mgil.networks.detector import DetectionModel, build_model

NAMES = ("red", "green", 'it\'s "blue"')
EXAMPLES = Path(__file__).resolve().parents[3] / "data" / "images"


def small_model(cfg: str = "yolov5n-mgil.yaml", names: tuple[str, ...] = NAMES, width: float = 0.07) -> DetectionModel:
    """An architecture of the shipped ones at a fraction of its width, random but as if it had been trained.

    Normalisations have statistics, fusions weights, and objectness and class scores spread over 0..1.
    """
    architecture = {**load_architecture(cfg), "depth_multiple": 0.1, "width_multiple": width}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(architecture, names=names, imgsz=64)
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)  # signals neither die away nor explode
            elif isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.2)
                nn.init.uniform_(layer.weight, 0.9, 1.25)
                nn.init.normal_(layer.bias, 0, 0.1)
            elif isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight)
        for layer in model.head.m:
            nn.init.normal_(layer.weight, 0, 0.4)
            nn.init.normal_(layer.bias, 0, 0.5)
    return model.eval().requires_grad_(False)


def save_small(path: Path, cfg: str = "yolov5n-mgil.yaml") -> Path:
    """A weights file of `small_model`."""
    save_checkpoint(path, small_model(cfg), {})
    return path


def pictures(size_hw: tuple[int, int], count: int = 3) -> torch.Tensor:
    """The project's pictures, over and over, as (count, 3, H, W) float32 RGB 0..1."""
    paths = sorted(EXAMPLES.glob("*.png"))
    images = [letterbox_image(decode_image(str(paths[i % len(paths)])), size_hw)[0] for i in range(count)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
