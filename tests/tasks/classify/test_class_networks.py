"""Classifiers: their YAMLs, hosts of timm, rows, and what a checkpoint keeps of them."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mgil.block.flie import SPDConv
from mgil.block.mgil import MGIL
from mgil.files.plain import check_bounded
from mgil.networks.carry_over import blocks_of
from mgil.networks.class_hosts import set_dropout
from mgil.networks.config import load_architecture as load_detector
from mgil.networks.config import model_names as detectors
from mgil.networks.detector import build_model
from mgil.tasks.classify.config import load_architecture, model_names
from mgil.tasks.classify.network import MEAN, STD, ClassNetwork, build_class_network
from tests.networks.lived import lived

timm = pytest.importorskip("timm")

THIN: dict[str, Any] = {
    "host": "resnet18",
    "host_options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]},
    "source": "own.yaml",
}
ROWS: dict[str, Any] = {
    "source": "own.yaml",
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "C3", [8]], [-1, 1, "MGIL", [16]]],
    "head": [[-1, 1, "Classify", ["nc", 32]]],
}
NAMES = ("cat", "dog", "owl")
NIGHTLY = pytest.mark.nightly


def build(architecture: Any, imgsz: int = 32, names: tuple[str, ...] = NAMES, **more: Any) -> ClassNetwork:
    torch.manual_seed(0)
    return build_class_network({**architecture, **more}, names, imgsz)


def pictures(size: int = 32) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_the_shipped_models() -> None:
    scaled = [f"yolov5{scale}-cls{v}.yaml" for v in ("", "-mgil", "-mgil-res", "-spd") for scale in "nsmlx"]
    resnets = {18: ("", "-mgil", "-mgil-fine", "-mgil-res", "-spd"), 34: ("",), 50: ("", "-mgil", "-mgil-res", "-spd")}
    others = [f"resnet{number}{v}.yaml" for number, variants in resnets.items() for v in variants]
    assert sorted(model_names()) == sorted([*scaled, *others, "cls-small.yaml", "cls-small-mgil.yaml"])
    for name in model_names():
        architecture = load_architecture(name)
        assert architecture["source"] == name
        assert load_architecture(architecture) == architecture  # complete: a checkpoint reads the same
        check_bounded(architecture, 1000)
        if "host" in architecture:
            variant = name.removesuffix(".yaml").partition("-")[2].replace("mgil-fine", "flie")
            assert architecture["blocks"] == variant or (not variant and architecture["blocks"] == "none")
            assert architecture["stem"] == {0: "half", 96: "imagenet"}


@pytest.mark.parametrize(
    ("name", "blocks", "left"),
    [("cls-small.yaml", 0, 4), ("cls-small-mgil.yaml", 4, 0), ("yolov5n-cls-mgil-res.yaml", 5, 0)],
)
def test_blocks_in_rows(name: str, blocks: int, left: int) -> None:
    with torch.device("meta"):
        model = build_class_network(name, NAMES, 32)
    assert len(blocks_of(model)) == blocks
    assert sum(isinstance(layer, nn.Conv2d) and max(layer.stride) > 1 for layer in model.modules()) == left


def test_detect_does_not_stumble_over_them() -> None:
    assert not any("cls" in name or "resnet" in name for name in detectors())
    with pytest.raises(ValueError, match=r"^resnet18.yaml: .*train.py classify or train.py pose"):
        load_detector("resnet18.yaml")
    with pytest.raises(ValueError, match=r"^yolov5n-cls.yaml, row 9 .*Classify ends one of train.py classify"):
        build_model("yolov5n-cls.yaml")


@pytest.mark.parametrize("architecture", [THIN, ROWS])
def test_logits_in_both_modes(architecture: dict[str, Any]) -> None:
    model = build(architecture)
    assert model(pictures()).shape == (2, 3) == model.eval()(pictures()).shape
    assert model(pictures(48)).shape == (2, 3) and model.any_size
    assert (model.imgsz, model.names, model.crop) == (32, NAMES, "center")
    assert {id(parameter) for row in model.rows for parameter in row.parameters()} == set(map(id, model.parameters()))
    last = model.rows[-1]
    assert model.get_submodule(model.class_layers[0]) in (last, getattr(last, "linear", None))
    logits, model.probabilities = model(pictures()), True
    assert torch.equal(model(pictures()), logits.softmax(1))


@pytest.mark.parametrize(
    ("name", "classes", "size"),
    [("resnet18", 5, 64), ("vit_tiny_patch16_224", 4, 32), pytest.param("convnext_atto", 3, 64, marks=NIGHTLY)],
)
def test_a_plain_host_is_timm_s_own_network(name: str, classes: int, size: int) -> None:
    torch.manual_seed(1)
    fixed = {"img_size": size} if name.startswith("vit") else {}
    theirs = lived(timm.create_model(name, num_classes=classes, **fixed))
    model = build_class_network(f"timm:{name}", tuple("abcdefg"[:classes]), size).eval()
    assert not model.host.load_state_dict(theirs.state_dict()).missing_keys
    known = theirs.pretrained_cfg
    normalised = (pictures(size) - torch.tensor(known["mean"]).view(3, 1, 1)) / torch.tensor(known["std"]).view(3, 1, 1)
    torch.testing.assert_close(model(pictures(size)), theirs(normalised), rtol=0, atol=1e-5)
    assert model.any_size == (not fixed) and model.max_stride == (16 if fixed else 32)
    assert (model.architecture["mean"], model.architecture["std"]) == (list(known["mean"]), list(known["std"]))


def test_rows_by_hand() -> None:
    model = lived(build(ROWS))
    head, x = model.model[-1], (pictures() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    features = head.conv(model.model[2](model.model[1](model.model[0](x)))).mean(dim=(2, 3))
    assert features.shape == (2, 32)
    torch.testing.assert_close(model(pictures()), features @ head.linear.weight.T + head.linear.bias)
    assert model.max_stride == 4


def test_rows_may_read_others_than_the_last() -> None:
    rows = [*ROWS["backbone"], [1, 1, "Conv", [16, 3, 2]], [[2, -1], 1, "Concat", [1]]]
    model = lived(build(ROWS, backbone=rows))
    assert model.model[-1].conv.conv.in_channels == 32
    x = (pictures() - model.mean) / model.std
    second = model.model[1](model.model[0](x))
    joined = torch.cat((model.model[2](second), model.model[3](second)), dim=1)
    torch.testing.assert_close(model(pictures()), model.model[-1](joined))


@pytest.mark.parametrize(
    ("stem", "imgsz", "kernel", "step", "pooled", "stride"),
    [
        ("imagenet", 32, 7, 2, True, 32),
        ("half", 128, 3, 2, False, 16),
        ("cifar", 32, 3, 1, False, 8),
        ({0: "cifar", 48: "half", 96: "imagenet"}, 47, 3, 1, False, 8),
        ({0: "cifar", 48: "half", 96: "imagenet"}, 48, 3, 2, False, 16),
        ({0: "cifar", 48: "half", 96: "imagenet"}, 96, 7, 2, True, 32),
        ({64: "half", 96: "imagenet"}, 32, 3, 2, False, 16),
    ],
)
def test_stems(stem: Any, imgsz: int, kernel: int, step: int, pooled: bool, stride: int) -> None:
    model = build(THIN, imgsz, stem=stem)
    first = model.host.conv1
    assert (first.kernel_size, first.stride, first.padding) == ((kernel,) * 2, (step,) * 2, (kernel // 2,) * 2)
    assert isinstance(model.host.maxpool, nn.MaxPool2d) == pooled and model.max_stride == stride
    layers: list[Tensor] = []
    model.host.layer4.register_forward_hook(lambda _module, _given, made: layers.append(made))
    model.eval()(pictures(64))
    assert layers[0].shape[-1] == 64 // stride
    assert isinstance(model.architecture["stem"], str)  # the same network again, whatever the next size is
    again = build_class_network(model.architecture, NAMES, 224)
    again.load_state_dict(model.state_dict())


def test_blocks_in_a_resnet() -> None:
    """A pool that the stem has done away with is nobody's place."""
    model = build(THIN, stem={0: "half", 96: "imagenet"}, blocks="mgil", pools="block")
    layers = ["host.conv1", "host.layer2.0.conv1", "host.layer3.0.conv1", "host.layer4.0.conv1"]
    assert list(blocks_of(model)) == layers and isinstance(model.host.maxpool, nn.Identity)
    large = build(THIN, 96, stem={0: "half", 96: "imagenet"}, blocks="mgil", pools="block")
    assert isinstance(large.host.maxpool, MGIL) and len(blocks_of(large)) == 5
    cifar = build(THIN, stem="cifar", blocks="spd", shortcuts="sct1x1")
    assert [name for name, part in cifar.named_modules() if isinstance(part, SPDConv)] == layers[1:]
    assert not [name for name, part in cifar.named_modules() if isinstance(part, nn.Conv2d) and max(part.stride) > 1]


@pytest.mark.parametrize("architecture", [ROWS, {**THIN, "stem": "half", "blocks": "mgil"}, {**THIN, "stem": "cifar"}])
def test_fused_is_the_same(architecture: dict[str, Any]) -> None:
    model = lived(build(architecture))
    twin = model.fused()
    assert isinstance(twin, ClassNetwork) and not any(isinstance(layer, nn.BatchNorm2d) for layer in twin.modules())
    assert twin.architecture == model.architecture
    torch.testing.assert_close(twin(pictures()), model(pictures()), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", [ROWS, {**THIN, "blocks": "flie", "stem": "half"}])
def test_a_checkpoint_rebuilds_it(architecture: dict[str, Any]) -> None:
    model = build(architecture, crop="squash", dropout=0.25, mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.4])
    twin = ClassNetwork(deepcopy(model.architecture), model.names, model.imgsz)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.eval()(pictures()), model.eval()(pictures()))
    assert (twin.crop, twin.dropout) == ("squash", 0.25)
    assert twin.mean.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert not {"mean", "std"} & model.state_dict().keys()
    other = build(architecture)
    other.load_state_dict(model.state_dict())
    other.take_facts(model.architecture)
    assert torch.equal(other.eval()(pictures()), model(pictures())) and other.crop == "squash"
    assert other.architecture["std"] == [0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    "architecture",
    [
        *(ROWS, THIN, {"host": "mambaout_femto"}),
        *(pytest.param({"host": host}, marks=NIGHTLY) for host in ("convnext_atto", "vit_tiny_patch16_224")),
        *(pytest.param({"host": host}, marks=NIGHTLY) for host in ("hgnet_tiny", "mobilenetv3_small_100")),
    ],
)
def test_dropout_reaches_the_last_layer(architecture: dict[str, Any]) -> None:
    """In training half of the last layer's inputs are zero and the others doubled; in evaluation none."""
    model = build(architecture)
    model.dropout = 0.5
    seen: list[Tensor] = []
    model.get_submodule(model.class_layers[0]).register_forward_hook(lambda _layer, given, _made: seen.append(given[0]))
    for layer in model.modules():  # what precedes it does not change between the two
        layer.train(isinstance(layer, nn.Dropout) or layer in (model, getattr(model, "host", model)))
    model(pictures(32))
    model.eval()(pictures(32))
    dropped, whole = seen
    zero = (dropped == 0) & (whole != 0)
    assert 0.2 < zero.float().mean() < 0.8
    torch.testing.assert_close(dropped[~zero], 2 * whole[~zero])
    model.dropout = 0.0
    assert model.architecture["dropout"] == 0.0


class Pooled(nn.Module):
    """A host without a layer for dropout, which reads its `drop_rate` or only keeps it."""

    max_stride, drop_rate = 1, 0.0

    def __init__(self, reads: bool) -> None:
        super().__init__()
        self.fc, self.reads = nn.Linear(3, 3), reads

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3))
        return self.fc(nn.functional.dropout(pooled, self.drop_rate, self.training) if self.reads else pooled)


def test_dropout_that_nothing_reads_is_refused() -> None:
    host = Pooled(True)
    set_dropout(host, 0.5, "own.yaml", 32)
    assert host.drop_rate == 0.5 and host.training and host.fc.weight.device.type == "cpu"
    set_dropout(Pooled(False), 0.0, "own.yaml", 32)
    with pytest.raises(ValueError, match=r"^own.yaml: dropout is 0\.5, but its host has none before its last layer$"):
        set_dropout(Pooled(False), 0.5, "own.yaml", 32)


def test_classes_of_another_set_go_to_those_of_the_same_name() -> None:
    for architecture in (ROWS, THIN):
        model, other = build(architecture), build(architecture, names=("owl", "emu", "cat"))
        nn.init.normal_(other.get_parameter(f"{other.class_layers[0]}.weight"))
        key = f"{model.class_layers[0]}.weight"
        mixed = model.in_class_order(other.state_dict(), other.names)[key]
        assert torch.equal(mixed[[0, 2]], other.state_dict()[key][[2, 0]])
        assert torch.equal(mixed[1], other.state_dict()[key][1])  # of as many classes each gets one
        fewer = build(architecture, names=("emu", "dog"))
        mixed = fewer.in_class_order(other.state_dict(), other.names)[key]
        assert torch.equal(mixed[0], other.state_dict()[key][1]) and torch.equal(mixed[1], fewer.state_dict()[key][1])
        assert model.in_class_order({}, other.names) == {}


@pytest.mark.parametrize(
    ("cfg", "size", "message"),
    [
        ("timm:vgg11_bn:mgil", 64, "nothing to replace: .*5 pooling layers"),
        ("timm:vit_tiny_patch16_224:mgil", 32, "nothing to replace: .*16"),
        pytest.param("timm:inception_v3:mgil", 96, "nothing to replace: .*5 strided convolutions", marks=NIGHTLY),
        ("timm:resnet18:mgl", 32, "blocks is 'mgl'; did you mean 'mgil'"),
        ("timm:resnet81", 32, "host is 'resnet81', which timm does not have"),
        ("timm:hf-hub:timm/resnet18.a1_in1k", 32, "host is 'hf-hub'"),
        ("timm:local-dir:/tmp", 32, "host is 'local-dir'"),
        ("timm:", 32, "host is ''"),
        ("timm:inception_v3", 32, "inception_v3 does not see pictures of 32 px: "),
    ],
)
def test_networks_of_timm_that_cannot_be(cfg: str, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{cfg}: .*{message}") as error:
        build_class_network(cfg, NAMES, size)
    assert "\n" not in str(error.value)


def test_blocks_in_the_pools_of_a_network_without_strides() -> None:
    with torch.device("meta"):
        model = build_class_network({"host": "vgg11_bn", "blocks": "spd", "pools": "block"}, NAMES, 64)
    assert sum(isinstance(part, SPDConv) for part in model.modules()) == 5


def test_unknown_names_list_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"did you mean resnet18-mgil\.yaml\?.*timm:NAME"):
        load_architecture("resnet18-mgli.yaml")
    with pytest.raises(FileNotFoundError, match=r"simcc-small\.yaml does not exist; those that classify are cls-small"):
        load_architecture("simcc-small.yaml")
    with pytest.raises(FileNotFoundError, match="hf-hub:timm/resnet18 does not exist"):
        load_architecture("hf-hub:timm/resnet18")
    with pytest.raises(ValueError, match="yolov5.yaml: a model of another task"):
        load_architecture("models/yolov5.yaml")
    (tmp_path / "own.yaml").write_text("host: resnet18\nstem: cifar\n")
    assert load_architecture(tmp_path / "own.yaml")["stem"] == "cifar"


WRONG_HOSTS = [
    ({"stam": "half"}, "unknown key 'stam'; did you mean 'stem'"),
    ({"stem": "halve"}, "stem is 'halve', must be imagenet, half, cifar"),
    ({"stem": {}}, "stem is {}"),
    ({"stem": {64: 3}}, "stem is"),
    ({"stem": {"64": "half"}}, "stem is"),
    ({"stem": ["half"]}, "stem is"),
    ({"crop": "centre"}, "crop is 'centre'; did you mean 'center'"),
    ({"crop": ["center"]}, "crop is"),
    ({"dropout": 1}, "dropout is 1, must be a number from 0 to below 1"),
    ({"dropout": "0.5"}, "dropout is '0.5'"),
    ({"dropout": float("nan")}, "dropout is nan"),
    ({"mean": [0.5, 0.5]}, "mean is .*must be three numbers"),
    ({"mean": 0.5}, "mean is 0.5"),
    ({"mean": [1e300, 0, 0]}, "mean is .*three numbers from -1000 to 1000"),
    ({"mean": [10**400, 0, 0]}, "mean is .*three numbers"),
    ({"mean": [0, float("nan"), 0]}, "mean is .*three numbers"),
    ({"std": [0.2, 0.0, 0.2]}, "std is .*three numbers from 1e-06 to 1000"),
    ({"std": [0.2, 1e-300, 0.2]}, "std is .*three numbers"),
    ({"std": [0.2, 10**400, 0.2]}, "std is .*three numbers"),
    ({"std": [0.2, float("inf"), 0.2]}, "std is"),
    ({"std": [True, 1.0, 1.0]}, "std is"),
    ({"host": "csp", "host_options": {}}, "host csp is a host for poses"),
    (
        {"host": "resnet18d", "host_options": {}, "stem": "half"},
        "stem: half is for ResNets with a 7x7 layer and a pool",
    ),
    ({"host": "dla34", "host_options": {}, "dropout": 0.5, "stem": "half"}, "stem: half is for ResNets"),
    ({"host_options": {"pretrained": True}}, "host_options: unknown key 'pretrained'"),
    ({"host_options": {"layers": [1]}}, "host resnet18 cannot be built"),
    ({"host_options": {"channels": [4096, 4096, 4096, 4096], "layers": [9, 9, 9, 9]}}, "asks for .* parameters"),
    ({"blocks": "mgil", "norms": "keep", "places": ["conv1"]}, "norms: keep goes with"),
    ({"backbone": []}, "unknown key 'host'"),
]
WRONG_ROWS = [
    ({"dropuot": 0.5}, "unknown key 'dropuot'; did you mean 'dropout'"),
    ({"anchors": 3}, "a model of another task"),
    ({"stem": "half"}, "unknown key 'stem'"),
    ({"ch": 1}, "ch is 1, but images have 3 channels"),
    ({"head": []}, "`head` must be a list of rows"),
    ({"head": [[-1, 1, "Conv", [8]]]}, "row 3 .*must be a head such as Classify"),
    ({"head": [[[-1], 1, "Detect", ["nc", 3]]]}, "row 3 .*such as Classify; Detect ends a network of train.py detect"),
    ({"head": [[-1, 1, "Classify", []]]}, "row 3 .*wrong arguments for Classify"),
    ({"head": [[-1, 1, "Classify", [7]]]}, "row 3 .*for 7 classes where there are 3; write nc"),
    ({"head": [[-1, 1, "Classify", ["nc", 0]]]}, "row 3 .*0 does not count channels"),
    ({"head": [[-1, 1, "Classify", ["nc", 10**6]]]}, "row 3 .*an argument beyond 4096"),
    ({"head": [[-1, 1, "Classify", ["nc", "wide"]]]}, "row 3 .*'wide' does not count channels"),
    ({"head": [[[0, 1], 1, "Classify", ["nc"]]]}, "row 3 .*Classify takes one input, got 2"),
    ({"head": [[-1, 1, "Clasify", ["nc"]]]}, "row 3 .*unknown layer 'Clasify'; did you mean 'Classify'"),
    ({"backbone": [[-1, 1, "Classify", ["nc"]]]}, "row 0 .*the last row, and only that"),
    ({"backbone": [[-1, 1, "Conv", [8, 9, 2, 0]], [-1, 1, "Conv", [8, 999, 1, 0]]]}, "row 1 .*do not fit together"),
    ({"backbone": [[-1, 1, "nn.Upsample", [None, 4000]]]}, "would make a map of"),
]


@pytest.mark.parametrize(("start", "more", "message"), [*((THIN, *row) for row in WRONG_HOSTS),
                                                        *((ROWS, *row) for row in WRONG_ROWS)])  # fmt: skip
def test_wrong_yamls_end_in_one_line(start: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        build({**start, **more})
    assert str(error.value).startswith("own.yaml") and "\n" not in str(error.value)


@pytest.mark.parametrize(("names", "imgsz"), [((), 32), (NAMES, 0), (NAMES, 10**5), (tuple("ab") * 20000, 32)])
def test_impossible_sizes(names: tuple[str, ...], imgsz: int) -> None:
    with pytest.raises(ValueError, match="classes, must be|an input of"):
        build(ROWS, imgsz, names)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "name",
    [
        *("resnet18d", "mobilenetv3_small_100", "efficientnet_b0", "densenet121", "regnety_002", "hrnet_w18_small"),
        *("ghostnet_100", "dla34", "repvgg_a0", "resnetv2_50", "edgenext_xx_small", "mobileone_s0", "vgg11_bn"),
        *("swin_tiny_patch4_window7_224", "deit_tiny_distilled_patch16_224", "mixer_s16_224", "levit_128s"),
        *("xcit_nano_12_p16_224", "eva02_tiny_patch14_224", "crossvit_9_240", "tiny_vit_5m_224", "inception_v3"),
    ],
)
def test_any_network_of_timm(name: str) -> None:
    """Built, run in both modes, and fused, at 224 px rounded to what it takes."""
    size = {"crossvit_9_240": 240}.get(name, 224)
    model = lived(build_class_network(f"timm:{name}", NAMES, size))
    found = model(pictures(size))
    assert found.shape == (2, 3) and model.train()(pictures(size)).shape == (2, 3)
    assert (model.fused()(pictures(size)) - model.eval()(pictures(size))).abs().max() < 1e-2 * found.abs().max() + 1e-3
    assert all(model.get_submodule(layer).weight.shape[0] == 3 for layer in model.class_layers)
