"""Whether MGIL catches up: two rows of `tin40_classes` for 25 epochs, one seed.

    python -m benchmarks.study tin40_longer --data-root FOLDER

Predicted before it ran: resnet18 .445, MGIL .415, so the distance shrinks from 4.5 points to 3.
"""

from __future__ import annotations

from benchmarks.study_class_models import ClassModel
from benchmarks.study_plan import Cell, ClassTrainConfig

NARROW = {"host_options": {"channels": [16, 32, 64, 128]}}
TRAIN = ClassTrainConfig(data="tin40cls", imgsz=32, epochs=25, batch_size=64)
cells = [
    Cell(ClassModel("resnet18", keys=NARROW), TRAIN),
    Cell(ClassModel("resnet18-mgil", "MGIL", keys=NARROW), TRAIN),
]
