"""What `detect.py` can be told."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from mgil.datasets.reading.value_range import BITS, DEEPEST, ValueRange, range_of
from mgil.engine.amp import amp_flag, check_amp_and_half
from mgil.engine.degradations import check_degrade, degrade_flag
from mgil.engine.input_size import check_input_size
from mgil.files.flags import Refused, check_fields, flag, flag_of, positive_int, refused, whole
from mgil.files.shipped import EXAMPLES
from mgil.tasks.registry import with_options

TRACKERS = ("bytetrack", "botsort")
MOST_THICKNESS = 1000  # pixels; OpenCV draws thicker lines for minutes


@dataclass(frozen=True)
class DetectFlags:
    """One run of detect.py; the fields are its flags, YOLOv5's names and defaults.

    Raises:
        ValueError: A value that cannot be right; the flag is named.
    """

    weights: tuple[str, ...] | str | None = flag(
        None,
        nargs="+",
        help="a .pt or exported file, or several whose predictions are pooled before NMS; default: the newest best.pt "
        "in runs/train",
    )
    source: str = flag(
        str(EXAMPLES),
        help="picture, video, folder, glob, .txt list, webcam number, rtsp/http URL, .streams list, "
        "or 'screen [number] [left top width height]'",
    )
    data: str | None = flag(None, help="data set YAML whose class names, bits and range replace those in the weights")
    imgsz: tuple[int, ...] | None = flag(
        None,
        kind=positive_int,
        nargs="+",
        most=2,
        together="one side, or height and width",
        aliases=("--img", "--img-size"),
        help="input size: a side, or height and width; default: the weights' training size",
    )
    device: str = flag("", help="cpu, mps or a GPU's number; default: the first GPU, else the CPU")
    track: str | None = flag(
        None,
        choices=TRACKERS,
        nargs="?",
        const=TRACKERS[0],
        help="follow objects through videos and streams and number them: bytetrack (where the flag stands alone) or "
        "botsort, for a moving camera",
    )
    view_img: bool = flag(False, help="show the pictures in a window; q or Esc ends")
    save_txt: bool = flag(False, help="write labels/*.txt")
    save_csv: bool = flag(False, help="write predictions.csv")
    save_conf: bool = flag(False, help="add scores to the labels of --save-txt")
    save_crop: bool = flag(False, help="write what was found to crops/")
    nosave: bool = flag(False, help="write no annotated pictures and videos")
    visualize: bool = flag(False, help="write pictures of every layer's feature maps")
    project: str = flag("runs/detect", help="results go to project/name")
    name: str = flag("exp", help="results go to project/name")
    exist_ok: bool = flag(False, help="use project/name even when it exists")
    line_thickness: int = flag(3, kind=whole(1, MOST_THICKNESS), help="of boxes, in pixels of the drawn picture")
    hide_labels: bool = flag(False, help="boxes without text")
    hide_conf: bool = flag(False, help="text without scores")
    half: bool = flag(False, help="float16 weights and arithmetic (CUDA only)")
    amp: str = amp_flag()
    vid_stride: int = flag(1, kind=positive_int, help="take every n-th frame of videos and streams")
    degrade: tuple[str, ...] = degrade_flag(", as val.py does: what is written and shown is what the network saw")
    bits: int | None = flag(
        None,
        kind=whole(BITS[0], BITS[-1]),
        help="how many of their 16 bits pictures use; default: what --data or the weights' training said",
    )
    range: tuple[int, ...] = flag(
        (),
        kind=whole(0, DEEPEST),
        nargs="+",
        most=2,
        together="the lowest and the highest",
        help="in place of --bits, the values of 16-bit pictures that are black and white",
    )
    download: bool = flag(False, help="fetch YOLOv5's weights by their name, when they are missing")

    refuses: ClassVar[tuple[Refused, ...]] = (
        refused("--update", why="checkpoints of train.py hold nothing that would need to be stripped", nargs=0),
        refused("--dnn", why="ONNX files are run by ONNX Runtime", nargs=0),
        refused("--save-format", why="label files have YOLO's format, class x y w h in 0..1"),
    )

    @property
    def values(self) -> ValueRange | None:
        """What --bits or --range say."""
        return range_of(self.bits, self.range or None, ("--bits", "--range"))

    def __post_init__(self) -> None:
        if isinstance(self.weights, str | os.PathLike):  # one file in Python
            object.__setattr__(self, "weights", (self.weights,))
        check_fields(self)
        check_amp_and_half(self.amp, self.half)
        _ = self.values  # which raises where they make no sense
        check_input_size(self.imgsz or ())
        check_degrade(self.degrade, several=False)
        if self.save_conf and not self.save_txt:
            raise ValueError("--save-conf adds scores to the files of --save-txt; give both")
        if self.nosave and not self.view_img:
            for name in ("line_thickness", "hide_labels", "hide_conf"):
                if getattr(self, name) != getattr(type(self), name):  # a dataclass keeps its defaults there
                    raise ValueError(f"{flag_of(name)} is about pictures, which --nosave leaves out; give one of them")

    @property
    def writes(self) -> bool:
        """Whether the run leaves anything behind."""
        return not self.nosave or self.save_txt or self.save_csv or self.save_crop or self.visualize


def detect_config() -> type[DetectFlags]:
    """The config class with the flags of every task: which one is meant, the weights say."""
    return with_options(DetectFlags, "detect")


DetectConfig = detect_config()  # of the tasks that come with the project, for use from Python
