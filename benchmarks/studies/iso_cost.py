"""What the block buys at equal cost: models of yolov5n's operations, models of yolov5n-mgil's, yolov5n-spd between
them, and the peers that a user would pick instead.

    python -m benchmarks.study iso_cost --data-root FOLDER

The learning rates on helmet320 were chosen on images held out of train: the better of two for each model, widened as
yolov5s, by one seed and 14 epochs (iso_cost_lr); the best of yolov5n-mgil was the lowest that was tried. On digits all
of ours have the data set's own.

yolov5n-lite came later: yolov5n-mgil-lite with a plain stem, wider there and at P2 to the time that the stem's block
takes. Predicted before it ran, AP of 100: helmet320 12.5 (with a block 13.6), digits 73.5 (74.1).
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

MODELS = [
    Model("yolov5n"),
    Model("yolov5n-mgil-lite"),
    Model("yolov5n-lite"),
    Model("yolov5n-mgil", "yolov5n-mgil narrowed", like="yolov5n"),
    Model("yolov5n-spd"),
    Model("yolov5s"),
    Model("yolov5n", "yolov5n widened", like="yolov5n-mgil"),
    Model("yolov5n-mgil"),
    Model("yolov5n-mgil-res"),
    Model("yolov5n", peer="yolov5"),
    Model("yolov5nu", peer="ultralytics"),
    Model("yolo11n", peer="ultralytics"),
]
DIGITS = TrainConfig(data="digits", imgsz=64, epochs=15, batch_size=32, patience=20)
HELMET320 = TrainConfig(data="helmet320", imgsz=64, epochs=40, batch_size=16, patience=20)
HELMET320_RECIPES = {
    "yolov5n": {"lr0": 0.004},
    "yolov5n-mgil-lite": {"lr0": 0.004},
    "yolov5n-lite": {"lr0": 0.004},
    "yolov5n-mgil narrowed": {"lr0": 0.004},
    "yolov5n-mgil": {"lr0": 0.001},
}
cells = [
    *(Cell(model, replace(DIGITS, seed=seed)) for seed in range(3) for model in MODELS),
    *(
        Cell(model, replace(HELMET320, seed=seed), HELMET320_RECIPES.get(model.name, {}))
        for seed in range(3)
        for model in MODELS
    ),
]
