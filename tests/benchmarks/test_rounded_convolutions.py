"""bfloat16 convolutions by way of float32, held against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.rounded_convolutions import rounded_convolutions


def outcome(layer: nn.Conv2d, images: Tensor) -> list[Tensor]:
    """Output and gradients under autocast to bfloat16."""
    layer.zero_grad()
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(images)
    assert found.dtype == torch.bfloat16
    found.float().square().sum().backward()
    gradients = [images.grad, layer.weight.grad, *([] if layer.bias is None else [layer.bias.grad])]
    return [found.detach().float(), *gradients]


@pytest.mark.parametrize("geometry", [{"stride": 2, "padding": 1}, {"padding": 2, "dilation": 2, "bias": False}])
def test_as_pytorchs_own(geometry: dict[str, int]) -> None:
    torch.manual_seed(0)
    layer, images = nn.Conv2d(8, 12, 3, **geometry), torch.randn(2, 8, 12, 10)
    expected = outcome(layer, images)
    with rounded_convolutions():
        found = outcome(layer, images)
    for mine, true in zip(found, expected, strict=True):
        assert (mine - true).abs().max() <= 2**-6 * true.abs().max()  # two steps of bfloat16 at the largest
    assert (found[0] == expected[0]).float().mean() > 0.99


def test_float32_stays_what_it_is() -> None:
    layer, images = nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8)
    expected = layer(images)
    with rounded_convolutions():
        assert torch.equal(layer(images), expected)
