"""Trained on from official yolov5n: what blocks, finer maps, enlarged pictures and a cut network buy, at 64 to 320 px.

    python -m benchmarks.shrink FOLDER/helmet320.yaml --side 160 --output FOLDER/helmet160
    python -m benchmarks.shrink FOLDER/helmet320.yaml --side 64 --output FOLDER/helmet64
    python -m benchmarks.study finetune --data-root FOLDER

FOLDER holds yolov5n-v7.0.pt too. A set as small as most people have: 600 pictures (heads on sites, 64 and 160 px) and
400 (thermal, from a drone, at 320 px) to train on, and few epochs. All have the recipe hyp.finetune.yaml, but for
yolov5n-mgil, most of which official weights do not fill: that is trained as from scratch.

`enlarged` are networks on the same pictures at a larger input size: yolov5n at twice the side, which costs what its
seven blocks cost; yolov5n-p3, which is cut behind P4, at 1.3 times the side (yolov5n's time), 1.8 (its twofold) and 2.6
(its fourfold).

Predicted before they ran, AP of 100 above yolov5n, means of three seeds. Heads at 160 px: p3 at 208 px +6, at 288 px
+12, at 416 px +16 (yolov5n at 320 px has +14.6), yolov5n-p2 -1. Thermal: p3 at 416 px +4, at 576 px +8. Heads at 64 px:
p3 at 80 px +2, at 112 px +8, at 160 px +14, yolov5n at 128 px +12.
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
P3 = Model("yolov5n-p3", "yolov5n-p3, enlarged")
HELMET = TrainConfig(data="helmet160", weights="yolov5n-v7.0.pt", imgsz=160, epochs=10, batch_size=16)
HITUAV = TrainConfig(data="hituav320", weights="yolov5n-v7.0.pt", imgsz=320, epochs=6, batch_size=16)
HELMET64 = replace(HELMET, data="helmet64", imgsz=64)
SIZES = ((HELMET, 600), (HITUAV, 400))
FINER = (
    (HELMET, 600, ((P3, 208), (P3, 288), (P3, 416), (P2, 160))),
    (HITUAV, 400, ((P3, 416), (P3, 576), (P2, 320))),
    (HELMET64, 600, ((PLAIN, 64), (BLOCKS, 64), (P2, 64), (ENLARGED, 128), (P3, 80), (P3, 112), (P3, 160))),
)

cells = [
    *(
        Cell(model, replace(train, seed=seed, imgsz=train.imgsz * (2 if model is ENLARGED else 1)), images=images)
        for train, images in SIZES
        for seed in range(3)
        for model in (PLAIN, STEM, BLOCKS, ENLARGED)
    ),
    *(Cell(BY_NAME, replace(train, hyp="lowres"), images=images) for train, images in SIZES),
    *(
        Cell(model, replace(train, seed=seed, imgsz=size), images=images)
        for train, images, models in FINER
        for seed in range(3)
        for model, size in models
    ),
]
