"""The paper's component ablation (tables 5 to 8), on detection instead of poses: which part of the block brings what.

python -m benchmarks.study ablation --data-root FOLDER
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

BLOCK = "yolov5n-mgil"
MODELS = [
    Model("yolov5n"),
    Model("yolov5n-spd", "SPD"),
    Model(BLOCK, "FLIE", mgil={"fusion": "none"}),
    Model(BLOCK, "FLIE + CII", mgil={"fusion": "sum"}),
    Model(BLOCK, "FLIE + CII + MGAF"),  # the block; 2 convolutions in either branch
    Model(BLOCK, "1 + 1 convolutions", mgil={"fine_convs": 1, "coarse_convs": 1}),
    Model(BLOCK, "1 + 2 convolutions", mgil={"fine_convs": 1, "coarse_convs": 2}),
    Model(BLOCK, "2 + 1 convolutions", mgil={"fine_convs": 2, "coarse_convs": 1}),
    Model(BLOCK, "3 + 3 convolutions", mgil={"fine_convs": 3, "coarse_convs": 3}),
]
TRAININGS = [
    TrainConfig(data="digits", imgsz=64, epochs=60, batch_size=32, patience=20),
    TrainConfig(data="helmet320", imgsz=64, epochs=100, batch_size=16, patience=20),
]
cells = [Cell(model, replace(train, seed=seed)) for train in TRAININGS for seed in range(3) for model in MODELS]
