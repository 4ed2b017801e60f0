"""Rows of layers at work: each reads what the rows that it names have made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mgil.networks.head import Detect
from mgil.networks.layers import Concat
from mgil.networks.limits import TooLarge, bounded_maps

PROBE_SIZE = 256  # any multiple of every stride in use serves to read the strides off a forward pass
Sources = Sequence[Sequence[int]]  # for each row those that it reads; -1 is the image


def read_later(sources: Sources) -> frozenset[int]:
    """Rows that another than the next one reads."""
    return frozenset(i for index, row in enumerate(sources) for i in row if i != index - 1)


def run_rows(layers: nn.Sequential, sources: Sources, kept_rows: frozenset[int], x: Tensor) -> Any:
    """What the last layer makes of images (B, C, H, W); `kept_rows` as `read_later` gives them."""
    kept: dict[int, Tensor] = {}
    for index, (layer, inputs) in enumerate(zip(layers, sources, strict=True)):
        arguments = [x if i == index - 1 else kept[i] for i in inputs]
        x = layer(arguments if isinstance(layer, Detect) or len(arguments) > 1 else arguments[0])
        if index in kept_rows:
            kept[index] = x
    return x


@torch.no_grad()
def probe(
    layers: nn.Sequential, sources: Sources, architecture: Mapping[str, Any], channels: int, size: int
) -> tuple[Any, int]:
    """Run a blank square image of `size` px through the layers.

    Returns:
        What the last layer makes, and the rows of the smallest map on the way.

    Raises:
        ValueError: The rows do not fit together, or a map is beyond all limits; the message names the file and the row.
    """
    source = architecture["source"]
    with bounded_maps(layers, source) as shapes:
        try:
            found = run_rows(layers, sources, read_later(sources), torch.zeros(1, channels, size, size))
            return found, min(shape[2] for inputs in shapes for shape in inputs)
        except TooLarge:
            raise
        except (RuntimeError, TypeError, IndexError, AttributeError, ValueError) as error:
            index = len(shapes) - 1
            row = [*architecture["backbone"], *architecture["head"]][index]
            given = " and ".join("x".join(map(str, shape[1:])) for shape in shapes[index])
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            if isinstance(layers[index], Concat):
                reason = "Concat joins maps of the same height and width, along dimension 1"
            raise ValueError(
                f"{source}, row {index} {row!r:.80}: the rows do not fit together: this one gets {given} "
                f"(channels x height x width) at {size} px; {reason}"
            ) from error
