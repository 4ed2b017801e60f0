"""Trained on from official yolov5n: what the block buys there, at 160 px (heads on sites) and 320 px (thermal).

    python -m benchmarks.shrink FOLDER/helmet320.yaml --side 160 --output FOLDER/helmet160
    python -m benchmarks.study finetune --data-root FOLDER

FOLDER holds yolov5n-v7.0.pt too. A set as small as most people have: 600 and 400 pictures to train on, and few epochs.
All have the default recipe (hyp.finetune.yaml), but for yolov5n-mgil, most of which official weights do not fill: that
is trained as from scratch. `enlarged` is yolov5n at twice the input size on the same pictures, which costs what the
seven blocks cost.
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
HELMET = TrainConfig(data="helmet160", weights="yolov5n-v7.0.pt", imgsz=160, epochs=10, batch_size=16)
HITUAV = TrainConfig(data="hituav320", weights="yolov5n-v7.0.pt", imgsz=320, epochs=6, batch_size=16)
SIZES = ((HELMET, 600), (HITUAV, 400))

cells = [
    *(
        Cell(model, replace(train, seed=seed, imgsz=train.imgsz * (2 if model is ENLARGED else 1)), images=images)
        for train, images in SIZES
        for seed in range(3)
        for model in (PLAIN, STEM, BLOCKS, ENLARGED)
    ),
    *(Cell(BY_NAME, replace(train, hyp="lowres"), images=images) for train, images in SIZES),
]
