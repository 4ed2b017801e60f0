"""coco in small: the same models, one epoch on coco128 at 128 px; the figures mean nothing.

python -m benchmarks.study coco_smoke --data-root FOLDER
"""

from __future__ import annotations

from benchmarks.studies.coco import MODELS
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

TRAIN = TrainConfig(data="coco128", imgsz=128, epochs=1, batch_size=16)
cells = [Cell(model, TRAIN) for model in MODELS]
