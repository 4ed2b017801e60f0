"""The network: a host, transposed convolutions where its map is small, and SimCC's head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mgil.block.flie import FLIE
from mgil.networks.folding import folded
from mgil.networks.host_config import host_config
from mgil.networks.hosts import build_host, check_size
from mgil.networks.limits import MOST_CLASSES, check_parameters
from mgil.networks.network import Network
from mgil.tasks.pose.config import guessed_skeleton, load_architecture, split_at
from mgil.tasks.pose.head import SimCCHead, enlarge
from mgil.tasks.pose.simcc import averaged, decode, flipped
from mgil.tasks.pose.skeleton import Skeleton, skeleton_from

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB
MOST_INPUT_PX = 1024


class PoseNetwork(Network):
    """Finds the joints of one person in a square crop.

    Attributes:
        host: From the picture to features.
        neck: From these to features of stride 4; nothing where they have it.
        head: From features to logits over bins.
        any_size: False: the head is made for `imgsz`.
        decoded: Calls give (B, K, 3), see `mgil.tasks.pose.simcc.decode`, in place of logits; for exported files.
    """

    mean: Tensor
    std: Tensor
    any_size = False

    def __init__(self, architecture: Mapping[str, Any], names: Sequence[str], imgsz: int) -> None:
        super().__init__()
        self.architecture = load_architecture(architecture)
        self.names, self.imgsz, self.decoded = tuple(names), imgsz, False
        source = self.architecture["source"]
        if not 1 <= len(self.names) <= MOST_CLASSES:
            raise ValueError(f"{source}: {len(self.names)} key points, must be 1 to {MOST_CLASSES}")
        if not 1 <= (seen := imgsz * self.enlargement) <= MOST_INPUT_PX:
            raise ValueError(f"{source}: an input of {seen} px; SimCC's classes are made for 1 to {MOST_INPUT_PX} px")
        config = host_config(self.architecture, source)
        check_size(config, source)
        host: Any = build_host(config, source)
        self.host, self.max_stride = host, host.max_stride
        with torch.device("meta"):
            check_parameters(self._head()[1], source)
        self.neck, self.head = self._head()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        known = self.architecture["skeleton"]
        if known is None or tuple(known["names"]) != self.names:  # weights may be for other key points
            self.skeleton = guessed_skeleton(self.names)

    def _head(self) -> tuple[nn.Module, SimCCHead]:
        """What follows the host."""
        host: Any = self.host
        neck: nn.Module = nn.Identity()
        channels, stride = host.channels[-1], host.strides[-1]
        if self.architecture["upsample"] == "deconv":
            neck, channels, stride = enlarge(channels, stride)
        side = -(-self.imgsz * self.enlargement // stride)
        maps = self.architecture["head_maps"]
        return neck, SimCCHead(
            channels, len(self.names), side, self.imgsz * self.split, maps, self.architecture["head_start"]
        )

    @property
    def split(self) -> int:
        """Bins of a pixel."""
        return split_at(self.architecture["split"], self.imgsz)

    @property
    def enlargement(self) -> int:
        """How many times the crop is enlarged, bilinearly, before the host sees it."""
        return self.architecture["enlarge_input"]

    @property
    def gaussian(self) -> bool:
        """Learns Gaussians over the bins (SimCC*)."""
        return self.architecture["gaussian"]

    @property
    def bins(self) -> str:
        """How the axes are cut, see `mgil.tasks.pose.simcc`."""
        return self.architecture["simcc_bins"]

    @property
    def crop(self) -> str:
        """How the crops that it sees are made: `linear` or `area`."""
        return self.architecture["crop"]

    @crop.setter
    def crop(self, how: str) -> None:
        self.architecture["crop"] = how

    @property
    def skeleton(self) -> Skeleton:
        """What its key points are."""
        return skeleton_from(self.architecture["skeleton"])

    @skeleton.setter
    def skeleton(self, skeleton: Skeleton) -> None:
        self.architecture["skeleton"] = skeleton.plain()

    @property
    def rows(self) -> Sequence[nn.Module]:
        """The parts of the host, the neck, the head."""
        parts = [*self.host.children(), *self.neck.children()]
        return [*(part for part in parts if any(True for _ in part.parameters())), self.head]

    def forward(self, x: Tensor) -> Tensor:
        """Map crops (B, 3, S, S), RGB in 0..1, to logits (B, 2, K, n), x axis first; n is S times `split`."""
        x = (x - self.mean) / self.std
        if self.enlargement > 1:
            x = functional.interpolate(x, scale_factor=float(self.enlargement), mode="bilinear", align_corners=False)
        features = self.host(x)
        logits = self.head(self.neck(features[-1]))
        return self.decode(logits) if self.decoded else logits

    def decode(self, logits: Tensor) -> Tensor:
        """The likeliest places, (B, K, 3), see `mgil.tasks.pose.simcc.decode`."""
        return decode(logits, self.split, self.gaussian, self.bins)

    def with_mirrored(self, logits: Tensor, mirrored: Tensor) -> Tensor:
        """Logits of pictures, with what those of the mirrored pictures say."""
        turned = flipped(mirrored, self.skeleton.flip, self.split, self.bins)
        return averaged(logits, turned, self.gaussian)

    def take_facts(self, architecture: Mapping[str, Any]) -> None:
        """What the key points are, and how crops are made; what the outputs mean must be the same."""
        theirs = load_architecture(architecture)
        for key in ("gaussian", "simcc_bins"):
            if theirs[key] != self.architecture[key]:
                raise ValueError(f"{self.architecture['source']}: needs {key}: {theirs[key]}, as the weights have it")
        self.crop = theirs["crop"]
        if theirs["skeleton"] is not None:
            self.skeleton = skeleton_from(theirs["skeleton"])

    def in_class_order(self, state_dict: Mapping[str, Tensor], names: Sequence[str]) -> Mapping[str, Tensor]:
        """The rows of the head that are a key point's, in the order of the names."""
        return self.head.in_joint_order(state_dict, "head.", self.places_of(names), len(names))

    @torch.no_grad()
    def fused(self, convert: str | Callable[[FLIE], bool] = "auto") -> PoseNetwork:
        """A copy for inference: BatchNorm folded, blocks re-parameterised; the outputs are the same."""
        twin = folded(self, convert)
        assert isinstance(twin, PoseNetwork)
        return twin


def build_pose(architecture: str | Path | Mapping[str, Any], names: Sequence[str], imgsz: int) -> PoseNetwork:
    """Build a network for key points.

    Args:
        architecture: Name or path of a YAML (simcc-hrnet-w32-mgil.yaml), or a mapping already read.
        names: Key points.
        imgsz: Side of the crops in pixels.

    Raises:
        FileNotFoundError: No such model.
        ValueError: A wrong YAML; the message names file and key.
    """
    return PoseNetwork(load_architecture(architecture), names, imgsz)
