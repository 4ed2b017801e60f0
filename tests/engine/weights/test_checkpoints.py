"""Weights files: ours, YOLOv5's own, and those that are damaged or mean harm."""

from __future__ import annotations

import builtins
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mgil.engine.weights.checkpoints import (
    FORMAT,
    VERSION,
    Checkpoint,
    load_checkpoint,
    model_from_checkpoint,
    save_checkpoint,
    transfer_weights,
)
from mgil.networks.detector import DetectionModel, build_model
from tests.engine.tiny import NAMES, TINY, same_tensors


@pytest.fixture(scope="module")
def model() -> DetectionModel:
    torch.manual_seed(1)
    model = build_model(TINY, names=NAMES, imgsz=96)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics as training leaves them
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.num_batches_tracked.fill_(7)
    return model.eval()


@pytest.fixture(scope="module")
def content(model: DetectionModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a whole checkpoint holds."""
    path = tmp_path_factory.mktemp("weights") / "best.pt"
    save_checkpoint(path, model, {"epoch": 3})
    return torch.load(path, weights_only=True)


def test_round_trip(model: DetectionModel, tmp_path: Path) -> None:
    training = {"optimizer": {"state": {0: {"momentum_buffer": torch.randn(3)}}}, "list": [1, 2.5, None, "x"]}
    save_checkpoint(tmp_path / "last.pt", model, {"epoch": 4, "fitness": 0.25}, training)
    found = load_checkpoint(tmp_path / "last.pt")
    assert (found.names, found.imgsz, found.info) == (NAMES, 96, {"epoch": 4, "fitness": 0.25})
    assert same_tensors(found.training, training)
    assert same_tensors(found.state_dict, dict(model.state_dict()))
    twin = model_from_checkpoint(found, fuse=False)
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(twin(images), model(images))
        fused = model_from_checkpoint(tmp_path / "last.pt", fuse=True)(images)
    torch.testing.assert_close(fused, twin(images), rtol=1e-4, atol=1e-4)
    assert not twin.training and twin.imgsz == 96 and twin.names == NAMES


def test_fitted_anchors_come_back(model: DetectionModel, tmp_path: Path) -> None:
    other = build_model(TINY, names=NAMES, imgsz=64)
    fitted = torch.arange(2.0, 20).view(3, 3, 2)
    other.head.set_anchors_px(fitted)
    save_checkpoint(tmp_path / "best.pt", other, {})
    torch.testing.assert_close(model_from_checkpoint(tmp_path / "best.pt").head.anchors_px, fitted)


def test_inference_weights_hold_no_training_state(content: dict[str, Any]) -> None:
    assert "training" not in content
    assert (content["format"], content["version"]) == (FORMAT, VERSION)


def test_official_weights_load_whole(official_weights: Path) -> None:
    found = load_checkpoint(official_weights)
    assert len(found.state_dict) == 349
    assert {value.dtype for value in found.state_dict.values()} == {torch.float32, torch.int64}
    assert (len(found.names), found.names[0], found.names[79]) == (80, "person", "toothbrush")
    assert found.info["stride"] == [8.0, 16.0, 32.0]
    own = build_model("yolov5n.yaml", num_classes=80)
    assert str(transfer_weights(own, found.state_dict)) == "all 349 tensors loaded"


# Recorded from the package yolov5==7.0.14 with the official weights, float32: for the picture below, the sum of the
# output (1, 756, 85), and by row: x, y, width, height in pixels, objectness, the first class.
PATTERN_SUM = 156627.56171657657
PATTERN_ROWS = {
    0: [5.9866962, 8.440258, 10.9927864, 18.1081886, 0.0009095, 0.2378524],
    400: [8.1373739, 13.24541, 15.6613083, 27.3845196, 0.0052572, 0.1804677],
    600: [12.2257366, 47.895031, 25.4231091, 96.4147949, 0.0017204, 0.1663604],
    725: [63.4946785, 47.6555099, 126.5890045, 96.2898636, 0.8107658, 0.0150342],
    750: [62.9472733, 47.2579498, 128.5652771, 95.6088, 0.8197626, 0.0144417],
    755: [95.1376877, 55.3310623, 143.942688, 92.865036, 0.0000683, 0.0708091],
}


def test_official_weights_see_what_upstream_sees_on_a_pattern(official_weights: Path) -> None:
    channel, row, column = np.mgrid[0:3, 0:96, 0:128]
    pixels = (7 * row + 13 * column + 29 * channel + row * column // 8) % 256
    with torch.no_grad():
        found = model_from_checkpoint(official_weights, fuse=False)(torch.from_numpy(pixels).float()[None] / 255)
    assert found.shape == (1, 756, 85)
    assert found.double().sum().item() == pytest.approx(PATTERN_SUM, abs=0.1)
    assert found[0, :, 4].topk(3).indices.tolist() == [750, 738, 725]
    for index, wanted in PATTERN_ROWS.items():
        np.testing.assert_allclose(found[0, index, :6].numpy(), wanted, rtol=0, atol=1e-3)
    assert found[0, 750, 5:].argmax() == 22


def test_official_weights_see_what_upstream_sees_on_a_photograph(official_weights: Path, shared_data: Path) -> None:
    image = cv2.imread(str(shared_data / "coco128/images/train2017/000000000009.jpg"))[..., ::-1]
    image = cv2.resize(image, (320, 256), interpolation=cv2.INTER_AREA)
    images = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()[None] / 255
    with torch.no_grad():
        plain = model_from_checkpoint(official_weights, fuse=False)(images)
        fused = model_from_checkpoint(official_weights, fuse=True)(images)
    wanted = [232.869538, 61.081543, 171.315842, 123.759445, 0.694502, 0.929331]
    for found in (plain, fused):
        assert found.shape == (1, 5040, 85)
        assert found.double().sum().item() == pytest.approx(2002747.2128, abs=1)
        assert found[0, :, 4].argmax() == 4977
        np.testing.assert_allclose(found[0, 4977, [0, 1, 2, 3, 4, 5 + 45]].numpy(), wanted, rtol=0, atol=1e-3)


def test_transfer_to_another_class_count(official_weights: Path) -> None:
    """Everything but the three convolutions of the head: 349 - 6."""
    receiver = build_model("yolov5n.yaml", num_classes=10)
    before = receiver.head.m[0].weight.clone()
    transfer = transfer_weights(receiver, load_checkpoint(official_weights).state_dict)
    wanted = {f"model.24.m.{level}.{part}" for level in range(3) for part in ("weight", "bias")}
    assert set(transfer.left) == wanted
    assert (len(transfer.loaded), transfer.total) == (343, 349)
    assert str(transfer).startswith("343 of 349 tensors loaded; not loaded: model.24.m.0.")
    assert torch.equal(receiver.head.m[0].weight, before)
    giver = model_from_checkpoint(official_weights, fuse=False)
    assert torch.equal(receiver.model[4].cv1.conv.weight, giver.model[4].cv1.conv.weight)


def test_transfer_to_the_mgil_model(official_weights: Path) -> None:
    """The seven stride-2 layers are other ones; of the rest nothing is left out."""
    receiver = build_model("yolov5n-mgil.yaml", num_classes=80)
    state = load_checkpoint(official_weights).state_dict
    transfer = transfer_weights(receiver, state)
    stride2 = ("model.0.", "model.1.", "model.3.", "model.5.", "model.7.", "model.18.", "model.21.")
    assert all(key.startswith(stride2) for key in transfer.left)
    assert not any(key.startswith(stride2) for key in transfer.loaded)
    assert len(transfer.loaded) == 349 - 7 * 6  # a weight and BatchNorm's five each
    assert len(transfer.loaded) + len(transfer.left) == transfer.total == len(receiver.state_dict())


def test_transfer_can_leave_names_out(model: DetectionModel) -> None:
    receiver = build_model(TINY | {"anchors": [[5, 5, 6, 6, 7, 7]] * 3}, names=NAMES)
    transfer = transfer_weights(receiver, model.state_dict(), skip=(".anchors",))
    assert transfer.left == ("model.5.anchors",)
    assert receiver.head.anchors_px[2, 0].tolist() == [5, 5]


class Harm:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def harmful(mark: Path) -> dict[str, Any]:
    """By the name that must be told: an object that leaves a mark when it is unpickled carelessly."""
    command = f"touch {mark}"
    return {
        f"{os.system.__module__}.system": Harm(os.system, command),
        "eval": Harm(builtins.eval, f"open({str(mark)!r}, 'w')"),
        "torch.hub._get_torch_home": Harm(torch.hub._get_torch_home),
        "torch.serialization.load": Harm(torch.load, str(mark)),
        "open": Harm(open, str(mark), "w"),
    }


@pytest.mark.parametrize("name", list(harmful(Path("mark"))))
@pytest.mark.parametrize("place", ["model", "nested", "own", "state_dict"])
def test_code_in_a_pickle_is_refused_by_name(tmp_path: Path, content: dict[str, Any], name: str, place: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / "weights.pt"
    harm = harmful(mark)[name]
    bait = {
        "model": {"epoch": -1, "model": harm},
        "nested": {"model": None, "opt": [({"deep": (1, {"er": [harm]})},)]},
        "own": content | {"info": {"x": harm}},
        "state_dict": content | {"state_dict": {"model.0.conv.weight": harm}},
    }
    torch.save(bait[place], path)
    with pytest.raises(ValueError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert name in message and str(path) in message and "\n" not in message, message
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_bare_pickle_is_refused(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps({"model": Harm(os.mkdir, str(tmp_path / "mark"))}, protocol))
    with pytest.raises(ValueError, match=r"weights\.pt: not a PyTorch checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "mark").exists()


def archive(path: Path, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/version", "3\n")
    return path


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x02ctorch\nload\nX\x01\0\0\0a\x85R.", "torch.load"),
        (b"\x80\x02ccollections\nnamedtuple\nX\x01\0\0\0a\x85R.", "collections.namedtuple"),
        (b"\x80\x02cmodels.yolo\nModel\ncposix\nsystem\n\x86.", "posix.system"),
        # the name that is called hides in the memo, behind one that is known
        (
            b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x9400\x8c\x0bmodels.yolo\x8c\x05Model00h\0h\1\x93\x8c\2id\x85R.",
            "",
        ),
        (b"\x80\x02}X\x05\0\0\0modelcmodels.yolo\nModel\n)\x81s.", "no YOLOv5 model"),
        (b"\x80\x02]q\0.", "no YOLOv5 model"),
        (b"garbage", "damaged"),
        (b"", "damaged"),
        (b"\x80\x02(", "damaged"),
    ],
)
def test_strange_pickles(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        load_checkpoint(archive(tmp_path / "weights.pt", data))
    message = str(caught.value)
    assert words in message and "weights.pt" in message and "\n" not in message, message


def test_yolov5_checkpoints_with_other_things_in_them(tmp_path: Path) -> None:
    for thing in (torch.zeros(3), {"model": torch.zeros(3)}, {"ema": torch.zeros(3), "model": [1]}, {}):
        torch.save(thing, tmp_path / "weights.pt")
        with pytest.raises(ValueError, match=r"weights\.pt: holds no YOLOv5 model"):
            load_checkpoint(tmp_path / "weights.pt")


def test_damaged_files(tmp_path: Path, model: DetectionModel) -> None:
    whole = tmp_path / "whole.pt"
    save_checkpoint(whole, model, {})
    data = whole.read_bytes()
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as file:
        file.writestr("letter.txt", "no checkpoint")
    damaged = {
        "truncated.pt": data[: len(data) // 2],
        "headless.pt": data[100:],
        "tailless.pt": data[:-30],
        "empty.pt": b"",
        "text.pt": b"version https://git-lfs.github.com/spec/v1\n",
        "zeros.pt": bytes(1000),
        "other.pt": (tmp_path / "other.pt").read_bytes(),
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="not a PyTorch checkpoint") as caught:
            load_checkpoint(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_byte_gives_weights_or_one_line(tmp_path: Path, model: DetectionModel, seed: int) -> None:
    save_checkpoint(tmp_path / "weights.pt", model, {})
    data = bytearray((tmp_path / "weights.pt").read_bytes())
    random = np.random.default_rng(seed)
    for place in random.integers(0, 2500 if seed % 2 else len(data), 3):  # the pickle comes first in the file
        data[place] ^= int(random.integers(1, 256))
    (tmp_path / "weights.pt").write_bytes(data)
    try:
        model_from_checkpoint(tmp_path / "weights.pt")
    except ValueError as error:
        assert "weights.pt" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("given", ["absent.pt", ".", ""])
def test_no_file(tmp_path: Path, given: str) -> None:
    with pytest.raises(FileNotFoundError, match="do not exist") as caught:
        load_checkpoint(tmp_path / given)
    assert str(tmp_path / given) in str(caught.value)


def without(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: without(c, "architecture"), "architecture"),
        (lambda c: without(c, "state_dict"), "state_dict"),
        (lambda c: without(c, "names"), "names"),
        (lambda c: without(c, "imgsz"), "imgsz"),
        (lambda c: c | {"version": VERSION + 1}, "version 2"),
        (lambda c: without(c, "version"), "version None"),
        (lambda c: c | {"task": "segment"}, "its task is 'segment'; this program knows detect"),
        (lambda c: c | {"task": ["detect"]}, "its task is ['detect']"),
        (lambda c: c | {"imgsz": "large"}, "large"),
        (lambda c: c | {"imgsz": 0}, "imgsz 0"),
        (lambda c: c | {"names": 3}, "int"),
        (lambda c: c | {"names": []}, "nc is 0"),
        (lambda c: c | {"architecture": 3}, "int"),
        (lambda c: c | {"architecture": {}}, "backbone"),
        (lambda c: c | {"architecture": c["architecture"] | {"backbone": [[-1, 1, "Cnov", [8]]]}}, "Cnov"),
        (lambda c: c | {"state_dict": {"model.0.conv.weight": 3}}, "tensor"),
        (lambda c: c | {"state_dict": {}}, "0 of "),
        (lambda c: c | {"state_dict": c["state_dict"] | {"model.0.bn.bias": torch.zeros(3)}}, "model.0.bn.bias"),
        (lambda c: c | {"names": [*c["names"], "more"]}, "model.5.m.0.weight"),
    ],
)
def test_incomplete_content(tmp_path: Path, content: dict[str, Any], change: Any, words: str) -> None:
    torch.save(change(content), tmp_path / "weights.pt")
    with pytest.raises(ValueError) as caught:
        model_from_checkpoint(tmp_path / "weights.pt")
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "weights.pt")) and words in message and "\n" not in message, message


def test_a_file_without_a_task_is_a_detector(tmp_path: Path, content: dict[str, Any]) -> None:
    assert content["task"] == "detect"
    torch.save(without(content, "task"), tmp_path / "weights.pt")
    assert load_checkpoint(tmp_path / "weights.pt").task == "detect"


def test_half_on_request(model: DetectionModel) -> None:
    checkpoint = Checkpoint(Path("x.pt"), model.architecture, NAMES, 96, dict(model.state_dict()))
    half = model_from_checkpoint(checkpoint, half=True)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float16}
