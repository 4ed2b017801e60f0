"""The deployed block computes what the trained block computes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from mgil.block.conv import ConvNormAct
from mgil.block.flie import FLIE, SPDConv
from mgil.block.mgil import MGIL
from mgil.block.reparameterise import reparameterise
from mgil.block.space_to_channel import SpaceToChannel

BLOCKS: list[tuple[type[FLIE] | type[MGIL], dict[str, Any]]] = [
    (MGIL, {}),
    (MGIL, {"cii_input": "parallel"}),
    (MGIL, {"mrie": "sum", "fusion": "sum"}),
    (MGIL, {"mrie": "concat", "lie_kernel": 5}),
    (MGIL, {"fusion": "none", "lie_kernel": 1, "residual": True}),
    (MGIL, {"first_kernel": 5, "residual": True, "coarse_shortcut": True}),
    (FLIE, {"convs": 3}),
    (SPDConv, {}),
]


def trained_like(module: nn.Module) -> nn.Module:
    """Move weights and statistics where training takes them: uneven channels, large and small variances."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=2.0)
            layer.running_var = torch.exp(2.0 * torch.randn_like(layer.running_var))
            nn.init.normal_(layer.weight, mean=1.0, std=0.5)
            nn.init.normal_(layer.bias)
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight)
    return module.eval()


def relative_difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    assert got.shape == expected.shape
    return ((got - expected).abs().max() / expected.abs().max()).item()


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("convert", ["auto", "always", "never"])
@pytest.mark.parametrize(("block", "options"), BLOCKS, ids=str)
def test_same_output_at_every_size(block: Any, options: dict[str, Any], convert: str) -> None:
    trained = trained_like(block(6, 12, **options))
    deployed = reparameterise(trained, convert=convert)
    with torch.inference_mode():
        for size_hw in [*itertools.product(range(1, 5), repeat=2), (7, 6), (32, 33)]:
            x = torch.randn(2, 6, *size_hw)
            expected = trained(x)
            assert relative_difference(deployed(x), expected) < 1e-4
        assert relative_difference(deployed(x.to(memory_format=torch.channels_last)), expected) < 1e-4


@pytest.mark.parametrize(("channels_in", "channels"), [(3, 16), (16, 32), (128, 256)])
def test_same_output_at_real_widths(channels_in: int, channels: int) -> None:
    trained = trained_like(MGIL(channels_in, channels))
    x = torch.rand(1, channels_in, 40, 40)
    with torch.inference_mode():
        for convert in ("always", "never"):
            assert relative_difference(reparameterise(trained, convert=convert)(x), trained(x)) < 1e-4


def test_layers_disappear() -> None:
    deployed = reparameterise(trained_like(MGIL(3, 16)), convert="always")
    assert not any(isinstance(layer, (nn.BatchNorm2d, SpaceToChannel)) for layer in deployed.modules())
    stem = deployed.flie.lie[0].conv
    assert (stem.kernel_size, stem.stride, stem.padding, stem.in_channels) == ((6, 6), (2, 2), (2, 2), 3)
    assert all(conv.bias is not None for conv in convolutions(deployed))


def test_auto_converts_shallow_layers_only() -> None:
    network = nn.Sequential(MGIL(3, 8), SPDConv(8, 40), FLIE(40, 12)).eval()
    kernels = [part.kernel_size for part in convolutions(reparameterise(network)) if part.stride == (2, 2)]
    assert kernels == [(6, 6), (6, 6)]
    assert isinstance(reparameterise(network)[2].sct, SpaceToChannel)


def test_a_function_decides() -> None:
    network = nn.Sequential(SPDConv(3, 8), SPDConv(8, 3)).eval()
    deployed = reparameterise(network, convert=lambda flie: flie.lie[0].conv.out_channels == 3)
    assert [part.stride[0] for part in convolutions(deployed)] == [1, 2]


def test_parallel_branches_keep_their_shared_input() -> None:
    deployed = reparameterise(MGIL(3, 12, cii_input="parallel"), convert="always")
    assert isinstance(deployed.flie.sct, SpaceToChannel)


def test_the_original_is_untouched_and_twice_is_once() -> None:
    trained = trained_like(MGIL(3, 12)).train()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    deployed = reparameterise(trained, convert="always")
    again = reparameterise(deployed, convert="always")
    assert trained.training and not deployed.training
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    x = torch.randn(1, 3, 9, 9)
    assert torch.equal(again(x), deployed(x))


@pytest.mark.parametrize(
    "norm_layer", [lambda width: nn.GroupNorm(1, width), lambda width: nn.BatchNorm2d(width, track_running_stats=False)]
)
def test_a_norm_that_depends_on_the_image_stays(norm_layer: Any) -> None:
    trained = MGIL(3, 12, norm_layer=norm_layer).eval()
    deployed = reparameterise(trained, convert="always")
    x = torch.randn(2, 3, 9, 7)
    assert relative_difference(deployed(x), trained(x)) < 1e-4
    assert type(deployed.flie.lie[0].bn) is type(trained.flie.lie[0].bn)


def test_folds_the_host_network_too() -> None:
    network = trained_like(nn.Sequential(ConvNormAct(3, 8, 6, 2, 2), MGIL(8, 12), ConvNormAct(12, 12, groups=3)))
    deployed = reparameterise(network)
    x = torch.randn(1, 3, 32, 32)
    assert relative_difference(deployed(x), network(x)) < 1e-4
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in deployed.modules())


def test_unknown_rule_is_named() -> None:
    with pytest.raises(ValueError, match="convert.*'sometimes'"):
        reparameterise(MGIL(3, 8), convert="sometimes")


def test_traced_by_fx_at_sizes_of_either_parity() -> None:
    block = reparameterise(trained_like(MGIL(3, 8)))
    traced = torch.fx.symbolic_trace(block)
    for size in (8, 9):
        x = torch.randn(1, 3, size, size)
        torch.testing.assert_close(traced(x), block(x))


class BatchNormAct(nn.BatchNorm2d):
    """As timm's: normalisation with an activation inside."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input).relu()


@pytest.mark.parametrize("case", ["activation in the norm", "weight norm", "shared", "shared with parallel"])
def test_layers_that_are_not_what_they_seem_stay(case: str) -> None:
    first, second = SPDConv(3, 8), SPDConv(3, 8)
    if case == "activation in the norm":
        first = SPDConv(3, 8, norm_layer=BatchNormAct, act_layer=nn.Identity)
    network = trained_like(nn.Sequential(first, nn.Upsample(scale_factor=2), nn.Conv2d(8, 3, 1), second))
    if case == "weight norm":
        nn.utils.parametrizations.weight_norm(first.lie[0].conv)
    if case == "shared":
        second.lie = first.lie
    if case == "shared with parallel":
        parallel = trained_like(MGIL(3, 8, cii_input="parallel"))
        first.lie = parallel.flie.lie
        network[3] = parallel
    x = torch.randn(2, 3, 16, 16)
    for convert in ("auto", "always", "never"):
        torch.testing.assert_close(reparameterise(network, convert=convert)(x), network(x), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_copied_is_said() -> None:
    block = SPDConv(3, 8)
    nn.utils.prune.l1_unstructured(block.lie[0].conv, "weight", 0.5)
    block(torch.randn(1, 3, 8, 8))  # leaves a weight that was computed
    with pytest.raises(ValueError, match="SPDConv cannot be copied: "):
        reparameterise(block)
