"""What the block does at 32 and at 64 px on the embedded figures: a demonstration on a small set.

python -m benchmarks.study pose_sizes
"""

from __future__ import annotations

from benchmarks.study_plan import Cell, PoseTrainConfig
from benchmarks.study_pose_models import PoseModel

MODELS = [
    PoseModel("simcc-small", "base"),
    PoseModel("simcc-small-spd", "SPD"),
    PoseModel("simcc-small-mgil", "FLIE + CII + MGAF"),
]
cells = [
    Cell(model, PoseTrainConfig(data="figures", imgsz=size, epochs=30, batch_size=32))
    for size in (32, 64)
    for model in MODELS
]
