"""A network and data sets small enough to be trained in a moment, for the tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from mgil.engine.training.config import TrainConfig

NAMES = ("red", "green", "blue")
COLOURS_RGB = np.array([[230, 40, 40], [40, 220, 40], [50, 60, 240]])

# Three levels at strides 8, 16 and 32, one of them behind an MGIL block; a few thousand parameters.
TINY: dict[str, Any] = {
    "anchors": [[6, 6, 8, 8, 10, 10], [12, 12, 16, 16, 20, 20], [24, 24, 32, 32, 40, 40]],
    "backbone": [
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "MGIL", [16]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [16, 3, 2]],
    ],
    "head": [[[2, 3, 4], 1, "Detect", ["nc", "anchors"]]],
}

# No warm-up and no accumulation: a run of a few steps shall take real steps. Few colours are changed: colour is class.
# The loss is the default one at low resolution; ANCHOR takes YOLOv5's instead.
RECIPE: dict[str, Any] = {
    "assign": "aligned", "box": 5.0, "cls": 1.0, "lrf": 0.1,
    "warmup_epochs": 0.0, "nbs": 8, "hsv_h": 0.0, "hsv_s": 0.2, "hsv_v": 0.2,
}  # fmt: skip
ANCHOR = {"assign": "anchor", "box": 0.05, "cls": 0.5}
PLAIN = {"translate": 0.0, "scale": 0.0, "fliplr": 0.0, "mosaic": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}

Boxes = list[tuple[int, int, int, int]]  # class, left, top, side


def write_squares(folder: Path, split: str, pictures: list[Boxes], size: int = 32, seed: int = 0) -> None:
    """Write grey noise with coloured squares in it, and the labels."""
    random = np.random.default_rng(seed)
    images, labels = folder / "images" / split, folder / "labels" / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for number, boxes in enumerate(pictures, start=1):
        image = random.integers(90, 140, (size, size, 1)).repeat(3, axis=2).astype(np.uint8)
        lines = []
        for kind, left, top, side in boxes:
            image[top : top + side, left : left + side] = COLOURS_RGB[kind]
            lines.append(f"{kind} {(left + side / 2) / size} {(top + side / 2) / size} {side / size} {side / size}\n")
        cv2.imwrite(str(images / f"{number:03}.png"), image[..., ::-1])
        (labels / f"{number:03}.txt").write_text("".join(lines))


def random_squares(count: int, size: int = 32, seed: int = 0, most: int = 2) -> list[Boxes]:
    """One to `most` squares of 8 to 14 px for each of `count` pictures, one in the left half, one in the right."""
    random = np.random.default_rng(seed)
    pictures: list[Boxes] = []
    for _ in range(count):
        boxes = []
        for place in range(int(random.integers(1, most + 1))):
            side = int(random.integers(8, 15))
            left = place * size // 2 + int(random.integers(0, size // 2 - side + 1))
            boxes.append((int(random.integers(len(NAMES))), left, int(random.integers(0, size - side + 1)), side))
        pictures.append(boxes)
    return pictures


def make_data(folder: Path, train: list[Boxes], val: list[Boxes], size: int = 32) -> Path:
    """A data set of squares; returns its YAML."""
    write_squares(folder, "train", train, size, seed=1)
    write_squares(folder, "val", val, size, seed=2)
    path = folder / "squares.yaml"
    path.write_text(f"train: images/train\nval: images/val\nnames: [{', '.join(NAMES)}]\n")
    return path


def write_yaml(path: Path, content: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(content))
    return str(path)


class Playground:
    """A folder with a tiny model, a recipe and a data set, and the config of a run on them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.cfg = write_yaml(folder / "tiny.yaml", TINY)
        self.hyp = write_yaml(folder / "hyp.yaml", RECIPE)
        self.data = str(make_data(folder / "data", random_squares(16, seed=3), random_squares(4, seed=4)))

    def config(self, project: Path, **options: Any) -> TrainConfig:
        """A run of two epochs of two steps on the CPU, without pictures."""
        defaults: dict[str, Any] = {
            "cfg": self.cfg,
            "hyp": self.hyp,
            "data": self.data,
            "imgsz": 32,
            "epochs": 2,
            "batch_size": 8,
            "workers": 0,
            "noplots": True,
            "noautoanchor": True,
            "device": "cpu",
            "project": str(project),
        }
        return TrainConfig(**(defaults | options))


def same_tensors(first: Any, second: Any) -> bool:
    """Whether two nestings of dicts, lists, tensors and plain values are equal bit by bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same_tensors(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same_tensors, first, second))
    return bool(first == second)
