"""The pose network: its YAMLs, its head, and what a checkpoint keeps of it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mgil.files.plain import check_bounded
from mgil.networks.config import load_architecture as load_detector
from mgil.networks.config import model_names as detectors
from mgil.tasks.pose.config import load_architecture, model_names
from mgil.tasks.pose.head import SimCCHead
from mgil.tasks.pose.network import MEAN, STD, PoseNetwork, build_pose
from mgil.tasks.pose.simcc import decode
from mgil.tasks.pose.skeleton import COCO_NAMES, checked

pytest.importorskip("timm")

TINY: dict[str, Any] = {"host": "csp", "host_options": {"width": 8, "depth": 1}}
NAMES = ("left_hand", "head", "right_hand")


def tiny(imgsz: int = 32, names: tuple[str, ...] = NAMES, **more: Any) -> PoseNetwork:
    torch.manual_seed(0)
    return build_pose({**TINY, **more}, names, imgsz)


def pictures(size: int = 32) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_the_shipped_models() -> None:
    hosts = ("hrnet-w32", "hrnet-w48", "resnet50", "small")
    assert model_names() == sorted(
        f"simcc-{host}{v}.yaml" for host in hosts for v in ("", "-mgil", "-mgil-res", "-spd")
    )
    for name in model_names():
        architecture = load_architecture(name)
        assert architecture["source"] == name
        assert load_architecture(architecture) == architecture  # complete: a checkpoint reads the same
        variant = next((each for each in ("mgil-res", "mgil", "spd") if name.endswith(f"-{each}.yaml")), "none")
        assert architecture["blocks"] == variant
        check_bounded(architecture, 1000)


def test_logits_in_both_modes() -> None:
    model = tiny()
    assert model(pictures()).shape == (2, 2, 3, 96) == model.eval()(pictures()).shape
    assert (model.max_stride, model.imgsz, model.names, model.stride.tolist()) == (16, 32, NAMES, [16.0])
    assert isinstance(model.rows[-1], type(model.head)) and model.rows[0] is model.host.conv1
    parameters = {id(parameter) for row in model.rows for parameter in row.parameters()}
    assert parameters == {id(parameter) for parameter in model.parameters()}


def test_the_host_sees_pictures_normalised_as_imagenet_s() -> None:
    model, seen = tiny().eval(), []
    model.host.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    x = pictures()
    model(x)
    for channel in range(3):
        assert torch.allclose(seen[0][:, channel], (x[:, channel] - MEAN[channel]) / STD[channel], atol=1e-6)
    assert not any(key in ("mean", "std") for key in model.state_dict())


@pytest.mark.parametrize(
    ("split", "imgsz", "expected"),
    [(None, 32, 3), (None, 64, 3), (None, 112, 3), (None, 128, 2), (4, 64, 4), ({64: 3, 256: 1}, 32, 3)],
)
def test_bins_of_a_pixel(split: Any, imgsz: int, expected: int) -> None:
    model = tiny(imgsz, **({"split": split} if split else {}))
    assert model.split == expected
    assert model.head.mlp_head_x.weight.shape == (imgsz * expected, (imgsz // 4) ** 2)


def test_a_head_by_hand() -> None:
    """One map a joint, through two linear layers that all joints share."""
    model = tiny().eval()
    features = model.host((pictures() - model.mean) / model.std)[-1]
    head, expected = model.head, torch.empty(2, 2, 3, 96)
    for joint in range(3):
        kernel = head.final_layer.weight[joint, :, 0, 0]
        flat = (features * kernel[:, None, None]).sum(1).flatten(1) + head.final_layer.bias[joint]
        expected[:, 0, joint], expected[:, 1, joint] = head.mlp_head_x(flat), head.mlp_head_y(flat)
    assert torch.allclose(model(pictures()), expected, atol=1e-5)


def test_small_maps_are_enlarged_or_there_are_more_of_them() -> None:
    resnet = {"host": "resnet18", "host_options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}}
    model = build_pose(resnet, NAMES, 32)
    assert [type(layer).__name__ for layer in model.neck] == ["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 3
    assert model.neck[3].weight.shape == (256, 256, 4, 4) and model.neck[0].bias is None
    assert model(pictures()).shape == (2, 2, 3, 96) and model.head.side == 8
    few = build_pose({**resnet, "upsample": "none", "head_maps": 32}, NAMES, 64)
    assert not list(few.neck.children()) and few.head.final_layer.weight.shape == (96, 16, 1, 1)
    assert few.head.mlp_head_x.in_features == 32 * 2 * 2 and few(pictures(64)).shape == (2, 2, 3, 192)


def test_another_size_of_input_is_refused() -> None:
    with pytest.raises(ValueError, match="8x8 features and got 12x12"):
        tiny()(pictures(48))


def test_an_enlarged_crop_is_what_a_network_of_that_size_sees() -> None:
    small, large = tiny(32, enlarge_input=2, split=6).eval(), tiny(64, split=3).eval()
    large.load_state_dict(small.state_dict())
    crops = pictures()
    enlarged = [cv2.resize(crop.permute(1, 2, 0).numpy(), (64, 64), interpolation=cv2.INTER_LINEAR) for crop in crops]
    logits, wanted = small(crops), large(torch.from_numpy(np.stack(enlarged)).permute(0, 3, 1, 2))
    torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=0)
    places, twice = small.decode(wanted)[..., :2], large.decode(wanted)[..., :2]
    torch.testing.assert_close(2 * places, twice)
    with pytest.raises(ValueError, match="an input of 2048 px"):
        tiny(512, enlarge_input=4)


def test_a_checkpoint_rebuilds_it() -> None:
    model = tiny(blocks="mgil", block_options={"fine_convs": 1}, gaussian=True, simcc_bins="round", crop="area")
    model.skeleton = checked(NAMES, (2, 1, 0), (0.05, 0.1, 0.05), [(0, 1), (1, 2)])
    twin = PoseNetwork(deepcopy(model.architecture), model.names, model.imgsz)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.eval()(pictures()), model.eval()(pictures()))
    assert (twin.gaussian, twin.bins, twin.crop, twin.split) == (True, "round", "area", 3)
    assert twin.skeleton == model.skeleton and twin.skeleton.limbs == ((0, 1), (1, 2))


def test_a_skeleton_is_guessed_from_names() -> None:
    assert tiny().skeleton.flip == (2, 1, 0)
    coco = tiny(names=COCO_NAMES).skeleton
    assert coco.flip == (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
    assert coco.sigmas[0] == 0.026 and coco.sigmas[-1] == 0.089
    assert tiny(names=("left_only",)).skeleton.flip == (0,)
    others = checked(("head", "tail"), (0, 1), (0.05, 0.1), [(0, 1)]).plain()
    assert tiny(skeleton=others).skeleton.names == NAMES  # the architecture of weights for other key points


def test_decoded_outputs() -> None:
    model = tiny().eval()
    logits = model(pictures())
    model.decoded = True
    assert torch.equal(model(pictures()), decode(logits, 3, False)) and model(pictures()).shape == (2, 3, 3)


def test_with_mirrored() -> None:
    """A network that only sees colours says of the mirrored picture what it should: the mean changes nothing."""
    model = tiny()
    logits = torch.randn(2, 2, 3, 96, generator=torch.Generator().manual_seed(2))
    mirrored = torch.stack((logits[:, 0, [2, 1, 0]].flip(-1), logits[:, 1, [2, 1, 0]]), dim=1)
    together = model.with_mirrored(logits, mirrored)
    assert torch.allclose(together.softmax(-1), logits.softmax(-1), atol=1e-6)


def test_fused_is_the_same() -> None:
    model = tiny(blocks="mgil")
    for _ in range(3):
        model(pictures())  # moves the statistics
    twin = model.eval().fused()
    assert isinstance(twin, PoseNetwork) and not any(isinstance(layer, nn.BatchNorm2d) for layer in twin.modules())
    assert twin.architecture == model.architecture and twin.skeleton == model.skeleton
    torch.testing.assert_close(twin(pictures()), model(pictures()), rtol=1e-3, atol=1e-4)


def test_key_points_of_another_set_go_to_those_of_the_same_name() -> None:
    """In another order, fewer, and with others: what has no name here stays as it is."""
    model, other = tiny(), tiny(names=("head", "tail", "right_hand", "left_hand"))
    nn.init.normal_(other.head.final_layer.weight)
    tensors = model.in_class_order(other.state_dict(), other.names)
    weight, bias = tensors["head.final_layer.weight"], tensors["head.final_layer.bias"]
    assert torch.equal(weight, other.head.final_layer.weight[[3, 0, 2]])
    assert torch.equal(bias, other.head.final_layer.bias[[3, 0, 2]])
    fewer = other.in_class_order(model.state_dict(), model.names)["head.final_layer.weight"]
    assert torch.equal(fewer[[0, 2, 3]], model.head.final_layer.weight[[1, 2, 0]])
    assert torch.equal(fewer[1], other.head.final_layer.weight[1])
    wide = build_pose({"host": "csp", "host_options": {"width": 16}}, NAMES, 32)
    theirs = other.state_dict()
    assert wide.in_class_order(theirs, other.names) is theirs


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(FileNotFoundError, match=r"did you mean simcc-small-mgil\.yaml\?.*simcc-hrnet-w32\.yaml, "):
        load_architecture("simcc-small-mgli.yaml")
    with pytest.raises(FileNotFoundError, match=r"yolov5n\.yaml does not exist; those for key points are simcc-hrnet"):
        load_architecture("yolov5n.yaml")
    with pytest.raises(ValueError, match="yolov5.yaml: a model of another task"):
        load_architecture("models/yolov5.yaml")


def test_detect_does_not_stumble_over_them() -> None:
    assert not any("simcc" in name for name in detectors())
    with pytest.raises(ValueError, match="simcc-small.yaml: .*a model of another task"):
        load_detector("simcc-small.yaml")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"splt": 2}, "unknown key 'splt'; did you mean 'split'"),
        ({"split": 0}, "split is 0"),
        ({"split": {}}, "split is {}"),
        ({"split": {64: "3"}}, "split is"),
        ({"split": True}, "split is True"),
        ({"upsample": "bilinear"}, "upsample is 'bilinear'; known: deconv, none"),
        ({"head_maps": 0}, "head_maps is 0"),
        ({"enlarge_input": 1.5}, "enlarge_input is 1.5, must be an integer from 1 to 8"),
        ({"gaussian": "yes"}, "gaussian is 'yes'"),
        ({"simcc_bins": "rounds"}, "simcc_bins is 'rounds'; did you mean 'round'"),
        ({"crop": "cubic"}, "crop is 'cubic'"),
        ({"host_options": {"width": 60000}}, "asks for .* parameters"),
        ({"skeleton": {"names": ["a"]}}, "its skeleton cannot be read"),
        ({"skeleton": "coco"}, "its skeleton cannot be read"),
    ],
)
def test_wrong_yamls_end_in_one_line(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as error:
        build_pose({**TINY, "source": "own.yaml", **more}, NAMES, 32)
    assert str(error.value).startswith("own.yaml: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(("names", "imgsz"), [((), 32), (NAMES, 0), (NAMES, 4096)])
def test_impossible_sizes(names: tuple[str, ...], imgsz: int) -> None:
    with pytest.raises(ValueError, match="key points, must be|an input of"):
        tiny(imgsz, names)


def test_a_file_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("host: csp\nhost_options: {width: 8}\nsplit: 2\n")
    assert build_pose(tmp_path / "own.yaml", NAMES, 32).split == 2


def test_a_head_may_begin_as_sums_of_columns_and_rows() -> None:
    """A single bright cell of the map is the likeliest bin of both axes, for every joint."""
    head = SimCCHead(2, 2, 8, 96, start="heatmap")
    nn.init.eye_(head.final_layer.weight.data.view(2, 2))
    nn.init.zeros_(head.final_layer.bias)
    features = torch.zeros(1, 2, 8, 8)
    features[0, 0, 3, 6] = features[0, 1, 0, 7] = 10
    best = head(features).argmax(dim=-1)[0]
    assert ((best + 0.5) / 12 - 0.5 - torch.tensor([[6.0, 7.0], [3.0, 0.0]])).abs().max() < 0.6
    random = SimCCHead(2, 2, 8, 96)
    assert random.mlp_head_x.weight.abs().max() < 0.2 < 0.5 < head.mlp_head_x.weight.max()
