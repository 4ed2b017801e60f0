"""How far to cut yolov5n, and how far to enlarge the pictures for it, at yolov5n's latency? On held-out images.

    python -m benchmarks.study p3_trials --data-root FOLDER --no-latency

FOLDER holds helmet160 (see finetune.py), yolov5n-v7.0.pt and teacher320.pt (see teaching.py). These are the last of the
trials; all of them, the earlier ones too, and what was predicted of each: benchmarks/results/p3.md.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

P3 = "yolov5n-p3"
TRAIN = TrainConfig(data="helmet160", weights="yolov5n-v7.0.pt", imgsz=208, epochs=10, batch_size=16)
TAUGHT = replace(TRAIN, teacher="teacher320.pt", teacher_img=320)
FINE = {"fine_convs": 2, "fusion": "none", "residual": True}
WHOLE = {"residual": True, "coarse_shortcut": True}
ONE_AT_P4 = {6: [-1, 3, "C3", [512]]}  # one bottleneck in place of three
ONE_AT_BOTH = {**ONE_AT_P4, 4: [-1, 3, "C3", [256]]}
cells = [
    *(Cell(Model("yolov5n", f"yolov5n, {size} px"), replace(TRAIN, imgsz=size), {}, 0.15, 600) for size in (160, 224)),
    *(Cell(Model(P3, f"p3, {size} px"), replace(TRAIN, imgsz=size), {}, 0.15, 600) for size in (208, 160, 416)),
    Cell(Model(P3, "one bottleneck at P4", rows=ONE_AT_P4), replace(TRAIN, imgsz=224), {}, 0.15, 600),
    Cell(Model(P3, "one bottleneck at P3, at P4", rows=ONE_AT_BOTH), replace(TRAIN, imgsz=240), {}, 0.15, 600),
    Cell(Model(P3, "twice the rate"), TRAIN, {"lr0": 0.0004}, 0.15, 600),
    Cell(Model(P3, "mosaics"), TRAIN, {"mosaic": 0.5}, 0.15, 600),
    Cell(Model(P3, "recipe lowres"), replace(TRAIN, hyp="lowres"), {}, 0.15, 600),
    Cell(Model(P3, "taught"), TAUGHT, {}, 0.15, 600),
    *(
        Cell(Model(P3, f"{name}, {size} px", rows=rows), replace(TRAIN, imgsz=size), {}, 0.15, 600)
        for name, size, rows in (
            ("stem of SCT and two convolutions", 192, {0: [-1, 1, "MGIL", [64, FINE]]}),
            ("a block in the stem", 176, {0: [-1, 1, "MGIL", [64, WHOLE]]}),
            ("SCT and two convolutions to P3", 192, {3: [-1, 1, "MGIL", [256, FINE]]}),
        )
    ),
]
