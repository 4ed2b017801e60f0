"""Which finer maps, and which of their layers, win at yolov5n's latency, from official weights? On held-out images.

    python -m benchmarks.study p23_trials --data-root FOLDER --no-latency

FOLDER holds helmet160 (see finetune.py), yolov5n-v7.0.pt and teacher320.pt (see teaching.py). Every trial was predicted
before it ran: benchmarks/results/p23.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

P23 = "yolov5n-p23"
TRAIN = TrainConfig(data="helmet160", weights="yolov5n-v7.0.pt", imgsz=160, epochs=10, batch_size=16)
TAUGHT = replace(TRAIN, teacher="teacher320.pt", teacher_img=320)
FINE = {"fine_convs": 2, "fusion": "none", "residual": True}
SUM = {"fine_convs": 1, "coarse_convs": 1, "fusion": "sum", "coarse_shortcut": True}
SAME = [-1, 1, "nn.Upsample", [None, 1, "nearest"]]  # holds the place of a row, so that later ones keep their weights
NO_P5 = {7: [6, 1, "SPPF", [512, 5]], **dict.fromkeys(range(8, 14), SAME)}


def p2_of(channels: int, number: int = 1) -> dict[int, list[Any]]:
    """The rows of P2 with other channels, at width 1.00, and bottlenecks."""
    return {18: [-1, 1, "Conv", [channels, 1, 1]], 21: [-1, number, "C3", [channels, False]]}


def head_on(*rows: int) -> dict[int, list[Any]]:
    """The head on other rows."""
    return {22: [list(rows), 1, "Detect", ["nc", 3]]}


MODELS = (
    Model("yolov5n"),
    Model(P23),
    Model(P23, "P2 of 48 channels", rows=p2_of(192)),
    Model(P23, "P2 of 24 channels", rows=p2_of(96)),
    Model(P23, "P2 with two bottlenecks", rows=p2_of(128, 6)),
    Model(P23, "P2 alone", rows=head_on(21)),
    Model(P23, "P2, P3 and P4", rows=head_on(21, 17, 13)),
    Model("yolov5n-p2"),
    Model(P23, "without P5's stage", rows=NO_P5),
    Model(P23, "stem of SCT and two convolutions", rows={0: [-1, 1, "MGIL", [64, FINE]]}),
    Model(P23, "stem of a block with a sum", rows={0: [-1, 1, "MGIL", [64, SUM]]}),
)
VARIED: tuple[tuple[Model, TrainConfig, dict[str, Any]], ...] = (
    (Model(P23, "twice the rate"), TRAIN, {"lr0": 0.0004}),
    (Model(P23, "four times the rate"), TRAIN, {"lr0": 0.0008}),
    (Model(P23, "half of the pictures in mosaics"), TRAIN, {"mosaic": 0.5}),
    (Model(P23, "recipe lowres"), replace(TRAIN, hyp="lowres"), {}),
    (Model(P23, "taught"), TAUGHT, {}),
    (Model(P23, "taught by scores"), TAUGHT, {"teach_attention": 0.0}),
    (Model("yolov5n", "yolov5n, taught"), TAUGHT, {}),
)
LONGER = tuple((Model(cfg, f"{cfg}, all pictures"), replace(TRAIN, epochs=8), {}) for cfg in (P23, "yolov5n"))
cells = [
    *(Cell(model, TRAIN, holdout=0.15, images=600) for model in MODELS),
    *(Cell(model, train, recipe, holdout=0.15, images=600) for model, train, recipe in VARIED),
    *(Cell(model, train, recipe, holdout=0.15) for model, train, recipe in LONGER),
]
