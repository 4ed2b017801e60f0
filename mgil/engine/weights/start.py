"""Where a training starts from: a fresh network, filled from a weights file as far as that fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mgil.block.mgil import MGIL
from mgil.engine.weights.checkpoints import Checkpoint, check_weights, model_from_checkpoint, transfer_weights
from mgil.files.class_names import first_moved, places_in
from mgil.files.text import Report
from mgil.networks.carry_over import CarryOver, blocks_of, carry_over_layers, difference
from mgil.networks.network import Network


@dataclass(frozen=True)
class Start:
    """What a network has from a weights file.

    Attributes:
        whole: All but the last row came from there: there is nothing to learn from scratch but what is a class's.
        head: The last row came too, its boxes and objectness at least.
        norms: Names of the normalisations whose statistics came from there.
        carried: Names of the kernels that hold a layer of the weights, with the share of their taps that are that
            layer's.
        new: Names of the parameters that did not come from there.
        classes: Every class of the network was one of the weights'.
    """

    whole: bool = False
    head: bool = False
    norms: tuple[str, ...] = ()
    carried: Mapping[str, float] = field(default_factory=dict)
    new: tuple[str, ...] = ()
    classes: bool = False


def start_from(model: Network, checkpoint: Checkpoint, own_architecture: bool, report: Report) -> Start:
    """Fill a fresh network from weights: tensors by name, classes by their names, and plain layers into blocks.

    Args:
        model: Filled in place.
        checkpoint: The weights.
        own_architecture: The network is not the weights' own; its anchors are meant, unless layers are carried over.
        report: Gets a line or two for people.

    Raises:
        ValueError: Weights with NaN or Inf, or none of whose tensors fits.
    """
    check_weights(checkpoint)
    tensors = _in_class_order(model, checkpoint, report)
    source = model_from_checkpoint(checkpoint, fuse=False) if own_architecture and blocks_of(model) else None
    carry = carry_over_layers(model, source) if source else CarryOver((), {})
    transfer = transfer_weights(model, tensors, skip=(".anchors",) if own_architecture and not carry.carried else ())
    if not transfer.loaded and not carry.carried:
        raise ValueError(f"--weights {checkpoint.path}: none of its tensors fits {model.architecture['source']}")
    left = [name for name in transfer.left if not name.startswith(_inside(carry.carried))]
    last = _inside([name for name, module in model.named_modules() if module is model.rows[-1]])
    of_head = [name for name in left if name.startswith(last) and not name.endswith(".anchors")]
    whole = not carry.left and not [name for name in left if not name.startswith(last)]
    if carry.carried or carry.left:
        others = [name for name in left if not name.startswith(_inside(carry.left))]
        text = f"{len(transfer.loaded)} of {transfer.total} tensors loaded by name; {carry}"
        text += f"; not loaded: {', '.join(others)}" if others else ""
        if whole and source:
            same = not of_head and tuple(checkpoint.names) == tuple(model.names)
            text += (
                f"; {'outputs' if same else 'the maps before the head'} agree to {difference(model, source, same):.0e}"
            )
    else:
        text = str(transfer)
    report(f"{checkpoint.path}: {text}")
    firsts = _first_layers(model, carry.carried)
    filled = {
        *transfer.loaded,
        *(f"{name}.{key}" for name in firsts for key in ("conv.weight", "bn.weight", "bn.bias")),
    }
    return Start(
        whole,
        not of_head,
        tuple(_norms(model, filled | {f"{name}.bn.running_mean" for name in firsts})),
        {f"{name}.conv.weight": float(layer.conv.weight.ne(0).float().mean()) for name, layer in firsts.items()},
        tuple(name for name, _ in model.named_parameters() if name not in filled),
        -1 not in places_in(checkpoint.names, model.names),
    )


def _in_class_order(model: Network, checkpoint: Checkpoint, report: Report) -> Mapping[str, Tensor]:
    """The weights' tensors, with what is a class's where this network has it."""
    theirs, own = checkpoint.names, model.names
    if len(theirs) == len(own):
        if first_moved(theirs, own) is None:
            return checkpoint.state_dict
        report(f"{checkpoint.path}: has its classes in another order; what is a class's goes to that of its name")
        return model.in_class_order(checkpoint.state_dict, theirs)
    tensors = model.in_class_order(checkpoint.state_dict, theirs)
    if tensors is not checkpoint.state_dict:
        known = [name for name, place in zip(own, places_in(theirs, own), strict=True) if place >= 0]
        begun = f"from its {', '.join(known)}" if known else "untrained"
        report(f"{checkpoint.path}: has {len(theirs)} classes for {len(own)} here; the classes begin {begun}")
    return tensors


def _inside(modules: Iterable[str]) -> tuple[str, ...]:
    """Prefixes of the names of what is inside of modules."""
    return tuple(f"{name}." if name else "" for name in modules) or ("\0",)


def _first_layers(model: nn.Module, carried: Iterable[str]) -> dict[str, Any]:
    """The layers of blocks that hold what was carried over, by name."""
    blocks = blocks_of(model)
    names = [f"{name}.flie.lie.0" if isinstance(blocks[name], MGIL) else f"{name}.lie.0" for name in carried]
    return {name: model.get_submodule(name) for name in names}


def _norms(model: nn.Module, filled: Iterable[str]) -> list[str]:
    """Normalisations whose statistics were copied, by name or with the layer that a block begins as."""
    known = {name.removesuffix(".running_mean") for name in filled if name.endswith(".running_mean")}
    return [name for name, module in model.named_modules() if isinstance(module, _BatchNorm) and name in known]
