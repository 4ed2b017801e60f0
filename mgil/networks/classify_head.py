"""The head of YOLOv5's classifiers."""

from __future__ import annotations

from torch import Tensor, nn

from mgil.networks.layers import Conv

HIDDEN = 1280  # channels before the last layer, as EfficientNet-B0 has them


class Classify(nn.Module):
    """1x1 convolution, mean over the map, dropout, linear layer, under the names of YOLOv5's checkpoints.

    Args:
        in_channels: Channels of the map.
        num_classes: Number of classes, `nc`.
        hidden: Channels of the 1x1 convolution.
        act_layer: Activation module class, built without arguments.

    Shape: (B, in_channels, H, W) -> (B, num_classes), logits.
    """

    def __init__(
        self, in_channels: int, num_classes: int, hidden: int = HIDDEN, act_layer: type[nn.Module] = nn.SiLU
    ) -> None:
        super().__init__()
        for what, count in (("classes; write nc", num_classes), ("channels", hidden)):
            if type(count) is not int or count < 1:
                raise ValueError(f"{count!r:.60} does not count {what}")
        self.num_classes = num_classes
        self.conv = Conv(in_channels, hidden, act_layer=act_layer)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.0, inplace=True)
        self.linear = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map features of any size to logits."""
        return self.linear(self.drop(self.pool(self.conv(x)).flatten(1)))
