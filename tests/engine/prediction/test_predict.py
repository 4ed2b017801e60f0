"""Detection in Python: boxes back in the image's pixels, all kinds of input, and agreement with upstream YOLOv5."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.feature_maps import feature_grid, recorded_maps
from mgil.engine.prediction.load import load_model
from mgil.engine.prediction.run import run_detect
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.files import fonts
from mgil.networks.detector import build_model
from mgil.tasks.detect.predictor import Detector
from mgil.tasks.detect.results import Results
from tests.tasks.detect.judging import detector


class RedFinder(nn.Module):
    """Stands in for a network: one box around the red pixels of each image, score 0.9, class 1 of 3."""

    def __init__(self) -> None:
        super().__init__()
        self.names = ("zero", "one", "two")
        self.stride, self.max_stride = torch.tensor([8.0, 16.0, 32.0]), 32
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(images.shape))
        rows = []
        for image in images:
            red = (image[0] > 0.6) & (image[1] < 0.4) & (image[2] < 0.4)
            y, x = (index.float() for index in torch.nonzero(red, as_tuple=True))
            x1, y1, x2, y2 = x.min(), y.min(), x.max() + 1, y.max() + 1
            rows.append([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0.9, 0, 1, 0])
        return torch.tensor(rows)[:, None]  # (B, 1, 8)


def red_finder(size_hw: tuple[int, int] = (64, 64), **options: Any) -> Detector:
    return detector(RedFinder(), device=torch.device("cpu"), size_hw=size_hw, **options)  # type: ignore[arg-type]


def scene(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray:
    image = np.full((height, width, 3), 90, np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = (255, 0, 0)
    return image


@pytest.mark.parametrize(
    ("size_hw", "image_hw", "box", "input_hw"),
    [
        ((64, 64), (64, 64), (10, 20, 30, 40), (64, 64)),
        ((64, 64), (48, 64), (10, 20, 30, 40), (64, 64)),
        ((64, 64), (30, 64), (10, 20, 30, 28), (32, 64)),  # the smallest rectangle
        ((64, 64), (64, 20), (5, 20, 15, 40), (64, 32)),
        ((64, 64), (256, 128), (40, 80, 100, 200), (64, 32)),  # shrunk by 4
        ((128, 128), (32, 32), (8, 4, 20, 24), (128, 128)),  # enlarged by 4
        ((64, 96), (64, 64), (10, 20, 30, 40), (64, 64)),
        ((70, 70), (96, 96), (12, 12, 60, 60), (96, 96)),  # 70 is rounded up to a multiple of 32
        ((64, 64), (1, 64), (10, 0, 30, 1), (32, 64)),
    ],
)
def test_boxes_come_back_in_image_pixels(
    size_hw: tuple[int, int], image_hw: tuple[int, int], box: tuple[int, int, int, int], input_hw: tuple[int, int]
) -> None:
    result = red_finder(size_hw, report=lambda _line: None)(scene(*image_hw, box))
    assert isinstance(result, Results)
    pixel = max(1.0, max(image_hw) / max(size_hw))  # one pixel of whichever is coarser
    assert np.abs(result.boxes_xyxy - box).max() <= pixel
    assert result.boxes_xyxy.dtype == np.float32
    assert result.scores == pytest.approx([0.9])
    assert result.classes.tolist() == [1]
    assert result.input_hw == input_hw
    assert set(result.speed) == {"preprocess", "inference", "nms"}


def test_all_kinds_of_input_agree(tmp_path: Path) -> None:
    image = scene(48, 64, (10, 20, 30, 40))
    Image.fromarray(image).save(tmp_path / "a.png")
    chw = torch.from_numpy(image).permute(2, 0, 1)
    inputs = [str(tmp_path / "a.png"), tmp_path / "a.png", image, Image.fromarray(image), chw, chw.float() / 255]
    find = red_finder()
    for given in inputs:
        result = find(given)
        assert isinstance(result, Results)
        assert np.array_equal(result.image, image)
        assert np.abs(result.boxes_xyxy - (10, 20, 30, 40)).max() < 0.01
    many = find(inputs)
    assert isinstance(many, list)
    assert [result.path for result in many] == [str(tmp_path / "a.png")] * 2 + [
        f"image{index}" for index in range(2, 6)
    ]
    assert len(find(torch.stack((chw, chw)))) == 2
    assert find([]) == []


def test_a_list_of_mixed_shapes_keeps_its_order_and_shares_batches() -> None:
    find = red_finder()
    boxes = [(index, 2, index + 8, 12) for index in range(20)]
    images = [scene(64 if index % 3 else 32, 64, box) for index, box in enumerate(boxes)]
    results = find(images)
    assert isinstance(results, list)
    for result, box in zip(results, boxes, strict=True):
        assert np.abs(result.boxes_xyxy - box).max() < 0.01
    assert len(find.model.shapes) == 4  # two shapes in each of two chunks


def test_exif_rotation_of_a_pil_image() -> None:
    turned = Image.fromarray(scene(48, 64, (10, 20, 30, 40)))
    exif = turned.getexif()
    exif[274] = 6  # shown turned by 90 degrees
    turned.info["exif"] = exif.tobytes()
    result = red_finder()(turned)
    assert isinstance(result, Results)
    assert result.image.shape == (64, 48, 3)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 5), np.uint8), "array of shape"),
        (np.zeros((0, 4, 3), np.uint8), "array of shape"),
        (np.zeros((1, 4, 4, 3), np.uint8), "array of shape"),
        (np.zeros((4, 4, 3)), "array of float64"),
        (torch.zeros(4, 4, 3), "tensor of shape"),
        (torch.full((3, 4, 4), 255.0), "values from 255 to 255"),
        (torch.full((3, 4, 4), float("nan")), "values from nan"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "tensor of torch.int64"),
        (7, "int is no image"),
        (None, "NoneType is no image"),
    ],
)
def test_what_is_no_image_is_said_so(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        red_finder()(image)


def test_missing_corrupt_and_folder_paths(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(FileNotFoundError, match="gone.jpg"):
        red_finder()(str(tmp_path / "gone.jpg"))
    with pytest.raises(ValueError, match="bad.jpg"):
        red_finder()(tmp_path / "bad.jpg")
    with pytest.raises(ValueError, match="is a folder"):
        red_finder()(tmp_path)
    with pytest.raises(ValueError, match="is a pattern; give a list of its files"):
        red_finder()(str(tmp_path / "*.jpg"))
    with pytest.raises(ValueError, match="bad.jpg.* cannot be"):
        red_finder()(f"{tmp_path}\\bad.jpg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conf": 1.5}, "--conf-thres 1.5 is not a number from 0 to 1"),
        ({"iou": -0.1}, "--iou-thres -0.1 is not a number"),
        ({"max_det": 0}, "--max-det 0 is not an integer of 1 or more"),
        ({"classes": [0, 3]}, "indices from 0 to 2"),
        ({"classes": []}, "indices from 0 to 2"),
        ({"size_hw": (0, 64)}, "--imgsz 0 64: the smallest size is 32"),
    ],
)
def test_parameters_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        red_finder(**options)


def test_class_filter_and_threshold() -> None:
    image = scene(64, 64, (10, 20, 30, 40))
    assert [
        len(red_finder(**options)(image)) for options in ({"classes": [1]}, {"classes": [0, 2]}, {"conf": 0.95})
    ] == [
        1,
        0,
        0,
    ]


# A real network ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    save_checkpoint(path, build_model("yolov5n-mgil.yaml", names=("cat", "dog"), imgsz=64), {"epoch": 0})
    return path


def test_load_model_takes_the_size_from_the_checkpoint(checkpoint: Path) -> None:
    model = load_model(checkpoint, device="cpu", conf=0, max_det=5)
    assert model.size_hw == (64, 64)
    assert model.names == ("cat", "dog")
    result = model(np.zeros((40, 60, 3), np.uint8))
    assert isinstance(result, Results)
    assert 0 < len(result) <= 5
    assert (result.boxes_xyxy >= 0).all()
    assert (result.boxes_xyxy <= (60, 40, 60, 40)).all()
    assert (np.diff(result.scores) <= 0).all()


def test_a_loaded_model_takes_no_options(checkpoint: Path) -> None:
    """YOLOv5's hub models are told `model.conf = 0.9`; here nobody would read it."""
    model = load_model(checkpoint, device="cpu", conf=0.1)
    for name, value in (("conf", 0.9), ("classes", [0]), ("size_hw", (32, 32))):
        with pytest.raises(AttributeError) as caught:
            setattr(model, name, value)
        assert str(caught.value).endswith(f"keywords of load_model: load_model(weights, {name}={value!r})")
    assert model.size_hw == (64, 64)
    for names, said in ((("lion",), "1 for the model's 2 classes"), ("ab", "give the name of each class"),
                        ([1, 2], "give the name of each class"), (("a", "b\n"), "class 1 .* cannot be printed"),
                        ({1: "a", 2: "b"}, "give the name of each class"), (None, "names None")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            model.names = names  # type: ignore[assignment]
    model.names = {0: "lion", 1: "wolf"}  # type: ignore[assignment]  # YOLOv5's way
    image = np.zeros((40, 60, 3), np.uint8)
    expected = model(image)
    assert expected.names == ("lion", "wolf")
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.names == ("lion", "wolf")
        np.testing.assert_array_equal(other(image).boxes_xyxy, expected.boxes_xyxy)


@pytest.mark.parametrize(
    ("imgsz", "size_hw"),
    [
        (None, (64, 64)),
        (96, (96, 96)),
        (np.int64(96), (96, 96)),
        (torch.tensor(96), (96, 96)),
        ([96], (96, 96)),
        ([64, 96], (64, 96)),
        (np.array([64, 96]), (64, 96)),
        ((np.int32(64), 96), (64, 96)),
    ],
)
def test_load_model_takes_whole_numbers_of_any_library(checkpoint: Path, imgsz: Any, size_hw: tuple[int, int]) -> None:
    found = load_model(checkpoint, device="cpu", imgsz=imgsz).size_hw
    assert found == size_hw and {type(side) for side in found} == {int}


@pytest.mark.parametrize("imgsz", [64.0, "64", "96", (64, 96, 128), (), [64.0, 96], (64, "96"), np.array([64.0])])
def test_load_model_refuses_other_sizes(checkpoint: Path, imgsz: Any) -> None:
    with pytest.raises(ValueError, match=r"^imgsz .*: give a whole number of pixels, or two: \(height, width\)$"):
        load_model(checkpoint, device="cpu", imgsz=imgsz)


def test_load_model_refuses(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone.pt"):
        load_model(tmp_path / "gone.pt")
    with pytest.raises(ValueError, match="CUDA"):
        load_model(checkpoint, device="cpu", half=True)


@pytest.mark.cuda
def test_half_precision_finds_the_same(official_weights: Path, shared_data: Path) -> None:
    path = shared_data / "coco128/images/train2017/000000000036.jpg"
    full, half = (load_model(official_weights, device="0", half=half)(path) for half in (False, True))
    assert isinstance(full, Results) and isinstance(half, Results)
    assert np.abs(full.boxes_xyxy - half.boxes_xyxy).max() < 2
    assert np.abs(full.scores - half.scores).max() < 0.01


# Printed by the package yolov5 7.0.14 (detect, float32, CPU, default thresholds): whole-pixel boxes, score, class.
UPSTREAM = {
    "000000000009.jpg": [
        (63, 342, 335, 479, 0.605644, "donut"),
        (369, 0, 628, 238, 0.422801, "bowl"),
        (248, 214, 564, 480, 0.397706, "broccoli"),
    ],
    "000000000036.jpg": [(179, 158, 461, 640, 0.693325, "person"), (8, 77, 437, 517, 0.339003, "umbrella")],
}


def test_official_weights_detect_what_upstream_detects(official_weights: Path, shared_data: Path) -> None:
    model = load_model(official_weights, device="cpu")
    assert model.size_hw == (640, 640)
    for name, expected in UPSTREAM.items():
        result = model(shared_data / "coco128/images/train2017" / name)
        assert isinstance(result, Results)
        assert [result.names[index] for index in result.classes] == [row[5] for row in expected]
        assert np.abs(result.boxes_xyxy - np.array([row[:4] for row in expected])).max() < 1
        assert result.scores == pytest.approx([row[4] for row in expected], abs=2e-3)


# Feature maps --------------------------------------------------------------------------------------------------------
def test_every_layer_but_the_head_is_recorded_once(checkpoint: Path) -> None:
    model = load_model(checkpoint, device="cpu")
    with recorded_maps(model.model) as maps:
        model(np.zeros((64, 64, 3), np.uint8))
    assert len(maps) == len(model.model.model) - 1
    assert all(value.ndim == 4 and value.shape[0] == 1 for value in maps.values())
    assert all(name.startswith(f"stage{index}_") for index, name in enumerate(maps))
    seen = {name: value.clone() for name, value in maps.items()}
    model(np.full((64, 64, 3), 255, np.uint8))
    assert all(torch.equal(seen[name], maps[name]) for name in seen), "the hooks are gone"


@pytest.mark.parametrize(("shape", "tiles"), [((40, 8, 8), (4, 8)), ((5, 2, 2), (1, 5)), ((9, 1, 3), (2, 8))])
def test_feature_grid_layout(shape: tuple[int, int, int], tiles: tuple[int, int]) -> None:
    grid = feature_grid(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    factor = -(-96 // max(shape[1:]))
    assert grid.shape == (tiles[0] * (shape[1] * factor + 4), tiles[1] * (shape[2] * factor + 4), 3)


def test_flat_and_broken_maps_can_be_drawn() -> None:
    assert feature_grid(np.zeros((1, 2, 2), np.float32)).dtype == np.uint8
    assert feature_grid(np.full((1, 2, 2), np.nan, np.float32)).dtype == np.uint8


# Letters -------------------------------------------------------------------------------------------------------------
def test_letters_that_no_font_has_are_said_once(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(fonts, "system_fonts", lambda: ())
    monkeypatch.setattr(fonts.LETTERS, "others", {})
    (tmp_path / "zh.yaml").write_text("val: .\nnames: [红猫, 蓝狗]\n", encoding="utf-8")
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / name)
    options = {"source": str(tmp_path), "data": str(tmp_path / "zh.yaml"), "device": "cpu", "project": str(tmp_path)}
    said = "no font here has the letters of class 0 '红猫' (and of 1 more); install e.g. Noto Sans CJK"
    for flags, times in (({"hide_labels": True}, 0), ({"nosave": True}, 0), ({}, 1)):
        lines: list[str] = []
        run_detect(DetectConfig(str(checkpoint), conf_thres=0.0, max_det=3, **options, **flags), lines.append)
        assert [line for line in lines if "no font" in line] == [said] * times
        assert any("红猫" in line and "红猫s" not in line for line in lines)
    assert not recwarn
    model = load_model(checkpoint, device="cpu", conf=0, max_det=3)
    model.names = ("红", "蓝")
    with pytest.warns(UserWarning, match="no font here has the letters of class 0 '红'"):
        model(np.zeros((64, 64, 3), np.uint8)).plot()
