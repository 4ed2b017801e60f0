"""The page's JavaScript, run by node, against Python's letterbox, suppression and metadata."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mgil.datasets.batches.letterbox import letterbox_image
from mgil.tasks.detect.nms import non_max_suppression

Call = Callable[..., Any]


def packed(values: np.ndarray | bytes) -> str:
    return base64.b64encode(values if isinstance(values, bytes) else values.tobytes()).decode()


@pytest.mark.parametrize(
    ("size_hw", "input_hw"),
    [
        ((64, 64), (64, 64)),  # as it is
        ((128, 128), (64, 64)),  # by a whole number
        ((333, 500), (64, 64)),
        ((480, 640), (160, 160)),
        ((201, 67), (96, 160)),  # odd pads
        ((7, 5), (64, 96)),  # grows
        ((1, 200), (64, 64)),  # one row, which would vanish
        ((130, 64), (65, 64)),  # 65 / 130 * 64 = 32; the other side is exact
        ((80, 25), (64, 64)),
        ((64, 65), (32, 32)),  # 31.5: the shorter side is rounded up
        ((427, 640), (160, 160)),  # 106.75
        ((97, 640), (64, 96)),  # 14.55
        ((640, 97), (64, 96)),
    ],
)
def test_letterbox_is_pythons(call: Call, size_hw: tuple[int, int], input_hw: tuple[int, int]) -> None:
    height, width = size_hw
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    rgba = np.dstack((image, np.full(size_hw, 255, np.uint8)))
    found = call("letterbox", data=packed(rgba), width=width, height=height, inputHw=input_hw)
    expected, gain, pad = letterbox_image(image, input_hw)
    assert found["gain"] == pytest.approx(gain.tolist())
    assert found["pad"] == pad.tolist()
    pixels = np.frombuffer(base64.b64decode(found["data"]), np.uint8).reshape(*input_hw, 4)
    assert (pixels[..., 3] == 255).all()
    difference = np.abs(pixels[..., :3].astype(int) - expected)
    assert difference.max() <= 1  # OpenCV enlarges with whole numbers
    assert difference.mean() < 0.15  # and rounds some halves up
    planes = np.frombuffer(base64.b64decode(found["planes"]), np.float32).reshape(3, *input_hw)
    np.testing.assert_allclose(planes, pixels[..., :3].transpose(2, 0, 1) / 255, atol=1e-7)


def some_predictions(count: int, classes: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    values = torch.rand((1, count, 5 + classes), generator=random)
    values[..., :2] *= 64
    values[..., 2:4] = values[..., 2:4] * 30 + 2
    return values


@pytest.mark.parametrize(
    ("count", "classes", "min_score", "max_iou"),
    [
        (400, 3, 0.25, 0.45),
        (400, 1, 0.05, 0.0),
        (300, 80, 0.5, 0.7),
        (50, 2, 0.0, 1.0),
        (200, 4, 0.99, 0.45),
        (0, 2, 0.1, 0.5),
    ],
)
def test_suppression_is_pythons(call: Call, count: int, classes: int, min_score: float, max_iou: float) -> None:
    predictions = some_predictions(count, classes, seed=count + classes)
    if count > 10:
        predictions[0, 3, 2] = float("nan")
        predictions[0, 5, 6 if classes > 1 else 5] = float("inf")
        predictions[0, 7, 4] = float("nan")
    expected = non_max_suppression(predictions, min_score, max_iou, max_det=1000)[0].numpy()
    options = {"hasNms": False, "minScore": min_score, "maxIou": max_iou}
    found = call("detections", data=packed(predictions.numpy()), dims=predictions.shape, options=options)
    rows = [[box[key] for key in ("x1", "y1", "x2", "y2", "score", "classIndex")] for box in found]
    np.testing.assert_allclose(np.array(rows).reshape(-1, 6), expected, rtol=1e-6, atol=1e-4)
    assert count == 0 or min_score == 0.99 or len(rows) > 3


def test_rows_of_a_model_with_suppression_inside(call: Call) -> None:
    rows = np.zeros((1, 5, 6), np.float32)
    rows[0, 0] = (1, 2, 11, 12, 0.5, 2)
    rows[0, 1] = (3, 4, 30, 40, 0.9, 1)
    rows[0, 2] = (3, 4, 30, 40, 0.1, 1)
    rows[0, 3] = (3, 4, 30, 40, 0.9, 3)  # a class that has no name
    rows[0, 4] = (3, 4, 30, 40, 0.9, -1)
    place = {"gain": [0.5, 0.5], "pad": [0, 8]}
    options = {"hasNms": True, "classCount": 3, "minScore": 0.25, "maxIou": 0.45}
    found = call(
        "detections", data=packed(rows), dims=rows.shape, options=options, place=place, width=50, height=60
    )  # fmt: skip
    assert [(box["x1"], box["y1"], box["x2"], box["y2"], box["classIndex"]) for box in found] == [
        (6, 0, 50, 60, 1),  # cut at the picture's edges
        (2, 0, 22, 8, 2),
    ]
    unnamed = call("detections", data=packed(rows), dims=rows.shape, options=options | {"classCount": 0})
    assert sorted(box["classIndex"] for box in unnamed) == [1, 2, 3]


NAMES = [
    {0: "person", 1: "helmet"},
    {0: "it's", 1: 'say "x"', 2: "both ' and \""},
    {1: "b", 0: "a"},
    {0: "tab\there", 1: "back\\slash", 2: "ends\\"},
    {0: "ヘルメット", 1: "\u200bzero", 2: "\U0001f600", 3: "\xa0", 4: "\x07"},
    {0: "{1: 'x'}", 1: "a, b", 2: ""},
    ["a", "b"],
]


@pytest.mark.parametrize("names", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("write", [repr, ascii, json.dumps])
def test_names_are_read_as_they_were_written(call: Call, names: Any, write: Any) -> None:
    by_index = names if isinstance(names, dict) else dict(enumerate(names))
    assert call("names", text=write(names)) == [by_index[index] for index in range(len(by_index))]


def test_blanks_and_a_last_comma_do_no_harm_in_names(call: Call) -> None:
    assert call("names", text="\n{ 0 :'a' ,\n1:\t\"b\", }\n") == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[]", "{0: 'a'", "{0: 'a'}}", "{0 'a'}", "{0: a}", "{-1: 'a'}", "{0: 'a' 1: 'b'}", "{'x': 'a'}"]
    + [
        "{1: 'a'}",
        "{0: 'a', 5: 'b'}",
        "['a'",
        "['a' 'b']",
        "None",
        "__import__('os')",
        "{0: 'a'} + 1",
        "{9999999: 'a'}",
    ],
)
def test_names_that_are_none(call: Call, text: str) -> None:
    with pytest.raises(ValueError, match="class names .* cannot be read"):
        call("names", text=text)


def small_proto(metadata: dict[str, str]) -> bytes:
    onnx = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    value = [helper.make_tensor_value_info(name, floats, (1, 3, 64, 64)) for name in ("images", "output0")]
    graph = helper.make_graph([helper.make_node("Relu", ["images"], ["output0"])], "small", value[:1], value[1:])
    proto = helper.make_model(graph, producer_name="test", model_version=2**40)
    helper.set_model_props(proto, metadata)
    return proto.SerializeToString()


def test_metadata_is_onnxs(call: Call) -> None:
    metadata = {"stride": "32", "names": "{0: 'person', 1: 'ヘルメット'}", "empty": "", "long": "x" * 70000}
    assert call("metadata", data=packed(small_proto(metadata))) == metadata
    assert call("file", data=packed(small_proto({}))) == {}


def test_damaged_files_end_in_one_sentence(call: Call) -> None:
    whole = small_proto({"stride": "32", "names": "{0: 'person'}"})
    random = np.random.default_rng(0)
    damaged = [whole[:end] for end in range(len(whole))] + [random.bytes(200) for _ in range(300)]
    damaged += [b"\x3a" + b"\xff" * 9 + b"\x01", b"\x3a\xff\xff\xff\xff\x0f", b"\x80" * 40]  # lengths beyond the file
    answers = call("manyMetadata", files=[packed(content) for content in damaged])
    assert {answer["kind"] for answer in answers if "error" in answer} == {"Error"}
    kept = [answer["value"] for answer in answers[: len(whole)] if "value" in answer]
    assert all(value.items() <= {"stride": "32", "names": "{0: 'person'}"}.items() for value in kept)
    assert len(kept) <= 4  # cut exactly between two fields
    assert all("error" in answer for answer in answers[-3:])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "best.onnx is empty"),
        (b"PK\x03\x04rest", "it seems to be a PyTorch file. Export it first: python export.py"),
        (b"<!doctype html><p>Not found", "is no ONNX model"),
        (b"\x08\x08", "it holds no network"),
    ],
)
def test_files_that_are_no_models(call: Call, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call("file", data=packed(content))


def session(shape: list[Any], kind: str = "float32", outputs: tuple[str, ...] = ("output0",)) -> dict[str, Any]:
    return {"inputNames": ["images"], "outputNames": outputs, "inputMetadata": [{"shape": shape, "type": kind}]}


def test_the_size_is_the_models(call: Call) -> None:
    layout = call("layout", session=session([1, 3, 64, 96], outputs=("raw", "output0")), metadata={"nms": "True"})
    assert (layout["inputHw"], layout["outputName"], layout["hasNms"]) == ([64, 96], "output0", True)
    assert layout["leastScore"] == 0
    metadata = {"nms": "True", "conf_thres": "0.4"}
    assert call("layout", session=session([1, 3, 64, 96]), metadata=metadata)["leastScore"] == 0.4
    assert call("layout", session=session([1, 3, 64, 96]), metadata=metadata | {"nms": "False"})["leastScore"] == 0
    free = session(["batch", 3, "height", "width"], outputs=("output",))
    layout = call("layout", session=free, metadata={"imgsz": "[70, 160]", "stride": "32", "names": "['a']"})
    assert (layout["inputHw"], layout["outputName"], layout["names"]) == ([96, 160], "output", ["a"])
    assert call("layout", session=free, metadata={"imgsz": "320"})["inputHw"] == [320, 320]
    assert call("layout", session=free, metadata={})["inputHw"] == [640, 640]


@pytest.mark.parametrize(
    ("shape", "kind", "metadata", "message"),
    [
        ([1, 1000], "float32", {}, "but this page gives images"),
        ([1, 1, 64, 64], "float32", {}, "but this page gives images"),
        ([4, 3, 64, 64], "float32", {}, "4 pictures at a time; export it with --batch-size 1"),
        ([1, 3, 64, 64], "float16", {}, "float16 numbers.* without --half"),
        ([1, 3, 9000, 64], "float32", {}, "9000 px; this page takes 1 to 4096"),
        ([1, 3, 64, 64], "float32", {"task": "segment"}, "task segment"),
        ([1, 3, 64, 64], "float32", {"names": "person"}, "class names .person. cannot be read"),
    ],
)
def test_inputs_that_do_not_fit(
    call: Call, shape: list[Any], kind: str, metadata: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call("layout", session=session(shape, kind), metadata=metadata)


@pytest.mark.parametrize(
    ("dims", "layout", "message"),
    [
        ([1, 1000], {"hasNms": False, "names": None}, "but a YOLOv5 detector gives"),
        ([1, 84, 5], {"hasNms": False, "names": None}, "but a YOLOv5 detector gives"),
        ([1, 84, 8400], {"hasNms": False, "names": ["a"] * 80}, "names 80 classes, but .* room for 8395"),
        ([1, 300, 7], {"hasNms": True, "names": None}, "boxes, 6"),
    ],
)
def test_outputs_that_do_not_fit(call: Call, dims: list[int], layout: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call("output", dims=dims, layout=layout)
    assert call("output", dims=[1, 252, 7], layout={"hasNms": False, "names": None}) == ["class 0", "class 1"]


@pytest.mark.parametrize(
    ("values", "factor"),
    [((64, 64, 640, 500), 7), ((64, 48, 640, 500), 10), ((640, 480, 320, 500), 0.5), ((5, 5, 5, 5), 1)],
)
def test_small_pictures_are_enlarged_a_whole_number_of_times(
    call: Call, values: tuple[int, ...], factor: float
) -> None:
    assert call("magnification", values=values) == factor
