"""Training at a random size for every batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

SIZE_STREAM = 7  # separates the random sizes from other draws of the seed


class MultiScale:
    """Brings batches to random multiples of the stride, from half to one and a half times their size.

    Both ends are rounded to whole strides, of which there is one at least: 32 px at a stride of 32 become 32 or 64.

    Args:
        seed: Of the sizes; that of a batch is a function of (seed, epoch, index).
        stride: Of the network in pixels.
        rescaled: Makes the targets of pictures that were resized by a factor.
    """

    def __init__(self, seed: int, stride: int, rescaled: Callable[[torch.Tensor, float], torch.Tensor]) -> None:
        self.seed = seed
        self.stride = stride
        self.rescaled = rescaled

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, epoch: int, index: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Resize one batch: (B, 3, S, S) pictures and their (T, C) targets."""
        size, stride = images.shape[-1], self.stride
        low, high = strides_range(size, stride)
        random = np.random.default_rng([self.seed, SIZE_STREAM, epoch, index])
        wanted = int(random.integers(low, high + 1)) * stride
        factor = wanted / size
        if factor == 1:
            return images, targets
        # antialias: a plain bilinear step below one half would skip pixels, the very thing low resolution cannot spare
        images = F.interpolate(images, size=(wanted, wanted), mode="bilinear", antialias=factor < 1)
        return images, self.rescaled(targets, factor)


def strides_range(size: int, stride: int) -> tuple[int, int]:
    """The fewest and the most strides that a side of `size` pixels can become."""
    return max(round(size * 0.5 / stride), 1), max(round(size * 1.5 / stride), 1)
