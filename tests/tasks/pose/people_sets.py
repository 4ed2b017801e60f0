"""A set of people for studies: pictures of 60x50 pixels with one person of three dots each, in a COCO json."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

NAMES = ["nose", "left_hand", "right_hand"]
COLOURS = ((255, 255, 255), (255, 0, 0), (0, 0, 255))


def make_people(folder: Path, train: int = 12, val: int = 4) -> Path:
    """Write people.yaml, train/people.json and val/people.json with their pictures; the path of the YAML."""
    for seed, (split, count) in enumerate((("train", train), ("val", val))):
        (folder / split).mkdir(parents=True)
        _write_split(folder / split, count, seed)
    path = folder / "people.yaml"
    path.write_text("train: train/people.json\nval: val/people.json\nnames: [person]\nepochs: 7\n")
    return path


def _write_split(folder: Path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(1, count + 1):
        picture = np.full((60, 50, 3), 60, np.uint8)
        points = rng.integers(12, 44, (3, 2))
        for (x, y), colour in zip(points.tolist(), COLOURS, strict=True):
            cv2.circle(picture, (x, y), 3, colour, -1)
        name = f"{folder.name}{number}.png"
        cv2.imwrite(str(folder / name), picture[..., ::-1])
        images.append({"id": number, "file_name": name, "width": 50, "height": 60})
        labels = [value for x, y in points.tolist() for value in (x, y, 2)]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "bbox": [8, 8, 40, 40], "area": 1600,
             "num_keypoints": 3, "keypoints": labels}
        )  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "people.json").write_text(json.dumps(content))
