"""The paper's ablation on its own task (tables 5 to 8), at 32 px, and what the same operations buy otherwise.

    python -m benchmarks.study pose_ablation --data-root FOLDER          # which holds lspet/lspet.yaml

Every cell has the same people, recipe, epochs and host. The rivals at the operations of the whole block: the plain
host widened to them, and the plain host on the same 32-px crop enlarged twice, with bins as fine as those of a 64-px
network. The last one, ultralytics' yolo11n-pose, finds people in whole pictures and needs `python -m benchmarks.peers`.

Predicted before it ran, in OKS AP of 100, mean of the two seeds, base as the zero:
    SPD +1.0, FLIE +1.5, 1 + 1 convolutions +1.5, FLIE + CII +1.0, FLIE + CII + MGAF +1.0, 3 + 3 convolutions 0,
    mgil-res +3.0, block in the stem +1.5, widened +4.0, enlarged +4.5, yolo11n-pose -15 (it has to find the people).
    Order: enlarged, widened, mgil-res, then the stem, FLIE, 1 + 1, SPD, FLIE + CII and the whole block within the
    chance of two seeds (about 1), then 3 + 3 and base; the paper's order from SPD over FLIE to the whole block does not
    come back. Reasons: plain blocks with many convolutions in a row begin late, as on detection, and mgil-res does
    not; most maps of a 32-px crop are so small that dilated taps see little but padding; the host's first two
    layers drop little that four C3s at 4 times as many values cannot make up for; what limits a 32-px network
    most is the 8x8 map that its head reads, which enlarging makes 16x16. MGAF against the sum: no difference that two
    seeds could show. So the block gains over base about a quarter of what its operations buy in width.
"""

from __future__ import annotations

from benchmarks.study_plan import Cell, PoseTrainConfig
from benchmarks.study_pose_models import PoseModel

# The largest host that two cores train to a plateau, and how long that takes.
HOST = {"width": 32, "depth": 2}
EPOCHS, BATCH = 60, 32
RECIPE: dict[str, float] = {}  # changes to hyp.pose-small.yaml, the same in every cell
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
    small("enlarged", enlarge_input=2, split=6),  # bins of 1/6 pixel: those of 64 px at 3
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
