"""Where the block pays: AP against input size. The digits are 64 px wide; 96 px shows what enlarging alone is worth.

python -m benchmarks.study resolution --data-root FOLDER
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

MODELS = [
    Model("yolov5n"),
    Model("yolov5s"),
    Model("yolov5n-spd"),
    Model("yolov5n-mgil"),
    Model("yolo11n", peer="ultralytics"),
]
TRAININGS = [
    (TrainConfig(data="digits", epochs=60, batch_size=32, patience=20), (32, 64, 96)),
    (TrainConfig(data="helmet320", epochs=100, batch_size=16, patience=20), (64, 96, 160, 320)),
]
cells = [
    Cell(model, replace(train, imgsz=size, seed=seed))
    for train, sizes in TRAININGS
    for seed in range(3)
    for size in sizes
    for model in MODELS
]
