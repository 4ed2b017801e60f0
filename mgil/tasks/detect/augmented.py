"""Test-time augmentation: one image seen at three sizes, once mirrored, all predictions pooled before NMS."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

# YOLOv5's views: (scale, mirrored left to right).
VIEWS = ((1.0, False), (0.83, True), (0.67, False))
_FILL = 114 / 255  # the letterbox grey


def predict_augmented(
    model: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    *,
    stride: int = 32,
    level_strides: Sequence[float] = (8, 16, 32),
) -> torch.Tensor:
    """Predict on three views and map every box back to the input.

    As YOLOv5's augmented inference: the full-size view gives no boxes of the coarsest level and the smallest view none
    of the finest, since the other views see those objects at a better size. A model with a single level gives its boxes
    in all views. Views are padded on the right and bottom to whole strides, so any input size works.

    Args:
        model: maps images to (B, N, 5 + classes) predictions in pixels of its input, N in order of level.
        images: (B, 3, H, W) float 0..1, H and W multiples of ``stride``.
        stride: the largest stride of the model.
        level_strides: stride of each detection level, in the order of its predictions.

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
    views[0] = _without_level(views[0], level_strides, max(level_strides))
    views[-1] = _without_level(views[-1], level_strides, min(level_strides))
    return torch.cat(views, dim=1)


def predict_views(model: Any, images: torch.Tensor) -> torch.Tensor:
    """`predict_augmented` with a network's own strides and levels.

    Of an ensemble, the members one by one: levels are cut out by their place among a single model's predictions.
    """
    members = getattr(model, "members", (model,))
    views = [
        predict_augmented(member, images, stride=member.max_stride, level_strides=member.stride.tolist())
        for member in members
    ]
    return torch.cat(views, dim=1)


def check_augment(model: Any, augment: bool) -> None:
    """Raise ValueError for an exported file, whose levels are not to be told apart."""
    members = getattr(model, "members", (model,))
    exported = [member for member in members if hasattr(member, "info")]
    if augment and exported:
        raise ValueError(f"--augment needs the PyTorch weights (.pt); {exported[0].path} is an exported file")


def _without_level(predictions: torch.Tensor, level_strides: Sequence[float], stride: float) -> torch.Tensor:
    """(B, N, ...) predictions but those of the level of that stride, N in order of level; an only level is kept."""
    if len(level_strides) == 1:
        return predictions
    cells = [1 / own**2 for own in level_strides]  # of each level, up to a factor
    place = list(level_strides).index(stride)
    share = predictions.shape[1] / sum(cells)
    first, stop = round(share * sum(cells[:place])), round(share * sum(cells[: place + 1]))
    return torch.cat((predictions[:, :first], predictions[:, stop:]), dim=1)


def _view(images: torch.Tensor, scale: float, mirrored: bool, stride: int) -> torch.Tensor:
    if mirrored:
        images = images.flip(3)
    if scale == 1.0:
        return images
    height, width = (max(1, int(side * scale)) for side in images.shape[2:])
    resized = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    bottom, right = (math.ceil(side / stride) * stride - side for side in (height, width))
    return F.pad(resized, (0, right, 0, bottom), value=_FILL)
