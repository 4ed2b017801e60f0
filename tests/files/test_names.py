"""Hints behind unknown names: only near ones, and what YOLOv5 has and this project does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mgil.datasets.reading.config import find_data_yaml, load_data_config
from mgil.files.names import hint_for, nearest
from mgil.files.recipe import load_recipe
from mgil.networks.config import load_architecture
from mgil.networks.detector import build_model
from mgil.tasks.detect.recipe import DetectRecipe

OF_YOLOV5 = "; YOLOv5 has it, this project does not; "


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("mosiac", ["mosaic", "mixup"], ["mosaic"]),
        ("MOSAIC", ["mosaic"], ["mosaic"]),
        ("lr", ["lr0", "lrf", "obj"], ["lr0", "lrf"]),  # equally near: both
        ("voc", ["nosuch", "coco"], []),
        ("yolov8n", ["yolov5n", "yolov5s"], []),  # another number is another thing
        ("yolo5n", ["yolov5n", "yolov5s"], ["yolov5n"]),
        ("yolovn", ["yolov5n"], ["yolov5n"]),
        ("coco12", ["coco", "coco128"], ["coco128"]),
        ("coco8", ["coco", "coco128"], []),
        ("x", [], []),
    ],
)
def test_what_is_near(name: str, known: list[str], near: list[str]) -> None:
    assert nearest(name, known) == near
    assert bool(hint_for(name, known)) == bool(near)


def test_an_ending_makes_no_names_alike() -> None:
    assert hint_for("nosuch.yaml", ["voc.yaml"], ending=".yaml") == ""
    assert hint_for("vocc.yaml", ["voc.yaml"], ending=".yaml", quoted=False) == "did you mean voc.yaml?"
    assert hint_for("tarin", ["train"]) == "did you mean 'train'?"


def test_what_yolov5_has_comes_before_what_is_near() -> None:
    not_here = {r"(net\d)-seg": r"use \1.yaml"}
    said = hint_for("NET5-seg.yaml", ["net5.yaml"], not_here, ending=".yaml")
    assert said == "YOLOv5 has it, this project does not; use NET5.yaml"
    assert hint_for("net5-segm.yaml", ["net5-sgm.yaml"], not_here, ending=".yaml") == "did you mean 'net5-sgm.yaml'?"


# Every name in YOLOv5's models/, data/ and data/hyps/ that is not here, and a word of what is said.
MODELS = [
    *((f"yolov5{scale}6.yaml", f"yolov5{scale}-p6.yaml") for scale in "nsmlx"),
    *((f"yolov5{scale}-seg.yaml", f"use yolov5{scale}.yaml") for scale in "nsmlx"),
    *((f"yolov5-{kind}.yaml", "models/hub") for kind in ("p7", "fpn", "panet", "bifpn")),
    *((f"yolov5s-{kind}.yaml", "models/hub") for kind in ("ghost", "transformer", "LeakyReLU")),
    *((f"yolov3{kind}.yaml", "models/hub") for kind in ("", "-spp", "-tiny")),
]
SETS = ["Argoverse", "GlobalWheat2020", "Objects365", "SKU-110K", "VisDrone", "xView", "visdrone"]
DATA = [
    *((f"{name}.yaml", "images and labels") for name in SETS),
    *((f"ImageNet{number}.yaml", "train/ and val/") for number in ("", 10, 100, 1000)),
    ("coco128-seg.yaml", "use coco128.yaml"),
    ("VisDrone", "images and labels"),
]
HYPS = [
    *((name, "use hyp.scratch-low.yaml") for name in ("hyp.Objects365.yaml", "hyp.VOC.yaml", "Objects365")),
    *((name, "set hsv_h") for name in ("hyp.no-augmentation.yaml", "no-augmentation")),
]


read_recipe = partial(load_recipe, DetectRecipe)


@pytest.mark.parametrize(
    ("read", "name", "instead"),
    [(read, *case) for read, cases in ((load_architecture, MODELS), (find_data_yaml, DATA), (read_recipe, HYPS))
     for case in cases],
)  # fmt: skip
def test_files_that_yolov5_has(
    read: Callable[[str], Any], name: str, instead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        read(name)
    message = str(caught.value)
    assert OF_YOLOV5 in message and instead in message.split(OF_YOLOV5)[1]
    assert "did you mean" not in message and name in message


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (load_architecture, ["nosuch.yaml", "yolov8n.yaml", "yolo11n.yaml", "resnet101.yaml"]),
        (find_data_yaml, ["nosuch.yaml", "coco8.yaml", "mine.yaml"]),
        (partial(load_recipe, DetectRecipe), ["nosuch.yaml", "mine"]),
    ],
)
def test_what_is_not_near_gets_the_list(
    read: Callable[[str], Any], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in names:
        with pytest.raises(FileNotFoundError, match=r"shipped ones(:| are) \w") as caught:
            read(name)
        assert "did you mean" not in str(caught.value) and "YOLOv5 has it" not in str(caught.value)


def test_keys_and_layers_that_yolov5_has(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown key 'anchors'; YOLOv5 has it, this .* the model's YAML"):
        load_recipe(DetectRecipe, {"anchors": 3})
    row, head = [-1, 1, "SPP", [64]], [[[0], 1, "Detect", ["nc", "anchors"]]]
    with pytest.raises(ValueError, match=r"unknown layer 'SPP'; YOLOv5 has it, this project does not; use SPPF"):
        build_model({"nc": 1, "anchors": [[1, 2]], "backbone": [row], "head": head})
    (tmp_path / "d.yaml").write_text("train: x\nnames: [a]\nzzzz: 1\n")
    with pytest.raises(ValueError, match=r"unknown key 'zzzz'; known keys: train, val"):
        load_data_config(tmp_path / "d.yaml")
