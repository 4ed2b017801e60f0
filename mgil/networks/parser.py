"""From the rows of a model YAML to modules."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from mgil.files.names import hint_for
from mgil.networks.layers import YoloBatchNorm
from mgil.networks.limits import MOST_CHANNELS, MOST_REPEATS, MOST_ROWS, check_row_numbers
from mgil.networks.registry import ACTIVATIONS, HEADS, LAYERS, Kind, Layer, check_head

# Python literals that YOLOv5's files hold as words; no YAML value is ever evaluated.
WORDS = {"None": None, "True": True, "False": False}
# Layers of YOLOv5 that are not here, and what to do instead.
NOT_HERE = {
    "SPP": "use SPPF, which gives the same with kernels of 5, 9 and 13",
    "BottleneckCSP|C3(TR|SPP|Ghost|x)|GhostBottleneck": "use C3",
    "DWConv|GhostConv|CrossConv|MixConv2d|Focus|Contract|Expand": "use Conv, or add the layer by `register_layer`",
    "Segment": "the head is Detect",
}

OF_HEADS = {"head": "a head such as Detect", "classes": "a head such as Classify"}
OF_TASKS = {"head": "Detect ends a network of train.py detect", "classes": "Classify ends one of train.py classify"}


@dataclass(frozen=True)
class Parsed:
    """A parsed architecture.

    Attributes:
        layers: The modules in order; the last one is the head.
        sources: For each layer the absolute indices of its inputs; -1 is the image.
    """

    layers: nn.Sequential
    sources: tuple[tuple[int, ...], ...]


def parse(architecture: dict[str, Any], in_channels: int, head: Kind = "head") -> Parsed:
    """Build the layers of an architecture.

    Args:
        architecture: As `mgil.networks.config.load_architecture` returns it, with `nc` set.
        in_channels: Channels of the image.
        head: What the last row must be: the head of a detector, or `classes`.

    Raises:
        ValueError: A wrong row; the message names the file, the row and the value.
    """
    source = architecture["source"]
    rows = [*architecture["backbone"], *architecture["head"]]
    if len(rows) > MOST_ROWS:
        raise ValueError(f"{source}: {len(rows)} rows, more than {MOST_ROWS}")
    act_layer = _activation(architecture.get("activation", "SiLU"), source)
    repeats = 0
    channels: list[int] = []
    layers: list[nn.Module] = []
    sources: list[tuple[int, ...]] = []
    for index, row in enumerate(rows):
        where = f"{source}, row {index} {row!r:.80}"
        came_from, number, name, arguments = _check_row(row, where)
        inputs = _absolute(came_from, index, where)
        widths = [in_channels if i < 0 else channels[i] for i in inputs]
        layer = _lookup(name, where)
        repeats += _repeats(number, architecture)
        if repeats > MOST_REPEATS:
            raise ValueError(f"{where}: with this row more than {MOST_REPEATS} layers, repeats counted")
        if (layer.kind in HEADS) != (index == len(rows) - 1) or layer.kind in HEADS.keys() - {head}:
            other = f"; {OF_TASKS[layer.kind]}" if layer.kind in HEADS.keys() - {head} else ""
            raise ValueError(f"{where}: the last row, and only that, must be {OF_HEADS[head]}{other}")
        if layer.kind not in ("concat", "head") and len(inputs) != 1:
            raise ValueError(f"{where}: {name} takes one input, got {len(inputs)}")
        if layer.kind == "concat" and len(inputs) < 2:
            raise ValueError(f"{where}: {name} joins several inputs; give a list of them as `from`")
        module, out_channels = _build(layer, name, widths, number, arguments, architecture, act_layer, where)
        layers.append(module)
        channels.append(out_channels)
        sources.append(inputs)
    return Parsed(nn.Sequential(*layers), tuple(sources))


def round_channels(channels: float, divisor: int = 8) -> int:
    """The next multiple of `divisor`: YOLOv5's ceil(c * width / 8) * 8."""
    return math.ceil(channels / divisor) * divisor


def _activation(text: Any, where: str) -> type[nn.Module]:
    name = str(text).removeprefix("nn.").removesuffix("()")  # YOLOv5 writes nn.LeakyReLU()
    if name not in ACTIVATIONS:
        raise ValueError(f"{where}: unknown activation {text!r:.80}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _check_row(row: Any, where: str) -> tuple[int | list[int], int, str, list[Any]]:
    if not isinstance(row, list) or len(row) != 4:
        raise ValueError(f"{where}: a row is [from, number, module, args]")
    came_from, number, name, arguments = row
    is_index = isinstance(came_from, int) and not isinstance(came_from, bool)
    if not is_index and not (isinstance(came_from, list) and came_from and all(type(i) is int for i in came_from)):
        raise ValueError(f"{where}: `from` is {came_from!r}, must be a row number or a list of them")
    if type(number) is not int or number < 1:
        raise ValueError(f"{where}: `number` is {number!r}, must be 1 or more")
    if not isinstance(arguments, list):
        raise ValueError(f"{where}: args are {arguments!r}, must be a list")
    return came_from, number, str(name), arguments


def _absolute(came_from: int | list[int], index: int, where: str) -> tuple[int, ...]:
    """Absolute input indices; a negative `from` counts back from this row, and row 0 reads the image (-1)."""
    indices = [came_from] if isinstance(came_from, int) else came_from
    absolute = tuple(index + i if i < 0 else i for i in indices)
    for i, a in zip(indices, absolute, strict=True):
        if a >= index or a < -1 or (a == -1 and index != 0):
            raise ValueError(f"{where}: `from` {i} points to row {a}; only rows 0 to {index - 1} come before this one")
    return absolute


def _lookup(name: str, where: str) -> Layer:
    if name not in LAYERS:
        hint = hint_for(name, LAYERS, NOT_HERE) or f"known are {', '.join(LAYERS)}"
        raise ValueError(f"{where}: unknown layer {name!r}; {hint}")
    return LAYERS[name]


def _build(
    layer: Layer,
    name: str,
    widths: Sequence[int],
    number: int,
    arguments: list[Any],
    architecture: dict[str, Any],
    act_layer: type[nn.Module],
    where: str,
) -> tuple[nn.Module, int]:
    """Make one row's module and tell its output channels."""
    names = {"nc": architecture["nc"], "anchors": architecture.get("anchors"), **WORDS}
    positional = [names.get(a, a) if isinstance(a, str) else a for a in arguments]
    options = dict(positional.pop()) if arguments and isinstance(arguments[-1], dict) else {}
    if options.get("later_act") is not None:
        options["later_act"] = _activation(options["later_act"], where)
    repeats = _repeats(number, architecture)
    options |= _host_options(layer.build, act_layer)
    if layer.kind in ("keep", "concat"):
        check_row_numbers([*positional, options], where)
        out_channels = sum(widths) if layer.kind == "concat" else widths[0]
        return _call(layer.build, positional, options, name, where), out_channels
    if layer.kind in HEADS:
        return _head(layer, widths, positional, options, name, architecture["nc"], where), 0
    if not positional or type(positional[0]) is not int or positional[0] < 1:
        raise ValueError(f"{where}: the first argument of {name} is its output channels, a positive integer")
    if positional[0] > MOST_CHANNELS:
        raise ValueError(f"{where}: {name} with more than {MOST_CHANNELS} output channels")
    out_channels = round_channels(positional.pop(0) * architecture["width_multiple"])
    check_row_numbers([*positional, options], where)
    if layer.kind == "repeat":
        return _call(layer.build, [widths[0], out_channels, repeats, *positional], options, name, where), out_channels
    stack = [
        _call(layer.build, [widths[0] if i == 0 else out_channels, out_channels, *positional], options, name, where)
        for i in range(repeats)
    ]
    return (stack[0] if repeats == 1 else nn.Sequential(*stack)), out_channels


def _head(
    layer: Layer,
    widths: Sequence[int],
    positional: list[Any],
    options: dict[str, Any],
    name: str,
    classes: int,
    where: str,
) -> nn.Module:
    """Make the head, whose classes must be those of the whole network."""
    if layer.build is HEADS["head"] and len(positional) != 2:
        raise ValueError(f"{where}: args of {name} are [nc, anchors]")
    if layer.kind == "classes":
        check_row_numbers([*positional[1:], options], where)
    inputs = [*positional, list(widths)] if layer.kind == "head" else [widths[0], *positional]
    head: Any = _call(layer.build, inputs, options, name, where)
    check_head(type(head), layer.kind, f"{where}: {name}")  # of a function, only what it returns tells
    if head.num_classes != classes:
        raise ValueError(f"{where}: {name} for {head.num_classes} classes where there are {classes}; write nc")
    made: nn.Module = head
    return made


def _repeats(number: int, architecture: dict[str, Any]) -> int:
    """YOLOv5's rule: a number above 1 is scaled by the depth."""
    return max(round(number * architecture["depth_multiple"]), 1) if number > 1 else 1


def _host_options(build: Callable[..., nn.Module], act_layer: type[nn.Module]) -> dict[str, Any]:
    """The host network's norm and activation, for layers that take them."""
    wanted = {"act_layer": act_layer, "norm_layer": YoloBatchNorm}
    parameters = inspect.signature(build).parameters
    return {key: value for key, value in wanted.items() if key in parameters}


def _call(
    build: Callable[..., nn.Module], positional: list[Any], options: dict[str, Any], name: str, where: str
) -> nn.Module:
    try:
        inspect.signature(build).bind(*positional, **options)
        return build(*positional, **options)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise ValueError(f"{where}: wrong arguments for {name}: {error}") from error
