"""Pose's own flags, beside those that the commands have for every task.

Imports nothing heavy: --help shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mgil.files.flags import flag, flag_of, fraction, natural_int, positive_int

CROPS = ("linear", "area")
JOINT_THRES = 0.02  # SimCC's at 64 and 128 px: over hundreds of bins a probability is low


@dataclass(frozen=True)
class TrainOptions:
    """Flags of training."""

    default_data: ClassVar[str] = "figures.yaml"

    crop: str = flag(
        "linear",
        choices=CROPS,
        help="how people are cut out of pictures: linear looks at the nearest four pixels, as SimCC does, "
        "area averages over all, as a small sensor does",
    )

    def check_flags(self) -> None:
        """Raise ValueError for flags of training that pose cannot follow."""
        joined: Any = self  # with the flags that training has for every task
        if joined.multi_scale:
            raise ValueError("--multi-scale: the head of this task is made for one input size; leave it out")


@dataclass(frozen=True)
class ValOptions:
    """Flags of evaluation."""

    no_flip_test: bool = flag(
        False, help="pose: look at each person once; by default also at the mirrored crop, as SimCC's figures do"
    )
    boxes: str | None = flag(
        None, help="pose: a COCO results json with a detector's boxes; they are scored beside the labelled ones"
    )
    detector: str | None = flag(
        None, help="pose: weights that find people; their boxes are scored beside the labelled ones"
    )
    conf_thres: float = flag(0.001, kind=fraction, aliases=("--conf",), help="lowest score that counts")
    iou_thres: float = flag(0.6, kind=fraction, aliases=("--iou",), help="NMS overlap")
    max_det: int = flag(300, kind=positive_int, help="boxes per image")
    crop: str | None = flag(
        None,
        choices=CROPS,
        help="pose: how people are cut out: linear looks at four pixels, area averages; default: as in training",
    )
    oks_nms: float = flag(
        0.9,
        kind=fraction,
        help="pose: results of one picture that are more alike than this are one person; 1: none are",
    )
    joint_thres: float = flag(
        JOINT_THRES, kind=fraction, help="pose: a joint must score more than this to count for the score of its person"
    )
    save_txt: bool = flag(False, help="write labels/*.txt")
    save_conf: bool = flag(False, help="scores in the label files too")
    save_json: bool = flag(False, help="write COCO results, and score them by pycocotools")

    def check_flags(self) -> None:
        """Raise ValueError for flags that do not fit together."""
        joined: Any = self  # with the flags that evaluation has for every task
        if self.save_conf and not self.save_txt:
            raise ValueError("--save-conf adds scores to the label files of --save-txt; pass that too")
        if self.detector is not None and self.boxes is not None:
            raise ValueError("--detector and --boxes: a detector's boxes come from one of them; leave the other out")
        if joined.task == "speed":
            for name in ("save_txt", "save_conf", "save_json", "boxes", "detector"):
                if getattr(self, name):
                    what = "alone" if name in ("boxes", "detector") else "and writes no results"
                    raise ValueError(f"{flag_of(name)}: --task speed measures times {what}; leave it out")


@dataclass(frozen=True)
class PredictOptions:
    """Flags of detection on pictures, videos and streams; also keywords of `load_model`.

    Those of a detector are detection's.
    """

    detector: str | None = flag(
        None, help="pose: weights that find the people; without them and --boxes, each picture shows one person"
    )
    boxes: str | None = flag(
        None,
        help="pose: where the people are, by names of pictures: a json of COCO results or of a data set, "
        "a YOLO label file or a folder of these",
    )
    flip_test: bool = flag(False, help="pose: look at each person mirrored too: a little better, twice the time")
    joint_thres: float = flag(
        JOINT_THRES,
        kind=fraction,
        help="pose: a joint must score more than this to be drawn and to count for its person's score",
    )
    conf_thres: float = flag(0.25, kind=fraction, aliases=("--conf",), help="lowest score that is kept")
    iou_thres: float = flag(
        0.45, kind=fraction, aliases=("--iou",), help="boxes of a class that overlap more are one object"
    )
    max_det: int = flag(1000, kind=positive_int, help="most detections per image")
    classes: tuple[int, ...] | None = flag(
        None, kind=natural_int, nargs="+", help="keep only these class indices: --classes 0 2 3"
    )

    def check_flags(self) -> None:
        """Raise ValueError for flags that exclude each other."""
        if self.detector is not None and self.boxes is not None:
            raise ValueError("--detector and --boxes: people come from one of them; leave the other out")


@dataclass(frozen=True)
class ExportOptions:
    """Pose has no flags of export: a file gives joints."""


OPTIONS = {"train": TrainOptions, "val": ValOptions, "detect": PredictOptions, "export": ExportOptions}
