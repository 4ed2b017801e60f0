"""yolov5n-mgil-lite beside yolov5n, that with both assignments, and what a user would pick instead: trained to the end,
scored on val.

    python -m benchmarks.study lite --data-root FOLDER
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

MODELS = [
    Model("yolov5n"),
    Model("yolov5n-mgil-lite"),
    Model("yolov5n", "yolov5n, anchor assignment"),
    Model("yolov5n", peer="yolov5"),
    Model("yolo11n", peer="ultralytics"),
]
RECIPES = {"yolov5n, anchor assignment": {"assign": "anchor", "box": 0.15, "obj": 16.0, "cls": 8.0}}
TRAININGS = [
    TrainConfig(data="helmet320", imgsz=64, epochs=100, batch_size=16, patience=30),
    TrainConfig(data="digits", imgsz=64, epochs=30, batch_size=32, patience=30),
]
cells = [
    Cell(model, replace(train, seed=seed), RECIPES.get(model.name, {}))
    for train in TRAININGS
    for seed in range(3)
    for model in MODELS
]
