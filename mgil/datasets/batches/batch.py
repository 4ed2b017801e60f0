"""What the loaders hand to training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class TrainBatch:
    """One augmented training batch.

    Attributes:
        images: (B, 3, H, W) uint8 RGB; H = W = the training size unless batches are rectangular.
        targets: (T, 6) float32, one row per box: index of the image in the batch, class, then centre x, centre y,
            width and height in pixels of the network input.
        indices: (B,) int64 data set index of the image that each picture was drawn for (a mosaic holds others too).
    """

    images: torch.Tensor
    targets: torch.Tensor
    indices: np.ndarray


@dataclass
class EvalBatch:
    """One letterboxed evaluation batch.

    Attributes:
        images: (B, 3, H, W) uint8 RGB, the border filled with 114.
        targets: (T, 6) float32 as in `TrainBatch`, without crowd boxes: for the validation loss, not for AP.
        indices: (B,) int64 data set indices.
        gains: (B, 2) float64 (x, y); input pixels = original pixels * gain + pad.
        pads: (B, 2) float64 (x, y).
    """

    images: torch.Tensor
    targets: torch.Tensor
    indices: np.ndarray
    gains: np.ndarray
    pads: np.ndarray
