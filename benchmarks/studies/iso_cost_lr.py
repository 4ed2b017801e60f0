"""Learning rates for iso_cost on helmet320, the better of two for each model, chosen on images held out of train.

python -m benchmarks.study iso_cost_lr --data-root FOLDER
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

RATES = [
    (Model("yolov5n"), (0.002, 0.004)),
    (Model("yolov5n-mgil-lite"), (0.002, 0.004)),
    (Model("yolov5n-mgil", "yolov5n-mgil narrowed", like="yolov5n"), (0.002, 0.004)),
    (Model("yolov5n-spd"), (0.002, 0.004)),
    (Model("yolov5s"), (0.001, 0.002)),
    (Model("yolov5n-mgil"), (0.001, 0.002)),
]
TRAIN = TrainConfig(data="helmet320", imgsz=64, epochs=14, batch_size=16)
cells = [
    Cell(replace(model, name=f"{model.name}, lr0 {lr0:g}"), TRAIN, {"lr0": lr0}, holdout=0.15)
    for model, rates in RATES
    for lr0 in rates
]
