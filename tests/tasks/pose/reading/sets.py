"""Small data sets of people, written for the tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mgil.datasets.reading.config import DataConfig, load_data_config
from mgil.tasks.pose.people import People
from mgil.tasks.pose.reading.load import read_people

NAMES = ("nose", "left_hand", "right_hand")


def write_picture(path: Path, width: int = 40, height: int = 30) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 60)).save(path)
    return str(path)


def person(**changes: Any) -> dict[str, Any]:
    """An annotation of three key points; None leaves a key out."""
    entry: dict[str, Any] = {
        **{"id": 7, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [2, 3, 20, 24], "area": 250.5},
        "keypoints": [10, 5, 2, 4.5, 12, 1, 0, 0, 0],
    }
    entry.update(changes)
    return {key: value for key, value in entry.items() if value is not None}


def write_coco(folder: Path, *people: Mapping[str, Any] | Any, **changes: Any) -> Path:
    """`set.yaml` with the json of two pictures, 1.png and 2.png, for train and val."""
    for number in (1, 2):
        write_picture(folder / "images" / f"{number}.png")
    category = {"id": 1, "name": "person", "keypoints": list(NAMES), "skeleton": [[1, 2], [1, 3]]}
    content = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 40, "height": 30} for number in (1, 2)],
        "annotations": list(people),
        "categories": [category],
    }
    (folder / "people.json").write_text(json.dumps({**content, **changes}))
    return write_yaml(folder, "train: people.json\nval: people.json\n")


def write_yaml(folder: Path, text: str) -> Path:
    path = folder / "set.yaml"
    path.write_text(text)
    return path


def read(yaml_path: Path, split: str = "val", strict: bool = False) -> tuple[People, list[str]]:
    """The people and what was reported."""
    lines: list[str] = []
    return read_people(load_data_config(yaml_path), split, strict=strict, report=lines.append), lines


def config(folder: Path, text: str) -> DataConfig:
    return load_data_config(write_yaml(folder, f"val: images\nnames: [person]\n{text}"))


def same(found: np.ndarray, expected: Any) -> None:
    np.testing.assert_allclose(found, np.array(expected, np.float64), rtol=0, atol=1e-9)
