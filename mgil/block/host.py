"""What a network does with the output of a convolution: which normalisation and which activation follow it."""

from __future__ import annotations

import copy
import inspect
import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import fx, nn
from torch.nn import functional

from mgil.block.conv import ActLayer, NormLayer, is_batchnorm

# Activations of one value: only these can stand after every convolution of a block, whatever its width.
ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU),
    *(nn.SiLU, nn.GELU, nn.Mish, nn.Hardswish, nn.Softplus),
)
# Classes of that kind which networks bring along, timm's among them.
OWN_ACTIVATIONS = {"swish", "memoryefficientswish", "silu", "mish", "hardswish", "gelu", "gelutanh", "quickgelu"}
# What a forward calls in place of a module: function or name of a method.
FUNCTIONS: dict[Any, ActLayer] = {
    **dict.fromkeys((functional.relu, functional.relu_, torch.relu, torch.relu_, "relu", "relu_"), nn.ReLU),
    functional.relu6: nn.ReLU6,
    functional.leaky_relu: nn.LeakyReLU,
    functional.elu: nn.ELU,
    functional.silu: nn.SiLU,
    functional.gelu: nn.GELU,
    functional.mish: nn.Mish,
    functional.hardswish: nn.Hardswish,
}
# After any of these an activation is still the convolution's.
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
Slot = tuple[nn.Module, str]  # a module, and the name of a child


@dataclass(frozen=True)
class Unit:
    """A convolution with what follows it.

    Attributes:
        obstacle: why no block can stand for the convolution; empty where nothing is known.
        norm_layer: makes normalisations like the one that follows; None without one that a block can take over.
        act_layer: makes activations like the one that follows, or else like the nearest in the network; None where
            there is none.
        taken: where the normalisation and the activation are that nothing else uses, so that a block may take over.
        ends_active: whether the activation is among these.
    """

    obstacle: str
    norm_layer: NormLayer | None
    act_layer: ActLayer | None
    taken: tuple[Slot, ...]
    ends_active: bool


class Host:
    """A network, read for what follows its convolutions.

    The forward of the module that calls a convolution is traced by torch.fx, its children unopened. Where that does not
    reach the convolution, the names conv{n}, bn{n} or norm{n}, and act{n} or relu{n} say what belongs together.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._traces: dict[nn.Module, tuple[fx.Graph, bool]] = {}

    def unit(self, name: str) -> Unit:
        """Return what follows the convolution called `name`."""
        conv, around = self.model.get_submodule(name), list(self._ancestors(name))
        if any(_owner_of_read(owner, node) is conv for owner in around for node in self._trace(owner)[0].nodes):
            return Unit("a forward reads its weight, which a block does not have", None, None, (), False)
        callers = [owner for owner in around if self._calls(owner, conv)]
        nearest = around.index(callers[0]) if callers else 0
        if any("forward" in vars(owner) for owner in around[: nearest + 1]):
            return self._unit(name, None, None, None)  # nobody knows what that does with the convolution
        if not callers:
            return self._unit(name, *_followers_by_name(name, self.model))
        # A container may be called, or its children one by one (the layers of a Sequential by index, say): then the
        # module that does so is the one to read.
        *containers, owner = callers
        nodes = self._calls(owner, conv)
        times = len(nodes) + sum(len(self._calls(outer, each)) for each in containers for outer in around)
        if times > 1:
            return Unit(f"called {times} times in a run", None, None, (), False)
        return self._unit(name, *_followers(name, owner, nodes[0], self._trace(owner)[1]))

    def _calls(self, owner: nn.Module, module: nn.Module) -> list[fx.Node]:
        """Return where the forward of `owner` calls `module` itself."""
        return [node for node in self._trace(owner)[0].nodes if _module(owner, node) is module]

    def _unit(self, name: str, norm: Slot | None, act: Slot | None, act_layer: ActLayer | None) -> Unit:
        module = norm[0].get_submodule(norm[1]) if norm else None
        inner = getattr(module, "act", None)  # timm's BatchNormAct2d has the activation inside
        if is_activation(inner):
            act, act_layer = None, _maker(inner)
        return Unit(
            obstacle="",
            norm_layer=_norm_layer(module) if module else None,
            act_layer=act_layer or self._nearest_activation(name),
            taken=tuple(slot for slot in (norm, act) if slot),
            ends_active=act is not None or is_activation(inner),
        )

    def _nearest_activation(self, name: str) -> ActLayer | None:
        for ancestor in self._ancestors(name):
            for module in ancestor.modules():
                if is_activation(module):
                    return _maker(module)
            for node in self._trace(ancestor)[0].nodes:
                if act_layer := _activation(ancestor, node):
                    return act_layer
        return None

    def _ancestors(self, name: str) -> Iterator[nn.Module]:
        """Yield the modules around `name`, the nearest first, the network last."""
        while name:
            name = name.rpartition(".")[0]
            yield self.model.get_submodule(name)

    def _trace(self, root: nn.Module) -> tuple[fx.Graph, bool]:
        """Return the calls of `root`'s forward, and whether these are all."""
        if root not in self._traces:
            self._traces[root] = _traced(root)
        return self._traces[root]


class _Calls(fx.Tracer):
    """Records which children a forward calls, and opens none."""

    # A forward that counts in a buffer must not count because it was traced.
    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _traced(root: nn.Module) -> tuple[fx.Graph, bool]:
    if "forward" in vars(root):  # in place of its class's, which alone is traced
        return fx.Graph(), False
    tracer = _Calls()
    with _as_it_was((root, *root.children())):
        try:
            parameters = inspect.signature(root.forward).parameters.values()
            defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
            tracer.trace(root, defaults)
            complete = True
        except Exception:  # whatever a forward does with a stand-in for a tensor; what it called until then is of use
            complete = False
    return getattr(tracer, "graph", fx.Graph()), complete


@contextmanager
def _as_it_was(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Undo what a forward keeps in modules and in their lists and dicts: stand-ins that nobody must find."""
    holders: dict[int, Any] = {}

    def add(value: Any) -> None:
        if isinstance(value, list | dict | set | deque) and id(value) not in holders:
            holders[id(value)] = value
            for each in list(value.values() if isinstance(value, dict) else value):
                add(each)

    for module in modules:
        add(vars(module))
    were = [dict(each) if isinstance(each, dict) else list(each) for each in holders.values()]
    try:
        yield
    finally:
        for holder, was in zip(holders.values(), were, strict=True):
            holder.clear()
            (holder.extend if isinstance(holder, list | deque) else holder.update)(was)


def _module(owner: nn.Module, node: fx.Node | None) -> nn.Module | None:
    """Return the child of `owner` that `node` calls."""
    return owner.get_submodule(str(node.target)) if node is not None and node.op == "call_module" else None


def _owner_of_read(owner: nn.Module, node: fx.Node) -> nn.Module | None:
    """Return the child of `owner` whose parameter or buffer `node` reads."""
    return owner.get_submodule(str(node.target).rpartition(".")[0]) if node.op == "get_attr" else None


def _reader(owner: nn.Module, node: fx.Node) -> fx.Node | None:
    """Return the only reader of a value, past modules that hand it on; None if there are more."""
    while len(node.users) == 1:
        node = next(iter(node.users))
        if not isinstance(_module(owner, node), nn.Identity):
            return node
    return None


def _followers(
    name: str, owner: nn.Module, conv: fx.Node, complete: bool
) -> tuple[Slot | None, Slot | None, ActLayer | None]:
    """Return the slots of the normalisation and the activation to take over, and the maker of such activations."""
    targets = [node.target for node in conv.graph.nodes if node.op == "call_module"]

    def slot(node: fx.Node) -> Slot | None:
        """Return where the module is that `node` calls; None if it must stay since others call it, or hooks see it."""
        module = _module(owner, node)
        if module is None or targets.count(node.target) > 1 or has_hooks(module):
            return None
        parent_name, _, child = str(node.target).rpartition(".")
        return owner.get_submodule(parent_name), child

    norm, node = None, _reader(owner, conv)
    if node is not None and isinstance(_module(owner, node), NORMS):
        norm = slot(node) if _can_be_taken(_module(owner, node)) else None
        node = _reader(owner, node)
        if norm is None:  # it stays, and so does what follows it
            return None, None, _activation(owner, node)
    act_layer = _activation(owner, node)
    act = slot(node) if node is not None and act_layer else None
    # What an unfinished trace did not reach may use the activation too, unless its name says whose it is.
    if act and not complete and re.sub(r"\D", "", act[1]) != re.sub(r"\D", "", name.rpartition(".")[2]):
        act = None
    return norm, act, act_layer


def _followers_by_name(name: str, model: nn.Module) -> tuple[Slot | None, Slot | None, ActLayer | None]:
    """Return the same as `_followers`, from names: conv2, then bn2 or norm2, then act2 or relu2, in this order."""
    parent_name, _, child = name.rpartition(".")
    parent, conv = model.get_submodule(parent_name), model.get_submodule(name)
    children = dict(parent.named_children())
    number = re.fullmatch(r"conv(\d*)", child)
    later = list(children)[list(children).index(child) + 1 :]
    norm = next((each for each in later if number and each in (f"bn{number[1]}", f"norm{number[1]}")), None)
    if norm is None or not _can_be_taken(children[norm]) or children[norm].num_features != conv.out_channels:
        return None, None, None
    later = later[later.index(norm) + 1 :]
    act = next((each for each in later if number and each in (f"act{number[1]}", f"relu{number[1]}")), None)
    if act is None or not is_activation(children[act]) or has_hooks(children[act]):
        return (parent, norm), None, None
    return (parent, norm), (parent, act), _maker(children[act])


def _activation(owner: nn.Module, node: fx.Node | None) -> ActLayer | None:
    """Return a maker of the activation that `node` is; None if it is something else."""
    module = _module(owner, node)
    if is_activation(module):
        return _maker(module)
    if node is None or node.op not in ("call_function", "call_method"):
        return None
    act_layer = FUNCTIONS.get(node.target)
    options = {key: value for key, value in node.kwargs.items() if key not in ("input", "inplace")}
    return partial(act_layer, *node.args[1:], **options) if act_layer else None


def _maker(act: nn.Module) -> ActLayer:
    if isinstance(act, nn.PReLU):
        return nn.PReLU  # one slope for all channels: a block has convolutions of other widths
    act = copy.deepcopy(act)
    act._forward_hooks.clear()
    act._forward_pre_hooks.clear()
    return partial(copy.deepcopy, act)


def _can_be_taken(norm: nn.Module | None) -> bool:
    """Say whether `norm` is batch normalisation, with an activation at most, and nothing that a block would lose."""
    if not isinstance(norm, (nn.BatchNorm2d, nn.SyncBatchNorm)) or has_hooks(norm):
        return False
    # timm's BatchNormAct2d: children `drop`, empty as a rule, and `act`.
    others = [child for name, child in norm.named_children() if name != "act"]
    act = getattr(norm, "act", None)
    known = isinstance(act, nn.Identity) or is_activation(act)
    return is_batchnorm(norm) or (known and all(isinstance(child, nn.Identity) for child in others))


def _norm_layer(norm: Any) -> NormLayer:
    options = {key: getattr(norm, key) for key in ("eps", "momentum", "affine", "track_running_stats")}
    if isinstance(norm, nn.SyncBatchNorm):
        return partial(nn.SyncBatchNorm, process_group=norm.process_group, **options)
    return partial(nn.BatchNorm2d, **options)


def is_activation(module: Any) -> TypeGuard[nn.Module]:
    """Say whether `module` is an activation that can stand after any convolution."""
    if isinstance(module, ACTIVATIONS):
        return True
    own = isinstance(module, nn.Module) and type(module).__name__.lower() in OWN_ACTIVATIONS
    return own and not any(module.parameters()) and not any(module.children())


def has_hooks(module: nn.Module) -> bool:
    """Say whether somebody watches or changes what goes through `module`."""
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))
