"""What of the block helps in the stem of yolov5n-mgil-lite, and could it take less time? Chosen on held-out images.

    python -m benchmarks.study lite_stem --data-root FOLDER

One wide dilated convolution in place of three thin ones makes fewer passes over the largest map, and so does a sum.
Predicted before they ran, AP of 100: MGIL stem 14.7 and plain stem 12.2, as in earlier trials of the same cells;
dilation 2 alone 14.3, the same with a sum in place of MGAF 13.8.
"""

from __future__ import annotations

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

LITE = "yolov5n-mgil-lite"
FINE_ALONE = [-1, 1, "MGIL", [64, {"fine_convs": 2, "fusion": "none"}]]
MODELS = [
    Model(LITE, "plain stem", rows={0: [-1, 1, "Conv", [64, 6, 2, 2]]}),
    Model(LITE, "MGIL stem"),
    Model(LITE, "fine branch alone, two 3x3 convolutions", rows={0: FINE_ALONE}),
    Model(LITE, "sum instead of MGAF", mgil={"fusion": "sum"}),
    Model(LITE, "dilation 1 alone", mgil={"dilations": [1]}),
    Model(LITE, "dilation 2 alone", mgil={"dilations": [2]}),
    Model(LITE, "dilation 2 alone, sum", mgil={"dilations": [2], "fusion": "sum"}),
    Model(LITE, "parallel", mgil={"cii_input": "parallel"}),
]
TRAIN = TrainConfig(data="helmet320", imgsz=64, epochs=40, batch_size=16)
cells = [Cell(model, TRAIN, {"lr0": 0.004}, holdout=0.15) for model in MODELS]
