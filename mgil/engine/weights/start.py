"""Where a training starts from: a fresh network, filled from a weights file as far as that fits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mgil.block.carry_over import first_layer
from mgil.engine.data_of_weights import CLASSES, Named
from mgil.engine.weights.checkpoints import (
    Checkpoint,
    Transfer,
    check_weights,
    model_from_checkpoint,
    some_of,
    transfer_weights,
)
from mgil.files.class_names import first_moved, places_in
from mgil.files.text import Report
from mgil.networks.carry_over import CarryOver, blocks_of, carry_over_layers, difference
from mgil.networks.network import Network

AGREE = 1e-3  # what rounding in float32 makes of maps, at most
# Networks that are alike in these have the same layers in the same rows.
ROWS = ("backbone", "head", "weights_rows", "depth_multiple", "width_multiple")


@dataclass(frozen=True)
class Start:
    """What a network has from a weights file.

    Attributes:
        whole: All but the last row came from there: there is nothing to learn from scratch but what is a class's.
        head: The last row came too, its boxes and objectness at least, with the anchors that it was trained with.
        norms: Names of the normalisations whose statistics came from there.
        carried: Names of the kernels that hold a layer of the weights, with the share of their taps that it fills.
        new: Names of the parameters that did not come from there.
        known: Share of the network's classes that were the weights' too.
        left: Names of the tensors that differ from those of the weights, outside of blocks that were carried over.
        off: How far the outputs are from those of the weights' network, or the maps before the last row where its
            outputs are other ones; None: not compared.
    """

    whole: bool = False
    head: bool = False
    norms: tuple[str, ...] = ()
    carried: Mapping[str, float] = field(default_factory=dict)
    new: tuple[str, ...] = ()
    known: float = 0.0
    left: tuple[str, ...] = ()
    off: float | None = None

    @property
    def classes(self) -> bool:
        """Every class of the network was one of the weights'."""
        return self.known == 1


def start_from(
    model: Network,
    checkpoint: Checkpoint,
    own_architecture: bool,
    report: Report,
    named: Named = CLASSES,
    task: str | None = None,
) -> Start:
    """Fill a fresh network from weights: tensors by name, classes by their names, and plain layers into blocks.

    Of weights of another task, what fits by name and shape; the names of what they find mean nothing here.

    Args:
        model: Filled in place.
        checkpoint: The weights.
        own_architecture: The network is not the weights' own; its anchors are meant, unless layers are carried over.
        report: Gets a line or two for people.
        named: What the names are of, see `mgil.tasks.base.Task.named`.
        task: What the network is for; None: the same as the weights.

    Raises:
        ValueError: Weights with NaN or Inf, or none of whose tensors fits.
    """
    check_weights(checkpoint)
    other = task is not None and checkpoint.task != task
    blocks = blocks_of(model)
    differs = any(model.architecture.get(key) != checkpoint.architecture.get(key) for key in ROWS)
    source = _source(checkpoint, report) if own_architecture and (blocks or (differs and not other)) else None
    tensors = checkpoint.state_dict if other else _in_class_order(model, checkpoint, source, report, named[1])
    carry = carry_over_layers(model, source) if source and blocks else CarryOver({}, {})
    transfer = transfer_weights(model, tensors, skip=(".anchors",) if own_architecture and not carry.carried else ())
    if not transfer.loaded and not carry.carried:
        raise ValueError(f"--weights {checkpoint.path}: none of its tensors fits {model.architecture['source']}")
    own = model.state_dict()
    others = [name for name in transfer.left if not name.startswith(_inside(carry.carried))]
    left = [name for name in others if not _same(own[name], tensors.get(name))]
    last = _inside([name for name, module in model.named_modules() if module is model.rows[-1]])
    of_head = [name for name in left if name.startswith(last)]
    whole = not carry.left and len(of_head) == len(left)
    outputs = not of_head and tuple(checkpoint.names) == tuple(model.names)
    off = None
    if whole and blocks and source and not other and torch.equal(model.stride, source.stride):
        off = difference(model, source, outputs)
    places = [] if other else places_in(checkpoint.names, model.names)
    known = sum(place >= 0 for place in places) / len(model.names)
    text = f"weights of the task {checkpoint.task}: " if other else ""
    text += _said(transfer, carry, left, "" if known == 1 or len(checkpoint.names) == len(model.names) else named[1])
    if off is not None:
        what = "outputs" if outputs else "the maps before the head"
        text += f"; {what} agree to {off:.0e}" if off <= AGREE else f"; but {what} differ by up to {off:.1g}"
    report(f"{checkpoint.path}: {text}")
    facts = filled_facts(model, transfer.loaded, carry.carried)
    return Start(whole, not of_head, known=known, left=tuple(left), off=off, **facts)


def filled_facts(model: Network, loaded: Iterable[str], carried: Mapping[str, float]) -> dict[str, Any]:
    """The fields `norms`, `carried` and `new` of a `Start`.

    Args:
        model: That was filled.
        loaded: Names of its tensors that were copied.
        carried: Its blocks that begin as layers, with the share of the taps of their first kernel that those fill.
    """
    names, blocks = {module: name for name, module in model.named_modules()}, blocks_of(model)
    firsts = {names[first_layer(blocks[block])]: share for block, share in carried.items()}
    filled = {*loaded, *(f"{name}.{key}" for name in firsts for key in ("conv.weight", "bn.weight", "bn.bias"))}
    return {
        "norms": tuple(_norms(model, filled | {f"{name}.bn.running_mean" for name in firsts})),
        "carried": {f"{name}.conv.weight": share for name, share in firsts.items()},
        "new": tuple(name for name, _ in model.named_parameters() if name not in filled),
    }


def _source(checkpoint: Checkpoint, report: Report) -> Network | None:
    """The network of the weights, where it can be built."""
    try:
        with torch.random.fork_rng(devices=[]):  # the run's random numbers do not depend on what it began from
            return model_from_checkpoint(checkpoint, fuse=False)
    except ValueError as error:
        report(f"no layer is carried over or moved, tensors are taken by their names: {error}")
        return None


def _said(transfer: Transfer, carry: CarryOver, left: Collection[str], untrained: str) -> str:
    """What came from the weights, in a sentence; `untrained`: what some of are new, "" where none are."""
    if not carry.carried and not carry.left:
        text = str(Transfer(transfer.loaded, tuple(left), transfer.total))
        return text if left or not untrained else f"{text}, but what is of the untrained {untrained}"
    others = [name for name in left if not name.startswith(_inside(carry.left))]
    text = f"{len(transfer.loaded)} of {transfer.total} tensors loaded by name; {carry}"
    return text + (f"; not loaded: {some_of(others)}" if others else "")


def _same(own: Tensor, theirs: Tensor | None) -> bool:
    return theirs is not None and own.shape == theirs.shape and torch.equal(own, theirs.to(own))


def _in_class_order(
    model: Network, checkpoint: Checkpoint, source: Network | None, report: Report, named: str
) -> Mapping[str, Tensor]:
    """The weights' tensors where this network has them: levels of a head, and what is a class's."""
    theirs, own = checkpoint.names, model.names
    at_place = model.with_own_names(checkpoint.state_dict, source) if source else checkpoint.state_dict
    if len(theirs) == len(own) and first_moved(theirs, own) is None:
        return at_place
    tensors = model.in_class_order(at_place, theirs)
    if tensors is at_place:  # its head does not fit
        return tensors
    if len(theirs) == len(own):
        report(f"{checkpoint.path}: has its {named} in another order; they are matched by name")
    else:
        known = [name for name, place in zip(own, places_in(theirs, own), strict=True) if place >= 0]
        others = ", the others untrained" if len(known) < len(own) else ""
        begun = f"from its {some_of(known)}{others}" if known else "untrained"
        report(f"{checkpoint.path}: has {len(theirs)} {named} for {len(own)} here; the {named} begin {begun}")
    return tensors


def _inside(modules: Iterable[str]) -> tuple[str, ...]:
    """Prefixes of the names of what is inside of modules."""
    return tuple(f"{name}." if name else "" for name in modules) or ("\0",)


def _norms(model: nn.Module, filled: Iterable[str]) -> list[str]:
    """Normalisations whose statistics were copied, by name or with the layer that a block begins as."""
    known = {name.removesuffix(".running_mean") for name in filled if name.endswith(".running_mean")}
    return [name for name, module in model.named_modules() if isinstance(module, _BatchNorm) and name in known]
