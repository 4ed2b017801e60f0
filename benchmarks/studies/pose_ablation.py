"""The paper's ablation on its own task (tables 5 to 8), at 32 px, and what the same operations buy otherwise.

    python -m benchmarks.study pose_ablation --data-root FOLDER          # which holds lspet/lspet.yaml

Every cell has the same people, recipe, epochs and host. The rivals at the operations of the whole block: the plain
host widened to them, and the plain host on the same 32-px crop enlarged twice, with bins as fine as those of a 64-px
network. The last one, ultralytics' yolo11n-pose, finds people in whole pictures and needs `python -m benchmarks.peers`.

Predicted before it ran, OKS AP of 100 above or below base, means of two seeds:
    enlarged +4.5, widened +4.0, mgil-res +3.0, FLIE +1.5, 1 + 1 convolutions +1.5, block in the stem +1.5, SPD +1.0,
    FLIE + CII +1.0, FLIE + CII + MGAF +1.0, 3 + 3 convolutions 0, yolo11n-pose -15.
    The first three in this order; the others of ours are nearer to each other than two seeds tell apart (about 1), so
    the paper's steps from SPD (33.6) over FLIE (36.3) to the whole block (37.5) do not come back, and MGAF against a
    sum shows nothing. The whole block gains about a quarter of what its operations buy in width.
    Reasons. Four convolutions in the place of one begin late, which took the block's gain away in detection too; those
    of mgil-res begin in time. The plain stem loses little: 16 channels hold the 12 values of a patch of 2x2 pixels.
    On maps of 2 to 8 pixels most taps of dilated convolutions see padding. What limits a network of 32 px most is the
    map of 8x8 that its head reads, which enlarging makes 16x16. yolo11n-pose must find the people, in pictures that
    show a person with fewer pixels than the crops do.
"""

from __future__ import annotations

from benchmarks.study_plan import Cell, PoseTrainConfig
from benchmarks.study_pose_models import PoseModel

# What two cores train in two hours. The recipe, by 8 epochs of base with a tenth of train held out, seed 0: val loss
# 78.98 at a rate of 0.02, 79.14 at 0.007, 80.07 at 0.003 with batches of 32; 79.13 at 0.02 with 64, in half the steps.
HOST = {"width": 16, "depth": 1}
EPOCHS, BATCH = 30, 64
RECIPE = {"lr0": 0.02}  # in place of hyp.pose-small.yaml's, the same in every cell
SEEDS = range(2)


def small(name: str, published: float | None = None, like: PoseModel | None = None, **keys: object) -> PoseModel:
    """A variant of the host; `published`: the AP of table 5, or of 6 to 8 where these alone have it."""
    return PoseModel("simcc-small", name, keys={"host_options": HOST, **keys}, like=like, published=published)


WHOLE = small("FLIE + CII + MGAF", 37.5, blocks="mgil")  # 2 convolutions in either branch
MODELS = [
    small("base"),
    small("SPD", 33.6, blocks="spd"),  # one convolution
    small("FLIE", 36.3, blocks="flie"),  # two
    small("FLIE + CII", blocks="mgil", block_options={"fusion": "sum"}),
    WHOLE,
    small("1 + 1 convolutions", blocks="mgil", block_options={"fine_convs": 1, "coarse_convs": 1}),
    small("3 + 3 convolutions", blocks="mgil", block_options={"fine_convs": 3, "coarse_convs": 3}),  # the paper's text
    small("mgil-res", blocks="mgil-res"),
    small("block in the stem", blocks="mgil", places="stem"),
    small("widened", like=WHOLE),
    small("enlarged", like=WHOLE, enlarge_input=2, split=6),  # bins of 1/6 pixel: those of 64 px at 3
]
PEER = PoseModel("yolo11n-pose", peer="ultralytics")
cells = [
    Cell(
        model,
        PoseTrainConfig(data="lspet", imgsz=32, epochs=EPOCHS, batch_size=BATCH, seed=seed),
        {} if model.peer else RECIPE,
    )
    for models in (MODELS, [PEER])
    for seed in SEEDS
    for model in models
]
