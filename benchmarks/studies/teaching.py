"""Learning from a teacher that sees more pixels, beside the labels: heads at 160 and 64 px from one at 320 px.

    python -m benchmarks.study teachers --data-root FOLDER --no-latency      # FOLDER holds yolov5n-v7.0.pt too
    cp runs/studies/teachers/cells/teacher_*/run/weights/best.pt FOLDER/teacher320.pt
    python -m benchmarks.study teaching --data-root FOLDER --no-latency

All are yolov5n from official weights, with the same recipe (hyp.finetune.yaml), pictures and epochs; 600 pictures to
train on. The teacher is the same network at twice the input size of the first.

Predicted before it ran, AP of 100 above `labels alone`, means of three seeds: scores and attention +0.5 at 160 px, +0.3
at 64 px; scores +0.3 and attention +0.3 at 160 px.
    Reasons. Every object is labelled, so the teacher adds what it is unsure of and where its maps answer. Ten epochs at
    a low rate move maps that were trained for years by little. At 64 px the teacher's maps that are as large as the
    student's see less of the picture.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

TRAIN = TrainConfig(data="helmet320", weights="yolov5n-v7.0.pt", epochs=10, batch_size=16)
TAUGHT = replace(TRAIN, teacher="teacher320.pt", teacher_img=320)
BOTH = (("labels alone", TRAIN, {}), ("scores and attention", TAUGHT, {}))
PARTS = (("scores", TAUGHT, {"teach_attention": 0.0}), ("attention", TAUGHT, {"teach_scores": 0.0}))
cells = [
    Cell(Model("yolov5n", name), replace(train, imgsz=size, seed=seed), recipe, images=600)
    for size, rows in ((160, BOTH), (64, BOTH), (160, PARTS))
    for seed in range(3)
    for name, train, recipe in rows
]
