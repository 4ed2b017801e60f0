"""The page's side of key points, run by node, against Python's crops, drawing and decoding."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from mgil.tasks.pose.config import guessed_skeleton
from mgil.tasks.pose.crops import CropMaps, crop_people
from mgil.tasks.pose.draw import limb_side, sides
from mgil.tasks.pose.exporting import export_notes
from mgil.tasks.pose.skeleton import COCO_NAMES, checked
from tests.browser.test_modules import packed, session
from tests.tasks.pose.mark_network import MarkNetwork

Call = Callable[..., Any]
COCO = guessed_skeleton(COCO_NAMES)


def smooth(height: int, width: int) -> np.ndarray:
    """Coloured clouds that reach all borders."""
    noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), max(height, width) / 40), None, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.parametrize("how", ["linear", "area"])
@pytest.mark.parametrize(
    ("size_hw", "size"),
    [
        ((64, 64), 64),
        ((80, 80), 64),
        ((96, 144), 64),
        ((333, 500), 64),
        ((500, 201), 128),
        ((30, 21), 32),
        ((1, 9), 32),
    ],
)
def test_pictures_are_squared_as_python_squares_them(call: Call, size_hw: tuple[int, int], size: int, how: str) -> None:
    height, width = size_hw
    image = smooth(height, width)
    rgba = np.dstack((image, np.full(size_hw, 255, np.uint8)))
    found = call("squared", data=packed(rgba), width=width, height=height, size=size, how=how)
    expected, maps = crop_people(image, np.array([[0, 0, width, height]]), size, how)
    assert found["gain"] == pytest.approx([maps.gains[0]] * 2)
    assert found["pad"] == pytest.approx(maps.pads[0].tolist())
    pixels = np.frombuffer(base64.b64decode(found["data"]), np.uint8).reshape(size, size, 4)
    assert (pixels[..., 3] == 255).all() and not pixels[0, 0, :3].any()  # black around it
    difference = np.abs(pixels[..., :3].astype(int) - expected[0].transpose(1, 2, 0))
    assert difference.max() <= 10  # OpenCV rounds places to 1/32 pixel; the border is a step to black
    assert difference.mean() < 0.7


def test_joints_go_back_to_the_picture(call: Call) -> None:
    rows = np.array([[[10.5, 20.25, 0.5], [4, 60, 0.02], [1, 2, np.nan], [np.inf, 2, 0.5], [3, 3, 7]]], np.float32)
    maps = CropMaps(np.array([0.4]), np.array([[6.0, -3.0]]))
    place = {"gain": [0.4, 0.4], "pad": [6, -3]}
    found = call("joints", data=packed(rows), names=list("abcde"), minScore=0.02, place=place)
    assert [joint["isShown"] for joint in found] == [True, False, False, False, False]  # more than the least score
    expected = maps.to_picture(rows[:, :2, :2].astype(float))[0] + 0.5  # from edges
    assert [(joint["x"], joint["y"]) for joint in found[:2]] == [pytest.approx(point) for point in expected.tolist()]
    assert [joint["name"] for joint in found] == list("abcde")


@pytest.mark.parametrize(
    "skeleton",
    [
        COCO,
        checked(["L wrist", "r_wrist", "neck"], [1, 0, 2], [0.1] * 3, [(0, 2)]),
        checked(["one", "two", "lone"], [1, 0, 2], [0.1] * 3, []),
        checked(["RHip", "LHip", "rightLeft", "left right", "kneeR", "Knee-L"], [1, 0, 3, 2, 5, 4], [0.1] * 6, []),
    ],
    ids=["coco", "letters", "numbers", "capitals"],
)
def test_the_skeleton_is_read_as_export_writes_it(call: Call, skeleton: Any) -> None:
    network = MarkNetwork()
    network.skeleton = skeleton
    text = export_notes(network)["skeleton"]  # type: ignore[arg-type]
    found = call("skeleton", text=text, names=list(skeleton.names))
    assert found == {"limbs": [list(pair) for pair in skeleton.limbs], "sides": list(sides(skeleton))}
    pairs = [(first, second) for first in range(3) for second in range(3)]
    assert call("limbSides", pairs=pairs) == [limb_side(*pair) for pair in pairs]


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "3", "[]", "{}", '{"flip": [0, 1]}', '{"flip": [0, 5, 1], "limbs": []}', '{"flip": [0, 2, 1]}']
    + ['{"flip": [0, 2, 1], "limbs": [[0, 3]]}', '{"flip": [0, 2, 1], "limbs": [[0]]}']
    + ['{"flip": [0, 2, 1], "limbs": [["0", "1"]]}', '{"flip": "021", "limbs": []}', '{"flip": [0, 2, 1], "limbs": 1}'],
)
def test_skeletons_that_are_none(call: Call, text: str) -> None:
    with pytest.raises(ValueError, match="skeleton"):
        call("skeleton", text=text, names=["head", "left_hand", "right_hand"])


METADATA = {"task": "pose", "names": "{0: 'head', 1: 'left', 2: 'right'}", "crop": "area", "stride": "32"} | {
    "skeleton": json.dumps({"flip": [0, 2, 1], "sigmas": [0.1] * 3, "limbs": [[0, 1]]})
}


def test_the_layout_of_a_model_for_key_points(call: Call) -> None:
    layout = call("layout", session=session([1, 3, 64, 64]), metadata=METADATA)
    assert (layout["task"], layout["crop"], layout["hasNms"], layout["inputHw"]) == ("pose", "area", False, [64, 64])
    assert layout["skeleton"] == {"limbs": [[0, 1]], "sides": [0, 1, 2]}
    assert call("output", dims=[1, 3, 3], layout=layout) == ["head", "left", "right"]
    for dims in ([1, 17, 3], [1, 3, 4], [2, 3, 3], [1, 9]):
        with pytest.raises(ValueError, match=r"but a network for 3 key points gives \(1, 3, 3\)"):
            call("output", dims=dims, layout=layout)


@pytest.mark.parametrize(
    ("shape", "metadata", "message"),
    [
        ([1, 3, 64, 96], {}, "96 × 64 px; networks for key points take squares"),
        ([1, 3, 64, 64], {"crop": "round"}, "its crops are none of linear, area"),
        ([1, 3, 64, 64], {"skeleton": "?"}, "the skeleton cannot be read; export it again"),
        ([1, 3, 64, 64], {"names": "['a', 'b']"}, "the skeleton does not say"),
        ([1, 3, 64, 64], {"task": "segment"}, "made for the task segment; this page knows detect and pose"),
    ],
)
def test_models_for_key_points_that_do_not_fit(
    call: Call, shape: list[int], metadata: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call("layout", session=session(shape), metadata=METADATA | metadata)
