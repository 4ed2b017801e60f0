"""A detector of coloured squares and made-up detections, for the tests of following objects."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.moving import COLOURS, NAMES
from mgil.tasks.detect.options import PredictOptions
from mgil.tasks.detect.predictor import Detector
from mgil.tasks.detect.results import Results

Boxes = Sequence[tuple[float, float]]  # centre x and score
needs_trackers = pytest.mark.skipif(  # not `importorskip`: that import would write into the home
    find_spec("ultralytics") is None or find_spec("lap") is None, reason="pip install -r requirements-optional.txt"
)


class Squares(nn.Module):
    """A detector of coloured squares, exact to a pixel: one prediction for each 8 px cell, a hit at most for each."""

    names, max_stride, imgsz, stride = NAMES, 32, 64, torch.tensor([32.0])

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in 0..1 to (B, 16, 8)."""
        found = torch.zeros(len(images), 16, 8)
        for index, image in enumerate(images):
            pixels = np.rint(image.permute(1, 2, 0).numpy() * 255)
            row = 0
            for kind, colour in enumerate(COLOURS):
                mask = (np.abs(pixels - colour).max(axis=2) < 30).astype(np.uint8)
                for left, top, width, height, area in cv2.connectedComponentsWithStats(mask)[2][1:17]:
                    score = min(area / 100, 1.0)  # of a square of 10 px; less where it is hidden
                    centre = torch.tensor([left + width / 2, top + height / 2, width, height, score])
                    found[index, row, :5], found[index, row, 5 + kind] = centre, 1
                    row += 1
        return found


def detector(**options: Any) -> Detector:
    return Detector(Squares(), PredictOptions(**options), device=torch.device("cpu"), size_hw=(64, 64))


def found(boxes: Boxes, side: float = 10, size: int = 64) -> Results:
    """Detections side by side, best first."""
    rows = [[x - side / 2, 20, x + side / 2, 20 + side] for x, _ in boxes]
    return Results(
        np.array(rows, np.float32).reshape(-1, 4),
        np.array([score for _, score in boxes], np.float32),
        np.zeros(len(boxes), np.int64),
        NAMES,
        np.zeros((size, size, 3), np.uint8),
    )


def ids(result: Any) -> list[int]:
    return result.track_ids.tolist()
