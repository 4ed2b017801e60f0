"""YOLOv5's assignment and gains beside the lowres recipe, chosen on images held out of train.

What a data set's own `hyp` sets holds for every row: scratch-low has on digits their lr0 0.005 and one epoch of
warm-up, and no mosaic.

    python -m benchmarks.study recipe --data-root FOLDER
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {  # the recipe, "" for the one of the size, and changes to it
    "aligned": ("", {}),
    "scratch-low": ("scratch-low", {}),
    "anchor, gains raised": ("", {"assign": "anchor", "box": 0.15, "obj": 16.0, "cls": 8.0}),
    "aligned, cls 0.5": ("", {"cls": 0.5}),
    "aligned, cls 2": ("", {"cls": 2.0}),
    "aligned, box 8": ("", {"box": 8.0}),
    "aligned, lr0 0.004": ("", {"lr0": 0.004}),
}
TRAININGS = [
    TrainConfig(data="digits", imgsz=64, epochs=12, batch_size=32),
    TrainConfig(data="helmet320", imgsz=64, epochs=20, batch_size=16),
    TrainConfig(data="helmet320", imgsz=160, epochs=12, batch_size=16),
]
cells = [
    Cell(Model("yolov5n", name), replace(train, hyp=hyp), changes, holdout=0.15)
    for train in TRAININGS
    for name, (hyp, changes) in RECIPES.items()
]
