"""Several detectors that answer as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from models import DetectionModel


class Ensemble(nn.Module):
    """Pools the predictions of several models before NMS, as YOLOv5 does for ``--weights a.pt b.pt``.

    Args:
        models: detectors with the same class names in the same order.
        sources: what to call each in an error message.

    Raises:
        ValueError: class names that differ.
    """

    def __init__(self, models: Sequence[DetectionModel], sources: Sequence[object]) -> None:
        super().__init__()
        for model, source in zip(models, sources, strict=True):
            if model.names != models[0].names:
                raise ValueError(
                    f"{source} and {sources[0]} have different class names ({len(model.names)} and "
                    f"{len(models[0].names)} classes); an ensemble needs the same"
                )
        self.members = nn.ModuleList(models)
        self.names = models[0].names
        self.imgsz = models[0].imgsz
        self.stride = max((model.stride for model in models), key=lambda stride: float(stride.max()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) float 0..1 -> (B, sum of N, 5 + classes)."""
        return torch.cat([model(images) for model in self.members], dim=1)
