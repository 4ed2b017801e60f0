"""Hosts of timm: their layout, their costs, and what becomes of their downsampling layers."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mgil.block.mgil import MGIL
from mgil.block.space_to_channel import SpaceToChannel
from mgil.networks.carry_over import blocks_of
from mgil.networks.folding import folded
from mgil.networks.hosts import build_host, read_host
from tests.networks.lived import lived

timm = pytest.importorskip("timm")


THIN = {
    "host": "resnet18",
    "host_options": {"layers": [1, 1, 1, 1], "channels": [16, 16, 32, 32]},
    "blocks": "mgil",
    "pools": "block",
}


def host(**content: Any) -> Any:
    return build_host(read_host(content, "model.yaml"), "model.yaml")


def on_meta(**content: Any) -> Any:
    with torch.device("meta"):
        return host(**content)


def pictures() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def strided(network: nn.Module) -> list[str]:
    return [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d) and max(layer.stride) > 1]


@pytest.fixture(scope="module")
def small_hrnet() -> Iterator[Any]:
    torch.manual_seed(0)
    yield host(host="hrnet_w18_small")


def test_an_hrnet_is_cut_without_a_trace(small_hrnet: Any) -> None:
    """What is left computes exactly what all of timm's network does, without layers that nothing reads."""
    whole = timm.create_model("hrnet_w18_small", features_only=True, feature_location="")
    missing = whole.load_state_dict(small_hrnet.state_dict(), strict=False)
    assert not missing.unexpected_keys and all(".fuse_layers." in key for key in missing.missing_keys)
    x = pictures()
    found = small_hrnet.eval()(x)
    assert len(found) == 1 and (found[0] - whole.eval()(x)[1]).abs().max() == 0.0
    assert (small_hrnet.channels, small_hrnet.strides, small_hrnet.max_stride) == ((16,), (4,), 32)
    found[0].sum().backward()
    assert all(parameter.grad is not None for parameter in small_hrnet.parameters())


def test_the_last_features_of_a_resnet() -> None:
    network = host(host="resnet18").eval()
    whole = timm.create_model("resnet18", num_classes=0)
    whole.load_state_dict(network.state_dict())
    (found,) = network(pictures())
    assert torch.equal(found, whole.eval().forward_features(pictures()))
    assert (network.channels, network.strides, network.max_stride) == ((512,), (32,), 32)


def test_all_42_layers_of_an_hrnet_become_blocks() -> None:
    network = on_meta(host="hrnet_w32", blocks="mgil")
    names = list(blocks_of(network))
    assert len(names) == 42 and not strided(network)
    # SimCC with it has 62,736,421 at 32 px, 13,041 in the head, were the normalisation left behind 20 of the blocks
    assert sum(parameter.numel() for parameter in network.parameters()) == 62_736_421 - 13_041 - 7_296
    parts = Counter(name.partition(".")[0] for name in names)
    assert parts == {"conv1": 1, "conv2": 1, "transition1": 1, "transition2": 1, "transition3": 1, "stage2": 1,
                     "stage3": 16, "stage4": 20}  # fmt: skip
    acts = Counter(type(layer).__name__ for layer in network.modules() if "LU" in type(layer).__name__)
    assert set(acts) == {"ReLU"}
    ends = [type(block.flie.lie[-1].act).__name__ for block in blocks_of(network).values()]
    # before a sum: the last of each chain of the fuse layers, of which a module of 2, 3 and 4 branches has 1, 3 and 6
    assert Counter(ends) == {"ReLU": 42 - 25, "Identity": 1 + 4 * 3 + 2 * 6}


def test_what_becomes_of_a_resnet() -> None:
    """Its 7x7 and 3x3 layers; the pool and the shortcuts on request."""
    names = ["conv1", "layer2.0.conv1", "layer3.0.conv1", "layer4.0.conv1"]
    shortcuts = [f"layer{stage}.0.downsample.0" for stage in (2, 3, 4)]
    network = on_meta(host="resnet18", blocks="mgil")
    assert list(blocks_of(network)) == names and strided(network) == shortcuts
    assert isinstance(network.maxpool, nn.MaxPool2d)
    pooled = on_meta(host="resnet18", blocks="mgil", pools="block", shortcuts="sct1x1")
    assert isinstance(pooled.maxpool, MGIL) and list(blocks_of(pooled)) == [names[0], "maxpool", *names[1:]]
    assert pooled.maxpool.flie.lie[0].conv.weight.shape == (64, 256, 3, 3)
    assert all(isinstance(pooled.get_submodule(name)[0], SpaceToChannel) for name in shortcuts)
    with pytest.warns(UserWarning, match="3 1x1 shortcuts have"):
        full = on_meta(host="resnet18", blocks="mgil", shortcuts="block", large=True)
    assert sorted(blocks_of(full)) == sorted([*names, *shortcuts])
    stem = on_meta(host="resnet18", blocks="spd", places="stem")
    assert list(blocks_of(stem)) == ["conv1"]
    some = on_meta(host="resnet18", blocks="flie", places=["layer3", "layer4.*"])
    assert list(blocks_of(some)) == names[2:] and all(block.cii is None for block in blocks_of(some).values())


def test_layers_that_no_block_can_stand_for_stay() -> None:
    """Grouped ones, wherever the normalisation goes."""
    for norms in ("take", "keep"):
        network = on_meta(host="regnety_002", blocks="mgil", norms=norms)
        assert list(blocks_of(network)) == ["stem.conv"]
        assert all(network.get_submodule(name).groups > 1 or "downsample" in name for name in strided(network))


def test_options_reach_every_block() -> None:
    options = {"fine_convs": 1, "coarse_convs": 3, "dilations": [1, 2], "cii_input": "parallel", "fusion": "sum"}
    for block in blocks_of(on_meta(host="csp", blocks="mgil", block_options=options)).values():
        assert len(block.flie.lie) == 1 and len(block.cii.lie) == 3 and block.cii.mrie.dilations == (1, 2)
        assert not block.serial and block.mgaf is None
    for block in blocks_of(on_meta(host="csp", blocks="spd", block_options={"kernel_size": 5})).values():
        assert block.lie[0].conv.kernel_size == (5, 5)


@pytest.mark.parametrize("content", [THIN, {"host": "csp"}])
def test_folding_changes_nothing(content: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = lived(host(**content))
    twin = folded(network)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in twin.modules())
    (found,), (expected,) = twin(pictures()), network(pictures())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_folding_knows_transposed_convolutions() -> None:
    network = lived(nn.Sequential(nn.ConvTranspose2d(3, 5, 4, 2, 1, bias=False), nn.BatchNorm2d(5)))
    twin = folded(network)
    assert isinstance(twin[1], nn.Identity)
    torch.testing.assert_close(twin(pictures()), network(pictures()), rtol=1e-4, atol=1e-5)


def test_the_small_host() -> None:
    network = host(host="csp", host_options={"width": 16, "depth": 2})
    (found,) = network(pictures())
    assert found.shape == (2, 16, 16, 16) and network.channels == (16,)
    assert strided(network) == [f"conv{number}.conv" for number in (1, 2, 3, 4)]
    found.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


ERRORS = [
    ({}, "host is None"),
    ({"host": "hrnet_w31"}, "host is 'hrnet_w31', which timm does not have"),
    ({"host": "hf-hub:timm/resnet18.a1_in1k"}, "which timm does not have"),
    ({"host": "local-dir:/tmp"}, "which timm does not have"),
    ({"host": ["csp"]}, r"host is \['csp'\]"),
    ({"host": "csp", "blocks": "mgill"}, "blocks is 'mgill'; did you mean 'mgil'"),
    ({"host": "csp", "blocks": ["mgil"]}, "blocks is"),
    ({"host": "csp", "blocks": "mgil", "block_options": {"fine_conv": 2}}, "block_options: unknown key 'fine_conv'; d"),
    ({"host": "csp", "blocks": "spd", "block_options": {"fusion": "sum"}}, "block_options: unknown key 'fusion'; know"),
    ({"host": "csp", "block_options": {"fusion": "sum"}}, "block_options: unknown key"),
    ({"host": "csp", "blocks": "mgil", "block_options": [1]}, "block_options is"),
    (
        {"host": "csp", "blocks": "mgil", "block_options": {"fine_convs": 0}},
        "conv1.conv: the number of convolutions must be a whole number of at least 1",
    ),
    ({"host": "csp", "blocks": "mgil", "block_options": {"fusion": "max"}}, "fusion must be one of"),
    ({"host": "csp", "blocks": "mgil", "places": "conv9"}, "places is 'conv9'"),
    ({"host": "csp", "blocks": "mgil", "places": ["conv9"]}, "'conv9' is no strided convolution"),
    ({"host": "csp", "blocks": "mgil", "places": []}, "places is"),
    ({"host": "csp", "blocks": "mgil", "pools": "block"}, "csp has no max pool"),
    ({"host": "csp", "places": "stem"}, "places says where blocks go, but `blocks` is none"),
    ({"host": "csp", "pools": "block"}, "pools says where"),
    ({"host": "csp", "blocks": "mgil", "shortcuts": "block"}, "352 million; .*large: true"),
    ({"host": "csp", "blocks": "mgil-res", "norms": "keep"}, "norms: keep goes with"),
    ({"host": "csp", "blocks": "mgil", "large": 1}, "large is 1"),
    ({"host": "csp", "host_options": {"width": "wide"}}, "width is 'wide', must be an integer from 2 to 65536"),
    ({"host": "csp", "host_options": {"width": 1}}, "width is 1, must be an integer from 2"),
    ({"host": "csp", "host_options": {"depth": 10**6}}, "depth is 1000000, must be an integer from 1 to 100"),
    ({"host": "csp", "host_options": {"depht": 1}}, "host_options: unknown key 'depht'"),
    ({"host": "resnet18", "host_options": {"layers": [10**6, 1, 1, 1]}}, "host_options: an argument beyond 4096"),
    ({"host": "csp", "blocks": "mgil", "block_options": {"fine_convs": 10**6}}, "block_options: an argument beyond"),
    ({"host": "resnet18", "host_options": {"checkpoint_path": "/etc/passwd"}}, "host_options: unknown key"),
    ({"host": "resnet18", "host_options": {"pretrained": True}}, "host_options: unknown key"),
    ({"host": "resnet18", "host_options": {"layers": [1]}}, "host resnet18 cannot be built"),
]


@pytest.mark.parametrize(("content", "message"), ERRORS)
def test_wrong_hosts_end_in_one_line(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^model.yaml: .*{message}") as error, torch.device("meta"):
        host(**content)
    assert "\n" not in str(error.value)


def test_without_timm_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="pip install timm"):
        host(host="resnet18")
    assert host(host="csp", host_options={"width": 8, "depth": 1}).channels == (8,)
