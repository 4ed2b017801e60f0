"""Photographs of 64x64 pixels as they are, one object each: 40 classes of TinyImageNet, 18,000 + 2,000 images.

tin40.yaml is the data set's own file, in the folder that --data-root names or in its subfolder tin40:

    python -m benchmarks.study tin40 --data-root path/to/unzipped
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

MODELS = [
    Model("yolov5n"),
    Model("yolov5n-mgil", "yolov5n-mgil narrowed", like="yolov5n"),
    Model("yolov5s"),
    Model("yolov5n", "yolov5n widened", like="yolov5n-mgil"),
    Model("yolov5n-mgil"),
    Model("yolov5n", peer="yolov5"),
    Model("yolo11n", peer="ultralytics"),
]
TRAIN = TrainConfig(data="tin40", imgsz=64, epochs=30, batch_size=64, patience=10)
cells = [Cell(model, replace(TRAIN, seed=seed)) for seed in range(3) for model in MODELS]
