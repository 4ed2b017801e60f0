"""What `val.py` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mgil.engine.amp import amp_flag, check_amp_and_half
from mgil.engine.degradations import check_degrade, degrade_flag, has_several
from mgil.engine.input_size import check_input_size
from mgil.files.flags import Refused, check_fields, flag, natural_int, positive_int, refused
from mgil.tasks.registry import with_options

TASKS = ("train", "val", "test", "speed", "study")
LOW_RESOLUTION_STUDY = (64, 96, 160, 320)
HIGH_RESOLUTION_STUDY = tuple(range(256, 1536 + 128, 128))  # YOLOv5's
TASK_HELP = (
    "split to use; speed: times only; study: the sizes of --img, if several; else "
    f"{', '.join(map(str, LOW_RESOLUTION_STUDY))} for one of up to {max(LOW_RESOLUTION_STUDY)}, "
    f"and {HIGH_RESOLUTION_STUDY[0]}, {HIGH_RESOLUTION_STUDY[1]}, ... {HIGH_RESOLUTION_STUDY[-1]} for a larger one"
)


@dataclass(frozen=True)
class ValFlags:
    """One run of val.py; the fields are its flags, YOLOv5's names and defaults.

    Raises:
        ValueError: A value that cannot be right; the flag is named.
    """

    weights: tuple[str, ...] = flag(
        nargs="+", help="a .pt or exported file, or several whose predictions are pooled before NMS"
    )
    data: str | None = flag(
        None,
        help="data set YAML, for classes a folder or csv list too; default: the one that the weights were trained on; "
        "of those that do not say the task's own or coco128.yaml, if the classes are theirs",
    )
    batch_size: int = flag(32, kind=positive_int, aliases=("--batch",), help="images per batch")
    imgsz: tuple[int, ...] = flag(
        (),
        kind=positive_int,
        nargs="+",
        aliases=("--img", "--img-size"),
        help="input size; several give a table, csv and plot; default: the weights' training size",
    )
    task: str = flag("val", choices=TASKS, help=TASK_HELP)
    device: str = flag("", help="cpu, mps, or a GPU number; default: the first GPU, else the CPU")
    workers: int = flag(8, kind=natural_int, help="threads that load images")
    verbose: bool = flag(False, help="list every class, also when more than 20 have labels")
    project: str = flag("runs/val", help="results go to project/name")
    name: str = flag("exp", help="results go to project/name")
    exist_ok: bool = flag(False, help="write into project/name even when it exists")
    half: bool = flag(False, help="float16, on CUDA; the same as --amp fp16")
    amp: str = amp_flag()
    reduced_jpeg: bool = flag(
        False,
        help="decode large JPEGs at 1/2 to 1/8 of their size, as training does: faster, AP differs a little",
    )
    degrade: tuple[str, ...] = degrade_flag(
        "; several strengths, area:2,4,8, give a table, csv and plot over them, each word by itself"
    )
    strict: bool = flag(False, help="a bad label or image is an error")
    download: bool = flag(
        False, help="fetch what is missing: the data set from the URL in its YAML, YOLOv5's weights by their name"
    )

    refuses: ClassVar[tuple[Refused, ...]] = (refused("--dnn", why="ONNX files are run by ONNX Runtime", nargs=0),)

    def __post_init__(self) -> None:
        check_fields(self)
        check_amp_and_half(self.amp, self.half)
        check_input_size(self.imgsz)
        if self.verbose and self.task == "speed":
            raise ValueError("--verbose lists scores by class, --task speed measures times alone; leave --verbose out")
        self._check_degrade()

    def _check_degrade(self) -> None:
        check_degrade(self.degrade, several=True)
        if self.degrade and self.task == "speed":
            raise ValueError("--degrade changes scores, --task speed measures times alone; leave --degrade out")
        if self.degrade and self.reduced_jpeg:
            raise ValueError("--degrade works on pictures at their own size, --reduced-jpeg on smaller ones; give one")
        if has_several(self.degrade) and (len(self.imgsz) > 1 or self.task == "study"):
            raise ValueError("--degrade with several strengths gives a table of its own; give one --img, and no study")

    @property
    def split(self) -> str:
        """The data set's split to evaluate on."""
        return self.task if self.task in ("train", "val", "test") else "val"


def val_config() -> type[ValFlags]:
    """The config class with the flags of every task: which one is meant, the weights say."""
    return with_options(ValFlags, "val")


ValConfig = val_config()  # of the tasks that come with the project, for use from Python
