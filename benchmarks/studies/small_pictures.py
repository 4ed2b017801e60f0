"""The default command on small pictures, from official weights: enlarge them, or cut the network too?

    python -m benchmarks.shrink FOLDER/hituav320.yaml --side 160 --output FOLDER/hituav160
    python -m benchmarks.study small_pictures --data-root FOLDER

FOLDER holds what finetune.py asks for, whose sets these are. Every cell has the recipe that train.py takes by itself:
hyp.lowres.yaml for heads and helmets, which official weights do not know, hyp.finetune.yaml for the thermal set, three
of whose four classes they know. That rule was chosen after finetune.py had run, on images held out of train
(docs/training.md): this study is what a user gets, that one says what blocks bring.

Predicted before it ran, AP of 100, means of three seeds. Heads at 160 px: yolov5n 25, at 320 px 40, p3 at 208 px 31.
Heads at 64 px: yolov5n 5, at 128 px 19, p3 at 80 px 9, at 160 px 25. Thermal at 320 px: yolov5n 11, p3 at 416 px 11.

Heads at 320 px, and thermal pictures at 160 px, whose cars are there as small as people are at 320 px, came later.
Predicted: heads at 320 px: yolov5n 42, p3 at 416 px 44. Thermal at 160 px: yolov5n 4, p3 at 208 px 5, at 288 px 8,
yolov5n at 320 px 9. 224 px came last, at which p3 takes 1.1 to 1.2 times yolov5n's time at 160: heads 31, thermal
7.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.study_models import Model
from benchmarks.study_plan import Cell
from mgil.engine.training.config import TrainConfig

PLAIN, ENLARGED = Model("yolov5n"), Model("yolov5n", "yolov5n, enlarged")
P3 = Model("yolov5n-p3", "yolov5n-p3, enlarged")
HELMET = TrainConfig(data="helmet160", weights="yolov5n-v7.0.pt", hyp="lowres", imgsz=160, epochs=10, batch_size=16)
HELMET64 = replace(HELMET, data="helmet64", imgsz=64)
HELMET320 = replace(HELMET, data="helmet320", imgsz=320)
HITUAV = replace(HELMET, data="hituav320", hyp="", imgsz=320, epochs=6)
HITUAV160 = replace(HITUAV, data="hituav160", imgsz=160)
SETS = (
    (HELMET, 600, ((PLAIN, 160), (P3, 208), (ENLARGED, 320))),
    (HITUAV, 400, ((PLAIN, 320), (P3, 416), (ENLARGED, 640))),
    (HELMET64, 600, ((PLAIN, 64), (P3, 80), (ENLARGED, 128), (P3, 160))),
    (HITUAV160, 400, ((PLAIN, 160), (P3, 208), (P3, 288), (ENLARGED, 320))),
    (HELMET320, 600, ((PLAIN, 320), (P3, 416))),
    (HITUAV160, 400, ((P3, 224),)),
    (HELMET, 600, ((P3, 224),)),
)
cells = [
    Cell(model, replace(train, seed=seed, imgsz=size), images=images)
    for train, images, models in SETS
    for seed in range(3)
    for model, size in models
]
