"""The paper's component ablation (tables 5 to 8), on detection instead of poses: which part of the block brings what.

    python -m benchmarks.study ablation

The host is yolov5n at half its width, from scratch, on 1,500 scenes of digits: 12 rows and three seeds in under two
hours of one core. The plain host widened is yolov5n itself, which takes the operations of the whole block. Every row
has the data set's recipe, which was found for plain networks; batches of 32, 15 epochs.

Predicted before it ran, AP of 100, means of three seeds: widened 45; base, SPD and the block in the stem 32; FLIE 25;
1 + 1 convolutions 25; FLIE + CII, FLIE + CII + MGAF, parallel and dilations of 1 15; 3 + 3 convolutions 8; residual
38. MGAF against a sum, serial against parallel and rates of 1, 2, 3 against 1 are within one standard deviation.
Reasons: every convolution more in a stride-2 layer's place starts later, as in pose_ablation.py; a start as the plain
layer does not.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

WIDTH = 0.125


def block(name: str, **options: object) -> Model:
    """The host with blocks in all seven places."""
    return Model("yolov5n-mgil", name, mgil=options, width=WIDTH)


MODELS = [
    Model("yolov5n", "base", width=WIDTH),
    Model("yolov5n-spd", "SPD", width=WIDTH),  # one convolution
    block("FLIE", fusion="none"),  # two
    block("FLIE + CII", fusion="sum"),
    block("FLIE + CII + MGAF"),  # the block; 2 convolutions in either branch
    block("1 + 1 convolutions", fine_convs=1, coarse_convs=1),
    block("3 + 3 convolutions", fine_convs=3, coarse_convs=3),
    block("parallel", cii_input="parallel"),
    block("dilations 1, 1, 1", dilations=(1, 1, 1)),
    block("residual", residual=True, coarse_shortcut=True),
    Model("yolov5n", "block in the stem", rows={0: [-1, 1, "MGIL", [64]]}, width=WIDTH),
    Model("yolov5n", "widened"),
]
DIGITS = TrainConfig(data="digits", imgsz=64, epochs=15, batch_size=32)
cells = [Cell(model, replace(DIGITS, seed=seed), images=1500) for seed in range(3) for model in MODELS]
