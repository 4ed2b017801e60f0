"""Blocks that begin as the trained stride-2 layer that they replace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from mgil.block.carry_over import carry_over, least_kernel
from mgil.block.conv import ConvNormAct
from mgil.block.flie import FLIE, SPDConv
from mgil.block.mgil import MGIL
from mgil.block.reparameterise import phase_kernel, reparameterise, strided_kernel

START: dict[str, Any] = {"residual": True, "coarse_shortcut": True}
EVERY_SIZE_HW = [(1, 1), (1, 2), (2, 1), (1, 5), (3, 2), (2, 2), (5, 4), (7, 9), (8, 8), (16, 10)]
EVEN_SIZES_HW = [(2, 2), (2, 4), (4, 2), (8, 6), (10, 16)]
WANTED = 1e-10  # float64


def layer(kernel: int, padding: int, act: nn.Module, channels: int = 6, bias: bool = False) -> nn.Sequential:
    """A stride-2 convolution, BatchNorm and activation in float64, as after training."""
    conv = nn.Conv2d(3, channels, kernel, 2, padding, bias=bias)
    norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)
    norm.running_mean.normal_(0, 0.3)
    norm.running_var.uniform_(0.3, 2)
    nn.init.uniform_(norm.weight, -1.5, 1.5)
    nn.init.normal_(norm.bias, 0, 0.5)
    return nn.Sequential(conv, norm, act).double()


def difference(block: nn.Module, plain: nn.Module, size_hw: tuple[int, int], batch: int = 3) -> float:
    """The largest difference of two modules of which the second may round an odd size down."""
    x = torch.randn(batch, 3, *size_hw, dtype=torch.float64)
    expected, found = plain(x), block(x)
    assert found.shape[2:] == tuple((side + 1) // 2 for side in size_hw)
    return (found[:, :, : expected.shape[2], : expected.shape[3]] - expected).abs().max().item()


def learns(block: nn.Module) -> None:
    """Fail unless every parameter has a gradient at the third step."""
    x, wanted = torch.randn(4, 3, 9, 8, dtype=torch.float64), torch.randn(4, 6, 5, 4, dtype=torch.float64)
    optimizer = torch.optim.SGD(block.train().parameters(), lr=0.1)
    for _step in range(3):
        optimizer.zero_grad()
        (block(x) - wanted).square().mean().backward()
        optimizer.step()
    without = [name for name, value in block.named_parameters() if value.grad is None or not value.grad.abs().sum()]
    assert without == []


@pytest.mark.parametrize(
    ("kernel", "padding", "lie_kernel", "sizes_hw"),
    [
        (3, 1, 3, EVERY_SIZE_HW),
        (5, 2, 3, EVERY_SIZE_HW),
        (1, 0, 1, EVERY_SIZE_HW),
        (1, 0, 3, EVERY_SIZE_HW),
        (7, 3, 5, EVERY_SIZE_HW),
        (3, 1, 5, EVERY_SIZE_HW),
        (6, 2, 3, EVEN_SIZES_HW),
        (4, 1, 3, EVEN_SIZES_HW),
        (2, 0, 1, EVEN_SIZES_HW),
        (2, 0, 3, EVEN_SIZES_HW),
        (8, 3, 5, EVEN_SIZES_HW),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_every_layer_at_every_size(
    kernel: int, padding: int, lie_kernel: int, sizes_hw: list[tuple[int, int]], training: bool
) -> None:
    plain = layer(kernel, padding, nn.SiLU())
    block = MGIL(3, 6, first_kernel=lie_kernel, norm_layer=partial(nn.BatchNorm2d, eps=0.1), **START).double()
    carry_over(block, plain[0], plain[1])
    assert least_kernel(plain[0]) <= lie_kernel
    block.train(training), plain.train(training)
    assert max(difference(block, plain, size_hw) for size_hw in sizes_hw) < WANTED
    first = block.flie.lie[0].bn  # its statistics have followed those of the layer
    torch.testing.assert_close(first.running_mean, plain[1].running_mean)
    torch.testing.assert_close(first.running_var, plain[1].running_var)


@pytest.mark.parametrize(("kernel", "padding"), [(6, 2), (4, 1), (2, 0)])
def test_an_even_kernel_drops_the_last_row_of_an_odd_size(kernel: int, padding: int) -> None:
    plain = layer(kernel, padding, nn.SiLU()).eval()
    block = MGIL(3, 6, **START).double().eval()
    carry_over(block, plain[0], plain[1])
    assert max(difference(block, plain, size_hw) for size_hw in [(7, 9), (8, 7), (33, 16), (3, 3)]) < WANTED


ALIVE = [nn.SiLU, nn.GELU, nn.Mish, nn.Hardswish, nn.LeakyReLU, nn.PReLU, nn.ELU]


@pytest.mark.parametrize(
    ("act", "options"),
    [(act, {}) for act in ALIVE]
    + [(act, {"later_act": nn.SiLU}) for act in (nn.ReLU, nn.ReLU6, partial(nn.ReLU, inplace=True))]
    + [
        (nn.SiLU, {"last_act": False}),
        (nn.SiLU, {"fine_convs": 1, "residual": False}),
        (nn.SiLU, {"fine_convs": 3, "coarse_convs": 1}),
        (nn.SiLU, {"fusion": "none", "coarse_shortcut": False}),
        (nn.SiLU, {"mrie": "concat", "dilations": (1, 4), "lie_kernel": 1, "first_kernel": 3}),
    ],
)
def test_equal_with_every_activation_and_option_and_alive(act: Any, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    plain = layer(3, 1, nn.Identity() if options.get("last_act") is False else act())
    block = MGIL(3, 6, **{**START, "act_layer": act, **options}).double()
    carry_over(block, plain[0], plain[1])
    for training in (False, True):
        block.train(training), plain.train(training)
        assert max(difference(block, plain, size_hw) for size_hw in [(5, 4), (1, 3), (8, 8)]) < WANTED
    learns(block)
    assert difference(block.eval(), plain.eval(), (8, 8)) > 1e-3


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("make", [MGIL, FLIE, SPDConv])
def test_a_bias_and_no_normalisation_in_every_block(make: Any, norm: bool) -> None:
    torch.manual_seed(1)
    options = {MGIL: START, FLIE: {"residual": True}, SPDConv: {}}[make]
    plain = layer(3, 1, nn.SiLU(), bias=True)
    if not norm:
        plain[1] = nn.Identity()
    block = make(3, 6, **options).double()
    carry_over(block, plain[0], plain[1] if norm else None)
    for training in (False, True):
        block.train(training), plain.train(training)
        assert max(difference(block, plain, size_hw) for size_hw in [(5, 4), (8, 8)]) < WANTED
    learns(block)
    carry_over(block, layer(3, 1, nn.SiLU())[0])  # of a layer without a bias: the earlier one goes
    assert norm or block(torch.zeros(1, 3, 4, 4, dtype=torch.float64)).abs().max() == 0


def test_without_statistics_and_without_affine() -> None:
    plain = layer(3, 1, nn.SiLU())
    plain[1] = nn.BatchNorm2d(6, track_running_stats=False).double()
    block = MGIL(3, 6, norm_layer=partial(nn.BatchNorm2d, track_running_stats=False), **START).double()
    carry_over(block, plain[0], plain[1])
    assert max(difference(block.eval(), plain.eval(), size_hw) for size_hw in [(5, 4), (8, 8)]) < WANTED
    plain[1] = nn.BatchNorm2d(6, affine=False).double()
    block = SPDConv(3, 6, norm_layer=partial(nn.BatchNorm2d, affine=False)).double()
    carry_over(block, plain[0], plain[1])
    assert difference(block, plain, (5, 4)) < WANTED


BLOCK = partial(MGIL, 3, 6)


def changed(block: nn.Module, name: str, new: nn.Module) -> nn.Module:
    """A block with another part."""
    parent, _, child = name.rpartition(".")
    setattr(block.get_submodule(parent), child, new)
    return block


@pytest.mark.parametrize(
    ("make_block", "conv", "norm", "message"),
    [
        (BLOCK, {}, {}, "make the block with residual=True and coarse_shortcut=True$"),
        (lambda: BLOCK(coarse_shortcut=True), {}, {}, "make the block with residual=True$"),
        (lambda: BLOCK(residual=True), {}, {}, "coarse_shortcut=True"),
        (lambda: BLOCK(residual=True, cii_input="parallel"), {}, {}, "coarse_shortcut=True"),
        (lambda: BLOCK(fusion="sum", **START), {}, {}, "fusion sum"),
        (lambda: FLIE(3, 6), {}, {}, "residual=True"),
        (lambda: BLOCK(**START), {"kernel_size": 7, "padding": 3}, {}, "7x7 .* 3x3 .*first_kernel=5"),
        (lambda: BLOCK(lie_kernel=1, **START), {}, {}, "3x3 .* 1x1 .*first_kernel=3"),
        (lambda: BLOCK(**START), {"groups": 3}, {}, "3 groups"),
        (lambda: BLOCK(**START), {"dilation": 2, "padding": 2}, {}, "dilation"),
        (lambda: BLOCK(**START), {"padding_mode": "reflect"}, {}, "padding mode reflect"),
        (lambda: BLOCK(**START), {"padding": 0}, {}, "does not halve"),
        (lambda: BLOCK(**START), {"stride": 1}, {}, r"stride \(1, 1\)"),
        (lambda: BLOCK(**START), {"out_channels": 9}, {}, "3 -> 9 channels, the block 3 -> 6"),
        (lambda: MGIL(2, 6, **START), {}, {}, "3 -> 6 channels, the block 2 -> 6"),
        (lambda: BLOCK(**START), {}, {"num_features": 5}, "differs: weight"),
        (lambda: BLOCK(**START), {}, {"affine": False}, "differs: weight"),
        (lambda: BLOCK(**START), {}, {"track_running_stats": False}, "differs: running_mean"),
        (lambda: BLOCK(norm_layer=partial(nn.GroupNorm, 1), **START), {}, {}, "BatchNorm2d, the block GroupNorm"),
        (lambda: BLOCK(norm_layer=partial(nn.BatchNorm2d, affine=False), **START), {}, {"affine": False}, "no weight"),
        (lambda: BLOCK(norm_layer=nn.Identity, **START), {}, None, "Identity has no weight"),
        (lambda: changed(BLOCK(**START), "cii.lie.1.act", nn.ReLU()), {}, {}, "ReLU, whose gradient"),
        (lambda: reparameterise(BLOCK(**START)), {}, {}, "is re-parameterised"),
        (lambda: ConvNormAct(3, 6), {}, {}, "not a ConvNormAct"),
    ],
)
def test_what_cannot_be_equal_is_refused_and_nothing_changed(
    make_block: Callable[[], nn.Module], conv: dict[str, Any], norm: dict[str, Any] | None, message: str
) -> None:
    options = {"in_channels": 3, "out_channels": 6, "kernel_size": 3, "stride": 2, "padding": 1, **conv}
    block = make_block()
    before = {name: value.clone() for name, value in block.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        carry_over(block, nn.Conv2d(**options), None if norm is None else nn.BatchNorm2d(**{"num_features": 6, **norm}))
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())


def test_no_convolution_and_no_batch_normalisation() -> None:
    with pytest.raises(ValueError, match="Linear, not Conv2d"):
        carry_over(MGIL(3, 6, **START), nn.Linear(3, 6))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a LayerNorm follows the convolution"):
        carry_over(MGIL(3, 6, **START), nn.Conv2d(3, 6, 3, 2, 1), nn.LayerNorm(6))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (nn.ReLU, "ReLU, whose gradient at 0 is 0; give another one as later_act, e.g. SiLU"),
        (nn.ReLU6, "ReLU6, .* later_act"),
        (partial(nn.LeakyReLU, 0.0), "LeakyReLU, .* later_act"),
        (nn.Softplus, "Softplus, which gives 0.693 at 0"),
        (nn.Sigmoid, "Sigmoid, which gives 0.5 at 0"),
    ],
)
def test_an_activation_after_which_nothing_would_wake_is_refused(act: Any, message: str) -> None:
    for options in (START, {"coarse_shortcut": True}):
        with pytest.raises(ValueError, match=f"begins as zero cannot end with {message}"):
            MGIL(3, 6, act_layer=act, **options)
    alone = MGIL(3, 6, act_layer=act, residual=True)  # as weights of earlier versions have it
    assert all(lie[1].bn.weight.eq(1).all() for lie in (alone.flie.lie, alone.cii.lie))
    with pytest.raises(ValueError, match=f"begins as zero cannot end with {message}"):
        carry_over(alone.flie, nn.Conv2d(3, 6, 3, 2, 1))
    with torch.inference_mode():  # which makes no gradients of its own
        MGIL(3, 6, act_layer=nn.PReLU, residual=True)
    with torch.device("meta"):
        MGIL(3, 6, act_layer=nn.PReLU, residual=True)
    slopes = FLIE(3, 6, residual=True, act_layer=partial(nn.PReLU, 6))  # one for each channel
    assert not slopes.lie[1].bn.weight.any()


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_maps_between_phases_and_pixels_undo_each_other(kernel: int) -> None:
    weight = torch.randn(4, 12, kernel, kernel)
    assert torch.equal(phase_kernel(strided_kernel(weight)), weight)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit:FutureWarning")
def test_reparameterised_and_traced() -> None:
    plain = layer(7, 3, nn.SiLU()).eval()
    block = MGIL(3, 6, first_kernel=5, **START).double().eval()
    carry_over(block, plain[0], plain[1])
    fast = reparameterise(block, convert="always")
    assert fast.flie.lie[0].conv.stride == (2, 2)
    traced = torch.jit.trace(fast, torch.randn(1, 3, 8, 8, dtype=torch.float64))
    for size_hw in EVERY_SIZE_HW:
        assert difference(fast, plain, size_hw) < WANTED and difference(traced, plain, size_hw) < WANTED


def test_trained_shortcuts_are_reset_and_other_weights_stay() -> None:
    plain = layer(3, 1, nn.SiLU()).eval()
    block = MGIL(3, 6, **START).double().eval()
    learns(block)
    kept = block.cii.lie[1].conv.weight.clone()
    carry_over(block.eval(), plain[0], plain[1])
    assert difference(block, plain, (8, 8)) < WANTED
    assert torch.equal(block.cii.lie[1].conv.weight, kept) and plain[1].weight is not block.flie.lie[0].bn.weight


def test_a_normalisation_with_an_activation_inside_is_none() -> None:
    class BatchNormAct(nn.BatchNorm2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input).relu()

    conv = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
    with pytest.raises(ValueError, match="only batch normalisation is carried over; a BatchNormAct follows"):
        carry_over(SPDConv(3, 8), conv, BatchNormAct(8))
    with pytest.raises(ValueError, match="the convolution has BatchNorm2d, the block BatchNormAct"):
        carry_over(SPDConv(3, 8, norm_layer=BatchNormAct), conv, nn.BatchNorm2d(8))
