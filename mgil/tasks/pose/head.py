"""SimCC's head, and the transposed convolutions that enlarge a map for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

STRIDE = 4  # of the map that SimCC's head reads
DECONV_CHANNELS = 256
STARTS = ("random", "heatmap")
SMALL = 0.1  # share of the random start that stays beside the sums, so that maps of one joint differ


class SimCCHead(nn.Module):
    """From features to logits over bins, with the names of SimCC's own weights.

    A 1x1 convolution makes one map for each joint. Flattened, it goes through two linear layers, one for each axis,
    that all joints share.

    Args:
        channels: Of the features.
        joints: K.
        side: Height and width of the features.
        num_bins: Of each axis, n.
        maps: Maps of each joint; more than one where the features are few (SimCC's head without enlarging).
        start: How the linear layers begin: `random` as published, or `heatmap`, see `begin_as_sums`.

    Shape: (B, channels, side, side) -> (B, 2, K, n), x axis first.
    """

    def __init__(
        self, channels: int, joints: int, side: int, num_bins: int, maps: int = 1, start: str = "random"
    ) -> None:
        super().__init__()
        self.joints, self.maps, self.side = joints, maps, side
        self.final_layer = nn.Conv2d(channels, joints * maps, 1)
        self.mlp_head_x = nn.Linear(maps * side * side, num_bins)
        self.mlp_head_y = nn.Linear(maps * side * side, num_bins)
        if start == "heatmap":
            self.begin_as_sums()

    @torch.no_grad()
    def begin_as_sums(self) -> None:
        """Let a bin begin as the sum of the map's column (for y, its row) there, between two of them by their distance.

        The map is then a heatmap from the first step on, where linear layers that begin at random must first learn
        which part of it lies where.
        """
        bins = self.mlp_head_x.out_features
        places = ((torch.arange(bins) + 0.5) / bins * self.side - 0.5).clamp(0, self.side - 1)
        shares = (1 - (torch.arange(self.side) - places[:, None]).abs()).clamp(min=0)  # (n, side)
        for layer, shape in ((self.mlp_head_x, (bins, 1, 1, self.side)), (self.mlp_head_y, (bins, 1, self.side, 1))):
            layer.weight.mul_(SMALL).view(bins, self.maps, self.side, self.side).add_(shares.view(shape))
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, channels, side, side) to logits (B, 2, K, n)."""
        if x.shape[-2:] != (self.side, self.side):
            raise ValueError(
                f"a network for key points takes inputs of the size that it was made for: its head reads "
                f"{self.side}x{self.side} features and got {x.shape[-2]}x{x.shape[-1]}"
            )
        maps = self.final_layer(x).reshape(x.shape[0], self.joints, -1)
        return torch.stack((self.mlp_head_x(maps), self.mlp_head_y(maps)), dim=1)

    def in_joint_order(
        self, state_dict: Mapping[str, Tensor], prefix: str, joints: Sequence[int | None], num_theirs: int
    ) -> Mapping[str, Tensor]:
        """A head's tensors, named `prefix` + own name, as this head can take them.

        Args:
            state_dict: Of a network whose head reads as many channels; else it is returned as it is.
            prefix: Of the head's tensors.
            joints: For each of this head's joints that of the other head; None: there is none, and this head's stays.
            num_theirs: Number of the other head's joints.
        """
        changed: dict[str, Tensor] = {}
        for key, own in self.final_layer.state_dict(prefix=f"{prefix}final_layer.").items():
            theirs = state_dict.get(key)
            if theirs is None or theirs.shape != (num_theirs * self.maps, *own.shape[1:]):
                return state_dict
            mixed = own.detach().clone().unflatten(0, (self.joints, self.maps))
            for row, index in enumerate(joints):
                if index is not None:
                    mixed[row] = theirs.unflatten(0, (num_theirs, self.maps))[index].to(mixed)
            changed[key] = mixed.flatten(0, 1)
        return {**state_dict, **changed}


def enlarge(channels: int, stride: int) -> tuple[nn.Module, int, int]:
    """Transposed convolutions 4x4 that double a map until its stride is 4, as in SimpleBaseline.

    Args:
        channels: Of the map.
        stride: Of the map in pixels.

    Returns:
        The layers, and the channels and the stride of what they make.
    """
    layers: list[nn.Module] = []
    for _ in range(round(math.log2(stride / STRIDE))):
        layers += [
            nn.ConvTranspose2d(channels, DECONV_CHANNELS, 4, 2, 1, bias=False),
            nn.BatchNorm2d(DECONV_CHANNELS),
            nn.ReLU(inplace=True),
        ]
        nn.init.normal_(layers[-3].weight, std=0.001)  # type: ignore[arg-type]
        channels = DECONV_CHANNELS
    return nn.Sequential(*layers), channels, min(stride, STRIDE)
