"""predictions.json: the ids of the split's own json, and file names, as pycocotools and other readers need them."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mgil.datasets.reading.config import DataConfig, load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples
from mgil.tasks.detect.matching import Detections
from mgil.tasks.detect.options import ValOptions
from mgil.tasks.detect.scores import summarise

TRAIN = {1: "red", 2: "blue", 3: "green"}


def write_json(path: Path, categories: dict[int, str], seed: int) -> None:
    """Twelve pictures with boxes of all categories; ids of pictures have nothing to do with their names."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(12):
        name = f"{'ab'[number % 2]}/{number:03}.png"
        (path.parent / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(path.parent / "images" / name)
        images.append({"id": 900 - 7 * number, "file_name": name, "width": 64, "height": 48})
        for category in rng.choice(list(categories), 4).tolist():
            side = rng.integers(4, 20, 2)
            corner = rng.integers(0, (64, 48) - side)
            bbox = [*corner.tolist(), *side.tolist()]
            entry = {"id": len(annotations) + 1, "image_id": images[-1]["id"], "category_id": category, "bbox": bbox}
            annotations.append(entry | {"area": int(side.prod()), "iscrowd": 0})
    entries = [{"id": number, "name": name} for number, name in categories.items()]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": entries}))


def guess(samples: Samples, classes: int, seed: int = 1) -> Detections:
    """Each label once, moved a little and sometimes of another class, and some noise."""
    rng = np.random.default_rng(seed)
    boxes = samples.boxes_xyxy_px() + rng.normal(0, 1, (len(samples.classes), 4))
    images = np.concatenate((samples.image_index, rng.integers(0, len(samples), 30)))
    found = np.where(rng.random(len(boxes)) < 0.8, samples.classes, rng.integers(0, classes, len(boxes)))
    corners = rng.integers(0, 30, (30, 2))
    boxes = np.concatenate((boxes, np.concatenate((corners, corners + 12), axis=1)))
    return Detections(images, boxes, rng.random(len(boxes)), np.concatenate((found, rng.integers(0, classes, 30))))


def saved(folder: Path, samples: Samples, data: DataConfig, found: Detections) -> tuple[Any, list[dict], list[str]]:
    """Scores, and what --save-json writes and says."""
    lines: list[str] = []
    scores = summarise(found, samples, (), data, ValOptions(save_json=True))
    scores.save(folder, "best", lines.append)
    return scores, json.loads((folder / "best_predictions.json").read_text()), lines


def load(path: Path, split: str = "val") -> tuple[Samples, DataConfig]:
    data = load_data_config(path)
    return load_samples(data, split, cache_dir=path.parent / "cache", report=lambda _: None), data


@pytest.mark.parametrize(
    "categories", [TRAIN, {1: "green", 2: "red", 3: "blue"}, {70: "blue", 13: "red", 0: "green"}, {1: "blue", 5: "red"}]
)
@pytest.mark.parametrize("order", [("red", "blue", "green"), ("blue", "green", "red")])
def test_pycocotools_finds_the_same_ap_by_the_json_of_the_split(
    tmp_path: Path, categories: dict[int, str], order: tuple[str, ...]
) -> None:
    write_json(tmp_path / "train.json", TRAIN, 1)
    write_json(tmp_path / "val.json", categories, 2)
    path = tmp_path / "set.yaml"
    path.write_text(f"train: train.json\nval: val.json\nnames: [{', '.join(order)}]\n")
    for _ in range(2):  # the second time from the cache
        samples, data = load(path)
    scores, entries, lines = saved(tmp_path, samples, data, guess(samples, 3))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "val.json"))
        found = truth.loadRes(str(tmp_path / "best_predictions.json"))
        judge = COCOeval(truth, found, "bbox")
        judge.evaluate(), judge.accumulate(), judge.summarize()
    assert judge.stats[:3] == pytest.approx([scores.map50_95, scores.map50, scores.map75], abs=1e-3)
    by_class = judge.eval["precision"][0, :, :, 0, -1].mean(axis=0)  # AP50 by the order of the ids
    own = dict(zip(sorted(categories), by_class.tolist(), strict=True))
    by_name = {row.name: row.ap50 for row in scores.per_class}
    assert {name: pytest.approx(own[number], abs=1e-3) for number, name in categories.items()} == {
        name: value for name, value in by_name.items() if name in categories.values()
    }
    names = {entry["id"]: entry["file_name"] for entry in truth.dataset["images"]}
    assert all(entry["file_name"] == names[entry["image_id"]] for entry in entries)
    assert lines[0] == f"image ids: those of {tmp_path / 'val.json'}"
    assert lines[1].startswith(f"category ids: those of {tmp_path / 'val.json'}: ")
    if len(categories) < 3:
        strange = {entry["category_id"] for entry in entries}.difference(categories)
        assert strange == {3} and lines[1].endswith("; no category there: 3 green")


def label_files(folder: Path, *names: str) -> Path:
    for name in names:
        picture, label = folder / "images" / f"{name}.png", folder / "labels" / f"{name}.txt"
        picture.parent.mkdir(parents=True, exist_ok=True)
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(picture)
        label.write_text("0 0.5 0.5 0.5 0.5\n")
    path = folder / "set.yaml"
    path.write_text("val: images\nnames: [red, blue]\n")
    return path


@pytest.mark.parametrize(
    ("names", "ids", "said"),
    [
        (
            ["003", "007"],
            {3: "003.png", 7: "007.png"},
            "image ids: the numbers that the files are named by, e.g. 3 for",
        ),
        (["003", "x"], {3: "003.png", 1: "x.png"}, "named by; 1 of 2 have ids that were left, e.g. 1 for x.png;"),
        (["b", "a"], {1: "a.png", 2: "b.png"}, "counted from 1 in the order of the files, e.g. 1 for a.png;"),
        (["p/1", "q/1", "q/\u7532%d"], {1: "p/1.png", 2: "q/1.png", 3: "q/\u7532%d.png"}, "2 of 3 have ids that"),
    ],
)
def test_each_entry_has_its_file_name(tmp_path: Path, names: list[str], ids: dict[int, str], said: str) -> None:
    samples, data = load(label_files(tmp_path, *names))
    _, entries, lines = saved(tmp_path, samples, data, guess(samples, 2))
    assert {entry["image_id"]: entry["file_name"] for entry in entries} == ids
    assert said in lines[0] and lines[1] == "category ids: 1 red, 2 blue"
    assert list(entries[0]) == ["image_id", "file_name", "category_id", "bbox", "score"]


def test_nothing_found(tmp_path: Path) -> None:
    samples, data = load(label_files(tmp_path, "1"))
    assert saved(tmp_path, samples, data, Detections.concatenate([]))[1] == []


def test_label_files_with_the_names_of_coco_have_its_category_ids(tmp_path: Path) -> None:
    samples, _ = load(label_files(tmp_path, "1"))
    data = load_data_config("coco128.yaml")
    found = Detections(np.zeros(2, int), np.array([[0, 0, 9, 9.0]] * 2), np.ones(2), np.array([79, 12]))
    entries = saved(tmp_path, samples, data, found)[1]
    assert [(entry["category_id"], entry["bbox"]) for entry in entries] == [(90, [0, 0, 9, 9]), (14, [0, 0, 9, 9])]


def test_as_one_class_all_have_the_id_of_the_data_set(tmp_path: Path) -> None:
    write_json(tmp_path / "val.json", {7: "red", 1: "blue"}, 2)
    (tmp_path / "set.yaml").write_text("val: val.json\n")
    data = load_data_config(tmp_path / "set.yaml").as_one_class()
    samples = load_samples(data, "val", cache_dir=tmp_path / "cache", report=lambda _: None)
    _, entries, lines = saved(tmp_path, samples, data, guess(samples, 1))
    assert {entry["category_id"] for entry in entries} == {1} and len(entries) == 78
    assert lines[1] == "category ids: no category there: 1 item"
