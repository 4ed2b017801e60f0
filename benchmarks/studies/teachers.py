"""The teacher of the study `teaching`: yolov5n from official weights, on the same 600 pictures at twice the input size.

    python -m benchmarks.study teachers --data-root FOLDER --no-latency

Its epoch is chosen on a tenth of train.
"""

from __future__ import annotations

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

TRAIN = TrainConfig(data="helmet320", weights="yolov5n-v7.0.pt", imgsz=320, epochs=10, batch_size=16)
cells = [Cell(Model("yolov5n", "teacher"), TRAIN, images=600, holdout=0.1)]
