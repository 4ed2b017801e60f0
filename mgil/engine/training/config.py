"""What `train.py` can be told, whatever the task; a task's own flags join it in `train_config`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from mgil.engine.amp import amp_flag
from mgil.engine.input_size import check_input_size
from mgil.engine.runs import TRAIN_PROJECT
from mgil.files.flags import (
    Refused,
    as_plain,
    check_fields,
    combined,
    flag,
    flag_of,
    flags,
    from_plain,
    natural_int,
    positive_int,
    refused,
    whole,
)
from mgil.files.recipe import OPTIMIZERS
from mgil.tasks.registry import DEFAULT_TASK, options_of

CACHE_CHOICES = ("auto", "ram", "none")
CACHE_NOT_HERE = {
    "disk": "no decoded copies are written beside your images; ram keeps them in memory, none decodes in every epoch"
}
# Fields that may differ when a run is resumed: how it runs and how long, not what it learns from and how. The data set
# may lie elsewhere; its content is compared.
MAY_CHANGE_ON_RESUME = (
    *("resume", "epochs", "patience", "device", "workers", "cache"),
    *("noplots", "nosave", "noval", "save_period", "data"),
)


@dataclass(frozen=True)
class TrainFlags:
    """One training run; the fields are YOLOv5's flags with underscores.

    `train_config(task)` is this class with the task's own flags; only that can be trained with.

    Raises:
        ValueError: A value that cannot be right; the flag is named.
    """

    task: ClassVar[str] = ""

    weights: str = flag(
        "", help="initial weights, a .pt file (ours or YOLOv5's); without it training starts from scratch"
    )
    cfg: str = flag("", help="model, e.g. yolov5n-mgil.yaml; default: the weights' own, else the task's")
    data: str = flag(
        "digits.yaml", help="data set YAML, e.g. coco.yaml or one of your own; classify: a folder or a csv list too"
    )
    hyp: str = flag(
        "",
        help="recipe; default: the task's, in detection hyp.finetune.yaml with weights that fill all but the head and "
        "know half of the classes, hyp.lowres.yaml with such weights of other classes and from scratch up to 320 px, "
        "else hyp.scratch-low.yaml",
    )
    epochs: int = flag(
        0,
        kind=positive_int,
        help="passes over the data; default: what the data set suggests, else 100. "
        "Changed with --resume, the learning rates follow the new length from there on",
    )
    batch_size: int = flag(
        0,
        kind=whole(1, also=(-1,)),
        aliases=("--batch",),
        help="images per batch over all GPUs, -1 fills them; default: what the data set suggests, else 16",
    )
    imgsz: int = flag(
        0,
        kind=positive_int,
        aliases=("--img", "--img-size"),
        help="longer side of the images in pixels; default: what the data set suggests, else 640",
    )
    resume: str = flag(
        "",
        nargs="?",
        const="latest",
        help="go on with an interrupted run: its folder or last.pt, by default the newest in --project. "
        "The run keeps its options; only "
        f"{', '.join(map(flag_of, MAY_CHANGE_ON_RESUME[1:]))} may change, detection's --teacher too; --data and "
        "--teacher name where the same now lies",
    )
    nosave: bool = flag(False, help="keep only the last epoch's checkpoint")
    noval: bool = flag(False, help="validate only after the last epoch")
    noplots: bool = flag(False, help="draw no pictures")
    cache: str = flag(
        "auto",
        choices=CACHE_CHOICES,
        not_here=CACHE_NOT_HERE,
        nargs="?",
        const="ram",
        help="decoded images in memory: auto, if they fit; ram, always; none, decode in every epoch",
    )
    device: str = flag(
        "", help="cpu, mps, a GPU number, or 0,1,... under torchrun; default: the first GPU, else the CPU"
    )
    multi_scale: bool = flag(
        False,
        help="another size for every batch, from half to one and a half times --imgsz, both rounded to whole strides: "
        "32 or 64 px for --imgsz 32 with a stride of 32",
    )
    optimizer: str = flag("", choices=OPTIMIZERS, help="default: the recipe's, which is SGD in YOLOv5's own recipes")
    sync_bn: bool = flag(False, help="share BatchNorm statistics between GPUs (under torchrun)")
    workers: int = flag(8, kind=natural_int, help="decoding processes for images that are not kept in memory")
    project: str = flag(TRAIN_PROJECT, help="results go to project/name")
    name: str = flag("exp", help="results go to project/name")
    exist_ok: bool = flag(False, help="write into project/name even when it exists")
    cos_lr: bool = flag(False, help="cosine instead of linear decay of the learning rate")
    patience: int = flag(100, kind=natural_int, help="stop after so many epochs without improvement; 0 never stops")
    freeze: tuple[int, ...] = flag(
        (0,), kind=natural_int, nargs="+", help="rows of the model not to train: n for the first n, or a list"
    )
    save_period: int = flag(
        -1, kind=whole(1, also=(-1,)), help="also keep a checkpoint every so many epochs; -1 keeps none"
    )
    seed: int = flag(0, kind=natural_int, help="seed of everything random")
    amp: str = amp_flag()
    compile: bool = flag(False, help="run the model through torch.compile")
    evolve: int = flag(
        0,
        kind=natural_int,
        nargs="?",
        const=300,
        help="search for a better recipe in so many trainings with Optuna, 300 without a number; --resume FOLDER goes "
        "on, in several processes at once if you like",
    )
    strict: bool = flag(False, help="a bad label or image ends the run")
    download: bool = flag(
        False, help="fetch what is missing: the data set from the URL in its YAML, YOLOv5's weights by their name"
    )

    refuses: ClassVar[tuple[Refused, ...]] = (
        refused(
            *("--evolve_population", "--resume_evolve"),
            why="--evolve N searches with Optuna, and --evolve N --resume FOLDER goes on",
        ),
        refused(*("--ndjson-console", "--ndjson-file"), why="results.csv has the figures of every epoch", nargs=0),
        refused(
            *("--bucket", "--upload_dataset", "--entity", "--bbox_interval", "--artifact_alias"),
            why="nothing is sent to other machines",
        ),
        refused("--local_rank", why="start several processes with torchrun, which sets it in the environment"),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        check_input_size((self.imgsz,) if self.imgsz else ())

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for opt.yaml and checkpoints."""
        return {"task": self.task, **as_plain(self)}


def frozen_rows(freeze: tuple[int, ...]) -> tuple[int, ...]:
    """Rows of the model that `--freeze` means: one number n is the first n rows, several are those rows."""
    return tuple(range(freeze[0])) if len(freeze) == 1 else freeze


@cache
def train_config(task: str = DEFAULT_TASK) -> type[TrainFlags]:
    """The config class of a task: the flags above, and the task's own.

    Raises:
        ValueError: There is no such task.
    """
    options = options_of(task, "train")
    flags_of_all = _with_data(getattr(options, "default_data", ""))
    return combined(flags_of_all, options, task=task)  # type: ignore[arg-type]  # classes are hashable


def _with_data(name: str) -> type[TrainFlags]:
    """The flags above with another data set as default; the same for no name."""
    if not name:
        return TrainFlags
    text = next(its.help for item, its in flags(TrainFlags) if item.name == "data")
    body = {"__doc__": TrainFlags.__doc__, "__module__": __name__, "__annotations__": {"data": str}}
    return dataclass(frozen=True)(type("TrainFlags", (TrainFlags,), {**body, "data": flag(name, help=text)}))


def config_from_dict(values: dict[str, Any]) -> TrainFlags:
    """The inverse of `TrainFlags.as_dict`.

    Raises:
        ValueError: An unknown key, for which the nearest known one is named; or a bad value.
    """
    options = dict(values)
    return from_plain(train_config(options.pop("task", DEFAULT_TASK)), options, "training option")


TrainConfig = train_config()  # of the default task, for use from Python
