"""What follows a convolution in a network, and whether a block may take it over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from mgil.block.conv import ConvNormAct
from mgil.block.mgil import MGIL
from mgil.block.replace import replace_stride2


def lies(block: nn.Module) -> list[Any]:
    return [part.lie for part in block.modules() if hasattr(part, "lie")]


class Named(nn.Module):
    """A unit by attributes, called in their order; `call` replaces that."""

    def __init__(self, call: Callable[[Any, torch.Tensor], torch.Tensor] | None = None, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.call = call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.call:
            return self.call(self, x)
        for part in self.children():
            x = part(x)
        return x


class BatchNormAct2d(nn.BatchNorm2d):
    """As timm's: normalisation with the activation inside."""

    def __init__(self, width: int, act: nn.Module, drop: nn.Module | None = None) -> None:
        super().__init__(width)
        self.drop, self.act = drop or nn.Identity(), act

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.act(self.drop(super().forward(input)))


class Swish(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.sigmoid()


def conv() -> nn.Conv2d:
    return nn.Conv2d(4, 8, 3, 2, 1)


def norm(width: int = 8) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, 1e-3, 0.03)


def untraceable(network: Any, x: torch.Tensor) -> torch.Tensor:
    if x.shape[2] > 1:  # torch.fx cannot know
        x = network.conv1(x)
    return network.act1(network.bn1(x))


def half_traceable(network: Any, x: torch.Tensor) -> torch.Tensor:
    x = network.act(network.bn1(network.conv1(x)))
    return network.act(-x) if x.shape[2] > 1 else x


def calls_function(network: Any, x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(network.bn1(network.conv1(x)), 0.25)


def norm_read_twice(network: Any, x: torch.Tensor) -> torch.Tensor:
    x = network.conv1(x)
    return network.act1(network.bn1(x)) + x


UNITS: dict[str, tuple[Callable[[], nn.Module], str, str, type[nn.Module], bool]] = {
    # network, the convolution, modules that the block takes over, activation inside the block, does it end with it
    "timm's names": (lambda: Named(conv1=conv(), bn1=norm(), act1=nn.ReLU()), "conv1", "bn1 act1", nn.ReLU, True),
    "torchvision's": (lambda: Named(conv1=conv(), bn1=norm(), relu=nn.ReLU()), "conv1", "bn1 relu", nn.ReLU, True),
    "YOLOv5's": (lambda: Named(conv=conv(), bn=norm(), act=nn.Mish()), "conv", "bn act", nn.Mish, True),
    "odd names": (lambda: Named(a=conv(), b=norm(), c=nn.GELU()), "a", "b c", nn.GELU, True),
    "Sequential": (lambda: nn.Sequential(conv(), norm(), nn.ELU()), "0", "1 2", nn.ELU, True),
    "longer Sequential": (
        lambda: nn.Sequential(nn.Conv2d(4, 4, 3), norm(4), nn.SELU(), conv(), norm(), nn.ReLU()),
        "3",
        "4 5",
        nn.ReLU,
        True,
    ),
    "Identity between": (
        lambda: Named(conv1=conv(), bn1=norm(), drop=nn.Identity(), act1=nn.ReLU()),
        "conv1",
        "bn1 act1",
        nn.ReLU,
        True,
    ),
    "dropout between": (
        lambda: Named(conv1=conv(), bn1=norm(), drop=nn.Dropout(), act1=nn.ReLU()),
        "conv1",
        "bn1",
        nn.ReLU,
        False,
    ),
    "norm with activation": (lambda: Named(c=conv(), bn1=BatchNormAct2d(8, nn.GELU())), "c", "bn1", nn.GELU, True),
    "norm without": (
        lambda: Named(c=conv(), bn1=BatchNormAct2d(8, nn.Identity()), act=nn.GELU()),
        "c",
        "bn1 act",
        nn.GELU,
        True,
    ),
    "norm with dropout": (
        lambda: Named(c=conv(), bn1=BatchNormAct2d(8, nn.GELU(), nn.Dropout())),
        "c",
        "",
        nn.GELU,
        False,
    ),
    "no activation": (lambda: nn.Sequential(nn.Sequential(conv(), norm()), nn.Mish()), "0.0", "0.1", nn.Mish, False),
    "no activation anywhere": (lambda: nn.Sequential(conv(), norm()), "0", "1", nn.SiLU, False),
    "an own activation": (lambda: nn.Sequential(conv(), norm(), Swish()), "0", "1 2", Swish, True),
    "no normalisation": (lambda: nn.Sequential(conv(), nn.ReLU6()), "0", "1", nn.ReLU6, True),
    "GroupNorm": (lambda: nn.Sequential(conv(), nn.GroupNorm(2, 8), nn.ReLU()), "0", "", nn.ReLU, False),
    "gate": (lambda: nn.Sequential(conv(), norm(), nn.Sigmoid()), "0", "1", nn.SiLU, False),
    "pre-activation": (
        lambda: Named(bn1=norm(4), act1=nn.ReLU(), conv1=conv()),
        "conv1",
        "",
        nn.ReLU,
        False,
    ),
    "one slope a channel": (lambda: nn.Sequential(conv(), norm(), nn.PReLU(8)), "0", "1 2", nn.PReLU, True),
    "function": (lambda: Named(calls_function, conv1=conv(), bn1=norm()), "conv1", "bn1", nn.LeakyReLU, False),
    "read twice": (
        lambda: Named(norm_read_twice, conv1=conv(), bn1=norm(), act1=nn.ReLU()),
        "conv1",
        "",
        nn.ReLU,
        False,
    ),
    "no trace": (
        lambda: Named(untraceable, conv1=conv(), bn1=norm(), act1=nn.ReLU()),
        "conv1",
        "bn1 act1",
        nn.ReLU,
        True,
    ),
    "no trace, norm before": (
        lambda: Named(untraceable, bn1=norm(8), conv1=conv(), act1=nn.ReLU()),
        "conv1",
        "",
        nn.ReLU,
        False,
    ),
    "half a trace": (
        lambda: Named(half_traceable, conv1=conv(), bn1=norm(), act=nn.ReLU()),
        "conv1",
        "bn1",
        nn.ReLU,
        False,
    ),
}


@pytest.mark.parametrize("case", UNITS)
def test_units(case: str) -> None:
    make, name, taken, act, ends_active = UNITS[case]
    network = make().train()
    before = dict(network.named_modules())
    result = replace_stride2(network)
    block = network.get_submodule(name)
    assert result.replaced == (name,) and isinstance(block, MGIL)
    modules = {key: module for key, module in network.named_modules() if not key.startswith(name)}
    now_identity = {key for key, module in modules.items() if module is not before[key]}
    assert now_identity == set(taken.split()) and all(type(modules[key]) is nn.Identity for key in now_identity)
    assert all(isinstance(lie[-1].act, act if ends_active else nn.Identity) for lie in lies(block))
    inner = [lie[0].act for lie in lies(block)] + [branch.act for branch in block.cii.mrie.branches]
    assert all(isinstance(each, act) for each in inner) and len(set(inner)) == len(inner)
    if any(isinstance(before[key], nn.BatchNorm2d) and before[key].eps == 1e-3 for key in now_identity):
        assert {(lie[0].bn.eps, lie[0].bn.momentum) for lie in lies(block)} == {(1e-3, 0.03)}
    network(torch.randn(3, 4, 9, 9)).sum().backward()


def test_slope_of_a_called_activation() -> None:
    network = Named(calls_function, conv1=conv(), bn1=norm())
    replace_stride2(network)
    assert network.conv1.flie.lie[0].act.negative_slope == 0.25


def test_an_option_beats_the_container() -> None:
    network = nn.Sequential(ConvNormAct(4, 8, stride=2))
    replace_stride2(network, act_layer=nn.Hardswish)
    assert isinstance(network[0].conv.flie.lie[-1].act, nn.Hardswish) and isinstance(network[0].act, nn.Identity)


class Counting(nn.Module):
    """Keeps its map and counts its runs, as networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(), norm()
        self.register_buffer("runs", torch.zeros(()))
        self.maps: list[Any] = ["before"]
        self.bn1.seen = {}

    def forward(self, x: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        self.map = self.bn1(self.conv1(x))
        self.runs += 1
        self.maps.append(self.map)
        self.bn1.seen["map"], self.bn1.width = self.map, 3
        return self.map if targets is None else self.map.mean() - targets


def test_reading_a_network_leaves_no_trace() -> None:
    network = Counting()
    bn1 = network.bn1
    replace_stride2(network)
    assert network.runs == 0 and not hasattr(network, "map") and isinstance(network.bn1, nn.Identity)
    assert network.maps == ["before"] and bn1.seen == {} and not hasattr(bn1, "width")
