"""Every shipped architecture: sizes, costs, strides, and YOLOv5's names of weights."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from mgil.block.mgil import MGIL
from mgil.networks.config import load_architecture, model_names
from mgil.networks.detector import DetectionModel, build_model
from mgil.networks.parser import parse
from mgil.networks.profile import Profile, profile

SMALL = ("yolov5n.yaml", "yolov5n-mgil.yaml", "yolov5n-spd.yaml", "yolov5n-mgil-lite.yaml")


def with_options(name: str, **options: Any) -> dict[str, Any]:
    """An -mgil architecture with an option on all its MGIL rows."""
    architecture = deepcopy(load_architecture(name))
    rows = [row for part in ("backbone", "head") for row in architecture[part] if row[2] == "MGIL"]
    assert len(rows) == 7
    for row in rows:
        row[3].append(options)
    return architecture


# The table of published and pre-computed figures that this project must hit, to the digits printed there.
@pytest.mark.parametrize(
    ("cfg", "millions", "digits", "gflops"),
    [
        ("yolov5n.yaml", "1.87", 2, "4.5"),
        ("yolov5s.yaml", "7.24", 2, "16.5"),
        ("yolov5n-spd.yaml", "3.60", 2, "8.0"),
        ("yolov5n-p6.yaml", "3.25", 2, "4.6"),
        (with_options("yolov5n-mgil.yaml", fusion="none"), "4.57", 2, "10.6"),
        ("yolov5n-mgil.yaml", "7.5", 1, "18.4"),
        (with_options("yolov5n-mgil.yaml", mrie="sum"), "9.5", 1, "23.6"),
        (with_options("yolov5n-mgil.yaml", mrie="concat"), "11.4", 1, "28.8"),
    ],
    ids=["n", "s", "spd", "p6", "flie", "mgil", "mgil-sum", "mgil-concat"],
)
def test_parameters_and_operations(cfg: str | dict[str, Any], millions: str, digits: int, gflops: str) -> None:
    measured = profile(build_model(cfg))
    assert f"{measured.parameters / 1e6:.{digits}f}" == millions
    assert f"{measured.gflops:.1f}" == gflops


def test_the_cost_at_low_resolution_has_digits() -> None:
    """At a tenth of 640 px a hundredth of the published 4.5 GFLOPs; the size is height x width."""
    model = build_model("yolov5n.yaml")
    assert 44.5 <= 1000 * profile(model, (64, 64)).gflops < 45.5
    text = re.fullmatch(r"1,872,157 parameters, (45\.\d|44\.\d) MFLOPs at 64x64", str(profile(model, (64, 64))))
    assert text and 44.5 <= float(text[1]) < 45.5
    assert str(profile(model, (640, 640))).endswith(" 4.5 GFLOPs at 640x640")
    wide = profile(model, (32, 64))
    assert wide.gflops == pytest.approx(profile(model, (64, 64)).gflops / 2)
    assert str(wide).endswith(" MFLOPs at 32x64")


def test_the_cost_on_small_maps_is_that_of_the_taps_on_them() -> None:
    """A map of 4x2 pixels keeps a rate of 1; of a rate of 2 the middle column is left, of a rate of 4 the centre."""
    block = MGIL(3, 12, mrie="sum", dilations=(1, 2, 4), fine_convs=1, coarse_convs=1, fusion="sum")
    multiplications = 8 * (9 * 12 * 12 + 9 * 12 * 12 + (9 + 3 + 1) * 12 * 12)
    normalised = 2 * 8 * 12 * 5
    assert profile(block, (8, 4)).gflops * 1e9 == pytest.approx(2 * multiplications + normalised)


@pytest.mark.parametrize(("gflops", "text"), [(1.0, "1.0 GFLOPs"), (0.99949, "999 MFLOPs"), (0.9997, "1.0 GFLOPs"),
                                              (104.26, "104.3 GFLOPs"), (0.00034567, "0.346 MFLOPs")])  # fmt: skip
def test_digits_of_the_cost(gflops: float, text: str) -> None:
    assert str(Profile(7, gflops, (1, 2))) == f"7 parameters, {text} at 1x2"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("yolov5n", 1_872_157),
        ("yolov5s", 7_235_389),
        ("yolov5m", 21_190_557),
        ("yolov5l", 46_563_709),
        ("yolov5x", 86_749_405),
    ],
)
def test_published_parameter_counts(name: str, parameters: int) -> None:
    with torch.device("meta"):
        layers = parse(load_architecture(f"{name}.yaml"), 3).layers
    assert sum(p.numel() for p in layers.parameters()) == parameters


@pytest.mark.parametrize(
    ("scale", "width", "plain"),
    [
        ("n", 0.25, 1_872_157),
        ("s", 0.50, 7_235_389),
        ("m", 0.75, 21_190_557),
        ("l", 1.00, 46_563_709),
        ("x", 1.25, 86_749_405),
    ],
)
def test_blocks_that_begin_as_plain_layers_have_the_parameters_of_the_paper_s(
    scale: str, width: float, plain: int
) -> None:
    """Shortcuts have none: seven blocks of five convolutions and a fusion in place of YOLOv5's seven layers."""
    expected = plain
    for given, channels in ((3, 64), (64, 128), (128, 256), (256, 512), (512, 1024), (256, 256), (512, 512)):
        c, kernel = round(channels * width), 6 if given == 3 else 3
        c_in, hidden = given if given == 3 else round(given * width), max(c // 8, 8)
        expected += 9 * (4 * c_in + 4 * c) * c + 10 * c + (2 * c + 3) * hidden + 2 - (kernel**2 * c_in + 2) * c
    assert sum(p.numel() for p in meta_layers(f"yolov5{scale}-mgil-res.yaml").parameters()) == expected
    assert sum(p.numel() for p in meta_layers(f"yolov5{scale}-mgil.yaml").parameters()) == expected


def test_a_new_network_of_such_blocks_is_one_of_its_first_convolutions() -> None:
    torch.manual_seed(0)
    model = build_model("yolov5n-mgil-res.yaml", num_classes=2, imgsz=64).eval()
    blocks = [index for index, layer in enumerate(model.model) if isinstance(layer, MGIL)]
    assert blocks == [0, 1, 3, 5, 7, 18, 21]
    norms = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    still = {name for name, layer in norms.items() if not layer.weight.any() and not layer.bias.any()}
    assert still == {f"model.{index}.{part}.lie.1.bn" for index in blocks for part in ("flie", "cii")}
    images = torch.rand(1, 3, 64, 96)
    short = deepcopy(model)
    for index in blocks:
        block = short.model[index]
        short.model[index] = nn.Sequential(block.flie.sct, block.flie.lie[0])
    torch.testing.assert_close(model(images), short(images), rtol=1e-5, atol=1e-4)


ROWS = {"mgil-lite": 23, "lite": 23, "p2": 32, "p6": 34, "p34": 22, "p3": 12}


@pytest.mark.parametrize("name", model_names())
def test_every_name_parses_at_every_scale(name: str) -> None:
    assert len(meta_layers(name)) == ROWS.get(name[8:-5], 25)


def meta_layers(name: str) -> nn.Sequential:
    """A shipped architecture's layers, without memory for their weights."""
    with torch.device("meta"):
        return parse(load_architecture(name), 3).layers


@pytest.mark.parametrize(("scale", "parameters"), [("n", 3_239_884), ("s", 12_612_508)])
def test_p6_has_the_published_parameters(scale: str, parameters: int) -> None:
    """YOLOv5 publishes those of the deployed network: a bias in place of BatchNorm's scale and shift."""
    layers = meta_layers(f"yolov5{scale}-p6.yaml")
    folded = sum(layer.num_features for layer in layers.modules() if isinstance(layer, nn.BatchNorm2d))
    assert sum(p.numel() for p in layers.parameters()) - folded == parameters


def test_p2_takes_as_many_tensors_as_yolov5s() -> None:
    """YOLOv5 reports 595 tensors that yolov5x's weights and its P2 network share."""
    own, plain = (meta_layers(f"yolov5x{kind}.yaml").state_dict() for kind in ("-p2", ""))
    assert sum(key in plain and plain[key].shape == value.shape for key, value in own.items()) == 595


def test_p34_is_yolov5_without_its_coarsest_level() -> None:
    own, plain = (meta_layers(f"yolov5n{kind}.yaml").state_dict() for kind in ("-p34", ""))
    rows = {key: value.shape for key, value in plain.items() if int(key.split(".")[0]) < 21}
    head = {key: value.shape for key, value in own.items() if key.startswith("21.")}
    assert {key: value.shape for key, value in own.items()} == rows | head
    assert head["21.m.1.weight"] == plain["24.m.1.weight"].shape


def test_p3_is_made_of_yolov5s_layers() -> None:
    """Official weights fill it: by the number of a row, or by that which the file gives."""
    own, plain = (meta_layers(f"yolov5s{kind}.yaml").state_dict() for kind in ("-p3", ""))
    numbers = {**{row: row for row in range(7)}, **dict(load_architecture("yolov5s-p3.yaml")["weights_rows"])}
    theirs = {key: value.shape for key, value in plain.items() if int(key.split(".")[0]) in numbers.values()}
    moved = {f"{numbers[int(row)]}.{rest}" for row, _, rest in (key.partition(".") for key in own) if int(row) < 11}
    assert moved == set(theirs) and own["11.m.0.weight"].shape == plain["24.m.0.weight"].shape
    model = build_model("yolov5n-p3.yaml", num_classes=2, imgsz=208)
    assert model.stride.tolist() == [8] and model.max_stride == 16
    assert model.head.anchors_px.tolist() == [[[10, 13], [16, 30], [33, 23]]]


@pytest.mark.parametrize(
    ("variant", "strides", "largest"), [("p2", [4, 8, 16, 32], 32), ("p6", [8, 16, 32, 64], 64), ("p34", [8, 16], 32)]
)
def test_strides_of_other_heads(variant: str, strides: list[int], largest: int) -> None:
    """Three squares of one, two and four cells a level are the start, and written into what a checkpoint keeps."""
    model = build_model(f"yolov5n-{variant}.yaml", num_classes=2, imgsz=64).eval()
    assert model.stride.tolist() == strides and model.max_stride == largest
    start = [[side * stride for side in (1, 1, 2, 2, 4, 4)] for stride in strides]
    assert model.architecture["anchors"] == model.head.anchors_px.flatten(1).tolist() == start
    cells = sum((largest // stride) * (2 * largest // stride) for stride in strides)
    assert model(torch.zeros(1, 3, largest, 2 * largest)).shape == (1, 3 * cells, 7)


@pytest.mark.parametrize("num_classes", [1, 2, 10, 80])
def test_lite_costs_no_more_than_a_tenth_above_yolov5n(num_classes: int) -> None:
    lite, plain = (profile(build_model(f"yolov5n{kind}.yaml", num_classes=num_classes)) for kind in ("-mgil-lite", ""))
    assert lite.gflops <= 1.1 * plain.gflops
    assert lite.parameters < plain.parameters / 5


def test_lite_has_one_block_in_the_stem_and_sees_finer() -> None:
    model = build_model("yolov5n-mgil-lite.yaml")
    assert [index for index, layer in enumerate(model.model) if isinstance(layer, MGIL)] == [0]
    assert model.stride.tolist() == [4, 8, 16]
    assert model.max_stride == 16


def test_the_lite_without_blocks_has_plain_rows_in_their_place() -> None:
    """And is as deep: what it saves in time is spent on the width of the stem and of P2."""
    plain, block = (load_architecture(f"yolov5n{kind}.yaml") for kind in ("-lite", "-mgil-lite"))
    assert all(row[2] != "MGIL" for row in (*plain["backbone"], *plain["head"]))
    rows = zip([*plain["backbone"], *plain["head"]], [*block["backbone"], *block["head"]], strict=True)
    assert [number for number, (ours, theirs) in enumerate(rows) if ours != theirs] == [0, 2, 12, 15]
    assert build_model("yolov5n-lite.yaml").stride.tolist() == [4, 8, 16]


def without_p5_head() -> dict[str, Any]:
    """yolov5n that detects at strides 8 and 16 only; its backbone still goes down to 32."""
    architecture = load_architecture("yolov5n.yaml")
    head = [*architecture["head"][:11], [[17, 20], 1, "Detect", ["nc", "anchors"]]]
    return architecture | {"head": head, "anchors": architecture["anchors"][:2]}


def test_max_stride_counts_layers_below_the_last_level() -> None:
    model = build_model(without_p5_head(), num_classes=2, imgsz=64)
    assert model.stride.tolist() == [8, 16]
    assert model.max_stride == 32
    assert model.eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 3 * (8 * 12 + 4 * 6), 7)


@pytest.mark.parametrize("name", ["yolov5n-mgil.yaml", "yolov5n-spd.yaml"])
def test_no_stride_is_left(name: str) -> None:
    strided = [key for key, m in build_model(name).named_modules() if isinstance(m, nn.Conv2d) and max(m.stride) > 1]
    assert strided == []


def test_state_dict_has_yolov5s_names() -> None:
    state = build_model("yolov5n.yaml").state_dict()
    assert len(state) == 349
    assert state["model.0.conv.weight"].shape == (16, 3, 6, 6)
    assert state["model.9.cv2.conv.weight"].shape == (256, 512, 1, 1)
    assert state["model.6.m.2.cv2.bn.running_mean"].shape == (64,)
    assert state["model.24.anchors"].shape == (3, 3, 2)
    assert state["model.24.m.2.bias"].shape == (255,)
    assert state["model.24.anchors"][1, 2].tolist() == [59 / 16, 119 / 16]  # grid units


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size_hw", [(32, 32), (64, 96), (160, 32)])
def test_outputs_and_gradients(name: str, size_hw: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = build_model(name, num_classes=3, imgsz=64)
    images = torch.rand(2, 3, *size_hw)
    raws = model.train()(images)
    strides = [int(stride) for stride in model.stride]
    expected = [(2, 3, size_hw[0] // s, size_hw[1] // s, 8) for s in strides]
    assert [tuple(raw.shape) for raw in raws] == expected
    sum(raw.square().mean() for raw in raws).backward()
    without = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    with torch.no_grad():
        decoded = model.eval()(images)
    assert decoded.shape == (2, sum(3 * h * w for _, _, h, w, _ in expected), 8)


@pytest.mark.parametrize("name", [*SMALL, "yolov5n-mgil-res.yaml"])
def test_fused_model_gives_the_same_boxes(name: str) -> None:
    torch.manual_seed(1)
    model = build_model(name, num_classes=2, imgsz=96)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics as after training
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, 0, 0.1)
    model.eval()
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        before, after = model(images), model.fused()(images)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.fused().modules())
    assert torch.allclose(before, after, rtol=1e-4, atol=1e-3)


def test_bias_start_follows_the_training_size() -> None:
    for imgsz, expected in ((640, 8 / 80**2), (64, 8 / 8**2)):
        head = build_model("yolov5n.yaml", num_classes=10, imgsz=imgsz).head
        objectness = head.m[0].bias.detach().view(3, -1)[:, 4].sigmoid().mean()
        # the convolution's own random bias, up to 1/sqrt(64), is added
        assert objectness.item() == pytest.approx(expected, rel=0.15)
    assert head.m[2].bias.detach().view(3, -1)[:, 4].sigmoid().max() < 0.3  # 4 cells cannot hold 8 objects


def test_decoding_a_cell_by_hand() -> None:
    head = build_model("yolov5n.yaml", num_classes=1).head
    raws = [torch.zeros(1, 3, size, size, 6) for size in (4, 2, 1)]
    raws[0][0, 1, 2, 3] = torch.tensor([1.0, -1.0, 0.5, -0.5, 2.0, 0.0])
    decoded = head.decode(raws)
    sigmoid = torch.tensor([1.0, -1.0, 0.5, -0.5, 2.0, 0.0]).sigmoid().tolist()
    expected = [
        (2 * sigmoid[0] + 3 - 0.5) * 8,
        (2 * sigmoid[1] + 2 - 0.5) * 8,
        (2 * sigmoid[2]) ** 2 * 16,  # the second anchor of level 0 is 16x30
        (2 * sigmoid[3]) ** 2 * 30,
        sigmoid[4],
        0.5,
    ]
    assert decoded[0, 1 * 16 + 2 * 4 + 3].tolist() == pytest.approx(expected, rel=1e-5)


def test_channels_and_activation_follow_the_yaml() -> None:
    architecture = {**load_architecture("yolov5n.yaml"), "activation": "nn.ReLU()"}
    model = DetectionModel(architecture, channels=1)
    assert not any(isinstance(m, nn.SiLU) for m in model.modules())
    assert model.model[0].conv.in_channels == 1


def test_a_model_rebuilds_from_its_own_architecture() -> None:
    model = build_model("yolov5n-mgil.yaml", names=("a", "b"), imgsz=64)
    twin = DetectionModel(model.architecture, model.names, model.imgsz)
    twin.load_state_dict(model.state_dict())
    assert twin.names == ("a", "b")
