"""Is the cut network's lead one of short trainings? From official weights on all pictures of train, for 30 epochs or
until validation has not improved for ten.

    python -m benchmarks.study plateau --data-root FOLDER

Sets, weights and recipes are those of small_pictures.py, which has a third of the pictures and of the epochs.

Predicted before it ran, AP of 100: heads at 160 px: yolov5n 33, p3 at 208 px 39. Thermal at 160 px: yolov5n 14, p3 at
208 px 17.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

PLAIN, P3 = Model("yolov5n"), Model("yolov5n-p3", "yolov5n-p3, enlarged")
HELMET = TrainConfig(
    data="helmet160", weights="yolov5n-v7.0.pt", hyp="lowres", imgsz=160, epochs=30, batch_size=16, patience=10
)
HITUAV = replace(HELMET, data="hituav160", hyp="")
cells = [
    Cell(model, replace(train, seed=seed, imgsz=size))
    for seed in range(3)
    for train in (HELMET, HITUAV)
    for model, size in ((PLAIN, 160), (P3, 208))
]
