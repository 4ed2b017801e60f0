"""MGAF: weigh the fine against the coarse, image by image."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from mgil.block.conv import check_whole


class MGAF(nn.Module):
    """Multi-granular adaptive fusion (equations 8 to 11): two weights per image, from its content.

    The last layer starts at zero, so that training begins from equal weights 1/2 and 1/2.

    Args:
        channels: channels of each of the two features.
        squeeze: the 1x1 convolution reduces the 2*channels of both features by this factor.
        min_squeeze: but never below this many channels.

    Shape: fine (B, channels, H, W), coarse (B, channels, H, W) -> (B, channels, H, W).

    Raises:
        ValueError: `squeeze` or `min_squeeze` is below 1.
    """

    def __init__(self, channels: int, squeeze: int = 16, min_squeeze: int = 8) -> None:
        super().__init__()
        check_whole("squeeze", squeeze)
        check_whole("min_squeeze", min_squeeze)
        hidden = max(2 * channels // squeeze, min_squeeze)
        self.conv = nn.Conv2d(2 * channels, hidden, 1)
        self.fc = nn.Linear(hidden, 2)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def weights(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Return the weights of `fine` and `coarse` (B, channels, H, W) as (B, 2), each row summing to 1."""
        # Pooling each feature and then stacking equals equation 8, which stacks first, without the (B, 2*C, H, W) copy.
        pooled = torch.cat(
            (fine.mean((2, 3), keepdim=True), coarse.mean((2, 3), keepdim=True)), dim=1
        )  # (B, 2*C, 1, 1)
        hidden = functional.relu(self.conv(pooled)).flatten(1)  # (B, hidden), equation 9
        # Autocast runs softmax in float32; without the cast the block would hand float32 maps to the next layer.
        return torch.softmax(self.fc(hidden), dim=1).to(fine.dtype)  # equation 10

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum of `fine` and `coarse` (equation 11)."""
        weights = self.weights(fine, coarse)[:, :, None, None]  # (B, 2, 1, 1)
        return weights[:, :1] * fine + weights[:, 1:] * coarse
