"""COCO json files, read directly: the same boxes as pycocotools reads, and every bad entry told."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "cat"}]


class JsonSet:
    """A COCO json with three images of 40x20, 30x30 and 10x50 pixels (width x height)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[str] = []
        (root / "annotations").mkdir()
        self.content: dict[str, Any] = {"images": [], "annotations": [], "categories": list(CATEGORIES)}
        self.put_images(root / "images" / "val")
        (root / "set.yaml").write_text("val: annotations/instances_val.json\n")
        for number, (width, height) in ((7, (40, 20)), (3, (30, 30)), (11, (10, 50))):
            entry = {"id": number, "file_name": f"{number}.png", "width": width, "height": height}
            self.content["images"].append(entry)
        self.add(1, 7, 18, [4, 5, 10, 10])

    def put_images(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number, size in ((7, (40, 20)), (3, (30, 30)), (11, (10, 50))):
            Image.new("RGB", size).save(folder / f"{number}.png")

    def add(self, number: Any, image_id: Any, category_id: Any, bbox: Any, **more: Any) -> None:
        entry = {"id": number, "image_id": image_id, "category_id": category_id, "bbox": bbox, **more}
        self.content["annotations"].append(entry)

    def write(self, text: str | None = None) -> Path:
        path = self.root / "annotations" / "instances_val.json"
        path.write_text(json.dumps(self.content) if text is None else text)
        return path

    def load(self, write: bool = True, **options: bool) -> Samples:
        if write:
            self.write()
        self.lines.clear()
        config = load_data_config(self.root / "set.yaml")
        return load_samples(config, "val", cache_dir=self.root / "cache", report=self.lines.append, **options)


@pytest.fixture
def json_set(tmp_path: Path) -> JsonSet:
    return JsonSet(tmp_path)


def read_with_pycocotools(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def assert_as_pycocotools(samples: Samples, coco: COCO, category_ids: tuple[int, ...]) -> None:
    assert sorted(samples.image_ids.tolist()) == sorted(coco.getImgIds())
    for index, image_id in enumerate(samples.image_ids.tolist()):
        height, width = samples.sizes_hw[index].tolist()
        assert (height, width) == (coco.imgs[image_id]["height"], coco.imgs[image_id]["width"])
        part = slice(samples.offsets[index], samples.offsets[index + 1])
        expected = coco.imgToAnns[image_id]
        boxes = np.array([entry["bbox"] for entry in expected], float).reshape(-1, 4)
        boxes[:, :2] += boxes[:, 2:] / 2
        scale = np.array([width, height, width, height])
        np.testing.assert_allclose(samples.boxes_cxcywh[part] * scale, boxes, atol=1e-4)
        assert [category_ids[number] for number in samples.classes[part]] == [a["category_id"] for a in expected]
        np.testing.assert_allclose(samples.areas[part], [a["area"] for a in expected], rtol=1e-6)
        assert samples.iscrowd[part].tolist() == [bool(a["iscrowd"]) for a in expected]


def test_the_same_as_pycocotools(json_set: JsonSet) -> None:
    json_set.content["annotations"].clear()
    rng = np.random.default_rng(3)
    for number in range(1, 200):
        image = json_set.content["images"][int(rng.integers(3))]
        x, y = rng.uniform(0, 0.7, 2) * (image["width"], image["height"])
        w, h = rng.uniform(0.05, 0.3, 2) * (image["width"], image["height"])
        bbox = [round(float(value), 2) for value in (x, y, w, h)]
        category = int(rng.choice([18, 3]))
        json_set.add(number, image["id"], category, bbox, area=float(w * h * 0.7), iscrowd=int(rng.random() < 0.1))
    samples = json_set.load(strict=True)
    assert samples.image_ids.tolist() == [7, 3, 11]
    assert_as_pycocotools(samples, read_with_pycocotools(json_set.write()), (3, 18))
    again = json_set.load(write=False)
    np.testing.assert_array_equal(samples.boxes_cxcywh, again.boxes_cxcywh)
    np.testing.assert_array_equal(samples.image_ids, again.image_ids)


def test_boxes_are_cut_at_the_edge_and_a_missing_area_is_the_box(json_set: JsonSet) -> None:
    json_set.add(2, 3, 3, [-5, 20, 15.5, 30], iscrowd=1)
    samples = json_set.load(strict=True)
    assert samples.classes.tolist() == [1, 0]
    np.testing.assert_allclose(samples.boxes_cxcywh[1] * 30, [5.25, 25, 10.5, 10], rtol=1e-6)
    assert samples.areas.tolist() == [100, 105]
    assert samples.iscrowd.tolist() == [False, True]
    assert json_set.lines == ["val: 3 images, 2 boxes, 1 images without labels, 1 boxes cut at the image's edge"]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ((2, 99, 3, [1, 1, 2, 2]), "annotation 2: image_id 99 is no image of this file"),
        ((2, "7", 3, [1, 1, 2, 2]), "image_id '7' is no image"),
        ((2, [], 3, [1, 1, 2, 2]), r"image_id \[\] is no image"),
        ((2, 7, 4, [1, 1, 2, 2]), "category_id 4 is no category"),
        ((2, 7, True, [1, 1, 2, 2]), "category_id True is no category"),
        ((2, 7, 3, [1, 1, 2]), "is not four numbers"),
        ((2, 7, 3, "1 1 2 2"), "is not four numbers"),
        ((2, 7, 3, [1, 1, 2, None]), "is not four numbers"),
        ((2, 7, 3, [1, 1, 2, float("nan")]), "is not four numbers"),
        ((2, 7, 3, [1, 1, float("inf"), 2]), "is not four numbers"),
        ((2, 7, 3, [1, 1, 10**400, 2]), "is not four numbers"),
        ((2, 7, 3, [1, 1, 0, 2]), "has no area inside the image of 20x40 pixels"),
        ((2, 7, 3, [1, 1, 2, -2]), "has no area inside"),
        ((2, 7, 3, [41, 1, 2, 2]), "has no area inside"),
        (("x\nb", 7, 3, [1, 1, 0, 2]), r"annotation x\\nb: "),
    ],
)
def test_a_bad_annotation_is_told_with_its_id_and_dropped(
    json_set: JsonSet, entry: tuple[Any, ...], reason: str
) -> None:
    json_set.add(*entry)
    assert len(json_set.load().classes) == 1
    assert json_set.lines[0].startswith(str(json_set.root / "annotations" / "instances_val.json"))
    with pytest.raises(ValueError, match=reason):
        json_set.load(strict=True)


@pytest.mark.parametrize("entry", ["text", None, 3, [1]])
def test_entries_that_are_no_objects(json_set: JsonSet, entry: Any) -> None:
    json_set.content["annotations"].append(entry)
    json_set.content["images"].append(entry)
    assert len(json_set.load()) == 3
    assert "image None: id None is not a whole number of its own; image skipped" in json_set.lines[0]
    assert "annotation at position 1: is not an object; dropped" in json_set.lines[1]


def test_bad_areas_and_crowd_flags(json_set: JsonSet) -> None:
    for number, more in enumerate([{"area": -1}, {"area": "big"}, {"iscrowd": 2}, {"area": None}], start=2):
        json_set.add(number, 7, 3, [1, 1, 2, 2], **more)
    assert len(json_set.load().classes) == 2
    assert ["annotation 2: area -1" in line for line in json_set.lines][0]
    assert len(json_set.lines) == 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"file_name": "../../secret.png"}, "does not name a file inside the image folder"),
        ({"file_name": "/etc/passwd"}, "does not name a file inside"),
        ({"file_name": "C:\\secret.png"}, "does not name a file inside"),
        ({"file_name": ""}, "does not name a file inside"),
        ({"file_name": 5}, "does not name a file inside"),
        ({"file_name": "gone.png"}, "gone.png: no such file"),
        ({"id": 3}, "id 3 is not a whole number of its own"),
        ({"id": "a"}, "id 'a' is not a whole number"),
        ({"id": 2**70}, "is not a whole number"),
        ({"width": 41}, "the json says 20x41 pixels, the file 20x40 (height x width)"),
        ({"width": "41"}, "the json says 20x41 pixels"),
        ({"width": "wide"}, "the json says 20xwide pixels"),
    ],
)
def test_a_bad_image_entry_is_told_and_skipped(json_set: JsonSet, change: dict[str, Any], reason: str) -> None:
    json_set.content["images"][0].update(change)
    json_set.content["images"].insert(0, json_set.content["images"].pop(1))  # so that a doubled id comes second
    samples = json_set.load()
    assert samples.image_ids.tolist() == [3, 11]
    assert reason in json_set.lines[0] and json_set.lines[0].endswith("image skipped")


def test_numbers_as_text_and_an_empty_crowd_flag_are_read(json_set: JsonSet) -> None:
    for image in json_set.content["images"]:
        image.update(height=str(image["height"]), width=str(image["width"]))
    json_set.add(2, 3, 3, [1, 1, 2, 2], iscrowd=None)
    samples = json_set.load(strict=True)
    assert len(samples) == 3 and samples.iscrowd.tolist() == [False, False]


def test_a_picture_listed_under_two_ids_is_one_picture(json_set: JsonSet) -> None:
    first = json_set.content["images"][0]
    json_set.content["images"].append({**first, "id": 99})
    json_set.add(2, 99, 3, [1, 1, 2, 2])
    samples = json_set.load()
    assert len(samples) == 3 and 99 not in samples.image_ids and len(samples.classes) == 1
    already = f"{first['file_name']} is image {first['id']} already; give the annotations of both one image_id"
    assert f"image 99: {already}" in json_set.lines[0]


def test_annotations_of_a_skipped_image_are_not_told_one_by_one(json_set: JsonSet) -> None:
    (json_set.root / "images" / "val" / "7.png").write_bytes(b"")
    json_set.add(2, 3, 3, [1, 1, 2, 2])
    assert len(json_set.load().classes) == 1
    assert [line.rsplit(": ", 1)[1] for line in json_set.lines] == [
        "is empty (0 bytes); image skipped",
        "2 images, 1 boxes, 1 images without labels, 1 images skipped",
    ]


@pytest.mark.parametrize("folder", ["", "images", "val", "images/val", "annotations", "annotations/images"])
def test_images_are_found_where_people_keep_them(tmp_path: Path, folder: str) -> None:
    json_set = JsonSet(tmp_path)
    for path in (tmp_path / "images" / "val").iterdir():
        path.unlink()
    json_set.put_images(tmp_path / folder)
    assert json_set.load().image_paths[0] == str(tmp_path / folder / "7.png")


def test_the_set_named_by_the_json_comes_before_other_folders(json_set: JsonSet) -> None:
    json_set.put_images(json_set.root / "images" / "train")
    json_set.put_images(json_set.root)
    assert json_set.load().image_paths[0] == str(json_set.root / "images" / "val" / "7.png")


def test_images_in_none_of_the_folders(json_set: JsonSet) -> None:
    for entry in json_set.content["images"]:
        entry["file_name"] = f"else/{entry['file_name']}"
    with pytest.raises(FileNotFoundError, match="instances_val.json: its images, e.g. else/7.png, are not in"):
        json_set.load()


def test_an_image_that_appears_later_is_noticed(json_set: JsonSet) -> None:
    path = json_set.root / "images" / "val" / "11.png"
    content = path.read_bytes()
    path.unlink()
    assert len(json_set.load()) == 2
    path.write_bytes(content)
    assert len(json_set.load(write=False)) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: not valid JSON"),
        ('{"images": [],\n "annotations": [}', "line 2: not valid JSON"),
        ("[]", "has no list 'images'"),
        ('{"images": [], "annotations": []}', "has no list 'categories'"),
        ('{"images": {}, "annotations": [], "categories": []}', "has no list 'images'"),
        ('{"images": [], "annotations": [], "categories": []}', "has no categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "needs a name and an id"),
        ('{"images": [], "annotations": [], "categories": ["cat"]}', "needs a name and an id"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            "id 1 is that of 'a' and 'b'; each needs an id of its own",
        ),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 2, "name": "a "}, {"id": 1, "name": "a"}]}',
            "the categories 2 and 1 are both called 'a'",
        ),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 9223372036854775808, "name": "a"}]}',
            "needs a name and an id",
        ),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_files_that_are_no_coco_json(json_set: JsonSet, text: str, message: str) -> None:
    json_set.write(text)
    with pytest.raises(ValueError, match=message) as caught:
        json_set.load(write=False)
    assert "instances_val.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_as_one_class(json_set: JsonSet) -> None:
    """The file is read by its own category ids; what comes out has one class."""
    config = load_data_config(json_set.write().parents[1] / "set.yaml")
    one = config.as_one_class()
    assert (one.names, one.category_ids) == (("item",), (1,)) and one.as_one_class() == one
    quiet: dict[str, Any] = {"cache_dir": json_set.root / "cache", "report": lambda _: None}
    many, merged = load_samples(config, "val", **quiet), load_samples(one, "val", **quiet)
    assert (many.classes.tolist(), merged.classes.tolist()) == ([1], [0])
    np.testing.assert_array_equal(merged.boxes_cxcywh, many.boxes_cxcywh)
    helmet = replace(config, names=("helmet",), category_ids=(7,))
    assert (helmet.as_one_class().names, helmet.as_one_class().category_ids) == (("helmet",), (7,))


def test_a_json_without_images_is_an_error(json_set: JsonSet) -> None:
    json_set.content["images"].clear()
    json_set.content["annotations"].clear()
    with pytest.raises(ValueError, match="instances_val.json: no images found"):
        json_set.load()


def test_bytes_that_are_not_utf8(json_set: JsonSet) -> None:
    (json_set.root / "annotations" / "instances_val.json").write_bytes(b'{"images": ["\xff"]}')
    with pytest.raises(ValueError, match="instances_val.json: not a UTF-8 text file"):
        json_set.load(write=False)


def test_file_names_with_backslashes(json_set: JsonSet) -> None:
    for entry in json_set.content["images"]:
        entry["file_name"] = f"val\\{entry['file_name']}"
    assert len(json_set.load(strict=True)) == 3
