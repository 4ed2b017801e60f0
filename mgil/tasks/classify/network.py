"""The network: rows of layers that end in Classify, or a network of timm as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mgil.block.flie import FLIE
from mgil.networks.class_hosts import ClassHost, class_layers, normalisation_of, set_dropout
from mgil.networks.classify_head import Classify
from mgil.networks.folding import folded
from mgil.networks.host_config import host_config
from mgil.networks.limits import MOST_CLASSES, check_parameters
from mgil.networks.network import Network
from mgil.networks.parser import parse
from mgil.networks.rows import PROBE_SIZE, probe, read_later, run_rows
from mgil.tasks.classify.config import check_dropout, load_architecture, stem_at

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet, RGB
MOST_INPUT_PX = 4096
CHANNELS = 3


class ClassNetwork(Network):
    """Tells of what class a picture is.

    Attributes:
        model: Its rows; the names of tensors are YOLOv5's (`model.0.conv.weight`, ...). Or
        host: The network of timm.
        class_layers: Names of the layers whose rows are the classes.
        probabilities: Calls give probabilities in place of logits; for exported files.
    """

    mean: Tensor
    std: Tensor
    class_layers: tuple[str, ...]

    def __init__(self, architecture: Mapping[str, Any], names: Sequence[str], imgsz: int) -> None:
        super().__init__()
        self.architecture = load_architecture(architecture)
        self.names, self.imgsz, self.probabilities = tuple(names), imgsz, False
        source = self.architecture["source"]
        if not 1 <= len(self.names) <= MOST_CLASSES:
            raise ValueError(f"{source}: {len(self.names)} classes, must be 1 to {MOST_CLASSES}")
        if not 1 <= imgsz <= MOST_INPUT_PX:
            raise ValueError(f"{source}: an input of {imgsz} px, must be 1 to {MOST_INPUT_PX}")
        mean, std = self._from_host() if "host" in self.architecture else self._from_rows()
        for key, values in (("mean", mean), ("std", std)):
            known = self.architecture[key] or values  # the network's own are noted: a checkpoint keeps what it saw
            self.architecture[key] = known
            self.register_buffer(key, torch.tensor(known).view(CHANNELS, 1, 1), persistent=False)
        self.dropout = self.architecture["dropout"]

    def _from_rows(self) -> tuple[list[float], list[float]]:
        architecture = self.architecture
        source = architecture["source"]
        if architecture.get("ch", CHANNELS) != CHANNELS:
            raise ValueError(f"{source}: ch is {architecture['ch']!r:.60}, but images have {CHANNELS} channels")
        architecture["nc"], architecture["ch"] = len(self.names), CHANNELS
        with torch.device("meta"):  # takes no memory
            trial = parse(architecture, CHANNELS, "classes")
            check_parameters(trial.layers, source)
            _, least = probe(trial.layers.eval(), trial.sources, architecture, CHANNELS, PROBE_SIZE)
        self.max_stride = 2 ** round(math.log2(PROBE_SIZE / least))
        parsed = parse(architecture, CHANNELS, "classes")
        self.model, self.sources, self.kept_rows = parsed.layers, parsed.sources, read_later(parsed.sources)
        self.class_layers = (f"model.{len(self.model) - 1}.linear",)
        return MEAN, STD

    def _from_host(self) -> tuple[list[float], list[float]]:
        architecture = self.architecture
        source = architecture["source"]
        architecture["stem"] = stem_at(architecture["stem"], self.imgsz)
        config = host_config(architecture, source)
        host: Any = ClassHost(config, len(self.names), self.imgsz, architecture["stem"], source).checked().build()
        self.host, self.max_stride, self.any_size = host, host.max_stride, host.any_size
        self.class_layers = tuple(f"host.{name}" for name in class_layers(host))
        return normalisation_of(host)

    @property
    def crop(self) -> str:
        """How pictures are cut for evaluation, a value of `mgil.tasks.classify.crops.CROPS`."""
        return self.architecture["crop"]

    @crop.setter
    def crop(self, how: str) -> None:
        self.architecture["crop"] = how

    @property
    def dropout(self) -> float:
        """How often an input of the last layer is left out of a training step."""
        return self.architecture["dropout"]

    @dropout.setter
    def dropout(self, probability: float) -> None:
        source = self.architecture["source"]
        check_dropout(probability, f"{source}: dropout")
        if "host" in self.architecture:
            set_dropout(self.host, probability, source, self.imgsz)
        else:
            head = self.model[-1]
            assert isinstance(head, Classify)
            head.drop.p = probability
        self.architecture["dropout"] = probability

    @property
    def rows(self) -> Sequence[nn.Module]:
        """The rows of the YAML, or the parts of the host that learn."""
        if "host" not in self.architecture:
            return list(self.model)
        return [part for part in self.host.children() if any(True for _ in part.parameters())]

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, 3, H, W), RGB in 0..1, to logits (B, C)."""
        x = (x - self.mean) / self.std
        logits: Tensor = (
            self.host(x) if "host" in self.architecture else run_rows(self.model, self.sources, self.kept_rows, x)
        )
        return logits.softmax(dim=-1) if self.probabilities else logits

    def take_facts(self, architecture: Mapping[str, Any]) -> None:
        """How pictures are cut and normalised."""
        theirs = load_architecture(architecture)
        self.crop = theirs["crop"]
        for key in ("mean", "std"):
            if theirs[key] is not None:
                self.architecture[key] = theirs[key]
                getattr(self, key).copy_(torch.tensor(theirs[key]).view(CHANNELS, 1, 1))

    def in_class_order(self, state_dict: Mapping[str, Tensor], names: Sequence[str]) -> Mapping[str, Tensor]:
        """The rows of the last layer, in the order of the names."""
        changed: dict[str, Tensor] = {}
        for key, own in self.state_dict().items():
            theirs = state_dict.get(key)
            if theirs is None or not key.startswith(tuple(f"{name}." for name in self.class_layers)):
                continue
            if own.shape[:1] != (len(self.names),) or theirs.shape != (len(names), *own.shape[1:]):
                continue
            changed[key] = own.clone()
            for row, index in enumerate(self.places_of(names)):
                if index is not None:
                    changed[key][row] = theirs[index].to(own)
        return {**state_dict, **changed} if changed else state_dict

    @torch.no_grad()
    def fused(self, convert: str | Callable[[FLIE], bool] = "auto") -> ClassNetwork:
        """A copy for inference: BatchNorm folded, blocks re-parameterised; the outputs are the same."""
        twin = folded(self, convert)
        assert isinstance(twin, ClassNetwork)
        return twin


def build_class_network(architecture: str | Path | Mapping[str, Any], names: Sequence[str], imgsz: int) -> ClassNetwork:
    """Build a classifier.

    Args:
        architecture: Name or path of a YAML (resnet18-mgil.yaml), `timm:NAME`, or a mapping already read.
        names: Classes.
        imgsz: Side of the pictures in pixels.

    Raises:
        FileNotFoundError: No such model.
        ValueError: A wrong YAML; the message names file and key or row.
    """
    return ClassNetwork(load_architecture(architecture), names, imgsz)
