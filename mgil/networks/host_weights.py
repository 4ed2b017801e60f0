"""Weights of timm and of others for the host of a network: read without running code, and put where they belong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mgil.networks.carry_over import CarryOver, blocks_of, carry_over_layers, carry_over_shortcuts
from mgil.networks.network import Network

WRAPPED_IN = ("state_dict", "model", "model_state_dict", "state_dict_ema")
PREFIXES = ("module.", "backbone.")


@dataclass(frozen=True)
class Taken:
    """What a network has from a file of tensors.

    Attributes:
        loaded: Names of its tensors that came from there as they are.
        carry: Its blocks that begin as layers of the file, and those that could not.
        left: Names of its tensors that begin untrained.
        unused: Names of the file's tensors that have no place here.
    """

    loaded: tuple[str, ...]
    carry: CarryOver
    left: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def carried(self) -> Mapping[str, float]:
        """See `CarryOver.carried`."""
        return self.carry.carried

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.left)
        text = f"{len(self.loaded)} of {total} tensors loaded by name"
        if self.carry.carried or self.carry.left:
            text += f"; {self.carry}"
        if self.left:
            text += f"; untrained: {_some(self.left)}"
        return text + (f"; not used: {_some(self.unused)}" if self.unused else "")


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read a file of tensors by name: .safetensors, or PyTorch's .pth, .pt and .bin.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Damaged, without tensors, or one that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        content: Any = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    except Exception as error:  # both readers raise many kinds
        if type(error).__name__ == "UnpicklingError":
            what = "holds more than tensors, and reading it could run code; save its tensors"
            raise ValueError(f"{path}: {what}") from error
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"{path}: no file of weights, or a damaged one ({reason})") from error
    for key in WRAPPED_IN:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {}
    for key, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(key, str) and isinstance(value, Tensor):
            tensors[_bare(key)] = value
    if not tensors:
        raise ValueError(f"{path}: holds no tensors by name")
    for key, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{path}: {key} holds NaN or Inf")
    return tensors


def _torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path, device="cpu")


def _bare(key: str) -> str:
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key


@torch.no_grad()
def take_tensors(model: Network, tensors: Mapping[str, Tensor], plain: Callable[[], Network]) -> Taken:
    """Fill a network: tensors by name and shape, and plain layers into the blocks in their places.

    Args:
        model: Filled in place.
        tensors: By the names of `model`.
        plain: Makes the same network without blocks; asked for only where there are some.

    Raises:
        ValueError: None of the tensors fits.
    """
    own = model.state_dict()
    carry, used, loaded = CarryOver({}, {}), set[str](), set[str]()
    if blocks_of(model):
        source = plain()
        used = _fill(source, tensors)
        carry = _carried(model, source, used)
        loaded |= {
            name for name in carry_over_shortcuts(model, source) if f"{name.removesuffix('.1.weight')}.weight" in used
        }
    loaded |= _fill(model, tensors)
    if not loaded and not carry.carried:
        raise ValueError(f"none of the tensors fits {model.architecture['source']}")
    inside = tuple(f"{name}." for name in carry.carried)
    left = [name for name in own if name not in loaded and not name.startswith(inside or ("\0",))]
    return Taken(
        tuple(sorted(loaded)), carry, tuple(left), tuple(name for name in tensors if name not in loaded | used)
    )


def _carried(model: Network, source: Network, known: set[str]) -> CarryOver:
    """Carry over the layers whose weights the file has."""
    keep = {name: block for name, block in blocks_of(model).items() if f"{name}.weight" not in known}
    states = {name: {key: value.clone() for key, value in block.state_dict().items()} for name, block in keep.items()}
    carry = carry_over_layers(model, source)
    for name, state in states.items():
        keep[name].load_state_dict(state)
    return CarryOver(
        {name: share for name, share in carry.carried.items() if name not in keep},
        {name: reason for name, reason in carry.left.items() if name not in keep},
    )


def _fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> set[str]:
    loaded = set()
    for name, own in model.state_dict().items():
        theirs = tensors.get(name)
        if theirs is not None and theirs.shape == own.shape:
            own.copy_(theirs)
            loaded.add(name)
    return loaded
