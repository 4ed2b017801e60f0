"""The smallest batch that BatchNorm can be trained with, refused before a run's folder is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mgil.engine.training.config import TrainConfig
from mgil.engine.training.least_batch import check_least_batch, values_per_image
from mgil.networks.detector import DetectionModel, build_model
from mgil.tasks.detect.recipe import DetectRecipe
from mgil.tasks.registry import task_named
from tests.datasets.scenes import make_samples
from tests.engine.tiny import ANCHOR, NAMES, RECIPE, TINY, Playground, write_yaml
from tests.engine.training.running import train

# Classic layers alone; an upsampling head, whose finest level is the only one, does not hide the coarsest map.
CLASSIC: dict[str, Any] = {
    "anchors": 1,
    "backbone": [*[[-1, 1, "Conv", [8, 3, 2]]] * 4, [-1, 1, "Conv", [8, 3, 2]], [-1, 1, "SPPF", [8, 5]]],
    "head": [[-1, 1, "nn.Upsample", [None, 4, "nearest"]], [[6], 1, "Detect", ["nc", "anchors"]]],
}


@pytest.fixture(scope="module")
def model() -> DetectionModel:
    return build_model(TINY, names=NAMES, imgsz=64)


def complaint(
    model: DetectionModel, images: int = 40, frozen: tuple[torch.nn.Module, ...] = (), **options: Any
) -> str | None:
    """What is wrong with a run's batches, if anything."""
    config = TrainConfig(**{"batch_size": 1, "imgsz": 32} | options)
    samples = make_samples([f"{i}.png" for i in range(images)], [(20, 64)] * images)
    composer = task_named("detect").composer(samples, DetectRecipe(), config.imgsz, model, config)
    try:
        check_least_batch(model, frozen, composer, config)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("architecture", [TINY, CLASSIC], ids=["mgil", "classic"])
def test_one_value_is_what_pytorch_refuses(architecture: dict[str, Any]) -> None:
    model = build_model(architecture, names=NAMES, imgsz=64)
    for size_hw, values in (((32, 32), 1), ((32, 64), 2), ((64, 64), 2)):  # 2 stands for more, too
        assert values_per_image(model, (), size_hw) == values
        images = torch.zeros(1, 3, *size_hw)
        if values == 1:
            with pytest.raises(ValueError, match="more than 1 value per channel"):
                model.train()(images)
        else:
            model.train()(images)


def test_only_what_is_trained_counts() -> None:
    """Frozen rows keep their statistics; here the ones whose map is a pixel."""
    model = build_model(CLASSIC, names=NAMES, imgsz=64)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert values_per_image(model, (model.model[4], model.model[5]), (32, 32)) == 2
    assert values_per_image(model, (model.model[4],), (32, 32)) == 1
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training and not module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--batch-size 1 at --imgsz 32: the coarsest map is one pixel for an input of 32x32, and BatchNorm needs "
             "two values; take --batch-size 2 or --imgsz 64"),
        ({"batch_size": 2}, None),
        ({"imgsz": 64}, None),
        ({"imgsz": 64, "rect": True}, None),  # 32 x 64: two values
        ({"rect": True}, "--batch-size 1 at --imgsz 32: "),
        ({"imgsz": 64, "multi_scale": True}, "at --imgsz 64 with --multi-scale, which goes down to 32 px: "),
        ({"imgsz": 64, "multi_scale": True}, "take --batch-size 2 or --imgsz 96"),
        ({"imgsz": 96, "multi_scale": True}, None),  # half of it is rounded to 64
        ({"batch_size": 16, "images": 1}, "1 training image at --imgsz 32: "),
        ({"batch_size": 16, "images": 1}, "take more images or --imgsz 64"),
        ({"images": 1}, "take more images or --imgsz 64"),  # a larger batch has nothing to hold
        ({"batch_size": 16, "images": 17}, None),  # the last, incomplete batch is left out
    ],
)  # fmt: skip
def test_what_is_refused(model: DetectionModel, options: dict[str, Any], words: str | None) -> None:
    found = complaint(model, **options)
    assert (found is None) if words is None else (found is not None and words in found), found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 2}, "--batch-size 2 for 2 processes at --imgsz 32: "),
        ({"batch_size": 2}, "take --batch-size 4 or --imgsz 64"),
        ({"batch_size": 4}, None),
        ({"batch_size": 2, "sync_bn": True}, None),  # the two share their statistics
        ({"batch_size": 16, "images": 2}, "2 training images for each process"),
    ],
)
def test_each_process_has_its_share(
    monkeypatch: pytest.MonkeyPatch, model: DetectionModel, options: dict[str, Any], words: str | None
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    test_what_is_refused(model, options, words)


def test_frozen_rows_need_no_second_image() -> None:
    model = build_model(CLASSIC, names=NAMES, imgsz=64)
    assert complaint(model) and complaint(model, frozen=(model.model[4], model.model[5])) is None


def test_nothing_is_written(ground: Playground, tmp_path: Path) -> None:
    """Nor where the loss has no weights for so many levels."""
    with pytest.raises(ValueError, match="--batch-size 1 at --imgsz 32"):
        train(ground.config(tmp_path / "runs", batch_size=1))
    levels = {"anchors": 1, "head": [[[0, 1, 2, 3, 4, 4], 1, "Detect", ["nc", "anchors"]]]}
    cfg = write_yaml(tmp_path / "levels.yaml", TINY | levels)
    with pytest.raises(ValueError, match="6 feature levels"):
        train(ground.config(tmp_path / "runs", cfg=cfg, hyp=write_yaml(tmp_path / "anchor.yaml", RECIPE | ANCHOR)))
    assert not (tmp_path / "runs").exists()
