"""Put the block into a network that was built without it."""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from mgil.block.carry_over import fill, first_layer, least_kernel, lossless_kernel
from mgil.block.conv import problem_at_zero
from mgil.block.flie import FLIE
from mgil.block.host import Host, Slot, Unit
from mgil.block.mgil import MGIL
from mgil.block.space_to_channel import SpaceToChannel
from mgil.block.strided import obstacle

SHORTCUTS = ("keep", "sct1x1", "block")
# What a forward may read of a convolution besides calling it, e.g. to pad its input; a block has the old one's values.
READ_OF_CONVS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
OF_THE_NETWORK = ("norm_layer", "act_layer", "last_act")  # options of a block that say what follows the convolution
Select = str | Sequence[str] | Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class Replacement:
    """What `replace_stride2` did; printed, a summary.

    Attributes:
        replaced: names of the convolutions that are blocks now.
        sct1x1: names of the 1x1 shortcuts that are a space-channel transformation and a 1x1 convolution now.
        kept: name -> reason of every strided convolution that was left as it was.
        parameters_before: parameters of the network as it was.
        parameters_after: and as it is now.
        keeps_function: the network computes what it did.
    """

    replaced: tuple[str, ...]
    sct1x1: tuple[str, ...]
    kept: dict[str, str]
    parameters_before: int
    parameters_after: int
    keeps_function: bool = False

    def __str__(self) -> str:
        """Return a few lines to read."""
        times = self.parameters_after / max(self.parameters_before, 1)
        carried = ", carried over: the network computes what it did" if self.keeps_function else ""
        lines = [
            f"parameters: {self.parameters_before:,} -> {self.parameters_after:,} ({times:.2f} times)",
            f"blocks ({len(self.replaced)}{carried}): {', '.join(self.replaced) or 'none'}",
        ]
        if self.sct1x1:
            lines.append(f"lossless 1x1 shortcuts ({len(self.sct1x1)}): {', '.join(self.sct1x1)}")
        lines += [f"kept {name}: {reason}" for name, reason in self.kept.items()]
        return "\n".join(lines)


class FloorHalf(nn.Module):
    """A block in place of a convolution with an even kernel, which gives floor(H/2) where the block gives ceil(H/2).

    Shape: (B, C, H, W) -> (B, C', floor(H/2), floor(W/2)).
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve `x` (B, C, H, W)."""
        return self.block(x)[:, :, : x.shape[2] // 2, : x.shape[3] // 2]


def replace_stride2(
    model: nn.Module,
    block: Callable[..., nn.Module] = MGIL,
    *,
    shortcuts: str = "keep",
    select: Select | None = None,
    keep_function: bool = False,
    **options: Any,
) -> Replacement:
    """Replace the stride-2 convolutions of `model`, in place, by new blocks of the same channels and output size.

    The batch normalisation and the activation that follow a convolution go into the block, whatever their names, and
    `nn.Identity` stands in their places. All activations of the block are those of the network. Where no activation
    follows (before a sum), or one that the network uses elsewhere too or calls as a function, the block ends without
    one. The new weights are untrained and no optimizer has them yet: make it afterwards. Pooling is left alone.

    Args:
        model: any network; not itself a convolution.
        block: built as `block(in_channels, out_channels, **options)`, the options being norm_layer, act_layer and
            last_act as `MGIL` takes them, as far as the place asks for them.
        shortcuts: what becomes of 1x1 convolutions of stride 2, which drop three pixels of four: `keep`; `sct1x1`, a
            space-channel transformation and a 1x1 convolution that sees all four and starts as exactly the old one;
            `block`, a block as elsewhere, which has up to a hundred times their parameters.
        select: which convolutions: names or patterns with * and ?, where the name of a module stands for all in it; or
            a function of name and convolution. None means all.
        keep_function: every block begins as what it replaces, see `mgil.block.carry_over`, so that the network computes
            what it did, in evaluation and in training mode; in training mode, after an even kernel, for even sizes
            alone. A `MGIL` is made with `residual` and `coarse_shortcut`, with nn.SiLU as `later_act` where the
            network's activation is flat at 0, and with the `first_kernel` that a 7x7 one needs. What no block can
            compute stays as it was, and the result says why.
        options: passed to every block; they take precedence over what the network has.

    Returns:
        What was replaced, what was kept and why, and the parameters before and after.

    Raises:
        ValueError: there is nothing to replace, `select` has a name that is no strided convolution, `shortcuts` is
            unknown, or the block refuses an option. The network is then as it was.
    """
    _check_arguments(model, shortcuts, keep_function, options)
    before = _count_parameters(model)
    layers, kept = _strided(model)
    chosen = _chosen(select, layers)
    kept.update({name: "not selected" for name in layers if name not in chosen})
    if shortcuts == "keep":
        kept.update(dict.fromkeys(_shortcuts(layers, kept), "1x1 shortcut, see the option shortcuts"))
    units = _units(model, [name for name in layers if name not in kept], kept)
    # All blocks are built before the first is put in: an option that one of them refuses changes nothing.
    lossless = _shortcuts(layers, kept) if shortcuts == "sct1x1" else []
    sct1x1 = {name: _lossless_1x1(layers[name]) for name in lossless}
    build = _carried_over if keep_function else _block
    built = {name: build(name, layers[name], units[name], block, options) for name in units if name not in sct1x1}
    kept.update({name: reason for name, reason in built.items() if isinstance(reason, str)})
    blocks = {name: new for name, new in built.items() if not isinstance(new, str)}
    if not blocks and not sct1x1:
        raise ValueError(_nothing_to_replace(model, kept))
    _put_in(model, {**blocks, **sct1x1}, [slot for name in blocks for slot in units[name].taken])
    in_order = {name: kept[name] for name in layers if name in kept}
    _warn_of_shortcuts({name: layers[name] for name in blocks}, blocks)
    return Replacement(tuple(blocks), tuple(sct1x1), in_order, before, _count_parameters(model), keep_function)


def _check_arguments(model: nn.Module, shortcuts: str, keep_function: bool, options: dict[str, Any]) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"replace_stride2 takes a network, a torch.nn.Module; got {model!r:.80}")
    if shortcuts not in SHORTCUTS:
        raise ValueError(f"shortcuts must be one of {', '.join(SHORTCUTS)}, got {shortcuts!r}")
    if not isinstance(keep_function, bool):
        raise ValueError(f"keep_function must be true or false, got {keep_function!r}")
    if keep_function and (own := [name for name in OF_THE_NETWORK if name in options]):
        raise ValueError(f"keep_function takes {' and '.join(own)} from the network")


def _strided(model: nn.Module) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the strided convolutions by name, and why some of them have no equivalent block."""
    layers: dict[str, Any] = {}
    places: dict[nn.Module, set[tuple[nn.Module, str]]] = {}
    weights = Counter(id(weight) for module in model.modules() for weight in module._parameters.values())
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, (torch.jit.ScriptModule, nn.parallel.DistributedDataParallel)):
            raise ValueError(
                f"{name or 'the network'} is a {type(module).__name__}: replace its layers before wrapping"
            )
        if not isinstance(module, nn.modules.conv._ConvNd) or max(module.stride) == 1:
            continue
        if not name:
            raise ValueError("replace_stride2 works inside a network: wrap the convolution, e.g. nn.Sequential(conv)")
        parent_name, _, child = name.rpartition(".")
        known = places.setdefault(module, set())
        if not known:
            layers[name] = module
        known.add((model.get_submodule(parent_name), child))
    kept = {}
    for name, layer in layers.items():
        reason = obstacle(layer)
        if len(places[layer]) > 1:
            reason = f"stands in {len(places[layer])} places"
        elif not reason and weights[id(layer.weight)] > 1:
            reason = "shares its weight with another layer"
        if reason:
            kept[name] = reason
    return layers, kept


def _chosen(select: Select | None, layers: dict[str, nn.Module]) -> set[str]:
    """Return the names of `layers` that `select` means."""
    if select is None:
        return set(layers)
    if callable(select):
        return {name for name, layer in layers.items() if select(name, layer)}
    chosen: set[str] = set()
    patterns = [select] if isinstance(select, str) else select
    if not isinstance(patterns, Iterable) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ValueError(f"select takes names, patterns or a function of name and convolution; got {select!r:.80}")
    for pattern in patterns:
        found = {name for name in layers if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
        if not found:
            nearest = get_close_matches(pattern, layers, n=1, cutoff=0)
            hint = f"the nearest is {nearest[0]!r}" if nearest else "the network has none"
            raise ValueError(f"select: {pattern!r} is no strided convolution and holds none; {hint}")
        chosen |= found
    return chosen


def _shortcuts(layers: dict[str, Any], kept: dict[str, str]) -> list[str]:
    return [name for name, layer in layers.items() if name not in kept and layer.kernel_size == (1, 1)]


def _units(model: nn.Module, names: list[str], kept: dict[str, str]) -> dict[str, Unit]:
    """Return what follows each convolution; those that no block can stand for go to `kept`."""
    host = Host(model)
    units = {name: host.unit(name) for name in names}
    kept.update({name: unit.obstacle for name, unit in units.items() if unit.obstacle})
    return {name: unit for name, unit in units.items() if not unit.obstacle}


def _layers(unit: Unit) -> dict[str, Any]:
    """Return the block options that carry over what follows a convolution."""
    layers = {"norm_layer": unit.norm_layer, "act_layer": unit.act_layer}
    found: dict[str, Any] = {key: layer for key, layer in layers.items() if layer is not None}
    return found if unit.ends_active else {**found, "last_act": False}


def _block(
    name: str, conv: nn.Conv2d, unit: Unit, block: Callable[..., nn.Module], options: dict[str, Any]
) -> nn.Module:
    options = {**_layers(unit), **options}
    try:
        inspect.signature(block).bind(conv.in_channels, conv.out_channels, **options)
    except TypeError as error:
        raise ValueError(f"{name}: {block} cannot be built with {', '.join(options)}: {error}") from error
    try:
        new = block(conv.in_channels, conv.out_channels, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    if not isinstance(new, nn.Module):
        raise ValueError(f"{name}: {block} gave {new!r:.80}, which is no torch.nn.Module")
    if conv.kernel_size[0] % 2 == 0:
        new = FloorHalf(new)
    return _in_place_of(conv, new.to(conv.weight))


def _carried_over(
    name: str, conv: nn.Conv2d, unit: Unit, block: Callable[..., nn.Module], options: dict[str, Any]
) -> nn.Module | str:
    """Return a block that begins as `conv` and what follows it, or why there is none."""
    options = {**_starting_options(conv, unit, block, options), **options}
    new = _block(name, conv, unit, block, options)
    inner: Any = new.block if isinstance(new, FloorHalf) else new
    norm = unit.taken[0][0].get_submodule(unit.taken[0][1]) if unit.norm_layer else None
    try:
        fill(inner, conv, norm)
    except ValueError as error:
        return str(error)
    if norm is not None:
        first_layer(inner).bn.train(norm.training)  # it may rest in a network that is trained
    if unit.ends_active:  # the network's own, whose slopes may be trained
        last = unit.taken[-1][0].get_submodule(unit.taken[-1][1])
        first_layer(inner).act = last.act if last is norm else last
    return new


def _starting_options(
    conv: nn.Conv2d, unit: Unit, block: Callable[..., nn.Module], options: dict[str, Any]
) -> dict[str, Any]:
    """Return the options with which `block` can begin as `conv` and what follows it, as far as it has them."""
    taken = inspect.signature(block).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values()):  # it hands them on, to a MGIL
        taken = inspect.signature(MGIL).parameters
    given = {name: options.get(name, each.default) for name, each in taken.items()}
    kernel = "lie_kernel" if "lie_kernel" in taken else "kernel_size"
    own: dict[str, Any] = {}
    if given.get("fine_convs") != 1:
        own["residual"] = True
    if given.get("fusion") != "none":
        own["coarse_shortcut"] = True
    if unit.act_layer and problem_at_zero(unit.act_layer(), conv.out_channels):
        own["later_act"] = nn.SiLU
    if isinstance(given.get(kernel), int) and given[kernel] < least_kernel(conv):
        own["first_kernel" if "first_kernel" in taken else kernel] = least_kernel(conv)
    return {name: value for name, value in own.items() if name in taken}


def _lossless_1x1(conv: nn.Conv2d) -> nn.Module:
    """Return SCT and a 1x1 convolution that start as `conv`: the first phase of SCT is what `conv` reads."""
    wide = nn.Conv2d(4 * conv.in_channels, conv.out_channels, 1, bias=conv.bias is not None).to(conv.weight)
    with torch.no_grad():
        wide.weight.copy_(lossless_kernel(conv, 1))
    wide.weight.requires_grad_(conv.weight.requires_grad)
    wide.bias = conv.bias
    return _in_place_of(conv, nn.Sequential(SpaceToChannel(), wide))


def _in_place_of(conv: nn.Conv2d, new: nn.Module) -> nn.Module:
    """Give `new` the mode of `conv`, and what a forward may read of it."""
    for name in READ_OF_CONVS:
        if not hasattr(new, name):
            setattr(new, name, getattr(conv, name))
    return new.train(conv.training)


def _put_in(model: nn.Module, layers: dict[str, nn.Module], taken: list[Slot]) -> None:
    """Put new layers in by name, and nothing in the slots of what they have taken over."""
    for parent, child in taken:
        _put(parent, child, nn.Identity())
    for name, new in layers.items():
        parent_name, _, child = name.rpartition(".")
        _put(model.get_submodule(parent_name), child, new)


def _put(parent: nn.Module, child: str, new: nn.Module) -> None:
    """Put `new` where `child` is, also under its other names in `parent`."""
    old = parent.get_submodule(child)
    for name, module in list(parent._modules.items()):
        if module is old:
            setattr(parent, name, new)


def _nothing_to_replace(model: nn.Module, kept: dict[str, str]) -> str:
    """Say why `model` has nothing to replace."""
    parts = ["the network has no convolution with a stride"]
    if kept:
        reasons = [
            f"{reason}: {next(name for name in kept if kept[name] == reason)}" + (f" and {n - 1} more" if n > 1 else "")
            for reason, n in Counter(kept.values()).items()
        ]
        convolutions = f"{len(kept)} strided convolution{'s'[: len(kept) > 1]}"
        parts = [f"a block can stand for none of the {convolutions} ({'; '.join(reasons)})"]
    pools = sum(isinstance(module, (nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d)) for module in model.modules())
    if pools:
        parts.append(f"its {pools} pooling layer{'s are' if pools > 1 else ' is'} left alone")
    if blocks := sum(isinstance(module, FLIE) for module in model.modules()):
        parts.append(f"it has {blocks} block{'s'[: blocks > 1]} already")
    return f"nothing to replace: {', '.join(parts)}"


def _warn_of_shortcuts(old: dict[str, Any], new: dict[str, nn.Module]) -> None:
    """Say what 1x1 shortcuts cost as blocks."""
    names = [name for name, conv in old.items() if conv.kernel_size == (1, 1)]
    if names:
        were, are = (sum(_count_parameters(layers[name]) for name in names) for layers in (old, new))
        warnings.warn(
            f"{len(names)} 1x1 shortcuts have {are:,} parameters as blocks, {were:,} before; "
            "shortcuts='sct1x1' is as lossless and has four times those before",
            stacklevel=3,
        )


def _count_parameters(model: nn.Module) -> int:
    parameters = list(model.parameters())
    if any(isinstance(parameter, UninitializedParameter) for parameter in parameters):
        raise ValueError("the network has lazy layers, whose channels are not known yet: run it on a picture first")
    return sum(parameter.numel() for parameter in parameters)
