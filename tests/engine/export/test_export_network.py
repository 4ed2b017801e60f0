"""The deployed form of a network computes what the trained one does, whatever the size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from torch import nn

from mgil.block.flie import FLIE
from mgil.block.mgil import MGIL
from mgil.block.reparameterise import PadToEven
from mgil.block.space_to_channel import SpaceToChannel
from mgil.engine.export import network as export_network
from mgil.engine.export.blocks import DeployedMGAF, DeployedMRIE, SpaceToDepth
from mgil.engine.export.network import CONVOLUTIONS_ONLY, SPACE_TO_DEPTH, maps_are_even
from mgil.networks.config import load_architecture
from mgil.networks.detector import build_model
from mgil.networks.head import Detect
from mgil.tasks.detect.export_head import DeployedHead
from mgil.tasks.registry import task_named
from tests.engine.export.export_tiny import pictures, small_model

deployed = partial(export_network.deployed, task_named("detect"))
RUNTIMES = [SPACE_TO_DEPTH[0], "torchscript", CONVOLUTIONS_ONLY[0]]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("cfg", ["yolov5n-mgil.yaml", "yolov5n-spd.yaml", "yolov5n.yaml"])
def test_same_outputs_as_trained(cfg: str, runtime: str) -> None:
    model = small_model(cfg)
    for size_hw, fixed in [((64, 64), (64, 64)), ((64, 64), None), ((32, 96), None), ((160, 64), (160, 64))]:
        network = deployed(model, runtime, fixed)
        images = pictures(size_hw, 2)
        torch.testing.assert_close(network(images), model(images), rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize("cfg", ["yolov5n-mgil.yaml", "yolov5n-spd.yaml"])
def test_wide_layers_keep_space_to_depth(cfg: str) -> None:
    model = small_model(cfg, width=0.25)
    network = deployed(model, "onnx", (64, 64))
    assert sum(isinstance(layer, SpaceToDepth) for layer in network.modules()) == 4
    images = pictures((64, 64), 1)
    torch.testing.assert_close(network(images), model(images), rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize("options", [{"cii_input": "parallel"}, {"mrie": "sum"}, {"mrie": "concat"}, {"fusion": "sum"}])
def test_options_of_the_block(options: dict[str, str]) -> None:
    architecture = load_architecture("yolov5n-mgil.yaml")
    rows = [[*row[:3], [*row[3], options]] if row[2] == "MGIL" else row for row in architecture["backbone"]]
    model = build_model({**architecture, "backbone": rows, "width_multiple": 0.07}, names=("a", "b"), imgsz=64).eval()
    images = pictures((64, 96), 2)
    torch.testing.assert_close(deployed(model, "onnx", (64, 96))(images), model(images), rtol=1e-3, atol=5e-3)


def test_half_keeps_boxes_exact_to_the_pixel() -> None:
    """Only the network is float16: decoded in float16, boxes far from the origin would be off by their rounding."""
    model = small_model()
    images = pictures((64, 64), 1)
    found = deployed(model, "onnx", (64, 64), half=True)(images)
    assert found.dtype == torch.float32
    assert (found - model(images)).abs()[..., :4].max() < 2


def test_nothing_needless_is_left() -> None:
    kinds = {type(layer) for layer in deployed(small_model(), "onnx", (64, 64)).modules()}
    assert {DeployedHead, DeployedMGAF, DeployedMRIE} <= kinds
    assert not kinds & {nn.BatchNorm2d, PadToEven, SpaceToChannel}


@pytest.mark.parametrize("fixed", [(32, 96), None])
def test_dilations_reach_past_no_map_of_the_only_size(fixed: tuple[int, int] | None) -> None:
    height, width = fixed or (10_000, 10_000)
    layers = [layer for layer in deployed(small_model(), "onnx", fixed).modules() if isinstance(layer, DeployedMRIE)]
    for layer, stride in zip(layers, (2, 4, 8, 16, 32, 16, 32), strict=True):
        for convolution, rate in zip(layer.convolutions, (1, 2, 3), strict=True):
            taps = tuple(3 if rate < side // stride else 1 for side in (height, width))
            assert convolution.kernel_size == taps


def test_the_trained_model_is_left_alone() -> None:
    model = small_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    deployed(model, "onnx", (64, 64), half=True)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_odd_maps_keep_their_padding() -> None:
    """A convolution that eats the border gives odd sides, which the stride does not tell."""
    architecture = {
        "anchors": [[10, 10, 20, 20]],
        "nc": 2,
        "backbone": [
            [-1, 1, "Conv", [8, 3, 2]],
            [-1, 1, "Conv", [8, 2, 1, 0]],
            [-1, 1, "MGIL", [8]],
        ],
        "head": [[[2], 1, "Detect", ["nc", "anchors"]]],
    }
    model = build_model(architecture, imgsz=64).eval()
    assert not maps_are_even(model)
    assert maps_are_even(small_model())
    network = deployed(model, "onnx", None)
    assert any(isinstance(layer, FLIE) and not isinstance(layer.sct, nn.Identity) for layer in network.modules())
    assert any(isinstance(layer, MGIL) for layer in network.modules())
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(network(images), model(images), rtol=1e-3, atol=5e-3)


class OwnHead(Detect):
    """A head that decodes otherwise, as `register_layer` takes it."""

    def decode(self, raws: Sequence[torch.Tensor]) -> torch.Tensor:
        return super().decode(raws) + 1


def test_a_head_with_its_own_decoding_is_refused() -> None:
    """Its file would hold Detect's."""
    model = small_model()
    model.head.__class__ = OwnHead
    with pytest.raises(ValueError, match="head OwnHead has a forward or decode of its own; only Detect's"):
        deployed(model, "onnx", (64, 64))
