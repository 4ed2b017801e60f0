"""A network that finds coloured marks as if they were joints, and pictures of people who are made of such marks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mgil.tasks.pose.options import PredictOptions
from mgil.tasks.pose.predictor import PosePredictor
from mgil.tasks.pose.skeleton import checked

COLOURS = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]])  # head, left hand, right hand
STICK = checked(["head", "left_hand", "right_hand"], [0, 2, 1], [0.05] * 3, [(0, 1), (0, 2)])
SIDE, SPLIT = 32, 2
OFFSETS = np.array([[0, -8], [6, 6], [-6, 6]])  # of marks from the middle of a person, in pixels
PEOPLE = [(20, 20), (60, 40), (80, 15)]  # x, y of their middles


class Marks(nn.Module):
    """Logits along both axes: how much of a mark's colour is in each column and each row."""

    names, imgsz, max_stride, skeleton, crop, split = STICK.names, SIDE, 32, STICK, "linear", SPLIT

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 32, 32) in 0..1 to (B, 2, 3, 64)."""
        self.batches.append(len(images))
        assert images.dtype == torch.float32 and 0 <= float(images.min()) <= float(images.max()) <= 1
        others = images.sum(dim=1, keepdim=True) - images
        ink = (images - others / 2).clamp(min=0).repeat_interleave(SPLIT, 2).repeat_interleave(SPLIT, 3)
        return torch.stack((ink.mean(dim=2), ink.mean(dim=3)), dim=1) * 100

    def decode(self, logits: Tensor) -> Tensor:
        """The middle of the best bins, as they may be several, and the probability of the best."""
        chances = logits.softmax(dim=-1)
        middles = (torch.arange(chances.shape[-1]) + 0.5) / SPLIT
        points = (chances * middles).sum(dim=-1)
        return torch.cat((points.transpose(1, 2), chances.amax(dim=(1, 3))[..., None]), dim=-1)

    def with_mirrored(self, logits: Tensor, mirrored: Tensor) -> Tensor:
        """The mean of both; a mark keeps its colour in a mirrored picture."""
        return (logits + torch.stack((mirrored[:, 0].flip(-1), mirrored[:, 1]), dim=1)) / 2


def picture(people: list[tuple[int, int]], height: int = 64, width: int = 96) -> np.ndarray:
    """People by their middles (x, y): marks of 3x3 pixels on black."""
    image = np.zeros((height, width, 3), np.uint8)
    for x, y in people:
        for (dx, dy), colour in zip(OFFSETS, COLOURS, strict=True):
            image[max(y + dy - 1, 0) : y + dy + 2, max(x + dx - 1, 0) : x + dx + 2] = colour
    return image


def around(people: list[tuple[int, int]]) -> np.ndarray:
    """(n, 4) left, top, right, bottom of boxes of 24 pixels around people, in edges."""
    middles = np.array(people, np.float64).reshape(-1, 2) + 0.5
    return np.concatenate((middles - 12, middles + 12), axis=1)


def joints(people: list[tuple[int, int]]) -> np.ndarray:
    """(n, 3, 2) middles of the marks."""
    return np.array(people, np.float64).reshape(-1, 1, 2) + OFFSETS


def predictor(model: Any = None, **options: Any) -> PosePredictor:
    return PosePredictor(model or Marks(), PredictOptions(**options), device=torch.device("cpu"), size_hw=(SIDE, SIDE))


def using(finder: Any, lines: list[str] | None = None, **options: Any) -> Any:
    """A predictor that is told where people are, and tells its lines."""
    made = predictor(**options)
    made.use(finder, "best.pt", (lines if lines is not None else []).append)
    return made
