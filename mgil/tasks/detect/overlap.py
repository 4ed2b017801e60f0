"""Overlap of boxes, differentiable."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def complete_iou(first_cxcywh: Tensor, second_cxcywh: Tensor, epsilon: float = 1e-7) -> Tensor:
    """CIoU of paired boxes (Zheng et al. 2020): IoU - centre distance^2 / diagonal^2 - aspect penalty.

    Args:
        first_cxcywh: (..., 4) centre x, y, width, height in any one unit.
        second_cxcywh: The same shape, the same unit.
        epsilon: Keeps the divisions finite for boxes without area.

    Returns:
        (...,) values in [-1.5, 1], 1 for equal boxes. The weight of the aspect penalty carries no gradient.
    """
    centre1, size1 = first_cxcywh.split(2, dim=-1)
    centre2, size2 = second_cxcywh.split(2, dim=-1)
    low1, high1 = centre1 - size1 / 2, centre1 + size1 / 2
    low2, high2 = centre2 - size2 / 2, centre2 + size2 / 2
    intersection = (torch.minimum(high1, high2) - torch.maximum(low1, low2)).clamp(min=0).prod(-1)
    union = size1.prod(-1) + size2.prod(-1) - intersection + epsilon
    iou = intersection / union
    diagonal = (torch.maximum(high1, high2) - torch.minimum(low1, low2)).square().sum(-1) + epsilon
    distance = (centre1 - centre2).square().sum(-1)
    angle1 = torch.atan(size1[..., 0] / (size1[..., 1] + epsilon))
    angle2 = torch.atan(size2[..., 0] / (size2[..., 1] + epsilon))
    aspect = (4 / math.pi**2) * (angle1 - angle2).square()
    with torch.no_grad():
        weight = aspect / (aspect - iou + (1 + epsilon)).clamp(min=epsilon)  # 0/0 for boxes equal to the last bit
    return iou - distance / diagonal - weight * aspect
