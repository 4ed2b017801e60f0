"""Does the instrument work? Two small models, one epoch on a few of the embedded digits; the figures mean nothing.

python -m benchmarks.study smoke
"""

from __future__ import annotations

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

TRAIN = TrainConfig(data="digits", imgsz=64, epochs=1, batch_size=16)
MODELS = [Model("yolov5n"), Model("yolov5n-mgil", "half mgil", width=0.125)]
cells = [Cell(model, TRAIN, images=64) for model in MODELS]
