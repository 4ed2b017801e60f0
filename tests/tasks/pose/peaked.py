"""A small pose network whose probabilities have peaks, as those of a trained one, and crops and a set of drawn people."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mgil.datasets.reading.figures.made import annotation, scene
from mgil.datasets.reading.figures.scene import KEY_POINTS
from mgil.tasks.pose.config import load_architecture
from mgil.tasks.pose.crops import crop_people
from mgil.tasks.pose.network import PoseNetwork, build_pose

SIZE = 32  # pixels of the network's input
SCENES = range(6)  # of the figures' val split
SPREAD = 5.0  # standard deviation of the logits: the best of 96 is then 0.5 ahead of the next, on the mean


@cache
def scenes() -> list[tuple[np.ndarray, list[dict[str, Any]]]]:
    """(H, W, 3) uint8 RGB pictures and COCO's annotations of the people in them."""
    found = [scene("val", index) for index in SCENES]
    return [(pixels, [annotation(one, 1, 1) for one in figures]) for pixels, figures in found]


@cache
def crops(size: int = SIZE) -> Tensor:
    """(n, 3, S, S) in 0..1, everybody in the scenes."""
    cut = [crop_people(pixels, np.array([one["bbox"] for one in own]), size)[0] for pixels, own in scenes()]
    return torch.from_numpy(np.concatenate(cut)).float() / 255


@cache
def peaked(cfg: str = "simcc-small-mgil.yaml", size: int = SIZE) -> PoseNetwork:
    """Random, but as if it had been trained: normalisations have statistics, and logits differ by bin and by crop."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options = {"host_options": {"width": 8, "depth": 1}} if cfg.startswith("simcc-small") else {}
        model = build_pose({**load_architecture(cfg), **options, "crop": "area"}, KEY_POINTS, size)
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
            elif isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None and layer.running_var is not None
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.2)
                nn.init.uniform_(layer.weight, 0.9, 1.25)
                nn.init.normal_(layer.bias, 0, 0.1)
        model.eval().requires_grad_(False)
        for layer in (model.head.mlp_head_x, model.head.mlp_head_y):
            layer.weight.mul_(SPREAD / model(crops(size)).std(dim=-1).mean())
    return model


def make_set(folder: Path) -> Path:
    """The scenes as a data set, for training and for validation the same; returns its YAML."""
    (folder / "images").mkdir(parents=True)
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (pixels, own) in enumerate(scenes(), start=1):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), pixels[..., ::-1])
        height, width = pixels.shape[:2]
        entries.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        annotations += [{**one, "image_id": number, "id": len(annotations) + 1 + i} for i, one in enumerate(own)]
    category = {"id": 1, "name": "person", "keypoints": list(KEY_POINTS), "skeleton": [[6, 8], [8, 10]]}
    content = {"images": entries, "annotations": annotations, "categories": [category]}
    (folder / "people.json").write_text(json.dumps(content))
    path = folder / "people.yaml"
    path.write_text("train: people.json\nval: people.json\nnames: [person]\nkpt_shape: [17, 3]\n")
    return path
