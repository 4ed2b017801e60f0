"""What `val.py` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mgil.engine.input_size import check_input_size
from mgil.files.flags import Refused, check_fields, flag, fraction, natural_int, positive_int, refused

TASKS = ("train", "val", "test", "speed", "study")


@dataclass(frozen=True)
class ValConfig:
    """One run of val.py; the fields are its flags, YOLOv5's names and defaults.

    Raises:
        ValueError: A value that cannot be right; the flag is named.
    """

    weights: tuple[str, ...] = flag(
        nargs="+", help="a .pt or exported file, or several whose predictions are pooled before NMS"
    )
    data: str | None = flag(None, help="data set YAML; default: the one the weights were trained on, else digits.yaml")
    batch_size: int = flag(32, kind=positive_int, aliases=("--batch",), help="images per batch")
    imgsz: tuple[int, ...] = flag(
        (),
        kind=positive_int,
        nargs="+",
        aliases=("--img", "--img-size"),
        help="input size; several give a table, csv and plot; default: the weights' training size",
    )
    conf_thres: float = flag(0.001, kind=fraction, aliases=("--conf",), help="lowest score that counts")
    iou_thres: float = flag(0.6, kind=fraction, aliases=("--iou",), help="NMS overlap")
    max_det: int = flag(300, kind=positive_int, help="boxes per image")
    task: str = flag("val", choices=TASKS, help="split to use; speed: times only; study: several sizes")
    device: str = flag("", help="cpu, mps, or a GPU number; default: the first GPU, else the CPU")
    workers: int = flag(8, kind=natural_int, help="processes that load images")
    single_cls: bool = flag(False, help="treat all classes as one")
    augment: bool = flag(False, help="test-time augmentation: three sizes, one mirrored")
    verbose: bool = flag(False, help="list every class, also when more than 20 have labels")
    save_txt: bool = flag(False, help="write labels/*.txt")
    save_conf: bool = flag(False, help="scores in the label files too")
    save_json: bool = flag(False, help="write COCO results, and score them by pycocotools")
    project: str = flag("runs/val", help="results go to project/name")
    name: str = flag("exp", help="results go to project/name")
    exist_ok: bool = flag(False, help="write into project/name even when it exists")
    half: bool = flag(False, help="float16, on CUDA")
    strict: bool = flag(False, help="a bad label or image is an error")
    download: bool = flag(False, help="fetch the data set as its YAML says, when it is not there")

    refuses: ClassVar[tuple[Refused, ...]] = (
        refused("--dnn", why="ONNX files are run by ONNX Runtime", nargs=0),
        refused(
            "--save-hybrid", why="labels beside detections are no result; --save-txt writes what was found", nargs=0
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        check_input_size(self.imgsz)
        if self.save_conf and not self.save_txt:
            raise ValueError("--save-conf adds scores to the label files of --save-txt; pass that too")

    @property
    def split(self) -> str:
        """The data set's split to evaluate on."""
        return self.task if self.task in ("train", "val", "test") else "val"
