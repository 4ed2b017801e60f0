"""YOLOv5's classifiers: pickled modules without a YAML, read without running anything they hold."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mgil.engine.weights.checkpoints import Checkpoint, load_checkpoint, model_from_checkpoint
from mgil.engine.weights.start import start_from
from mgil.tasks.classify.network import ClassNetwork, build_class_network
from tests.networks.lived import lived

NAMES = ("ant", "bee", "cat")


class Parts(nn.Module):
    """A module of YOLOv5 by its class name and the names of its parts; what it computes is not pickled."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def kind(module: str, name: str) -> type[Parts]:
    return type(name, (Parts,), {"__module__": module})


KINDS = {name: kind("models.common", name) for name in ("Conv", "Bottleneck", "C3", "SPPF", "Classify")}
MODEL, DETECTOR = (kind("models.yolo", name) for name in ("ClassificationModel", "DetectionModel"))
PICTURES = {
    name: type(name, (), {"__module__": "torchvision.transforms.transforms"}) for name in ("Compose", "Normalize")
}


@pytest.fixture(scope="module", autouse=True)
def upstream() -> Iterator[None]:
    """Modules of YOLOv5's names, for as long as something is pickled by them."""
    with pytest.MonkeyPatch.context() as patch:
        for found in (*KINDS.values(), MODEL, DETECTOR, *PICTURES.values()):
            path = found.__module__.split(".")
            for depth in range(1, len(path) + 1):
                name = ".".join(path[:depth])
                if name not in sys.modules or name == found.__module__:
                    patch.setitem(sys.modules, name, ModuleType(name))
        for found in (*KINDS.values(), MODEL, DETECTOR, *PICTURES.values()):
            setattr(sys.modules[found.__module__], found.__name__, found)
        yield


def conv(given: int, out: int, kernel: int = 1, step: int = 1, padding: int | None = None, act: Any = nn.SiLU) -> Parts:
    padding = kernel // 2 if padding is None else padding
    layer = nn.Conv2d(given, out, kernel, step, padding, bias=False)
    return KINDS["Conv"](conv=layer, bn=nn.BatchNorm2d(out, eps=1e-3, momentum=0.03), act=act())


def c3(given: int, out: int, number: int, shortcut: bool = True, **more: Any) -> Parts:
    half = out // 2
    parts = [
        KINDS["Bottleneck"](cv1=conv(half, half, **more), cv2=conv(half, half, 3, **more), add=shortcut)
        for _ in range(number)
    ]
    ways = {"cv1": conv(given, half, **more), "cv2": conv(given, half, **more), "cv3": conv(2 * half, out, **more)}
    return KINDS["C3"](**ways, m=nn.Sequential(*parts))


def classifier(names: Any = NAMES, act: Any = nn.SiLU, last: Any = None) -> Any:
    """As YOLOv5's classify/train.py leaves it."""
    torch.manual_seed(0)
    head = {"conv": conv(16, 1280, act=act), "pool": nn.AdaptiveAvgPool2d(1), "drop": nn.Dropout(0.0, inplace=True)}
    layers = [
        *(conv(3, 8, 6, 2, 2, act), conv(8, 16, 3, 2, act=act), c3(16, 16, 2, act=act)),
        *(conv(16, 16, 3, 2, act=act), c3(16, 16, 1, shortcut=False, act=act)),
        last or KINDS["Classify"](**head, linear=nn.Linear(1280, 3)),
    ]
    for index, layer in enumerate(layers):
        facts = {"i": index, "f": -1, "type": f"models.common.{type(layer).__name__}"}
        vars(layer).update(facts)
    transforms = PICTURES["Compose"]()
    transforms.transforms = [PICTURES["Normalize"]()]
    extra = {"stride": torch.tensor([8.0, 16.0, 32.0]), "save": [], "nc": 3, "transforms": transforms}
    return lived(MODEL(model=nn.Sequential(*layers), names=list(names) if names else None, **extra))


def save(path: Path, model: Any, ema: Any = None, imgsz: Any = 96) -> Path:
    half = [each and each.half() for each in (model, ema)]
    torch.save({"epoch": 9, "model": half[0], "ema": half[1], "opt": {"imgsz": imgsz, "data": "x"}}, path)
    return path


def rebuilt(path: Path) -> ClassNetwork:
    model = model_from_checkpoint(path, fuse=False)
    assert isinstance(model, ClassNetwork)
    return model


def test_a_classifier_of_yolov5(tmp_path: Path) -> None:
    """The same layers in the same order, every tensor in its place, and the picture's size of its training."""
    theirs = classifier()
    path = save(tmp_path / "yolov5n-cls.pt", theirs)
    found = load_checkpoint(path)
    assert (found.task, found.names, found.imgsz) == ("classify", NAMES, 96)
    architecture = found.architecture
    assert architecture["backbone"] == [
        [-1, 1, "Conv", [8, 6, 2, 2, 1]],
        [-1, 1, "Conv", [16, 3, 2, 1, 1]],
        [-1, 2, "C3", [16, True]],
        [-1, 1, "Conv", [16, 3, 2, 1, 1]],
        [-1, 1, "C3", [16, False]],
    ]
    assert architecture["head"] == [[-1, 1, "Classify", ["nc", 1280]]]
    model = rebuilt(path)
    assert model.crop == "center" and model.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert model.state_dict().keys() == theirs.state_dict().keys()
    for key, value in theirs.state_dict().items():
        assert torch.equal(model.state_dict()[key], value.to(model.state_dict()[key]))
    assert {
        "model.5.conv.conv.weight",
        "model.5.conv.bn.running_var",
        "model.5.linear.bias",
    } < theirs.state_dict().keys()
    x = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    normal = (x - model.mean) / model.std
    torch.testing.assert_close(model(x), by_hand(theirs.float(), normal), rtol=1e-4, atol=1e-4)


def by_hand(theirs: Any, x: Tensor) -> Tensor:
    """What YOLOv5's modules of these names compute."""

    def convolved(part: Any, x: Tensor) -> Tensor:
        return part.act(part.bn(part.conv(x)))

    def mixed(part: Any, x: Tensor) -> Tensor:
        y = convolved(part.cv1, x)
        for each in part.m:
            y = convolved(each.cv2, convolved(each.cv1, y)) + (y if each.add else 0)
        return convolved(part.cv3, torch.cat((y, convolved(part.cv2, x)), dim=1))

    *layers, head = theirs.model
    for layer in layers:
        x = mixed(layer, x) if type(layer).__name__ == "C3" else convolved(layer, x)
    return head.linear(convolved(head.conv, x).mean(dim=(2, 3)))


def test_other_ways_to_have_it(tmp_path: Path) -> None:
    """In `ema`, with names by index, another activation, and a size that nobody can believe."""
    theirs = classifier(act=nn.ReLU)
    theirs.names = dict(enumerate(NAMES))
    path = save(tmp_path / "last.pt", None, theirs, "large")
    found = load_checkpoint(path)
    assert (found.imgsz, found.names, found.architecture["activation"]) == (224, NAMES, "ReLU")
    assert isinstance(rebuilt(path).model[0].act, nn.ReLU)


def test_it_is_a_start_for_blocks(tmp_path: Path) -> None:
    """Official weights, blocks that begin as the layers, other classes."""
    found: Checkpoint = load_checkpoint(save(tmp_path / "a.pt", classifier()))
    options = {"residual": True, "coarse_shortcut": True}
    rows = [
        row[:2] + ["MGIL", [row[3][0], options]] if row[2] == "Conv" else row for row in found.architecture["backbone"]
    ]
    model = build_class_network({**found.architecture, "backbone": rows}, ("emu", "ant"), 64).eval()
    lines: list[str] = []
    start = start_from(model, found, True, lines.append, task="classify")
    assert start.whole and len(start.carried) == 3 and start.off is not None and start.off < 1e-3
    assert torch.equal(model.get_parameter("model.5.linear.weight")[1], found.state_dict["model.5.linear.weight"][0])


def broken(change: Any) -> Any:
    model = classifier()
    change(model)
    return model


def _dilated(model: Any) -> None:
    model.model[1].conv.dilation = (2, 2)


def _oblong(model: Any) -> None:
    model.model[1].conv.kernel_size = (3, 1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: classifier(names=("a", "b")), "2 names for 3 classes"),
        (lambda: classifier(names=None), "it lacks names"),
        (lambda: classifier(last=conv(16, 3)), "its last layer is not Classify"),
        (
            lambda: classifier(last=KINDS["Bottleneck"](cv1=conv(16, 16))),
            "its layer 5 is Bottleneck, which no classifier",
        ),
        (lambda: broken(_dilated), "it has a dilated convolution"),
        (lambda: broken(_oblong), r"\(3, 1\) where a layer has a number"),
        (lambda: MODEL(names=["a"]), "it has a layer without parts|no YOLOv5 model"),
        (lambda: MODEL(model=nn.Sequential(), names=["a"]), "its last layer is not Classify"),
    ],
)
def test_others_end_in_one_line(model: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as error:
        load_checkpoint(save(tmp_path / "a.pt", model()))
    assert str(error.value).startswith(str(tmp_path / "a.pt")) and "\n" not in str(error.value)


class Harm:
    """Leaves a mark when it is unpickled carelessly."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_nothing_in_it_runs(tmp_path: Path) -> None:
    """An object among its parts that would, and layers that say more than they should."""
    model = classifier()
    model.transforms = Harm(tmp_path / "mark")
    path = save(tmp_path / "a.pt", model)
    with pytest.raises(ValueError, match="a.pt: "):
        load_checkpoint(path)
    assert not (tmp_path / "mark").exists()
    huge = classifier()
    huge.model[0].conv.out_channels = 10**9
    with pytest.raises(ValueError, match="with more than 65536 output channels") as error:
        model_from_checkpoint(save(tmp_path / "b.pt", huge))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("said", "side"), [(160, 160), (1280, 1280), ("large", 640), (0, 640)])
def test_a_detector_has_the_size_of_its_training(said: Any, side: int, tmp_path: Path) -> None:
    theirs = DETECTOR(model=nn.Sequential(conv(3, 8)), names=list(NAMES), stride=torch.tensor([8.0]))
    theirs.model.register_buffer("anchors", torch.ones(1, 3, 2))
    theirs.yaml = {"nc": 3, "anchors": [[1, 1, 1, 1, 1, 1]], "backbone": [], "head": []}
    assert load_checkpoint(save(tmp_path / "best.pt", theirs, imgsz=said)).imgsz == side
