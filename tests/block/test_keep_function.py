"""Replacing the stride-2 layers of trained networks by blocks that begin as these layers."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from mgil.block.flie import FLIE, SPDConv
from mgil.block.mgil import MGIL
from mgil.block.replace import FloorHalf, Replacement, replace_stride2
from mgil.block.space_to_channel import SpaceToChannel

WANTED = 1e-10  # float64, of outputs around 1


def trained_like(network: nn.Module) -> nn.Module:
    """The network in float64, with statistics and slopes as after training."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -0.5, 0.5)
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network.double()


def carried(network: nn.Module, side: int = 64, channels: int = 3, **options: Any) -> Replacement:
    """Replace with `keep_function`, and hold the outputs in both modes to those before."""
    plain, x = deepcopy(network), torch.randn(2, channels, side, side, dtype=torch.float64)
    result = replace_stride2(network, keep_function=True, **options)
    assert result.keeps_function and "carried over: the network computes what it did" in str(result)
    with torch.no_grad():
        for training in (False, True):
            expected, found = plain.train(training)(x), network.train(training)(x)
            assert (found - expected).abs().max() <= WANTED * max(expected.abs().max().item(), 1)
    return result


def conv(kernel: int = 3, padding: int = 1, channels: int = 4, width: int = 8, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(channels, width, kernel, 2, padding, **options)


class Stages(nn.Module):
    """A stem of 7x7, a stage with a shortcut of 1x1, the sum of both, and activations as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(7, 3, 3, 4, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.conv1, self.bn1 = conv(bias=False), nn.BatchNorm2d(8)
        self.shortcut = nn.Sequential(conv(1, 0, bias=False), nn.BatchNorm2d(8))
        self.last = conv(3, 1, 8, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.last(torch.relu(self.bn1(self.conv1(x)) + self.shortcut(x)))


@pytest.mark.parametrize("shortcuts", ["keep", "sct1x1", "block"])
@pytest.mark.filterwarnings("ignore:1 1x1")
def test_stem_stage_and_shortcut(shortcuts: str) -> None:
    network = trained_like(Stages())
    result = carried(network, shortcuts=shortcuts)
    blocks = ("stem.0", "conv1") + (("shortcut.0",) if shortcuts == "block" else ())
    assert result.replaced == blocks and result.kept["last"] == "2 groups"
    stem, middle = network.stem[0], network.conv1
    assert stem.flie.lie[0].conv.kernel_size == (5, 5) and middle.flie.lie[0].conv.kernel_size == (3, 3)
    assert isinstance(stem.flie.lie[0].act, nn.ReLU) and isinstance(stem.cii.lie[-1].act, nn.SiLU)
    assert isinstance(middle.flie.lie[0].act, nn.Identity)  # a sum follows
    assert isinstance(network.shortcut[0], nn.Sequential) == (shortcuts == "sct1x1")
    lines = str(result).splitlines()
    assert lines[1] == f"blocks ({len(blocks)}, carried over: the network computes what it did): {', '.join(blocks)}"


@pytest.mark.parametrize(
    ("layers", "options", "kind"),
    [
        (lambda: [conv()], {}, MGIL),  # a bias, no normalisation, no activation
        (lambda: [conv(), nn.PReLU()], {}, MGIL),
        (lambda: [conv(), nn.BatchNorm2d(8), nn.PReLU()], {}, MGIL),
        (lambda: [conv(), nn.BatchNorm2d(8), nn.LeakyReLU(0.3)], {}, MGIL),
        (lambda: [conv(), nn.BatchNorm2d(8), nn.Softplus()], {}, MGIL),
        (lambda: [conv(6, 2), nn.BatchNorm2d(8), nn.SiLU()], {}, FloorHalf),
        (lambda: [conv(2, 0), nn.GELU()], {}, FloorHalf),
        (lambda: [conv(), nn.SyncBatchNorm(8).eval(), nn.ReLU()], {}, None),
        (lambda: [conv(7, 3), nn.BatchNorm2d(8), nn.ReLU()], {"block": SPDConv}, SPDConv),
        (lambda: [conv(7, 3), nn.BatchNorm2d(8), nn.ReLU()], {"block": FLIE}, FLIE),
        (lambda: [conv(7, 3), nn.BatchNorm2d(8), nn.ReLU()], {"block": partial(MGIL, fine_convs=1)}, MGIL),
        (lambda: [conv(7, 3), nn.ReLU()], {"block": lambda *channels, **options: MGIL(*channels, **options)}, MGIL),
        (lambda: [conv(7, 3), nn.ReLU()], {"fusion": "none", "lie_kernel": 7}, MGIL),
        (lambda: [conv(), nn.BatchNorm2d(8, track_running_stats=False), nn.ReLU()], {}, MGIL),
    ],
)
def test_equal_whatever_follows_and_whatever_block(
    layers: Callable[[], list[nn.Module]], options: dict[str, Any], kind: Any
) -> None:
    network = trained_like(nn.Sequential(*layers(), nn.Conv2d(8, 2, 1)))
    if kind is None:  # it trains on GPUs alone
        x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
        expected = network.eval()(x)
        replace_stride2(network, keep_function=True)
        assert isinstance(network[0].flie.lie[0].bn, nn.SyncBatchNorm)
        torch.testing.assert_close(network(x), expected, rtol=0, atol=WANTED)
        return
    assert carried(network, 6, 4, **options).replaced == ("0",)
    assert isinstance(network[0], kind)
    if "fusion" in options:
        assert network[0].flie.lie[0].conv.kernel_size == (7, 7) and network[0].cii is None


def test_what_no_block_can_compute_stays_and_is_said() -> None:
    network = trained_like(
        nn.Sequential(conv(), nn.BatchNorm2d(8, affine=False), nn.SiLU(), conv(3, 1, 8), nn.BatchNorm2d(8))
    )
    first = network[0]
    result = carried(network, 8, 4)
    assert result.replaced == ("3",) and "no weight" in result.kept["0"] and network[0] is first
    assert isinstance(network[1], nn.BatchNorm2d) and isinstance(network[4], nn.Identity)
    with pytest.raises(ValueError, match=r"a block can stand for none.*fusion sum"):
        replace_stride2(nn.Sequential(conv()), keep_function=True, fusion="sum")
    with pytest.raises(ValueError, match="0: coarse_shortcut adds .* 'parallel'"):
        replace_stride2(nn.Sequential(conv()), keep_function=True, cii_input="parallel")
    for name in ("act_layer", "norm_layer", "last_act"):
        with pytest.raises(ValueError, match=f"keep_function takes {name} from the network"):
            replace_stride2(nn.Sequential(conv()), keep_function=True, **{name: nn.SiLU})


@pytest.mark.parametrize(
    ("model", "side", "blocks", "sct1x1"),
    [
        ("mobilenetv3_small_100", 32, 1, 0),
        pytest.param("resnet18", 64, 4, 3, marks=pytest.mark.nightly),
        pytest.param("resnet50", 64, 4, 3, marks=pytest.mark.nightly),
        pytest.param("hrnet_w18_small", 64, 23, 0, marks=pytest.mark.nightly),
        pytest.param("convnext_atto", 64, 3, 0, marks=pytest.mark.nightly),
        pytest.param("repvgg_a0", 64, 5, 5, marks=pytest.mark.nightly),
    ],
)
def test_timm(model: str, side: int, blocks: int, sct1x1: int) -> None:
    network = trained_like(pytest.importorskip("timm").create_model(model, num_classes=3, drop_rate=0.0))
    result = carried(network, side, shortcuts="sct1x1")
    assert (len(result.replaced), len(result.sct1x1)) == (blocks, sct1x1)
    assert sum(isinstance(module, SpaceToChannel) for module in network.modules()) == blocks + sct1x1


def test_a_normalisation_that_rests_goes_on_resting() -> None:
    """As people freeze it in a network that is trained."""
    network = trained_like(nn.Sequential(conv(bias=False), nn.BatchNorm2d(8), nn.SiLU()))
    network.train()
    network[1].eval()
    twin = deepcopy(network)
    result = replace_stride2(network, keep_function=True)
    assert result.replaced == ("0",)
    x = torch.rand(4, 4, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(network(x), twin(x), rtol=1e-9, atol=1e-9)
    assert torch.equal(network[0].flie.lie[0].bn.running_mean, twin[1].running_mean)


class Pieces(nn.Module):
    """Calls the children of a Sequential, whose own forward would call them one after the other."""

    def __init__(self, call: Callable[[nn.Sequential, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels=3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.call = call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.call(self.body, x)


def every_map(body: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    found = []
    for part in body:
        x = part(x)
        found.append(x)
    return torch.cat(found, dim=1)


@pytest.mark.parametrize(
    ("call", "norm_stays"),
    [
        (lambda body, x: body(x), False),
        (lambda body, x: body[2](body[1](body[0](x))), False),
        (lambda body, x: body[2](body[1](body[0](x) * 3)), True),
        (lambda body, x: body[1:](body[0](x) * 3), True),
        (every_map, True),
    ],
    ids=["whole", "one by one", "something between", "a slice", "maps kept"],
)
def test_a_sequential_whose_children_are_called_apart(call: Any, norm_stays: bool) -> None:
    network = trained_like(Pieces(call))
    carried(network)
    assert isinstance(network.body[1], nn.BatchNorm2d) == norm_stays


def test_a_child_called_by_another_method() -> None:
    class Stem(nn.Sequential):
        def features(self, x: torch.Tensor) -> torch.Tensor:
            return self[0](x)

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = Stem(conv(channels=3, bias=False), nn.BatchNorm2d(8), nn.ReLU())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.stem.features(x)

    carried(trained_like(Halves()))


def test_a_sequential_called_whole_and_in_part_stays() -> None:
    network = Pieces(lambda body, x: body(x) + body[0](x))
    with pytest.raises(ValueError, match="called 2 times in a run"):
        replace_stride2(network, keep_function=True)


def test_a_forward_of_the_instance() -> None:
    network = trained_like(nn.Sequential(conv(channels=3, bias=False), nn.BatchNorm2d(8), nn.ReLU()))
    network.forward = lambda x: torch.cat((network[0](x), network[2](network[1](network[0](x)))), dim=1)
    twin = deepcopy(network)
    twin.forward = lambda x: torch.cat((twin[0](x), twin[2](twin[1](twin[0](x)))), dim=1)
    replace_stride2(network, keep_function=True)
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(network.eval()(x), twin.eval()(x), rtol=1e-9, atol=1e-9)
