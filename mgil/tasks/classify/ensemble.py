"""Several classification networks that answer as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mgil.files.class_names import places_in, same_classes


class Ensemble(nn.Module):
    """The mean of the probabilities of several networks: `--weights a.pt b.onnx`.

    Args:
        models: Networks of the same classes, in any order, for one input size and one crop.
        sources: What to call each in an error message.

    Attributes:
        any_size: No member is made for one input size alone.
        size_hw: Of the files that were exported for one, which is then the only input; None: there is no such file, and
            the judge resizes pictures to `imgsz` where that is needed.

    Raises:
        ValueError: They have other classes, sizes or crops.
    """

    probabilities = True

    def __init__(self, models: Sequence[Any], sources: Sequence[object]) -> None:
        super().__init__()
        first = models[0]
        for model, source in zip(models, sources, strict=True):
            if not same_classes(model.names, first.names):
                raise ValueError(f"{source} has other classes than {sources[0]}; to answer as one they need the same")
            if model.crop != first.crop:
                raise ValueError(f"{source} has the crop {model.crop}, {sources[0]} {first.crop}; one of them must do")
        exported = [model for model in models if getattr(model, "size_hw", None) is not None]
        fixed = {size for model in models if (size := _only_size(model)) is not None}
        if len(fixed) > 1:
            shown = ", ".join(map(str, sorted(fixed)))
            raise ValueError(f"{', '.join(map(str, sources))}: made for {shown} pixels; they need one size")
        self.members = nn.ModuleList(models)
        self.names, self.crop = tuple(first.names), first.crop
        self.orders = [places_in(model.names, first.names) for model in models]
        self.imgsz = next(iter(fixed), first.imgsz)
        self.any_size = not fixed
        self.size_hw = (self.imgsz, self.imgsz) if exported else None
        self.max_stride = max(model.max_stride for model in models)
        self.stride = torch.tensor([float(self.max_stride)])

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) float 0..1 -> (B, C) probabilities."""
        parts = []
        for model, order in zip(self.members, self.orders, strict=True):
            found = model(images).float()
            parts.append((found if getattr(model, "probabilities", True) else found.softmax(dim=1))[:, order])
        return torch.stack(parts).mean(dim=0)


def _only_size(model: Any) -> int | None:
    """The side of the only input that a network takes; None: any."""
    size_hw = getattr(model, "size_hw", None)
    if size_hw is not None:
        return max(size_hw)
    return None if getattr(model, "any_size", True) else model.imgsz
