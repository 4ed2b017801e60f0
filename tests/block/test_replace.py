"""Replacing the stride-2 layers of networks that know nothing of the block."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mgil.block.conv import ConvNormAct
from mgil.block.flie import SPDConv
from mgil.block.mgil import MGIL
from mgil.block.replace import replace_stride2

torchvision_models = pytest.importorskip("torchvision.models")


def stage_shapes(network: nn.Module, x: torch.Tensor) -> list[torch.Size]:
    """Return the output shapes of the direct children that ran."""
    shapes: list[torch.Size] = []
    hooks = [part.register_forward_hook(lambda _, __, y: shapes.append(y.shape)) for part in network.children()]
    network.eval()(x)
    for hook in hooks:
        hook.remove()
    return shapes


@pytest.mark.parametrize("size_hw", [(32, 32), (33, 47)])
def test_resnet18(size_hw: tuple[int, int]) -> None:
    network, x = torchvision_models.resnet18(num_classes=5), torch.randn(2, 3, *size_hw)
    before = stage_shapes(network, x)
    result = replace_stride2(network)
    # The stem, and in each of three stages the main path and its shortcut.
    assert result.replaced == (
        "conv1",
        *(f"layer{stage}.0.{name}" for stage in (2, 3, 4) for name in ("conv1", "downsample.0")),
    )
    assert result.kept == {}
    assert isinstance(network.conv1, MGIL) and isinstance(network.bn1, nn.BatchNorm2d)
    assert stage_shapes(network, x) == before
    network.train()(x).sum().backward()
    assert network.conv1.flie.lie[0].conv.weight.grad.abs().sum() > 0


def test_mobilenet_keeps_its_depthwise_layers_by_name() -> None:
    network, x = torchvision_models.mobilenet_v2(num_classes=5), torch.randn(2, 3, 32, 32)
    before = stage_shapes(network.features, x)
    result = replace_stride2(network, SPDConv)
    assert result.replaced == ("features.0.0",)
    assert result.kept == {f"features.{row}.conv.1.0": f"{groups} groups" for row, groups in depthwise(network)}
    stem = network.features[0]
    assert isinstance(stem[0], SPDConv) and isinstance(stem[0].lie[0].act, nn.ReLU6)
    assert isinstance(stem[1], nn.Identity) and isinstance(stem[2], nn.Identity)
    assert stage_shapes(network.features, x) == before
    network.train()(x).sum().backward()


def depthwise(network: nn.Module) -> list[tuple[int, int]]:
    return [(row, network.features[row].conv[1][0].groups) for row in (2, 4, 7, 14)]


def test_a_named_container_lends_its_norm_and_activation() -> None:
    network = nn.Sequential(
        ConvNormAct(3, 8, stride=2, norm_layer=lambda width: nn.BatchNorm2d(width, 1e-3, 0.03), act_layer=nn.ReLU)
    )
    network.double().eval()
    assert replace_stride2(network, fine_convs=1).replaced == ("0.conv",)
    block = network[0].conv
    assert isinstance(network[0].bn, nn.Identity) and isinstance(network[0].act, nn.Identity)
    assert block.flie.lie[0].bn.eps == 1e-3 and isinstance(block.flie.lie[0].act, nn.ReLU)
    assert block.flie.lie[0].act is not block.cii.lie[0].act
    assert not block.training and network(torch.randn(1, 3, 9, 9).double()).dtype == torch.float64


def test_an_option_beats_the_container() -> None:
    network = nn.Sequential(ConvNormAct(3, 8, stride=2))
    replace_stride2(network, act_layer=nn.Hardswish)
    assert isinstance(network[0].conv.flie.lie[0].act, nn.Hardswish)


@pytest.mark.parametrize(
    ("conv", "reason"),
    [
        (nn.Conv2d(4, 8, 3, 2, 1, groups=2), "2 groups"),
        (nn.Conv2d(4, 8, 3, 2, 2, dilation=2), "dilation"),
        (nn.Conv2d(4, 8, 3, (1, 2), 1), r"stride \(1, 2\)"),
        (nn.Conv2d(4, 8, 4, 4), r"stride \(4, 4\)"),
        (nn.Conv2d(4, 8, 3, 2), r"padding \(0, 0\)"),
        (nn.Conv2d(4, 8, 3, 2, "valid"), "padding valid"),
    ],
)
def test_what_has_no_equivalent_is_kept(conv: nn.Conv2d, reason: str) -> None:
    network = nn.Sequential(conv)
    result = replace_stride2(network)
    assert result.replaced == () and network[0] is conv
    assert list(result.kept) == ["0"]
    with pytest.raises(ValueError, match=reason):
        raise ValueError(result.kept["0"])


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 6, 7])
def test_kernels_that_halve_the_map(kernel: int) -> None:
    network, x = nn.Sequential(nn.Conv2d(4, 8, kernel, 2, (kernel - 1) // 2)), torch.randn(2, 4, 12, 10)
    expected = network(x).shape
    assert replace_stride2(network).replaced == ("0",)
    assert network(x).shape == expected


def test_nothing_to_replace_and_a_bare_convolution() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.MaxPool2d(2))
    assert replace_stride2(network).replaced == ()
    with pytest.raises(ValueError, match="wrap"):
        replace_stride2(nn.Conv2d(3, 8, 3, 2, 1))


def test_a_layer_used_twice_stays_one_layer() -> None:
    conv = nn.Conv2d(8, 8, 3, 2, 1)
    network = nn.Sequential(conv, conv)
    replace_stride2(network)
    assert network[0] is network[1] and isinstance(network[0], MGIL)
