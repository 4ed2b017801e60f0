"""HIT-UAV's archive, fetched from a server of this machine and read as COCO json."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mgil.datasets.reading.config import SHIPPED_FOLDER, load_data_config
from mgil.datasets.reading.download import download
from mgil.datasets.reading.hituav import convert_hituav
from mgil.datasets.reading.load import load_samples
from tests.web import serving

TOP = "HIT-UAV-Infrared-Thermal-Dataset-abc123"
NAMES = ["Person", "Car", "Bicycle", "OtherVehicle"]
CATEGORIES = [{"supercategory": "any", "id": index, "name": name} for index, name in enumerate([*NAMES, "DontCare"])]


def content_of(number: int) -> dict[str, Any]:
    """One picture with a bicycle and something that is not to be cared for, in the set's own words."""
    boxes = [{"image_id": number, "bbox": [164, 10, 40, 20], "category_id": kind, "area": 800} for kind in (2, 4)]
    return {
        "info": {"description": "PegasusDrone"},
        "images": [{"filename": f"{number}.jpg", "height": 512, "width": 640, "id": number}],
        "categories": CATEGORIES,
        "annotation": [{**box, "id": index} for index, box in enumerate(boxes)],
    }


def files(val: str = "instances_val.json") -> dict[str, bytes]:
    picture = io.BytesIO()
    Image.new("L", (640, 512)).save(picture, "JPEG")
    found = {f"{TOP}/README.md": b"HIT-UAV"}
    for number, (split, name) in enumerate([("train", "train.json"), ("val", val), ("test", "test.json")], start=1):
        found[f"{TOP}/normal_json/annotations/{name}"] = json.dumps(content_of(number)).encode()
        found[f"{TOP}/normal_json/{split}/{number}.jpg"] = picture.getvalue()
    return found


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "served").mkdir()
    with zipfile.ZipFile(tmp_path / "served" / "HEAD.zip", "w") as archive:
        for name, content in files().items():
            archive.writestr(name, content)
    with serving(tmp_path / "served") as url:
        yield url


def test_fetched_and_read(served: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shipped = (SHIPPED_FOLDER / "hituav.yaml").read_text()
    assert "https://github.com/suojiashun/HIT-UAV-Infrared-Thermal-Dataset/archive/HEAD.zip" in shipped
    text = shipped.replace("https://github.com/suojiashun/HIT-UAV-Infrared-Thermal-Dataset/archive", served)
    (tmp_path / "data" / "hituav.yaml").write_text(text.replace("../../datasets", "../datasets"))
    config = download(load_data_config(tmp_path / "data" / "hituav.yaml"), lambda _line: None)
    assert config.imgsz == 320 and config.names == tuple(NAMES)
    for number, split in enumerate(("train", "val", "test"), start=1):
        samples = load_samples(config, split, strict=True, report=lambda _line: None)
        assert [Path(path).name for path in samples.image_paths] == [f"{number}.jpg"]
        assert samples.classes.tolist() == [2]  # DontCare is left out
        expected = [(164 + 20) / 640, (10 + 10) / 512, 40 / 640, 20 / 512]
        assert np.allclose(samples.boxes_cxcywh, [expected])


def put(root: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def test_val_by_its_other_name_and_cocos_own_keys(tmp_path: Path) -> None:
    content = content_of(2)
    content["annotations"] = content.pop("annotation")
    content["images"][0]["file_name"] = content["images"][0].pop("filename")
    put(tmp_path, {**files("val.json"), f"{TOP}/normal_json/annotations/val.json": json.dumps(content).encode()})
    convert_hituav(tmp_path, NAMES)
    made = json.loads((tmp_path / "annotations" / "hituav_val.json").read_text())
    assert made["images"][0]["file_name"] == f"{TOP}/normal_json/val/2.jpg" and len(made["annotations"]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "no folder normal_json/annotations in it"),
        ({"val": None}, "there is no val.json and no instances_val.json"),
        ({"train": {"images": []}}, "train.json: not a COCO json, it has no list 'annotations'"),
        ({"train": [1]}, "train.json: not a COCO json"),
        ({"train": {"annotation": [3], "images": [], "categories": []}}, "json: annotation is no list of entries"),
        ({"train": {"annotation": [{"category_id": [1]}], "images": [], "categories": []}}, "entries with category_id"),
        ({"train": {"annotation": [], "images": [{"id": 1}], "categories": []}}, "images is no list .* with filename"),
        ({"train": {"annotation": [], "images": {}, "categories": []}}, "not HIT-UAV's json"),
        (
            {"train": {"annotation": [], "images": [], "categories": [{"id": 1, "name": "Boat"}]}},
            "has the categories Boat, none of Person, Car",
        ),
    ],
)
def test_what_is_no_such_set(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    content = files("val.json") if change else {}
    for split, new in change.items():
        content.pop(f"{TOP}/normal_json/annotations/{split}.json")
        if new is not None:
            content[f"{TOP}/normal_json/annotations/{split}.json"] = json.dumps(new).encode()
    put(tmp_path, content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        convert_hituav(tmp_path, NAMES)
    assert not (tmp_path / "annotations").exists()
