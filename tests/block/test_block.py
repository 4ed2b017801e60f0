"""Options, sizes, cost and drop-in behaviour of the block."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from mgil.block.cii import CII
from mgil.block.conv import ConvNormAct
from mgil.block.flie import FLIE, SPDConv
from mgil.block.lie import LIE
from mgil.block.mgaf import MGAF
from mgil.block.mgil import MGIL
from mgil.block.mrie import MRIE

EVERY_SIZE_HW = list(itertools.product(range(1, 10), repeat=2))
SIZES_HW = [*itertools.product(range(1, 4), repeat=2), (8, 8), (9, 8), (8, 9), (9, 9)]

# Every option away from its default, alone.
OPTIONS: list[dict[str, Any]] = [
    {},
    {"fine_convs": 1},
    {"fine_convs": 3, "coarse_convs": 1},
    {"lie_kernel": 1},
    {"lie_kernel": 5},
    {"residual": True, "fine_convs": 3},
    {"residual": True, "coarse_shortcut": True},
    {"first_kernel": 5, "later_act": nn.GELU},
    {"cii_input": "parallel"},
    {"dilations": (1,)},
    {"dilations": (1, 2, 4, 7)},
    {"mrie": "sum"},
    {"mrie": "concat"},
    {"fusion": "sum"},
    {"fusion": "none"},
    {"squeeze": 2, "min_squeeze": 1},
    {"norm_layer": partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03), "act_layer": nn.ReLU},
    {"norm_layer": partial(nn.GroupNorm, 1)},
]

# The seven stride-2 layers of YOLOv5n: channels in and out, side of the output map at 640 px.
YOLOV5N_LAYERS = [
    (3, 16, 320),
    (16, 32, 160),
    (32, 64, 80),
    (64, 128, 40),
    (128, 256, 20),
    (64, 64, 40),
    (128, 128, 20),
]
YOLOV5N_PARAMETERS, YOLOV5N_FLOPS = 1_872_157, 4_468_121_600  # 80 classes, 640 px, 2 per multiply-add of convolutions


def block_parameters(name: str, channels_in: int, channels: int) -> int:
    """Count by formula: each 3x3 convolution is 9 * in * out weights and 2 numbers of normalisation per output."""

    def conv(width_in: int, width_out: int) -> int:
        return 9 * width_in * width_out + 2 * width_out

    if name == "spd":
        return conv(4 * channels_in, channels)
    fine = conv(4 * channels_in, channels) + conv(channels, channels)
    if name == "flie":
        return fine
    hidden = max(2 * channels // 16, 8)
    fusion = 2 * channels * hidden + hidden + 2 * hidden + 2
    dilated = {"split": 1, "sum": 3, "concat": 3}[name] * conv(channels, channels)
    coarse_in = 3 * channels if name == "concat" else channels
    return fine + dilated + conv(coarse_in, channels) + conv(channels, channels) + fusion


def make(name: str, channels_in: int, channels: int) -> nn.Module:
    if name == "spd":
        return SPDConv(channels_in, channels)
    if name == "flie":
        return MGIL(channels_in, channels, fusion="none")
    return MGIL(channels_in, channels, mrie=name)


def flops(module: nn.Module, channels: int, side: int) -> int:
    """Count 2 operations per multiply-add of every convolution, on a (1, channels, side, side) input."""
    total = 0

    def count(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += 2 * output.numel() * layer.weight[0].numel()

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    module.eval().to("meta")(torch.zeros(1, channels, side, side, device="meta"))
    return total


@pytest.mark.parametrize(
    ("name", "million_parameters", "gflops"),
    [
        ("spd", "3.60", "8.0"),
        ("flie", "4.57", "10.6"),
        ("split", "7.5", "18.4"),
        ("sum", "9.5", "23.6"),
        ("concat", "11.4", "28.8"),
    ],
)
def test_yolov5n_costs_what_is_published_with_the_block(name: str, million_parameters: str, gflops: str) -> None:
    parameters, operations = YOLOV5N_PARAMETERS, YOLOV5N_FLOPS
    for channels_in, channels, side in YOLOV5N_LAYERS:
        kernel = 6 if channels_in == 3 else 3
        plain = ConvNormAct(channels_in, channels, kernel, stride=2, padding=(kernel - 1) // 2)
        block = make(name, channels_in, channels)
        count = sum(value.numel() for value in block.parameters())
        assert count == block_parameters(name, channels_in, channels)
        parameters += count - sum(value.numel() for value in plain.parameters())
        operations += flops(block, channels_in, 2 * side) - flops(plain, channels_in, 2 * side)
    digits = len(million_parameters.partition(".")[2])
    assert f"{parameters / 1e6:.{digits}f}" == million_parameters
    assert f"{operations / 1e9:.1f}" == gflops


def test_split_costs_one_convolution_of_the_same_width() -> None:
    split, plain = MRIE(16, 16, mode="split"), ConvNormAct(16, 16, 3)
    assert sum(p.numel() for p in split.parameters()) == sum(p.numel() for p in plain.parameters())


@pytest.mark.parametrize(
    ("channels", "shares"),
    [
        (256, [96, 80, 80]),
        (128, [48, 48, 32]),
        (64, [32, 16, 16]),
        (48, [16, 16, 16]),
        (32, [16, 8, 8]),
        (16, [8, 4, 4]),
        (20, [8, 8, 4]),
        (10, [4, 4, 2]),
        (7, [3, 2, 2]),
        (3, [1, 1, 1]),
    ],
)
def test_split_gives_whole_vectors_where_it_can(channels: int, shares: list[int]) -> None:
    assert [branch.conv.out_channels for branch in MRIE(4, channels, mode="split").branches] == shares


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_size_gives_what_a_stride_2_convolution_gives(options: dict[str, Any]) -> None:
    block, plain = MGIL(3, 12, **options).eval(), nn.Conv2d(3, 12, 3, 2, 1)
    with torch.inference_mode():
        for size_hw in SIZES_HW if options else EVERY_SIZE_HW:
            x = torch.randn(1, 3, *size_hw)
            y = block(x)
            assert y.shape == plain(x).shape
            assert torch.isfinite(y).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_parameter_learns(options: dict[str, Any]) -> None:
    """At the first step, or the third where branches begin as zero: gamma wakes first, then what stands before it."""
    torch.manual_seed(0)
    block = MGIL(3, 12, **options)
    if block.mgaf is not None:
        nn.init.normal_(block.mgaf.fc.weight)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    for _step in range(3 if options.get("residual") else 1):
        optimizer.step()
        optimizer.zero_grad()
        block(torch.randn(2, 3, 9, 8)).square().mean().backward()
    for name, value in block.named_parameters():
        assert value.grad is not None and value.grad.abs().sum() > 0, name


@pytest.mark.parametrize("convs", [1, 2, 3, 4])
def test_convolution_counts(convs: int) -> None:
    block = MGIL(3, 8, fine_convs=convs, coarse_convs=convs)
    assert len(block.flie.lie) == len(block.cii.lie) == convs
    assert block.flie.lie[0].conv.in_channels == 12


def test_host_layers_are_used_everywhere() -> None:
    block = MGIL(3, 8, norm_layer=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03), act_layer=nn.ReLU)
    norms = [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 2 + 3 + 2
    assert all(norm.eps == 1e-3 and norm.momentum == 0.03 for norm in norms)
    assert not any(isinstance(layer, nn.SiLU) for layer in block.modules())
    block = MGIL(3, 8, later_act=nn.GELU, act_layer=nn.ReLU)
    assert [name for name, layer in block.named_modules() if isinstance(layer, nn.ReLU)] == ["flie.lie.0.act"]
    assert not any(isinstance(layer, nn.SiLU) for layer in block.modules())


def test_fusion_starts_from_equal_weights() -> None:
    fine, coarse = torch.randn(2, 8, 3, 3), torch.randn(2, 8, 3, 3)
    block = MGAF(8)
    assert torch.equal(block.weights(fine, coarse), torch.full((2, 2), 0.5))
    torch.testing.assert_close(block(fine, coarse), (fine + coarse) / 2)


@pytest.mark.parametrize(("channels", "options", "hidden"), [(8, {}, 8), (256, {}, 32), (256, {"squeeze": 4}, 128)])
def test_fusion_squeeze(channels: int, options: dict[str, int], hidden: int) -> None:
    assert MGIL(3, channels, **options).mgaf.fc.in_features == hidden


@pytest.mark.parametrize(
    ("size_hw", "unused"),
    [
        ((640, 640), ()),
        ((8, 8), ()),
        ((6, 6), (3,)),
        ((5, 6), (3,)),
        ((2, 64), ()),
        ((4, 3), (2, 3)),
        ((1, 1), (1, 2, 3)),
    ],
)
def test_unused_dilations_are_those_that_do_nothing(size_hw: tuple[int, int], unused: tuple[int, ...]) -> None:
    block = MGIL(3, 12).eval()
    assert block.unused_dilations(size_hw) == unused
    fine = torch.randn(1, 12, (size_hw[0] + 1) // 2, (size_hw[1] + 1) // 2)
    for branch, rate in zip(block.cii.mrie.branches, (1, 2, 3), strict=True):
        centre = torch.zeros_like(branch.conv.weight)
        centre[:, :, 1, 1] = branch.conv.weight[:, :, 1, 1]
        whole = branch.conv(fine)
        branch.conv.weight = nn.Parameter(centre)
        assert torch.allclose(branch.conv(fine), whole, atol=1e-6) == (rate in unused)
    assert MGIL(3, 12, fusion="none").unused_dilations(size_hw) == ()


@pytest.mark.parametrize(
    ("make_block", "message"),
    [
        (lambda: MGIL(3, 8, cii_input="paralel"), "cii_input.*'paralel'"),
        (lambda: MGIL(3, 8, fusion="add"), "fusion.*'add'"),
        (lambda: MGIL(3, 8, mrie="Split"), "mrie.*'Split'"),
        (lambda: MGIL(3, 8, dilations=()), r"dilations.*\(\)"),
        (lambda: MGIL(3, 8, dilations=(0, 1)), r"dilations.*\(0, 1\)"),
        (lambda: MGIL(3, 2), "2 channels"),
        (lambda: MGIL(3, 8, fine_convs=0), "at least 1.*got 0"),
        (lambda: MGIL(3, 8, coarse_convs=0), "at least 1.*got 0"),
        (lambda: MGIL(3, 8, lie_kernel=4), "odd.*got 4"),
        (lambda: MGIL(3, 8, residual="false"), "true or false, got 'false'"),
        (lambda: MGIL(3, 8, fine_convs=1, coarse_convs=1, residual=True), "residual does nothing"),
        (lambda: MGIL(3, 8, fine_convs=1, fusion="none", residual=True), "residual does nothing"),
        (lambda: MGIL(3, 8, fine_convs=1, residual=True, coarse_shortcut=True), "residual does nothing"),
        (lambda: MGIL(3, 8, coarse_shortcut="yes"), "coarse_shortcut must be true or false, got 'yes'"),
        (lambda: MGIL(3, 8, coarse_shortcut=True, fusion="none"), "coarse_shortcut.*fusion none"),
        (lambda: MGIL(3, 8, coarse_shortcut=True, cii_input="parallel"), "coarse_shortcut.*'parallel'"),
        (lambda: MGIL(3, 8, first_kernel=4), "odd.*got 4"),
        (lambda: MGIL(3, 8, squeeze=0), "squeeze.*got 0"),
        (lambda: FLIE(3, 8, convs=0), "at least 1"),
        (lambda: LIE(3, 8, kernel_size=-1), "odd.*got -1"),
        (lambda: CII(3, 8, mrie="max"), "mrie.*'max'"),
        (lambda: MGIL(3, 8, dilations=2), "dilations must be one or more numbers, got 2"),
        (lambda: MGIL(3, 8, dilations="123"), "whole number of at least 1, got '1'"),
        (lambda: MGIL(3, 8, dilations=(1.5,)), r"dilations \(1.5,\).* got 1.5"),
        (lambda: MGIL(3, 8, fine_convs=1.5), "number of convolutions.* got 1.5"),
        (lambda: MGIL(3, 8, squeeze=1.5), "squeeze.* got 1.5"),
        (lambda: MGIL(3, 8, lie_kernel=3.0), "kernel size.* got 3.0"),
    ],
)
def test_impossible_options_are_named(make_block: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_block()


def test_conv_norm_act_keeps_the_size_by_default() -> None:
    x = torch.randn(1, 4, 7, 5)
    assert ConvNormAct(4, 6, 3, dilation=2)(x.repeat(2, 1, 1, 1)).shape == (2, 6, 7, 5)
    assert ConvNormAct(4, 6, 6, stride=2, padding=2, groups=2).eval()(torch.randn(1, 4, 8, 8)).shape == (1, 6, 4, 4)


@pytest.mark.parametrize("residual", [False, True])
def test_a_part_of_lie_does_its_part(residual: bool) -> None:
    lie, x = LIE(6, 8, 3, residual=residual).eval(), torch.randn(2, 6, 5, 4)
    for convolution in lie:
        nn.init.normal_(convolution.bn.weight)
    assert torch.equal(lie[1:](lie[0](x)), lie(x))
    assert torch.equal(lie[2:](lie[:2](x)), lie(x))
    assert isinstance(lie[-1], ConvNormAct) and list(lie[1:]) == list(lie)[1:] and not lie[1:].training


def test_without_the_last_activation() -> None:
    torch.manual_seed(1)
    ended = MGIL(3, 8, fine_convs=3, fusion="sum", act_layer=nn.Softplus).eval()
    torch.manual_seed(1)
    open_end = MGIL(3, 8, fine_convs=3, fusion="sum", act_layer=nn.Softplus, last_act=False).eval()
    x = torch.randn(2, 3, 9, 7)
    softplus = nn.functional.softplus
    fine = softplus(open_end.flie(x))
    torch.testing.assert_close(ended(x), fine + softplus(open_end.cii(fine)))
    assert open_end(x).min() < 0 < ended(x).min()
    linear = LIE(3, 8, 3, residual=True, last_act=False)  # of which the later convolutions go on from a sum
    assert [type(convolution.act) for convolution in linear] == [nn.Identity, nn.SiLU, nn.SiLU]
    with pytest.raises(ValueError, match="last_act must be true or false, got 'no'"):
        SPDConv(3, 8, last_act="no")  # type: ignore[arg-type]
