"""Replacing the stride-2 layers of networks that know nothing of the block."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from mgil.block.conv import ConvNormAct
from mgil.block.flie import SPDConv
from mgil.block.mgil import MGIL
from mgil.block.reparameterise import reparameterise
from mgil.block.replace import FloorHalf, replace_stride2
from mgil.block.space_to_channel import SpaceToChannel

torchvision_models = pytest.importorskip("torchvision.models")
RESNET18 = {"conv1": (3, 64, 7), **{f"layer{n}.0.conv1": (2 ** (n + 4), 2 ** (n + 5), 3) for n in (2, 3, 4)}}
RESNET18_SHORTCUTS = {f"layer{n}.0.downsample.0": (2 ** (n + 4), 2 ** (n + 5), 1) for n in (2, 3, 4)}


def stage_shapes(network: nn.Module, x: torch.Tensor) -> list[torch.Size]:
    """Return the output shapes of the direct children that ran."""
    shapes: list[torch.Size] = []
    hooks = [part.register_forward_hook(lambda _, __, y: shapes.append(y.shape)) for part in network.children()]
    network.eval()(x)
    for hook in hooks:
        hook.remove()
    return shapes


def block_parameters(width_in: int, width: int) -> int:
    """Count MGIL by formula: five 3x3 convolutions with normalisation, and MGAF."""
    hidden = max(2 * width // 16, 8)
    return 9 * (4 * width_in + 4 * width) * width + 5 * 2 * width + (2 * width + 1) * hidden + 2 * hidden + 2


def added(layers: dict[str, tuple[int, int, int]]) -> int:
    """Count what blocks add in place of k x k convolutions with normalisation."""
    return sum(block_parameters(c, width) - (k * k * c + 2) * width for c, width, k in layers.values())


@pytest.mark.parametrize(
    ("shortcuts", "blocks", "added_by_shortcuts"),
    [
        ("keep", RESNET18, 0),
        ("sct1x1", RESNET18, sum(3 * c * width for c, width, _ in RESNET18_SHORTCUTS.values())),
        ("block", RESNET18 | RESNET18_SHORTCUTS, 0),
    ],
)
@pytest.mark.filterwarnings("ignore:3 1x1 shortcuts")
def test_parameters_of_resnet18_in_closed_form(
    shortcuts: str, blocks: dict[str, tuple[int, int, int]], added_by_shortcuts: int
) -> None:
    with torch.device("meta"):
        network = torchvision_models.resnet18()
        result = replace_stride2(network, shortcuts=shortcuts)
    assert set(result.replaced) == set(blocks)
    assert result.sct1x1 == (tuple(RESNET18_SHORTCUTS) if shortcuts == "sct1x1" else ())
    assert set(result.kept) == (set(RESNET18_SHORTCUTS) if shortcuts == "keep" else set())
    assert result.parameters_before == 11_689_512
    assert result.parameters_after == 11_689_512 + added(blocks) + added_by_shortcuts
    assert result.parameters_after == sum(parameter.numel() for parameter in network.parameters())
    assert f"11,689,512 -> {result.parameters_after:,}" in str(result)
    assert all(name in str(result) for name in (*result.replaced, *result.sct1x1, *result.kept))


def test_shipped_table_in_closed_form() -> None:
    with (Path(__file__).parents[2] / "benchmarks" / "results" / "replace.csv").open(encoding="utf-8") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    bottlenecks = {"conv1": (3, 64, 7), **{f"layer{n}": (2 ** (n + 5), 2 ** (n + 5), 3) for n in (2, 3, 4)}}
    shortcuts = {f"layer{n}": (2 ** (n + 6), 2 ** (n + 7), 1) for n in (2, 3, 4)}
    for model, blocks, ones in (("resnet18", RESNET18, RESNET18_SHORTCUTS), ("resnet50", bottlenecks, shortcuts)):
        row = {key: int(value) for key, value in rows[model].items() if key != "model"}
        assert row["keep"] == row["before"] + added(blocks)
        assert row["sct1x1"] == row["keep"] + sum(3 * c * width for c, width, _ in ones.values())
        assert row["block"] == row["keep"] + added(ones)


def test_blocks_as_shortcuts_are_not_silent() -> None:
    network = nn.Sequential(nn.Conv2d(8, 16, 1, 2))
    with pytest.warns(UserWarning, match=f"1 1x1 shortcuts have {block_parameters(8, 16):,} parameters as blocks, 144"):
        replace_stride2(network, shortcuts="block")


def test_torchvision_trains_with_its_shared_activation() -> None:
    network, odd = torchvision_models.resnet18(num_classes=5), torch.randn(2, 3, 33, 7)
    shapes = stage_shapes(network, odd)
    replace_stride2(network, SPDConv)
    assert stage_shapes(network, odd) == shapes
    stage = network.layer2[0]
    assert isinstance(network.relu, nn.Identity) and isinstance(network.bn1, nn.Identity)
    # Its one ReLU follows the first normalisation and the sum, so it stays, and the block ends without one.
    assert isinstance(stage.relu, nn.ReLU) and isinstance(stage.bn1, nn.Identity)
    assert isinstance(network.conv1.lie[-1].act, nn.ReLU) and isinstance(stage.conv1.lie[-1].act, nn.Identity)
    network.train()(odd).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_mode_dtype_and_device_are_the_hosts() -> None:
    network = nn.Sequential(conv(), nn.BatchNorm2d(8), nn.ReLU()).double().eval()
    replace_stride2(network)
    assert not network[0].training and network(torch.randn(1, 4, 9, 9).double()).dtype == torch.float64
    with torch.device("meta"):
        network = nn.Sequential(conv(), nn.Conv2d(8, 8, 1, 2))
    replace_stride2(network, shortcuts="sct1x1")
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.filterwarnings("ignore:1 1x1")
def test_output_size_at_every_input_size(kernel: int) -> None:
    """An odd kernel rounds up, an even one down."""
    sizes = [(12, 10), (7, 7), (33, 65), (8, 9), (kernel, kernel)]
    network = nn.Sequential(nn.Conv2d(4, 8, kernel, 2, (kernel - 1) // 2))
    shapes = [network(torch.randn(2, 4, *size)).shape for size in sizes]
    assert replace_stride2(network, shortcuts="block").replaced == ("0",)
    assert [network(torch.randn(2, 4, *size)).shape for size in sizes] == shapes
    assert isinstance(network[0], FloorHalf if kernel % 2 == 0 else MGIL)


@pytest.mark.parametrize("size", [7, 8, 33, 65])
@pytest.mark.parametrize("training", [True, False])
def test_lossless_shortcut_starts_as_the_old_one(size: int, training: bool) -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=size == 8), nn.BatchNorm2d(8)).train(training)
    network[1].running_mean.normal_()
    x = torch.randn(2, 4, size, size)
    expected = network(x).detach()
    result = replace_stride2(network, shortcuts="sct1x1")
    assert result.replaced == () and result.sct1x1 == ("0",) and isinstance(network[1], nn.BatchNorm2d)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-6)
    network(x).square().sum().backward()
    assert network[0][1].weight.grad[:, 4:].abs().max() > 0  # and learns from the pixels that the old one dropped
    assert isinstance(network[0][0], SpaceToChannel) and network[0].training == training


def conv() -> nn.Conv2d:
    return nn.Conv2d(4, 8, 3, 2, 1)


def shared_weight() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1))
    network[1].weight = network[0].weight
    return network


def hooked() -> nn.Module:
    layer = conv()
    layer.register_forward_hook(lambda module, inputs, output: None)
    return layer


class Standardised(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(input, self.weight - self.weight.mean(), self.bias)


class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv_of_8()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.conv(x))


class ReadsTheWeight(CalledTwice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.conv.weight, self.conv.bias, 2, 1)


class ReadsTheKernel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = self.conv.kernel_size
        return self.conv(nn.functional.pad(x, (0, -x.shape[3] % width, 0, -x.shape[2] % height)))


TWICE = nn.Conv2d(8, 8, 3, 2, 1)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: nn.Conv2d(4, 8, 3, 2, 1, groups=2), "2 groups"),
        (lambda: nn.Conv2d(4, 8, 3, 2, 2, dilation=2), "dilation"),
        (lambda: nn.Conv2d(4, 8, 3, (1, 2), 1), r"stride \(1, 2\)"),
        (lambda: nn.Conv2d(4, 8, 3, (2, 1), 1), r"stride \(2, 1\)"),
        (lambda: nn.Conv2d(4, 8, 4, 4), r"stride \(4, 4\)"),
        (lambda: nn.Conv2d(4, 8, 3, 2), r"padding \(0, 0\) does not halve"),
        (lambda: nn.Conv2d(4, 8, 3, 2, "valid"), "padding valid"),
        (lambda: nn.Conv2d(4, 8, (3, 5), 2, (1, 2)), "not square"),
        (lambda: nn.Conv2d(4, 8, 3, 2, 1, padding_mode="reflect"), "padding mode reflect"),
        (lambda: nn.ConvTranspose2d(4, 8, 4, 2, 1), "transposed"),
        (lambda: nn.Conv1d(4, 8, 3, 2, 1), "Conv1d"),
        (lambda: parametrizations.weight_norm(conv()), "parametrisation"),
        (lambda: prune.l1_unstructured(conv(), "weight", 0.5), "parametrisation"),
        (lambda: Standardised(4, 8, 3, 2, 1), "Standardised"),
        (hooked, "hooks"),
        (shared_weight, "shares its weight"),
        (lambda: nn.Sequential(TWICE, TWICE), "2 places"),
        (CalledTwice, "called 2 times"),
        (ReadsTheWeight, "reads its weight"),
        (lambda: nn.Conv2d(4, 8, 1, 2), "1x1 shortcut"),
    ],
)
def test_what_has_no_equivalent_is_kept_and_said(layer: Callable[[], nn.Module], reason: str) -> None:
    network = nn.Sequential(layer())
    modules = list(network.modules())
    with pytest.raises(ValueError, match=f"nothing to replace.*{reason}"):
        replace_stride2(network)
    assert list(network.modules()) == modules
    network.append(nn.Conv2d(8, 8, 3, 2, 1))
    result = replace_stride2(network)
    assert result.replaced == ("1",) and all(name.startswith("0") for name in result.kept)
    assert list(network[0].modules()) == modules[1:]


def test_what_a_forward_reads_of_a_convolution_is_there() -> None:
    network, x = nn.Sequential(ReadsTheKernel(), nn.Conv2d(8, 8, 1, 2)), torch.randn(2, 4, 7, 9)
    result = replace_stride2(network, shortcuts="sct1x1")
    assert result.replaced == ("0.conv",) and network[0](x).shape == (2, 8, 4, 5)
    assert (network[1].in_channels, network[1].out_channels, network[1].stride) == (8, 8, (2, 2))
    torch.testing.assert_close(reparameterise(network, convert="always")(x), network.eval()(x), rtol=1e-4, atol=1e-5)


def test_nothing_to_replace() -> None:
    with pytest.raises(ValueError, match="no convolution with a stride, its 2 pooling layers are left alone"):
        replace_stride2(nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.MaxPool2d(2), nn.AvgPool2d(2)))
    with pytest.raises(ValueError, match="it has 1 block already"):
        replace_stride2(nn.Sequential(MGIL(3, 8)))
    with pytest.raises(ValueError, match="wrap"):
        replace_stride2(conv())
    with pytest.raises(ValueError, match="lazy"):
        replace_stride2(nn.Sequential(nn.LazyConv2d(8, 3, 2, 1)))
    with pytest.raises(ValueError, match="keep, sct1x1, block, got 'none'"):
        replace_stride2(nn.Sequential(conv()), shortcuts="none")


def test_mobilenet_keeps_its_depthwise_layers_by_name() -> None:
    network, x = torchvision_models.mobilenet_v2(num_classes=5), torch.randn(2, 3, 33, 32)
    before = stage_shapes(network.features, x)
    result = replace_stride2(network, SPDConv)
    assert result.replaced == ("features.0.0",)
    groups = {row: network.features[row].conv[1][0].groups for row in (2, 4, 7, 14)}
    assert result.kept == {f"features.{row}.conv.1.0": f"{number} groups" for row, number in groups.items()}
    assert isinstance(network.features[0][0].lie[0].act, nn.ReLU6)
    assert stage_shapes(network.features, x) == before


@pytest.mark.parametrize(
    ("select", "replaced"),
    [
        ("conv1", ["conv1"]),
        ("layer?.0.conv1", list(RESNET18)[1:]),
        (["layer3", "conv1"], ["conv1", "layer3.0.conv1"]),
        (lambda name, layer: layer.in_channels == 128, ["layer3.0.conv1"]),
    ],
)
def test_select(select: Any, replaced: Sequence[str]) -> None:
    with torch.device("meta"):
        result = replace_stride2(torchvision_models.resnet18(), select=select)
    assert result.replaced == tuple(replaced)
    others = (set(RESNET18) | set(RESNET18_SHORTCUTS)) - set(replaced)
    assert set(result.kept) == others and "not selected" in result.kept.values()


def test_select_of_nothing_names_the_nearest() -> None:
    with torch.device("meta"):
        network = torchvision_models.resnet18()
    with pytest.raises(ValueError, match="'layer2.0.convl' is no strided.*nearest is 'layer2.0.conv1'"):
        replace_stride2(network, select="layer2.0.convl")
    for select in ([], lambda name, layer: False):
        with pytest.raises(ValueError, match="nothing to replace.*not selected"):
            replace_stride2(network, select=select)


def gives_none(*_channels: int, **_options: Any) -> Any:
    return None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"select": 3}, "select takes names, patterns or a function.*got 3"),
        ({"select": ["0", 3]}, r"got \['0', 3\]"),
        ({"block": MGIL(4, 8)}, "0: .*unexpected keyword argument"),
        ({"block": gives_none}, "0: .* gave None, which is no torch.nn.Module"),
        ({"act_layer": nn.GELU()}, "0: .*forward"),
        ({"norm_layer": None}, "0: .*not callable"),
        ({"model": "resnet18"}, "takes a network, a torch.nn.Module; got 'resnet18'"),
    ],
)
def test_arguments_of_another_kind(options: dict[str, Any], message: str) -> None:
    network = nn.Sequential(conv(), nn.BatchNorm2d(8), nn.ReLU())
    modules = list(network.modules())
    with pytest.raises(ValueError, match=message):
        replace_stride2(**{"model": network, **options})
    assert list(network.modules()) == modules


def test_a_refused_option_changes_nothing() -> None:
    network = nn.Sequential(conv(), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3, 2, 1))
    modules = list(network.modules())
    with pytest.raises(ValueError, match="3: 2 channels cannot be split"):
        replace_stride2(network)
    with pytest.raises(ValueError, match="3: .*last_act"):
        replace_stride2(network, lambda channels_in, channels, norm_layer=None, act_layer=None: nn.Identity())
    assert list(network.modules()) == modules


def two_stages() -> nn.Module:
    return nn.Sequential(ConvNormAct(4, 8, 6, 2, 2), nn.Conv2d(8, 8, 1, 2), conv_of_8(), nn.ReLU())


def conv_of_8() -> nn.Module:
    return nn.Conv2d(8, 8, 3, 2, 1)


def test_saved_and_loaded_and_reparameterised() -> None:
    network, other, x = two_stages().eval(), two_stages().eval(), torch.randn(2, 4, 37, 34)
    for each in (network, other):
        replace_stride2(each, shortcuts="sct1x1")
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    torch.testing.assert_close(other(x), network(x))
    torch.testing.assert_close(reparameterise(network, convert="always")(x), network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit:FutureWarning")
def test_traced_network_takes_other_sizes_and_cannot_be_changed() -> None:
    network = nn.Sequential(FloorHalf(SPDConv(4, 8, 1))).eval()
    traced = torch.jit.trace(network, torch.randn(1, 4, 4, 4))
    for size in ((7, 8), (2, 5)):
        x = torch.randn(2, 4, *size)
        torch.testing.assert_close(traced(x), network(x))
        assert traced(x).shape[2:] == (size[0] // 2, size[1] // 2)
    with pytest.raises(ValueError, match="TopLevelTracedModule: replace its layers before"):
        replace_stride2(traced)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit:FutureWarning")
def test_scripted_and_compiled() -> None:
    network, x = two_stages().eval(), torch.randn(2, 4, 37, 34)
    replace_stride2(network, shortcuts="sct1x1")
    torch.testing.assert_close(torch.jit.script(network)(x), network(x))
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(network, backend="eager", fullgraph=True)(x), network(x))
    compiled = torch.compile(two_stages(), backend="eager")
    assert replace_stride2(compiled).replaced == ("_orig_mod.0.conv", "_orig_mod.2")
    assert compiled(x).shape == (2, 8, 5, 5)


@pytest.mark.parametrize(
    ("model", "blocks", "kept", "after"),
    [
        pytest.param("resnet18", 4, 3, 11_689_512 + added(RESNET18), marks=pytest.mark.nightly),
        ("mobilenetv3_small_100", 1, 4, 2_542_856 + added({"conv_stem": (3, 16, 3)})),
        pytest.param("hrnet_w18", 55, 0, 104_441_583, marks=pytest.mark.nightly),
    ],
)
def test_timm(model: str, blocks: int, kept: int, after: int) -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        network = timm.create_model(model).eval()
        result = replace_stride2(network)
    assert (len(result.replaced), len(result.kept), result.parameters_after) == (blocks, kept, after)
    hosts = [module for name, module in network.named_modules() if not name.startswith(result.replaced)]
    # No normalisation of the network is left after a block.
    assert sum(isinstance(module, nn.Identity) for module in hosts) >= blocks
