"""Test-time augmentation: one image seen at three sizes, once mirrored, all predictions pooled before NMS."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

# YOLOv5's views: (scale, mirrored left to right).
VIEWS = ((1.0, False), (0.83, True), (0.67, False))
_FILL = 114 / 255  # the letterbox grey


def predict_augmented(
    model: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, *, stride: int = 32, levels: int = 3
) -> torch.Tensor:
    """Predict on three views and map every box back to the input.

    As YOLOv5's augmented inference: the full-size view gives no boxes of the coarsest level and the smallest view none
    of the finest, since the other views see those objects at a better size. Views are padded on the right and bottom
    to whole strides, so any input size works.

    Args:
        model: maps images to (B, N, 5 + classes) predictions in pixels of its input, N in order of level.
        images: (B, 3, H, W) float 0..1, H and W multiples of ``stride``.
        stride: the largest stride of the model.
        levels: number of detection levels; each has a quarter of the cells of the one before.

    Returns:
        (B, N', 5 + classes) predictions in pixels of ``images``.
    """
    views = []
    for scale, mirrored in VIEWS:
        predictions = model(_view(images, scale, mirrored, stride)).clone()
        scale_x, scale_y = (max(1, int(side * scale)) / side for side in (images.shape[3], images.shape[2]))
        predictions[..., [0, 2]] /= scale_x
        predictions[..., [1, 3]] /= scale_y
        if mirrored:
            predictions[..., 0] = images.shape[3] - predictions[..., 0]
        views.append(predictions)
    cells = sum(4**level for level in range(levels))
    coarsest = views[0].shape[1] // cells
    finest = views[-1].shape[1] // cells * 4 ** (levels - 1)
    views[0] = views[0][:, : views[0].shape[1] - coarsest]
    views[-1] = views[-1][:, finest:]
    return torch.cat(views, dim=1)


def predict_views(model: Any, images: torch.Tensor) -> torch.Tensor:
    """`predict_augmented` with a network's own strides and levels.

    Of an ensemble, the members one by one: levels are cut out by their place among a single model's predictions.
    """
    members = getattr(model, "members", (model,))
    views = [
        predict_augmented(member, images, stride=member.max_stride, levels=len(member.stride)) for member in members
    ]
    return torch.cat(views, dim=1)


def check_augment(model: Any, augment: bool) -> None:
    """Raise ValueError for an exported file, whose levels are not to be told apart."""
    members = getattr(model, "members", (model,))
    exported = [member for member in members if hasattr(member, "info")]
    if augment and exported:
        raise ValueError(f"--augment needs the PyTorch weights (.pt); {exported[0].path} is an exported file")


def _view(images: torch.Tensor, scale: float, mirrored: bool, stride: int) -> torch.Tensor:
    if mirrored:
        images = images.flip(3)
    if scale == 1.0:
        return images
    height, width = (max(1, int(side * scale)) for side in images.shape[2:])
    resized = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    bottom, right = (math.ceil(side / stride) * stride - side for side in (height, width))
    return F.pad(resized, (0, right, 0, bottom), value=_FILL)
