"""Trained on from official yolov5n: what blocks, finer maps and enlarged pictures buy, at 64 to 320 px.

    python -m benchmarks.shrink FOLDER/helmet320.yaml --side 160 --output FOLDER/helmet160
    python -m benchmarks.shrink FOLDER/helmet320.yaml --side 64 --output FOLDER/helmet64
    python -m benchmarks.study finetune --data-root FOLDER

FOLDER holds yolov5n-v7.0.pt too. A set as small as most people have: 600 pictures (heads on sites, 64 and 160 px) and
400 (thermal, from a drone, at 320 px) to train on, and few epochs. All have the recipe hyp.finetune.yaml, but for
yolov5n-mgil, most of which official weights do not fill: that is trained as from scratch. `enlarged` is the same
network at twice the input size on the same pictures; yolov5n enlarged costs what the seven blocks cost.

Predicted before they ran, AP of 100 above yolov5n, means of three seeds: yolov5n-p23 +2 at 64 px, +1 at 160 px, +2 on
thermal pictures; yolov5n-p2 -1 at 160 px, as its new rows are more; yolov5n-p23 enlarged +1 above yolov5n enlarged.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

BEGUN = {"residual": True, "coarse_shortcut": True}
PLAIN = Model("yolov5n")
STEM = Model("yolov5n", "yolov5n, block in the stem", rows={0: [-1, 1, "MGIL", [64, BEGUN]]})
BLOCKS = Model("yolov5n-mgil-res")
BY_NAME = Model("yolov5n-mgil", "yolov5n-mgil, tensors by name")
ENLARGED = Model("yolov5n", "yolov5n, enlarged")
P2 = Model("yolov5n-p2")
P23 = Model("yolov5n-p23")
P23_ENLARGED = Model("yolov5n-p23", "yolov5n-p23, enlarged")
HELMET = TrainConfig(data="helmet160", weights="yolov5n-v7.0.pt", imgsz=160, epochs=10, batch_size=16)
HITUAV = TrainConfig(data="hituav320", weights="yolov5n-v7.0.pt", imgsz=320, epochs=6, batch_size=16)
HELMET64 = replace(HELMET, data="helmet64", imgsz=64)
SIZES = ((HELMET, 600), (HITUAV, 400))


def begun(train: TrainConfig, images: int, seed: int, *models: Model) -> list[Cell]:
    """A cell for each model, enlarged ones at twice the size."""
    sizes = [train.imgsz * (2 if model in (ENLARGED, P23_ENLARGED) else 1) for model in models]
    return [
        Cell(model, replace(train, seed=seed, imgsz=size), images=images)
        for model, size in zip(models, sizes, strict=True)
    ]


cells = [
    *(cell for part in SIZES for seed in range(3) for cell in begun(*part, seed, PLAIN, STEM, BLOCKS, ENLARGED)),
    *(Cell(BY_NAME, replace(train, hyp="lowres"), images=images) for train, images in SIZES),
    *(cell for part in SIZES for seed in range(3) for cell in begun(*part, seed, P23, P2, P23_ENLARGED)),
    *(cell for seed in range(3) for cell in begun(HELMET64, 600, seed, PLAIN, P23, P2, BLOCKS, ENLARGED, P23_ENLARGED)),
]
