"""Several detectors that answer as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mgil.files.class_names import first_difference


class Ensemble(nn.Module):
    """Pools the predictions of several models before NMS, as YOLOv5 does for ``--weights a.pt b.pt``.

    Args:
        models: detectors with the same class names in the same order.
        sources: what to call each in an error message.

    Raises:
        ValueError: class names or fixed input sizes that differ, a fixed size that is no multiple of another member's
            stride, or a model that suppresses boxes itself.
    """

    def __init__(self, models: Sequence[Any], sources: Sequence[object]) -> None:
        super().__init__()
        for model, source in zip(models, sources, strict=True):
            if model.names != models[0].names:
                index, name, other = first_difference(model.names, models[0].names)
                raise ValueError(
                    f"{source} and {sources[0]} have different class names ({len(model.names)} and "
                    f"{len(models[0].names)} classes; class {index} is {name!r} and {other!r}); "
                    "an ensemble needs the same"
                )
            if getattr(model, "has_nms", False):
                raise ValueError(f"{source} suppresses boxes itself; an ensemble needs it exported without --nms")
        fixed = {size_hw for model in models if (size_hw := getattr(model, "size_hw", None))}
        if len(fixed) > 1:
            shown = ", ".join(f"{height}x{width}" for height, width in sorted(fixed))
            raise ValueError(f"{', '.join(map(str, sources))}: exported for {shown} pixels; they need one size")
        self.size_hw = next(iter(fixed), None)
        for model, source in zip(models, sources, strict=True):
            stride = int(model.max_stride)
            if self.size_hw and any(side % stride for side in self.size_hw):
                shown = "x".join(map(str, self.size_hw))
                raise ValueError(
                    f"{', '.join(map(str, sources))}: one is exported for {shown} pixels, and {source} needs multiples "
                    f"of {stride}; export it for such a size"
                )
        self.members = nn.ModuleList(models)
        self.names = models[0].names
        self.imgsz = max(self.size_hw) if self.size_hw else models[0].imgsz
        self.stride = max((model.stride for model in models), key=lambda stride: float(stride.max()))
        self.max_stride = max(model.max_stride for model in models)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) float 0..1 -> (B, sum of N, 5 + classes)."""
        return torch.cat([model(images) for model in self.members], dim=1)
