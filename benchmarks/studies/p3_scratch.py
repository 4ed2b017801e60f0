"""yolov5n-p3 on enlarged pictures beside yolov5n and ultralytics' yolo11n, all from scratch, at yolov5n's latency.

    python -m benchmarks.peers
    python -m benchmarks.study p3_scratch --data-root FOLDER

The data sets are those of finetune.py. yolo11n is trained by its own code and recipe. So short a training is none that
anybody would stop at: it says who learns first.

Predicted before it ran, AP of 100, means of three seeds: heads, 10 epochs: yolov5n 15, p3 20, yolo11n 8. Thermal, 1,200
pictures, 8 epochs: yolov5n 4, p3 6, yolo11n 2.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

PLAIN, P3 = Model("yolov5n"), Model("yolov5n-p3", "yolov5n-p3, enlarged")
PEER = Model("yolo11n", peer="ultralytics")
HELMET = TrainConfig(data="helmet160", imgsz=160, epochs=10, batch_size=16)
HITUAV = TrainConfig(data="hituav320", imgsz=320, epochs=8, batch_size=16)
cells = [
    Cell(model, replace(train, seed=seed, imgsz=size), images=images)
    for train, images, larger in ((HELMET, 0, 208), (HITUAV, 1200, 416))
    for seed in range(3)
    for model, size in ((PLAIN, train.imgsz), (P3, larger), (PEER, train.imgsz))
]
