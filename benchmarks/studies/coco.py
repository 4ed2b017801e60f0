"""COCO as in the paper's table 3, for those who have it and a GPU. data/coco.yaml says where the images belong.

    python -m benchmarks.study coco --device 0 --data-workers 16

One epoch on the 128 images of coco128, to see that it runs: coco_smoke.
"""

from __future__ import annotations

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

MODELS = [Model("yolov5n"), Model("yolov5s"), Model("yolov5n-spd"), Model("yolov5n-mgil")]
TRAIN = TrainConfig(data="coco", imgsz=640, epochs=300, batch_size=64)  # YOLOv5's own schedule
cells = [Cell(model, TRAIN) for model in MODELS]
