"""Pose's own flags, beside those that the commands have for every task.

Imports nothing heavy: --help shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mgil.files.flags import flag, fraction, natural_int, positive_int

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
class PredictOptions:
    """Flags of detection on pictures, videos and streams; also keywords of `load_model`.

    Those of a detector are detection's.
    """

    detector: str | None = flag(
        None, help="pose: weights that find the people; without them and --boxes, each picture shows one person"
    )
    boxes: str | None = flag(
        None,
        help="pose: where the people are, by names of pictures: a COCO results json, a YOLO label file or a folder of "
        "these",
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
