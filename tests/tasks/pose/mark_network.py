"""A network that finds the coloured marks of `marks`, which can be exported: where the joints are is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mgil.block.flie import FLIE
from mgil.engine.export.job import ExportJob
from mgil.engine.export.onnx import write_onnx
from mgil.networks.network import Network
from mgil.tasks.pose.simcc import decode
from mgil.tasks.registry import task_named
from tests.tasks.pose.marks import SIDE, SPLIT, STICK

SMOOTH = 5  # pixels: a mark is several wide, and has one middle


class MarkNetwork(Network):
    """How much of a mark's colour is in each column and each row."""

    max_stride, any_size, split, bins, gaussian, decoded = 32, False, SPLIT, "half", False, False

    def __init__(self, crop: str = "linear", size: int = SIDE) -> None:
        super().__init__()
        self.architecture, self.names, self.imgsz = {"source": "marks"}, STICK.names, size
        self.skeleton, self.crop = STICK, crop
        ramp = torch.arange(1.0, SMOOTH * SPLIT + 1)
        self.register_buffer("kernel", torch.cat((ramp, ramp.flip(0)[1:]))[None, None])

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in 0..1 to (B, 2, 3, 2 S), or to (B, 3, 3)."""
        others = images.sum(dim=1, keepdim=True) - images
        ink = (images - others / 2).clamp(min=0)
        profiles = torch.stack((ink.mean(dim=2), ink.mean(dim=3)), dim=1).reshape(-1, 1, self.imgsz)
        bins = functional.interpolate(profiles, scale_factor=float(SPLIT), mode="nearest")
        smooth = functional.conv1d(bins, self.get_buffer("kernel"), padding=SMOOTH * SPLIT - 1)
        logits = smooth.reshape(-1, 2, 3, self.imgsz * SPLIT) * 2
        return decode(logits, self.split, self.gaussian) if self.decoded else logits

    def decode(self, logits: Tensor) -> Tensor:
        """The middles of the best bins."""
        return decode(logits, self.split, self.gaussian)

    def fused(self, convert: str | Callable[[FLIE], bool] = "auto") -> MarkNetwork:
        """There is nothing to fuse."""
        return MarkNetwork(self.crop, self.imgsz)


def export_marks(path: Path, crop: str = "linear", size: int = SIDE, **options: Any) -> Path:
    """What export.py writes."""
    job = ExportJob(MarkNetwork(crop, size).eval(), path.stem, (size, size), task=task_named("pose"), **options)
    write_onnx(job, path)
    return path
