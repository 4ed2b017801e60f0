"""The toy's network, loss and recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mgil.block.flie import FLIE
from mgil.files.recipe import Recipe
from mgil.networks.network import Network


@dataclass(frozen=True)
class ToyRecipe(Recipe):
    """A recipe with one field of its own."""

    flip: float = 0.5  # probability of a left-right flip


# Names of architectures. Without BatchNorm and dropout it does not matter which images share a batch.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "toy": {"width": 8, "norm": True, "dropout": 0.1},
    "toy-plain": {"width": 8, "norm": False, "dropout": 0.0},
}


class ToyNetwork(Network):
    """Two convolutions, dropout, and the mean over the map: three numbers, R G B in 0..1.

    Dropout draws random numbers in the forward pass, so that resume has to bring back the generators of every rank.
    """

    max_stride = 2

    def __init__(self, architecture: Mapping[str, Any] | str, names: Sequence[str], imgsz: int) -> None:
        super().__init__()
        if isinstance(architecture, str):
            architecture = {"source": architecture, **ARCHITECTURES[architecture]}
        self.architecture = dict(architecture)
        self.names = tuple(names)
        self.imgsz = imgsz
        width = self.architecture["width"]
        norm = nn.BatchNorm2d(width) if self.architecture["norm"] else nn.Identity()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), norm, nn.ReLU())
        self.drop = nn.Dropout(self.architecture["dropout"])
        self.head = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) in 0..1 to (B, 3)."""
        return self.head(self.drop(self.stem(images))).mean(dim=(2, 3))

    def fused(self, convert: str | Callable[[FLIE], bool] = "auto") -> ToyNetwork:
        """There is little to fuse."""
        twin = ToyNetwork(self.architecture, self.names, self.imgsz)
        twin.load_state_dict(self.state_dict())
        return twin.eval()


class ToyLoss:
    """Squared distance of the colours, and of their brightness."""

    terms = ("colour", "light")

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, 3) and (B, 4) rows of picture, R, G, B."""
        wanted = targets[:, 1:]
        colour = (outputs - wanted).square().mean()
        light = (outputs.mean(1) - wanted.mean(1)).square().mean()
        return (colour + light) * len(outputs), torch.stack((colour, light)).detach()
