"""COCO categories and class names: they belong together by name, whatever the ids of each file are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples

Categories = Mapping[int, str]
RED_BLUE = {1: "red", 2: "blue"}


def write_json(folder: Path, split: str, categories: Categories, used: list[int] | None = None, **more: Any) -> None:
    """`<split>.json` with a picture that holds one box of each category, or of those in `used`."""
    (folder / "images").mkdir(exist_ok=True)
    Image.new("RGB", (64, 64)).save(folder / "images" / f"{split}.png")
    annotations = [
        {"id": number, "image_id": 5, "category_id": category, "bbox": [number, 0, 8, 8]}
        for number, category in enumerate(categories if used is None else used)
    ]
    content = {
        "images": [{"id": 5, "file_name": f"{split}.png"}],
        "annotations": annotations,
        "categories": [{"id": number, "name": name, **more} for number, name in categories.items()],
    }
    (folder / f"{split}.json").write_text(json.dumps(content))


def write_yaml(folder: Path, jsons: Mapping[str, Categories], more: str = "") -> Path:
    for split, categories in jsons.items():
        write_json(folder, split, categories)
    path = folder / "set.yaml"
    path.write_text("".join(f"{split}: {split}.json\n" for split in jsons) + more)
    return path


def read(path: Path, split: str = "val", lines: list[str] | None = None, one_class: bool = False) -> Samples:
    config = load_data_config(path)
    config = config.as_one_class() if one_class else config
    report = (lambda _: None) if lines is None else lines.append
    return load_samples(config, split, cache_dir=path.parent / "cache", report=report)


def labels_of(path: Path, split: str = "val") -> list[str]:
    """The class names of a split's boxes, in the order of its annotations."""
    return [load_data_config(path).names[number] for number in read(path, split).classes]


@pytest.mark.parametrize(
    ("jsons", "more", "names", "ids"),
    [
        ({"train": RED_BLUE, "val": {1: "blue", 2: "red"}}, "", ["red", "blue"], [1, 2]),
        ({"val": {1: "blue", 2: "red"}, "train": RED_BLUE}, "", ["red", "blue"], [1, 2]),
        ({"train": {9: "blue", 4: "red"}, "val": RED_BLUE}, "", ["red", "blue"], [4, 9]),
        ({"train": RED_BLUE, "val": {1: "blue"}}, "names: [blue, red]", ["blue", "red"], [2, 1]),
        ({"val": {2: "b"}, "test": {1: "a", 3: "c"}}, "", ["a", "b", "c"], [1, 2, 3]),
        ({"val": {2: "b", 1: "d"}, "test": {1: "a", 3: "b"}}, "", ["d", "b", "a"], [1, 2, 3]),
        ({"train": {3: "cat", 18: "dog"}}, "category_ids: [18, 3]", ["dog", "cat"], [18, 3]),
        ({"val": {3: "cat"}}, "names: [ox, cat, ass, cow]", ["ox", "cat", "ass", "cow"], [1, 3, 2, 4]),
        ({"val": {3: "cat"}}, "names: [ox, cat]\ncategory_ids: [7, 8]", ["ox", "cat"], [7, 8]),
    ],
)
def test_names_and_ids_of_a_set(
    tmp_path: Path, jsons: Mapping[str, Categories], more: str, names: list[str], ids: list[int]
) -> None:
    config = load_data_config(write_yaml(tmp_path, jsons, more))
    assert (list(config.names), list(config.category_ids)) == (names, ids)


@pytest.mark.parametrize("order", [("red", "blue", "green"), ("green", "red", "blue")])
@pytest.mark.parametrize(
    ("categories", "ids"),
    [
        ({1: "blue", 2: "red", 3: "green"}, (2, 1, 3)),
        ({40: "green", 7: "red", 0: "blue"}, (7, 0, 40)),
        ({1: "blue"}, (2, 1, 3)),  # red's own 1 is taken there
        ({2: "blue", 1: " red\t"}, (1, 2, 3)),
        ({-5: "red"}, (-5, 2, 3)),
    ],
)
def test_labels_follow_names(tmp_path: Path, order: tuple[str, ...], categories: Categories, ids: tuple[int]) -> None:
    """Any part of the classes, in any order, with any ids."""
    train = {1: "red", 2: "blue", 3: "green"}
    path = write_yaml(tmp_path, {"train": train, "val": categories}, f"names: [{', '.join(order)}]\n")
    assert labels_of(path) == [name.strip() for name in categories.values()]
    assert labels_of(path, "train") == list(train.values())
    keys = read(path).json
    assert keys is not None and set(keys.category_ids) >= set(categories)
    by_name = dict(zip(order, keys.category_ids, strict=True))
    for number, name in categories.items():
        assert by_name[name.strip()] == number
    if len(categories) > 1:
        assert (by_name["red"], by_name["blue"], by_name["green"]) == ids
    assert len(set(by_name.values())) == 3 and [order[index] for index in keys.lacking] == [
        name for name in order if name not in {other.strip() for other in categories.values()}
    ]


def test_other_ids_are_said_once(tmp_path: Path) -> None:
    path = write_yaml(tmp_path, {"train": RED_BLUE, "val": {1: "blue", 2: "red"}})
    for _ in range(2):  # the second time from the cache
        lines: list[str] = []
        read(path, "val", lines)
        said = [line for line in lines if "by name" in line]
        assert len(said) == 1 and "val.json: category 2 is 'red', elsewhere in" in said[0] and "that is 1" in said[0]
        read(path, "train", lines)
        assert len([line for line in lines if "by name" in line]) == 1


def test_a_turned_order_is_not_served_from_the_cache(tmp_path: Path) -> None:
    path = write_yaml(tmp_path, {"val": RED_BLUE}, "names: [red, blue]\n")
    assert read(path).classes.tolist() == [0, 1]
    write_yaml(tmp_path, {}, "val: val.json\nnames: [blue, red]\n")
    assert read(path).classes.tolist() == [1, 0]
    write_yaml(tmp_path, {}, "val: val.json\nnames: [blue, red, green]\n")
    assert read(path).json == read(path).json and len(read(path).json.category_ids) == 3  # type: ignore[union-attr]


def test_a_category_that_no_box_has_may_be_the_name_of_the_group(tmp_path: Path) -> None:
    """Roboflow lists the supercategory of all as category 0."""
    path = write_yaml(tmp_path, {}, "val: val.json\nnames: [blue, red]\n")
    write_json(tmp_path, "val", {0: "colours", 1: "red", 2: "blue"}, used=[2, 1, 2], supercategory="colours")
    assert labels_of(path) == ["blue", "red", "blue"]


@pytest.mark.parametrize("used", [0, 1])
def test_the_group_of_a_set_of_one_class_may_be_called_like_it(tmp_path: Path, used: int) -> None:
    path = write_yaml(tmp_path, {}, "val: val.json\n")
    write_json(tmp_path, "val", {0: "pothole", 1: "pothole"}, used=[used])
    assert labels_of(path) == ["pothole"]
    assert load_data_config(path).category_ids == (used,)
    write_json(tmp_path, "val", {0: "pothole", 1: "pothole"}, used=[0, 1])
    with pytest.raises(ValueError, match="the categories 0 and 1 are both called 'pothole'"):
        labels_of(path)


def test_zero_is_a_name(tmp_path: Path) -> None:
    path = write_yaml(tmp_path, {}, "val: val.json\n")
    (tmp_path / "images").mkdir()
    for name, number in ((None, 1), (["a"], 1), ("a", "1")):
        (tmp_path / "val.json").write_text(
            json.dumps({"images": [], "annotations": [], "categories": [{"id": number, "name": name}]})
        )
        with pytest.raises(ValueError, match="needs a name and an id, a whole number, of its own"):
            load_data_config(path)
    write_json(tmp_path, "val", {0: 0, 1: 1})  # type: ignore[dict-item]
    assert labels_of(path) == ["0", "1"]


@pytest.mark.parametrize(
    ("train", "val", "more", "said"),
    [
        (RED_BLUE, {1: "red", 2: "green"}, "", "category 2 is 'green', .*train.json; .*train.json 2 is 'blue'"),
        (RED_BLUE, {1: "red", 2: "green"}, "names: [red, blue]", "is 'green', .*set.yaml; in .*train.json 2 is 'blue'"),
        (None, RED_BLUE, "names: [rot, blau]", "val.json: category 1 is 'red', .*set.yaml; .* are 'rot', 'blau'"),
        (None, {1: "Red", 2: "blue"}, "names: [red, blue]", "1 is 'Red', .*did you mean 'red'.* spelt as in the json"),
        (None, {1: "traffic light"}, "names: [traffic_light, x]", "did you mean 'traffic_light'"),
        (None, {1: "a"}, "names: [b]\ncategory_ids: [1]", "val.json: category 1 is 'a', .* in .*set.yaml 1 is 'b'"),
        (None, {1: "a"}, "names: [a, b, 'a ']", "set.yaml: class 0 and class 2 are both called 'a '; rename one"),
        (None, {1: "a"}, "category_ids: [1, 4]", "set.yaml: category_ids has 4, which is no category of .*val.json"),
    ],
)  # fmt: skip
def test_a_contradiction_names_both_files_and_both_meanings(
    tmp_path: Path, train: Categories | None, val: Categories, more: str, said: str
) -> None:
    path = write_yaml(tmp_path, ({"train": train} if train else {}) | {"val": val}, f"{more}\n")
    with pytest.raises(ValueError, match=said) as caught:
        read(path)
    assert "set.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_names_that_are_nowhere_in_a_json_without_boxes(tmp_path: Path) -> None:
    path = write_yaml(tmp_path, {}, "val: val.json\nnames: [a]\n")
    write_json(tmp_path, "val", RED_BLUE, used=[])
    with pytest.raises(ValueError, match="category 1 is 'red', which is no class of"):
        read(path)


@pytest.mark.parametrize(("names", "ids"), [("", (1,)), ("names: [green]", (9,)), ("names: [a]", (1,))])
def test_as_one_class_every_category_is_taken(tmp_path: Path, names: str, ids: tuple[int]) -> None:
    path = write_yaml(tmp_path, {"val": {4: "red", 9: "green"}}, names)
    samples = read(path, one_class=True)
    assert samples.classes.tolist() == [0, 0] and samples.json and samples.json.category_ids == ids


def test_label_files_beside_a_json(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    write_json(tmp_path, "val", {1: "blue", 2: "red"})
    (tmp_path / "labels" / "val.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0.2 0.2 0.2 0.2\n")
    path = tmp_path / "set.yaml"
    path.write_text("train: images\nval: val.json\nnames: [red, blue]\n")
    assert (labels_of(path, "train"), labels_of(path)) == (["red", "blue"], ["blue", "red"])
    path.write_text("train: images\nval: val.json\n")
    with pytest.raises(ValueError, match=re.escape(f"{path}: has no names, and the label files of train number the")):
        read(path)


def test_names_of_coco_have_its_ids(tmp_path: Path) -> None:
    names = load_data_config("coco128.yaml").names[::-1]
    path = tmp_path / "set.yaml"
    path.write_text(f"val: images\nnames: {json.dumps(names)}\n")
    ids = dict(zip(names, load_data_config(path).category_ids, strict=True))
    assert [ids[name] for name in ("tv", "person", "toothbrush", "stop sign")] == [72, 1, 90, 13]
    path.write_text(f"val: images\nnames: {json.dumps(names[:79])}\n")
    assert load_data_config(path).category_ids == tuple(range(1, 80))
    path.write_text(f"val: val.json\nnames: {json.dumps(names)}\n")
    write_json(tmp_path, "val", {72: "person", 3: "tv"})
    ids = dict(zip(names, load_data_config(path).category_ids, strict=True))
    assert (ids["person"], ids["tv"], ids["toothbrush"], len(set(ids.values()))) == (72, 3, 90, 80)
    assert labels_of(path) == ["person", "tv"]
