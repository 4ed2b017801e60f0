"""Training with degraded pictures: what it gains on pictures that are worse, and costs on clean ones.

    python -m benchmarks.shrink FOLDER/helmet320.yaml --side 160 --output FOLDER/helmet160
    python -m benchmarks.study degraded --data-root FOLDER --no-latency      # trains; FOLDER holds yolov5n-v7.0.pt too
    python -m benchmarks.degradations degraded --data-root FOLDER            # AP of the same weights over strengths

From scratch on digits at 64 px, and trained on from official yolov5n on heads at 160 px. Of each pair one has the
default recipe and one that with `degrade: 0.5`, which hyp.degraded.yaml has too.

Predicted before it ran, AP of 100 with degradations minus AP without, means of three seeds:
    digits: clean -2, area:3 +10, blur:2 +10, noise:16 +2, jpeg:15 +2, gamma +1.
    helmet160: clean -0.5, area:3 +2, blur:2 +2, noise:16 +1.5, jpeg:15 +1, gamma 0: the weights
        have seen such pictures.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

TRAININGS = [
    ("yolov5n-mgil-lite", TrainConfig(data="digits", imgsz=64, epochs=15, batch_size=32), 0),
    ("yolov5n", TrainConfig(data="helmet160", weights="yolov5n-v7.0.pt", imgsz=160, epochs=10, batch_size=16), 600),
]
cells = [
    Cell(Model(cfg, name), replace(train, seed=seed), recipe, images=images)
    for cfg, train, images in TRAININGS
    for seed in range(3)
    for name, recipe in (("clean", {}), ("degraded", {"degrade": 0.5}))
]
