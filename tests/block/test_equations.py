"""The block against a literal NumPy transcription of the paper's equations 2 to 11.

The reference shares no code with the package: phases by indexing, convolutions by sums over taps, in float64.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from mgil.block.cii import CII
from mgil.block.conv import ConvNormAct
from mgil.block.flie import FLIE, SPDConv
from mgil.block.lie import LIE
from mgil.block.mgaf import MGAF
from mgil.block.mgil import MGIL
from mgil.block.space_to_channel import SpaceToChannel

Array = np.ndarray

# The paper's figure of the four sub-features: every second pixel, from four starting points (row, column).
STARTS = ((0, 0), (1, 0), (0, 1), (1, 1))


def sct(x: Array) -> Array:
    """Equations 2 to 7: four interval samplings, concatenated on channels; what is beyond the edge is zero."""
    batch, channels, height, width = x.shape
    out = np.zeros((batch, 4 * channels, math.ceil(height / 2), math.ceil(width / 2)))
    for phase, (row, column) in enumerate(STARTS):
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                if 2 * i + row < height and 2 * j + column < width:
                    out[:, phase * channels : (phase + 1) * channels, i, j] = x[:, :, 2 * i + row, 2 * j + column]
    return out


def convolve(x: Array, conv: nn.Conv2d) -> Array:
    """Same-size dilated convolution, tap by tap."""
    weight, rate = as_array(conv.weight), conv.dilation[0]
    _, _, height, width = x.shape
    half = weight.shape[2] // 2
    out = np.zeros((x.shape[0], weight.shape[0], height, width))
    for u in range(weight.shape[2]):
        for v in range(weight.shape[3]):
            for i in range(height):
                for j in range(width):
                    row, column = i + (u - half) * rate, j + (v - half) * rate
                    if 0 <= row < height and 0 <= column < width:
                        out[:, :, i, j] += x[:, :, row, column] @ weight[:, :, u, v].T
    return out


def conv_norm_act(x: Array, layer: ConvNormAct) -> Array:
    norm = layer.bn
    mean, variance, scale, shift = (
        as_array(value)[:, None, None] for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    y = (convolve(x, layer.conv) - mean) / np.sqrt(variance + norm.eps) * scale + shift
    return y / (1 + np.exp(-y))  # SiLU


def lie(x: Array, layer: LIE, residual: bool = False) -> Array:
    first, *later = layer
    x = conv_norm_act(x, first)
    for conv in later:
        x = conv_norm_act(x, conv) + (x if residual else 0)
    return x


def cii(x: Array, layer: CII, mrie: str, residual: bool = False) -> Array:
    features = [conv_norm_act(x, branch) for branch in layer.mrie.branches]
    return lie(sum(features) if mrie == "sum" else np.concatenate(features, axis=1), layer.lie, residual)


def mgaf(fine: Array, coarse: Array, layer: MGAF) -> Array:
    pooled = np.concatenate([fine, coarse], axis=1).mean(axis=(2, 3))  # equation 8
    squeezed = pooled @ as_array(layer.conv.weight)[:, :, 0, 0].T + as_array(layer.conv.bias)  # equation 9
    alpha = np.maximum(squeezed, 0) @ as_array(layer.fc.weight).T + as_array(layer.fc.bias)
    weights = np.exp(alpha) / np.exp(alpha).sum(axis=1, keepdims=True)  # equation 10
    return weights[:, 0, None, None, None] * fine + weights[:, 1, None, None, None] * coarse  # equation 11


def as_array(tensor: torch.Tensor) -> Array:
    return tensor.detach().double().numpy()


def randomise(module: nn.Module) -> nn.Module:
    """Give `module` weights and normalisation statistics like those of a trained one, far from their start."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.3, 3.0)
            nn.init.uniform_(layer.weight, 0.5, 2.0)
            nn.init.normal_(layer.bias)
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return module.eval()


def assert_equal(got: torch.Tensor, expected: Array) -> None:
    assert got.shape == expected.shape
    np.testing.assert_allclose(as_array(got), expected, rtol=1e-4, atol=1e-5)


SIZES_HW = [(1, 1), (1, 2), (2, 1), (3, 2), (4, 4), (5, 7), (8, 5), (9, 9)]


@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_space_to_channel_is_equations_2_to_7(size_hw: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size_hw)
    assert_equal(SpaceToChannel()(x), sct(as_array(x)))


def test_space_to_channel_loses_nothing_and_is_pixel_unshuffle_permuted() -> None:
    x = torch.randn(2, 3, 6, 8)
    ours = SpaceToChannel()(x).unflatten(1, (2, 2, 3))  # (B, column, row, C, h, w)
    theirs = nn.functional.pixel_unshuffle(x, 2).unflatten(1, (3, 2, 2))  # (B, C, row, column, h, w)
    assert torch.equal(ours.permute(0, 3, 2, 1, 4, 5), theirs)


@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_flie_and_spd_conv(size_hw: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size_hw)
    for block in (randomise(FLIE(3, 8, convs=3)), randomise(SPDConv(3, 8)), randomise(FLIE(3, 8, 2, kernel_size=1))):
        assert_equal(block(x), lie(sct(as_array(x)), block.lie))


@pytest.mark.parametrize("mode", ["split", "sum", "concat"])
@pytest.mark.parametrize("dilations", [(1,), (1, 2, 3), (2, 5)])
def test_mrie_and_cii(mode: str, dilations: tuple[int, ...]) -> None:
    x = torch.randn(2, 4, 6, 5)
    block = randomise(CII(4, 7, dilations=dilations, mrie=mode))
    assert [branch.conv.dilation[0] for branch in block.mrie.branches] == list(dilations)
    assert_equal(block(x), cii(as_array(x), block, mode))


def test_mgaf_is_equations_8_to_11() -> None:
    fine, coarse = torch.randn(3, 8, 4, 5), torch.randn(3, 8, 4, 5)
    block = randomise(MGAF(8))
    weights = block.weights(fine, coarse)
    assert torch.allclose(weights.sum(dim=1), torch.ones(3))
    assert weights[:, 0].std() > 0.01, "the weights depend on the image"
    assert_equal(block(fine, coarse), mgaf(as_array(fine), as_array(coarse), block))


@pytest.mark.parametrize("size_hw", SIZES_HW)
@pytest.mark.parametrize("cii_input", ["serial", "parallel"])
@pytest.mark.parametrize("fusion", ["mgaf", "sum", "none"])
def test_whole_block(size_hw: tuple[int, int], cii_input: str, fusion: str) -> None:
    x = torch.randn(2, 3, *size_hw)
    block = randomise(MGIL(3, 8, cii_input=cii_input, fusion=fusion))
    phases = sct(as_array(x))
    fine = lie(phases, block.flie.lie)
    if fusion == "none":
        assert_equal(block(x), fine)
        return
    coarse = cii(fine if cii_input == "serial" else phases, block.cii, "split")
    expected = fine + coarse if fusion == "sum" else mgaf(fine, coarse, block.mgaf)
    assert_equal(block(x), expected)


def test_residual_convolutions() -> None:
    x = torch.randn(2, 3, 5, 6)
    block = randomise(MGIL(3, 8, fine_convs=3, residual=True))
    fine = lie(sct(as_array(x)), block.flie.lie, residual=True)
    assert_equal(block(x), mgaf(fine, cii(fine, block.cii, "split", residual=True), block.mgaf))


def test_coarse_shortcut_and_a_larger_first_kernel() -> None:
    x = torch.randn(2, 3, 5, 6)
    block = randomise(MGIL(3, 8, fine_convs=3, residual=True, coarse_shortcut=True, first_kernel=5))
    fine = lie(sct(as_array(x)), block.flie.lie, residual=True)
    coarse = fine + cii(fine, block.cii, "split")
    assert [conv.conv.kernel_size[0] for conv in block.flie.lie] == [5, 3, 3]
    assert_equal(block(x), mgaf(fine, coarse, block.mgaf))


def test_a_new_block_with_shortcuts_is_its_first_convolution() -> None:
    x = torch.randn(2, 3, 5, 6)
    block = MGIL(3, 8, residual=True, coarse_shortcut=True).eval()
    nn.init.normal_(block.mgaf.fc.weight)
    assert_equal(block(x), conv_norm_act(sct(as_array(x)), block.flie.lie[0]))
