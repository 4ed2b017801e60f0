"""Which layers a model YAML may name, and how each is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from mgil import MGIL, SPDConv
from models.head import Detect
from models.layers import C3, SPPF, Bottleneck, Concat, Conv

Kind = Literal["channels", "repeat", "keep", "concat", "head"]


@dataclass(frozen=True)
class Layer:
    """How one YAML name becomes a module.

    Attributes:
        build: Class or function that makes the module.
        kind: What the parser passes first: `channels` (in, out), `repeat` (in, out, number), `keep` nothing (the output
            has the input's channels), `concat` nothing (the output has the sum), `head` (classes, anchors, channels).
    """

    build: Callable[..., nn.Module]
    kind: Kind


LAYERS: dict[str, Layer] = {
    "Conv": Layer(Conv, "channels"),
    "Bottleneck": Layer(Bottleneck, "channels"),
    "C3": Layer(C3, "repeat"),
    "SPPF": Layer(SPPF, "channels"),
    "MGIL": Layer(MGIL, "channels"),
    "SPDConv": Layer(SPDConv, "channels"),
    "nn.Upsample": Layer(nn.Upsample, "keep"),
    "Concat": Layer(Concat, "concat"),
    "Detect": Layer(Detect, "head"),
}

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "SiLU": nn.SiLU,
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "Hardswish": nn.Hardswish,
    "Mish": nn.Mish,
    "GELU": nn.GELU,
}


def register_layer(name: str, build: Callable[..., nn.Module], kind: Kind) -> None:
    """Let model YAMLs name a layer of your own.

    Raises:
        ValueError: The name is taken.
    """
    if name in LAYERS:
        raise ValueError(f"layer {name!r} is registered already")
    LAYERS[name] = Layer(build, kind)
