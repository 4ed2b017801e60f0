"""SCT: trade resolution for channels without losing a pixel."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class SpaceToChannel(nn.Module):
    """Space-channel transformation, SCT (equations 2 to 7 of the MGIL paper).

    The four 2x2 phases of the input are stacked on the channel axis, in the order (row, column) = (0, 0), (1, 0),
    (0, 1), (1, 1). It is `pixel_unshuffle(x, 2)` with its channels permuted, and it also takes odd sizes: the missing
    last row or column reads as zeros, as the padding of a 3x3 stride-2 convolution does.

    Shape: (B, C, H, W) -> (B, 4*C, ceil(H/2), ceil(W/2)) for every H, W >= 1.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Stack the phases of `x` (B, C, H, W) on channels."""
        # One row and one column of zeros, whatever the parity: an even size never reads them, an odd size needs them.
        # With no branch on the size, tracing and export keep height and width dynamic.
        padded = functional.pad(x, (0, 1, 0, 1))  # (B, C, H+1, W+1)
        top, bottom = padded[:, :, :-1:2], padded[:, :, 1::2]  # (B, C, ceil(H/2), W+1) each
        phases = (top[..., :-1:2], bottom[..., :-1:2], top[..., 1::2], bottom[..., 1::2])
        return torch.cat(phases, dim=1)  # (B, 4*C, ceil(H/2), ceil(W/2))
