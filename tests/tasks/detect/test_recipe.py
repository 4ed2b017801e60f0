"""Recipes: the shipped ones, those with mistakes, and the rule for the loss gains."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from mgil.datasets.batches.augment import AugmentConfig
from mgil.files.recipe import FOLDER, load_recipe
from mgil.tasks.detect.recipe import DetectRecipe, default_recipe

OTHER_TASKS = ("hyp.simcc-", "hyp.pose-", "hyp.cls-", "hyp.cifar.", "hyp.tinyimagenet.", "hyp.yolov5-cls.")
SHIPPED = sorted(path.name for path in FOLDER.glob("*.yaml") if not path.name.startswith(OTHER_TASKS))

# YOLOv5's published recipes, where the three differ and where they are the same.
SCRATCH = {
    "low": {"lr0": 0.01, "lrf": 0.01, "cls": 0.5, "obj": 1.0, "scale": 0.5, "mixup": 0.0},
    "med": {"lr0": 0.01, "lrf": 0.1, "cls": 0.3, "obj": 0.7, "scale": 0.9, "mixup": 0.1},
    "high": {"lr0": 0.01, "lrf": 0.1, "cls": 0.3, "obj": 0.7, "scale": 0.9, "mixup": 0.1},
}
COMMON = {
    "momentum": 0.937,
    "weight_decay": 0.0005,
    "warmup_epochs": 3.0,
    "warmup_momentum": 0.8,
    "warmup_bias_lr": 0.1,
    "box": 0.05,
    "anchor_t": 4.0,
    "translate": 0.1,
    "hsv_h": 0.015,
    "hsv_s": 0.7,
    "hsv_v": 0.4,
    "fliplr": 0.5,
    "mosaic": 1.0,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_loads(name: str) -> None:
    hyp = load_recipe(DetectRecipe, name)
    content = yaml.safe_load((FOLDER / name).read_text())
    assert {key: value for key, value in hyp.as_dict().items() if key in content} == content
    hyp.augment()  # its strengths are ones that the data path takes


@pytest.mark.parametrize("level", SCRATCH)
def test_scratch_recipes_are_the_published_ones(level: str) -> None:
    values = load_recipe(DetectRecipe, f"hyp.scratch-{level}.yaml").as_dict()
    wanted = COMMON | SCRATCH[level]
    assert {key: values[key] for key in wanted} == wanted


@pytest.mark.parametrize("name", ["scratch-low", "hyp.scratch-low", "scratch-low.yaml", "hyp.scratch-low.yaml"])
def test_short_names(name: str) -> None:
    assert load_recipe(DetectRecipe, name) == load_recipe(DetectRecipe, FOLDER / "hyp.scratch-low.yaml")


def test_defaults_by_size() -> None:
    assert {default_recipe(size) for size in (32, 64, 320)} == {"hyp.lowres.yaml"}
    assert {default_recipe(size) for size in (321, 640)} == {"hyp.scratch-low.yaml"}
    for size in (64, 640):
        load_recipe(DetectRecipe, default_recipe(size))


def test_round_trip(tmp_path: Path) -> None:
    hyp = DetectRecipe(lr0=0.02, mixup=0.25)
    (tmp_path / "hyp.yaml").write_text(yaml.safe_dump(hyp.as_dict()))
    assert load_recipe(DetectRecipe, tmp_path / "hyp.yaml") == load_recipe(DetectRecipe, hyp.as_dict()) == hyp


def test_what_is_not_given_keeps_its_default() -> None:
    assert load_recipe(DetectRecipe, {"lr0": 0.5}) == dataclasses.replace(DetectRecipe(), lr0=0.5)
    assert load_recipe(DetectRecipe, {}) == DetectRecipe()
    assert load_recipe(DetectRecipe, {"lr0": 10, "warmup_bias_lr": 10.0}).lr0 == 10  # the highest


def test_changes_take_the_place_of_the_recipe() -> None:
    assert load_recipe(DetectRecipe, "scratch-low", changes={"fliplr": 0.0}).fliplr == 0.0
    with pytest.raises(ValueError, match="fliplr"):
        load_recipe(DetectRecipe, "scratch-low", changes={"flplr": 0.0})


def test_a_key_of_yolov5_that_nothing_reads_is_taken() -> None:
    assert load_recipe(DetectRecipe, {"iou_t": 0.2, "lr0": 0.01}) == DetectRecipe()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("mosiac", 1.0, ["mosiac", "did you mean 'mosaic'"]),
        ("lr", 0.1, ["'lr'"]),
        (7, 0.1, ["7"]),
        ("lr0", float("nan"), ["lr0", "nan"]),
        ("lr0", float("inf"), ["lr0", "inf"]),
        ("lr0", -0.01, ["lr0", "-0.01", "negative"]),
        ("lr0", 10.01, ["hyp lr0: 10.01", "the highest learning rate is 10"]),
        ("lr0", 1e38, ["hyp lr0: 1e+38", "the highest learning rate is 10"]),
        ("warmup_bias_lr", 11, ["hyp warmup_bias_lr: 11", "the highest learning rate is 10"]),
        ("lr0", "1e-2x", ["lr0", "1e-2x"]),
        ("lr0", None, ["lr0", "None"]),
        ("mosaic", True, ["mosaic", "True"]),
        ("mosaic", 1.5, ["mosaic", "1.5"]),
        ("fliplr", 2, ["fliplr", "2"]),
        ("momentum", 1.0, ["momentum", "1.0"]),
        ("anchor_t", 1.0, ["anchor_t", "1.0"]),
        ("nbs", 0, ["nbs", "0"]),
        ("nbs", 12.5, ["nbs", "12.5"]),
        ("perspective", 0.2, ["perspective", "0.2", "between 0 and 0.1"]),
        ("perspective", -0.001, ["perspective", "-0.001", "negative"]),
        ("copy_paste", 1.1, ["copy_paste", "1.1", "at most 1"]),
        ("optimizer", "Adamw", ["optimizer", "Adamw", "AdamW"]),
        ("assign", "tal", ["assign", "tal", "anchor, aligned"]),
        ("assign", 1, ["assign", "1", "anchor, aligned"]),
        ("degrees", 400.0, ["degrees", "400"]),
        ("scale", 1.0, ["scale", "1.0"]),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, key: Any, value: Any, words: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value}))
    with pytest.raises(ValueError) as caught:
        load_recipe(DetectRecipe, path)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in ["mine.yaml", *words]), message


@pytest.mark.parametrize(
    "text", ["", "- a\n- b\n", "lr0: [1\n", "just words", "\x00", "lr0: !!python/name:os.system\n"]
)
def test_not_a_recipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"mine\.yaml") as caught:
        load_recipe(DetectRecipe, tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00lr0")
    with pytest.raises(ValueError, match=r"mine\.yaml"):
        load_recipe(DetectRecipe, tmp_path / "mine.yaml")


def test_an_absent_recipe_lists_the_known_ones(tmp_path: Path) -> None:
    for absent in ("hyp.scratch-lo.yaml", tmp_path / "scratch-low"):  # only bare names are looked up
        with pytest.raises(FileNotFoundError, match=r"hyp\.scratch-low\.yaml, hyp\.scratch-med\.yaml"):
            load_recipe(DetectRecipe, absent)


def test_gains_at_yolov5s_own_size() -> None:
    gains = DetectRecipe().loss_gains(imgsz=640, num_classes=80, num_levels=3)
    assert (gains.box, gains.obj, gains.cls) == (0.05, 1.0, 0.5)


@pytest.mark.parametrize(("imgsz", "classes", "levels"), [(64, 10, 3), (320, 1, 3), (1280, 80, 4), (160, 3, 2)])
def test_gains_follow_yolov5s_rule(imgsz: int, classes: int, levels: int) -> None:
    hyp = load_recipe(DetectRecipe, "scratch-high")
    gains = hyp.loss_gains(imgsz, classes, levels, label_smoothing=0.1)
    assert gains.box == pytest.approx(0.05 * 3 / levels)
    assert gains.cls == pytest.approx(0.3 * classes / 80 * 3 / levels)
    assert gains.obj == pytest.approx(0.7 * (imgsz / 640) ** 2 * 3 / levels)
    assert (gains.label_smoothing, gains.anchor_ratio, gains.focal_gamma) == (0.1, 4.0, 0.0)


@pytest.mark.parametrize(("imgsz", "classes", "levels"), [(64, 10, 3), (640, 80, 2)])
def test_aligned_gains_are_what_the_recipe_says(imgsz: int, classes: int, levels: int) -> None:
    gains = load_recipe(DetectRecipe, "lowres").loss_gains(imgsz, classes, levels)
    assert (gains.assign, gains.box, gains.obj, gains.cls) == ("aligned", 5.0, 1.0, 1.0)


@pytest.mark.parametrize("name", ["scratch-low", "scratch-med", "scratch-high"])
def test_yolov5s_recipes_keep_its_assignment(name: str) -> None:
    assert load_recipe(DetectRecipe, name).assign == DetectRecipe().loss_gains(640, 80).assign == "anchor"


def test_augmentation_gets_every_strength() -> None:
    strengths = {"degrees": 5.0, "translate": 0.2, "scale": 0.3, "shear": 2.0, "flipud": 0.1, "fliplr": 0.2}
    strengths |= {"perspective": 0.002, "copy_paste": 0.7}
    strengths |= {
        "mosaic": 0.4,
        "mixup": 0.6,
        "hsv_h": 0.01,
        "hsv_s": 0.02,
        "hsv_v": 0.03,
    }
    augment = load_recipe(DetectRecipe, strengths).augment()
    assert augment == dataclasses.replace(AugmentConfig(), **strengths)
