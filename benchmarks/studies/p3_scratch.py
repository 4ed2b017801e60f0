"""yolov5n-p3 on enlarged pictures beside yolov5n and ultralytics' yolo11n, all from scratch, at yolov5n's latency.

    python -m benchmarks.peers
    python -m benchmarks.study p3_scratch --data-root FOLDER

The data sets are those of small_pictures.py. Peers are trained by their own code and recipe. So short a training is
none that anybody would stop at: it says who learns first.

Predicted before it ran, AP of 100, means of three seeds. Heads, 15 epochs: yolov5n 19, p3 24, yolo11n 10, yolo26n-p2 6.
Thermal, 160 px, 8 epochs: yolov5n 3, p3 5, yolo11n 2.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

PLAIN, P3 = Model("yolov5n"), Model("yolov5n-p3", "yolov5n-p3, enlarged")
YOLO11, YOLO26_P2 = Model("yolo11n", peer="ultralytics"), Model("yolo26n-p2", peer="ultralytics")
HELMET = TrainConfig(data="helmet160", imgsz=160, epochs=15, batch_size=16)
HITUAV = replace(HELMET, data="hituav160", epochs=8)
SETS = (
    (HELMET, ((PLAIN, 160), (P3, 208), (YOLO11, 160), (YOLO26_P2, 160))),
    (HITUAV, ((PLAIN, 160), (P3, 208), (YOLO11, 160))),
)
cells = [
    Cell(model, replace(train, seed=seed, imgsz=size))
    for train, models in SETS
    for seed in range(3)
    for model, size in models
]
