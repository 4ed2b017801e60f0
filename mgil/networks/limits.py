"""How large a network a file may ask for, checked before memory is taken: model YAMLs and checkpoints come from anyone.

The limits lie far above any detector in use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mgil.files.plain import check_bounded

MOST_CLASSES = 20_000
MOST_ROWS = 1000
MOST_REPEATS = 1000  # of all rows together
MOST_CHANNELS = 1 << 16
MOST_ARGUMENT = 4096  # kernel sizes, groups, scale factors, ...
MOST_ARCHITECTURE_VALUES = 100_000
MOST_PARAMETERS = 10**9  # the largest YOLOv5 with MGIL has 227 million
MOST_MAP_VALUES = 1 << 29  # of one feature map; 2 GiB
MOST_WORK = 10**12  # multiplications of one layer; the largest layer of the same network takes 10**10


class TooLarge(ValueError):
    """A network beyond the limits."""


def check_content(content: dict[str, Any], source: str) -> None:
    """Raise ValueError for an architecture that no program could have written for a detector."""
    try:
        check_bounded(content, MOST_ARCHITECTURE_VALUES)
    except ValueError as error:
        raise ValueError(f"{source}: no model architecture: {error}") from error


def check_row_numbers(arguments: Sequence[Any], where: str) -> None:
    """Raise ValueError for a number among a layer's arguments, however deep in them, that is out of all bounds."""
    for value in arguments:
        if isinstance(value, list | tuple):
            check_row_numbers(value, where)
        elif isinstance(value, dict):
            check_row_numbers(list(value.values()), where)
        elif isinstance(value, int | float) and not abs(value) <= MOST_ARGUMENT:
            raise ValueError(f"{where}: an argument beyond {MOST_ARGUMENT}")


def check_parameters(layers: nn.Module, source: str) -> None:
    """Raise ValueError for more parameters than memory could hold; counts those of a network on the meta device."""
    count = sum(parameter.numel() for parameter in layers.parameters())
    if count > MOST_PARAMETERS:
        raise ValueError(f"{source}: asks for {count:,} parameters, more than {MOST_PARAMETERS:,}")


@contextmanager
def bounded_maps(layers: nn.Sequential, source: str) -> Iterator[list[list[torch.Size]]]:
    """While the block runs, each layer is refused (`TooLarge`) before it would make a map or work beyond the limits.

    Gives a list that grows by the shapes (B, C, H, W) of the maps that go into each layer.
    """
    shapes: list[list[torch.Size]] = []

    def check(layer: nn.Module, inputs: tuple[Tensor | list[Tensor], ...]) -> None:
        maps = inputs[0] if isinstance(inputs[0], list) else [inputs[0]]
        shapes.append([given.shape for given in maps])
        cells = max(_cells(layer, given.shape[2], given.shape[3]) for given in maps)
        widest = max([sum(given.shape[1] for given in maps), *map(_width, layer.modules())])
        work = cells * sum(parameter.numel() for parameter in layer.parameters())
        if cells * widest > MOST_MAP_VALUES or work > MOST_WORK:
            raise TooLarge(f"{source}: its {type(layer).__name__} would make a map of {widest} x {cells:,} values")

    handles = [layer.register_forward_pre_hook(check) for layer in layers]
    try:
        yield shapes
    finally:
        for handle in handles:
            handle.remove()


def _width(part: nn.Module) -> int:
    return part.out_channels if isinstance(part, nn.Conv2d) else 0


def _cells(layer: nn.Module, height: int, width: int) -> int:
    """Most places that a map inside a layer can have, for an input of that size."""
    for part in layer.modules():
        if isinstance(part, nn.Conv2d) and not isinstance(part.padding, str):
            height, width = height + 2 * part.padding[0], width + 2 * part.padding[1]
        elif isinstance(part, nn.Upsample):
            (tall, wide), enlarges = _pair(part.size or part.scale_factor or 1), part.size is None
            height, width = (int(height * tall), int(width * wide)) if enlarges else (int(tall), int(wide))
    return height * width


def _pair(value: Any) -> tuple[float, float]:
    return (value[0], value[-1]) if isinstance(value, tuple | list) else (value, value)
