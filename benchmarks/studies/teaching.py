"""Learning from a teacher that sees more pixels, beside the labels: heads at 160 px from one at 320 px.

    python -m benchmarks.study teachers --data-root FOLDER --no-latency      # FOLDER holds yolov5n-v7.0.pt too
    cp runs/studies/teachers/cells/teacher_*/run/weights/best.pt FOLDER/teacher320.pt
    python -m benchmarks.study teaching --data-root FOLDER --no-latency

All are yolov5n from official weights, with the same recipe (hyp.finetune.yaml), pictures and epochs; 600 pictures to
train on. The teacher is the same network at twice the input size.

Predicted before it ran, AP of 100 above `labels alone`, means of three seeds: scores +0.3, attention +0.3, both +0.5.
    Reasons. Every object is labelled, so the teacher adds what it is unsure of and where its maps answer. Ten epochs at
    a low rate move maps that were trained for years by little.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

TRAIN = TrainConfig(data="helmet320", weights="yolov5n-v7.0.pt", imgsz=160, epochs=10, batch_size=16)
TAUGHT = replace(TRAIN, teacher="teacher320.pt", teacher_img=320)
ROWS = (
    ("labels alone", TRAIN, {}),
    ("scores and attention", TAUGHT, {}),
    ("scores", TAUGHT, {"teach_attention": 0.0}),
    ("attention", TAUGHT, {"teach_scores": 0.0}),
)
cells = [
    Cell(Model("yolov5n", name), replace(train, seed=seed), recipe, images=600)
    for seed in range(3)
    for name, train, recipe in ROWS
]
