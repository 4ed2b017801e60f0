"""Which layers a model YAML may name, and how each is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from mgil.block.flie import SPDConv
from mgil.block.mgil import MGIL
from mgil.networks.classify_head import Classify
from mgil.networks.head import Detect
from mgil.networks.layers import C3, SPPF, Bottleneck, Concat, Conv

Kind = Literal["channels", "repeat", "keep", "concat", "head", "classes"]
HEADS: dict[str, type[nn.Module]] = {"head": Detect, "classes": Classify}  # what the last row of a network is


@dataclass(frozen=True)
class Layer:
    """How one YAML name becomes a module.

    Attributes:
        build: Class or function that makes the module.
        kind: What the parser passes first: `channels` (in, out), `repeat` (in, out, number), `keep` nothing (the output
            has the input's channels), `concat` nothing (the output has the sum). Heads: of a detector, `head` (classes,
            anchors, channels); of a classifier, `classes` (in, classes).
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
    "Classify": Layer(Classify, "classes"),
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

    Args:
        name: What a row of the YAML calls it.
        build: Class or function that makes the module.
        kind: What the parser passes first, see `Layer`. A `head` must be a subclass of `Detect`, since losses,
            decoding and the strides rely on it: `forward` returns raw maps (B, anchors, ny, nx, nc+5), one a level, and
            `decode` turns these into (B, N, nc+5). Only a head that leaves both as they are can be exported. `classes`,
            the head of a classifier, must be a subclass of `Classify`: its `linear` gives the logits.

    Raises:
        ValueError: The name is taken, there is no such kind, or a head is no `Detect` or `Classify`.
    """
    if name in LAYERS:
        raise ValueError(f"layer {name!r} is registered already")
    if kind not in get_args(Kind):
        raise ValueError(f"layer {name!r}: there is no kind {kind!r}; choose one of {', '.join(get_args(Kind))}")
    if kind in HEADS and isinstance(build, type):
        check_head(build, kind, name)
    LAYERS[name] = Layer(build, kind)


def check_head(head: type, kind: Kind, name: str) -> None:
    """Refuse a head that the rest of a network could not work with.

    Raises:
        ValueError: It is none of its kind.
    """
    base = HEADS[kind]
    if not issubclass(head, base):
        where = f"{base.__module__}.{base.__name__}"
        raise ValueError(f"{name}: a head must be a subclass of {where}, {head.__name__} is not")
