"""A detector's weights in one whose rows have other numbers, or whose head has other levels."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from mgil.networks.detector import DetectionModel

ROW = re.compile(r"model\.(\d+)(?=\.|$)")  # of the name of a row, or of what is inside of it


def source_row(model: DetectionModel, source: DetectionModel, row: int) -> int | None:
    """The row of `source` that is the same row of yolov5.yaml as `model`'s.

    A row that `weights_rows` does not name has yolov5's number.

    Returns:
        The row; None: `source` has none.
    """
    own, theirs = (dict(network.architecture.get("weights_rows", [])) for network in (model, source))
    if own == theirs:
        return row
    wanted = own.get(row, row)
    named = [other for other, number in theirs.items() if number == wanted]
    return next(iter(named), wanted if wanted not in theirs else None)


def with_names_of(
    model: DetectionModel, source: DetectionModel, state_dict: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Tensors with `model`'s names for what is the same in both networks.

    Args:
        model: Is to be filled.
        source: The network that the tensors are of.
        state_dict: Named as in `source`.

    Returns:
        Rows by `source_row`; where that row has other shapes, as by name. Levels of the head go by their stride, those
        of the same stride in their order, the anchors too where every level has its like. A level that has none gets
        nothing. Heads with another number of anchors a level go by name.
    """
    own_head, their_head = (len(network.model) - 1 for network in (model, source))
    rows: dict[int, dict[str, Tensor]] = defaultdict(dict)
    tensors: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        match = ROW.match(name)
        if match:
            rows[int(match[1])][name[match.end() :]] = tensor
        else:
            tensors[name] = tensor
    head = rows.pop(their_head, {})
    for row, layer in enumerate(model.model[:-1]):
        shapes = _shapes(layer.state_dict(prefix="."))
        other = source_row(model, source, row)
        moved = rows.get(other, {}) if other is not None else {}
        chosen = moved if _shapes(moved) == shapes else rows.get(row, {})
        tensors |= {f"model.{row}{name}": tensor for name, tensor in chosen.items()}
    if model.head.num_anchors == source.head.num_anchors:
        head = _by_stride(model, source, head)
    elif own_head != their_head:
        head = {}
    return tensors | {f"model.{own_head}{name}": tensor for name, tensor in head.items()}


def _by_stride(model: DetectionModel, source: DetectionModel, head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    alike: dict[float, list[int]] = defaultdict(list)
    for level, stride in enumerate(source.stride.tolist()):
        alike[stride].append(level)
    levels = [alike[stride].pop(0) if alike[stride] else None for stride in model.stride.tolist()]
    found = {
        f".m.{level}.{part}": head[f".m.{other}.{part}"]
        for level, other in enumerate(levels)
        for part in ("weight", "bias")
        if f".m.{other}.{part}" in head
    }
    if None not in levels and ".anchors" in head:
        found[".anchors"] = head[".anchors"][levels]
    return found


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
