"""What detect.py and load_model see and say: the pixels of val.py, its probabilities, and sizes that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mgil.tasks.base import Loading
from mgil.tasks.classify.crops import CROPS, eval_crop
from mgil.tasks.classify.options import CROP_MODES, PredictOptions, ValOptions
from mgil.tasks.classify.predictor import STAGES, ClassPredictor
from mgil.tasks.classify.reading.config import class_data
from mgil.tasks.classify.reading.load import read_classes
from mgil.tasks.registry import task_named
from tests.tasks.classify.glyph_sets import NAMES, picture

CPU = torch.device("cpu")
SIZES_HW = [(32, 32), (20, 50), (91, 33), (7, 9), (300, 200)]


class Watching(nn.Module):
    """Keeps what it sees; its logits are the mean colours."""

    names, any_size, imgsz, max_stride, crop, probabilities = NAMES, True, 32, 1, "center", False

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen += list((images * 255).round().byte())
        return images.mean(dim=(2, 3))


def predictor(model: Any, size_hw: tuple[int, int] = (32, 32), **options: Any) -> ClassPredictor:
    return ClassPredictor(model, PredictOptions(**options), device=CPU, size_hw=size_hw)


def test_the_words_are_the_crops() -> None:
    assert CROP_MODES == CROPS


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.usefixtures("private_cache")
def test_detect_sees_the_pixels_of_val(crop: str, tmp_path: Path) -> None:
    images = []
    for number, (name, size_hw) in enumerate(zip(NAMES * 2, SIZES_HW, strict=False)):
        images.append(picture(name, number, size_hw))
        path = tmp_path / "train" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), images[-1][..., ::-1])
    split = read_classes(class_data(tmp_path), "train", strict=True, report=lambda _line: None)
    order = [int(Path(path).stem) for path in split.image_paths]
    model = Watching()
    model.crop = crop
    loader = task_named("classify").eval_loader(split, 32, model, ValOptions(), Loading(2, ahead=False))
    of_val = torch.cat([batch.images for batch in loader])
    found = predictor(model)([images[number] for number in order], [""] * len(order))
    assert torch.equal(torch.stack(model.seen), of_val) and len(of_val) == len(SIZES_HW)
    expected = (of_val.double() / 255).mean(dim=(2, 3)).softmax(dim=1)
    np.testing.assert_allclose([result.probs for result in found], expected, atol=1e-6)
    assert all(result.input_hw == (32, 32) and tuple(result.speed) == STAGES for result in found)


def test_the_crop_may_be_another_than_the_networks() -> None:
    model, image = Watching(), picture("flat", 1, (20, 60))
    seen = []
    for options in ({}, {"crop_mode": "squash"}):
        predictor(model, **options)([image], [""])
        seen.append(model.seen[-1])
    for found, how in zip(seen, ("center", "squash"), strict=True):
        np.testing.assert_array_equal(found.permute(1, 2, 0), eval_crop(image, 32, how))
    assert not torch.equal(*seen)


def test_no_picture_is_no_result() -> None:
    assert predictor(Watching())([], []) == []


def test_a_network_that_gives_no_numbers_says_nothing() -> None:
    class Broken(Watching):
        def forward(self, images: Tensor) -> Tensor:
            found = images.mean(dim=(2, 3))
            found[0, 1] = float("nan")
            return found

    first, second = predictor(Broken())([picture("flat", 1)] * 2, ["", ""])
    assert len(first) == 0 and np.isnan(first.probs).all() and len(second) == 1


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"^--imgsz 32 64: a network for classes sees squares; give one side$"):
        predictor(Watching(), (32, 64))
    fixed = Watching()
    fixed.any_size = False
    with pytest.raises(ValueError, match=r"^--imgsz 64: the network takes 32 px alone; leave --imgsz out$"):
        predictor(fixed, (64, 64))
