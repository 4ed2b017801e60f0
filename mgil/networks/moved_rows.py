"""A detector's weights in one whose rows have other numbers, or whose head has other levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from mgil.networks.detector import DetectionModel


def with_names_of(
    model: DetectionModel, source: DetectionModel, state_dict: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Tensors of `source` with `model`'s names for what is the same at another place.

    Rows go by the model's `weights_rows`, levels of the head by their stride. What has its like at another place is not
    filled by name, and a level of a stride that the other head lacks by nothing.
    """
    tensors = _by_rows(model, source, state_dict)
    if source.head.num_anchors != model.head.num_anchors:
        return tensors
    own, theirs = (f"model.{len(network.model) - 1}." for network in (model, source))
    numbers = {stride: level for level, stride in enumerate(source.stride.tolist())}
    levels = [numbers.get(stride) for stride in model.stride.tolist()]
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith((own, theirs))}
    for level, other in enumerate(levels):
        for part in ("weight", "bias") if other is not None else ():
            tensors[f"{own}m.{level}.{part}"] = state_dict[f"{theirs}m.{other}.{part}"]
    if None not in levels:
        tensors[f"{own}anchors"] = state_dict[f"{theirs}anchors"][levels]
    return tensors


def _by_rows(model: DetectionModel, source: DetectionModel, state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    pairs = model.architecture.get("weights_rows", [])
    if not pairs or pairs == source.architecture.get("weights_rows"):  # numbered alike
        return state_dict
    tensors = {name: tensor for name, tensor in state_dict.items() if _row(name) not in dict(pairs)}
    for own, other in pairs:
        prefix = f"model.{other}."
        tensors |= {
            f"model.{own}.{name.removeprefix(prefix)}": tensor
            for name, tensor in state_dict.items()
            if name.startswith(prefix)
        }
    return tensors


def _row(name: str) -> int:
    """The row of a tensor."""
    return int(name.split(".", 2)[1])
