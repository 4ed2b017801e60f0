"""Dilated convolutions whose taps reach past the map compute without these what they compute with them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from mgil.block.mgil import MGIL
from mgil.block.mrie import MRIE, DilatedConv2d
from mgil.block.reparameterise import reparameterise

SIZES_HW = list(itertools.product(range(1, 9), repeat=2))
SMALL_HW = [(1, 1), (4, 4), (1, 4), (5, 2), (3, 3), (2, 2)]


@contextmanager
def all_taps() -> Iterator[None]:
    with patch.object(DilatedConv2d, "forward", nn.Conv2d.forward):
        yield


def whole(size: tuple[int, ...]) -> Tensor:
    """Random whole numbers, whose sums of products are exact in float64 in any order."""
    return torch.randint(-8, 9, size).double()


def dilated(rate: int, bias: bool = True) -> DilatedConv2d:
    conv = DilatedConv2d(3, 4, 3, padding=rate, dilation=rate, bias=bias).double()
    conv.weight, conv.bias = nn.Parameter(whole((4, 3, 3, 3))), nn.Parameter(whole((4,))) if bias else None
    return conv


def taps(rate: int, size_hw: tuple[int, int]) -> tuple[int, ...]:
    """Sides of the kernel that are left: an outer tap meets the map if some pixel is `rate` away from another."""
    return tuple(1 + 2 * any(pixel + rate < side for pixel in range(side)) for side in size_hw)


@pytest.mark.parametrize("rate", [1, 2, 3, 4])
def test_bit_for_bit_the_dilated_convolution(rate: int) -> None:
    for size_hw in SIZES_HW:
        conv = dilated(rate, bias=sum(size_hw) % 2 == 0)
        x, wanted = whole((2, 3, *size_hw)).requires_grad_(), whole((2, 4, *size_hw))
        inputs = [x, *conv.parameters()]
        truth = functional.conv2d(x, conv.weight, conv.bias, padding=rate, dilation=rate)
        with patch.object(functional, "conv2d", wraps=functional.conv2d) as used:
            found = conv(x)
        assert used.call_args.args[1].shape[2:] == taps(rate, size_hw)
        assert torch.equal(found, truth)
        gradients = torch.autograd.grad((found * wanted).sum(), inputs)
        for gradient, true in zip(gradients, torch.autograd.grad((truth * wanted).sum(), inputs), strict=True):
            assert torch.equal(gradient, true)
        plain = conv.at_size(*size_hw)
        assert type(plain) is nn.Conv2d and plain.kernel_size == taps(rate, size_hw)
        assert torch.equal(plain(x), truth)


def gradients(block: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.requires_grad_()
    found = block(x)
    return [found, *torch.autograd.grad(found.sin().sum(), [x, *block.parameters()])]


@pytest.mark.parametrize("options", [{}, {"mrie": "sum"}, {"mrie": "concat", "dilations": (1, 4)}], ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_block_trains_as_with_all_taps(options: dict[str, Any], memory_format: torch.memory_format) -> None:
    block = MGIL(3, 6, **options).double().to(memory_format=memory_format)
    for size_hw in SMALL_HW:
        x = torch.randn(3, 3, 2 * size_hw[0], 2 * size_hw[1], dtype=torch.double).to(memory_format=memory_format)
        found = gradients(block, x)
        with all_taps():
            expected = gradients(block, x)
        for value, true in zip(found, expected, strict=True):
            torch.testing.assert_close(value, true, rtol=1e-9, atol=1e-12)
        assert found[0].stride() == expected[0].stride()
    deployed = reparameterise(block, convert="always")(x)  # of the last size, whose rates from 2 on see one pixel
    with all_taps():
        torch.testing.assert_close(deployed, block.eval()(x), rtol=1e-9, atol=1e-12)


def test_autocast_hooks_and_parametrisations_see_the_convolution() -> None:
    mrie = MRIE(4, 6, (2,))
    conv, x, seen = mrie.branches[0].conv, torch.randn(2, 4, 2, 2), []
    conv.register_forward_hook(lambda _conv, inputs, output: seen.append((inputs[0].shape, output.dtype)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mrie(x).float().sum().backward()
    assert seen == [(x.shape, torch.bfloat16)]
    centre = torch.zeros(3, 3, dtype=torch.bool)
    centre[1, 1] = True
    assert conv.weight.grad.dtype == torch.float32
    assert not conv.weight.grad[..., ~centre].any() and conv.weight.grad[..., centre].all()
    parametrizations.weight_norm(conv)
    found = mrie.eval()(x)
    assert type(conv).forward is DilatedConv2d.forward  # its class has become another one, which inherits this
    with all_taps():
        torch.testing.assert_close(found, mrie(x))


def test_other_padding_than_zeros_is_met_by_every_tap() -> None:
    conv, x = dilated(2), whole((1, 3, 2, 2))
    conv.padding_mode = "replicate"
    conv._reversed_padding_repeated_twice = [2, 2, 2, 2]
    edges = functional.pad(x, (2, 2, 2, 2), mode="replicate")
    truth = functional.conv2d(edges, conv.weight, conv.bias, dilation=2)
    assert torch.equal(conv(x), truth) and torch.equal(conv.at_size(2, 2)(x), truth)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_graphs_by_fx_and_script_take_other_sizes() -> None:
    """Those of the compiler, the tracer and ONNX are in test_runtimes.py."""
    mrie = MRIE(3, 6).eval()
    for graph in (torch.fx.symbolic_trace(mrie), torch.jit.script(mrie)):
        for size_hw in SMALL_HW:
            x = torch.randn(2, 3, *size_hw)
            torch.testing.assert_close(graph(x), mrie(x))
