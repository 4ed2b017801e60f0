"""Detection's own flags, beside those that the commands have for every task.

Imports nothing heavy: --help shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mgil.files.flags import Refused, flag, flag_of, fraction, natural_int, positive_int, real, refused, whole

DEFAULT_CONF, DEFAULT_IOU = 0.25, 0.45  # of load_model and detect.py
MOST_BOXES = 30_000  # of an image, in a file that suppresses them: as many as suppression looks at elsewhere
SPEED_OPTIONS = {"conf_thres": DEFAULT_CONF, "iou_thres": DEFAULT_IOU}  # of val.py --task speed


@dataclass(frozen=True)
class TrainOptions:
    """Flags of training."""

    rect: bool = flag(False, help="batches of like aspect ratio in rectangles, without mosaic")
    noautoanchor: bool = flag(
        False, help="keep the model's anchors; those of `anchors: 3` stay squares of 1, 2 and 4 strides"
    )
    autoanchor: bool = flag(
        False,
        help="fit anchors to the labels also where the weights' head was trained with its own, which stay by default",
    )
    image_weights: bool = flag(False, help="draw images with rare and hard classes more often")
    single_cls: bool = flag(False, help="treat all classes as one")
    label_smoothing: float = flag(
        0.0,
        kind=real("a number from 0 to below 1", lambda value: 0 <= value < 1),
        help="class targets become 1 - s/2 and s/2",
    )

    # What may lie elsewhere when a run is resumed; its content is compared.
    may_change_on_resume: ClassVar[tuple[str, ...]] = ("teacher",)

    teacher: str = flag(
        "",
        help="a .pt of a detector with these classes, larger or of a larger input: its answers are learned beside the "
        "labels",
    )
    teacher_img: int = flag(
        0,
        kind=positive_int,
        help="input size of the teacher, at least --img: pictures are made at this size, and reduced for the network "
        "that learns; default: the one that it was trained at",
    )

    refuses: ClassVar[tuple[Refused, ...]] = (
        refused("--quad", why="the batched data path makes it unnecessary", nargs=0),
    )

    def check_flags(self) -> None:
        """Raise ValueError for flags that exclude each other."""
        joined: Any = self  # with the flags that training has for every task
        if self.rect and joined.multi_scale:
            raise ValueError("--rect and --multi-scale exclude each other")
        if self.autoanchor and self.noautoanchor:
            raise ValueError("--autoanchor and --noautoanchor exclude each other")
        self._check_teacher(joined)
        if self.image_weights and joined.noval:
            raise ValueError("--image-weights needs the AP of every epoch; leave --noval out")

    def _check_teacher(self, joined: Any) -> None:
        if not self.teacher:
            if self.teacher_img and not joined.resume:
                raise ValueError(f"--teacher-img {self.teacher_img}: of which network? Give --teacher too")
            return
        for name in ("rect", "multi_scale", "compile"):
            if getattr(joined, name):
                raise ValueError(f"--teacher and {flag_of(name)} exclude each other")
        if joined.batch_size == -1:
            raise ValueError("--batch-size -1 does not know what --teacher needs; give a number")


@dataclass(frozen=True)
class ValOptions:
    """Flags of evaluation."""

    conf_thres: float = flag(0.001, kind=fraction, aliases=("--conf",), help="lowest score that counts")
    iou_thres: float = flag(0.6, kind=fraction, aliases=("--iou",), help="NMS overlap")
    max_det: int = flag(300, kind=positive_int, help="boxes per image")
    single_cls: bool = flag(False, help="treat all classes as one")
    augment: bool = flag(False, help="test-time augmentation: three sizes, one mirrored")
    save_txt: bool = flag(False, help="write labels/*.txt")
    save_conf: bool = flag(False, help="scores in the label files too")
    save_json: bool = flag(False, help="write COCO results, and score them by pycocotools")
    pad: float = flag(
        0.0,
        kind=fraction,
        help="border around the images in strides, 0 to 1; YOLOv5's val has 0.5: give that for figures beside YOLOv5's",
    )

    refuses: ClassVar[tuple[Refused, ...]] = (
        refused(
            "--save-hybrid", why="labels beside detections are no result; --save-txt writes what was found", nargs=0
        ),
    )

    def check_flags(self) -> None:
        """Raise ValueError for flags that do not fit together."""
        joined: Any = self  # with the flags that evaluation has for every task
        if joined.task == "speed":
            self._check_speed()
        if self.save_conf and not self.save_txt:
            raise ValueError("--save-conf adds scores to the label files of --save-txt; pass that too")

    def _check_speed(self) -> None:
        if self.pad:
            raise ValueError(f"--pad {self.pad}: --task speed times whole squares; leave --pad out")
        for name in ("save_txt", "save_conf", "save_json"):
            if getattr(self, name):
                raise ValueError(f"{flag_of(name)}: --task speed measures times and writes no results; leave it out")
        for name, own in SPEED_OPTIONS.items():
            value = getattr(self, name)
            if value not in (getattr(ValOptions, name), own):
                word = flag_of(name)
                raise ValueError(f"{word} {value}: --task speed measures at {own}, as detect.py; leave {word} out")


@dataclass(frozen=True)
class PredictOptions:
    """Flags of detection on pictures, videos and streams; also keywords of `load_model`."""

    conf_thres: float = flag(DEFAULT_CONF, kind=fraction, aliases=("--conf",), help="lowest score that is kept")
    iou_thres: float = flag(
        DEFAULT_IOU, kind=fraction, aliases=("--iou",), help="boxes of a class that overlap more are one object"
    )
    max_det: int = flag(1000, kind=positive_int, help="most detections per image")
    classes: tuple[int, ...] | None = flag(
        None, kind=natural_int, nargs="+", help="keep only these class indices: --classes 0 2 3"
    )
    agnostic_nms: bool = flag(False, aliases=("--agnostic",), help="boxes of different classes suppress each other too")
    augment: bool = flag(False, help="look at three sizes, once mirrored")


@dataclass(frozen=True)
class ExportOptions:
    """Flags of export: non-maximum suppression inside the file. None: not given."""

    nms: bool = flag(False, help="non-maximum suppression inside the file")
    agnostic_nms: bool = flag(False, help="the same, boxes of different classes suppress each other too")
    topk_per_class: int | None = flag(
        None, kind=whole(1, MOST_BOXES), help="--nms: most boxes of a class in an image (default: 100)"
    )
    topk_all: int | None = flag(None, kind=whole(1, MOST_BOXES), help="--nms: most boxes in an image (default: 100)")
    iou_thres: float | None = flag(
        None, kind=fraction, aliases=("--iou",), help="--nms: boxes that overlap more are one object (default: 0.45)"
    )
    conf_thres: float | None = flag(
        None, kind=fraction, aliases=("--conf",), help="--nms: lowest score that is kept (default: 0.25)"
    )

    @property
    def suppresses(self) -> bool:
        """Whether suppression becomes part of the file; --agnostic-nms asks for it too, as in YOLOv5."""
        return self.nms or self.agnostic_nms

    @property
    def inside_flag(self) -> str:
        """The flag that puts it there, or nothing; see `mgil.tasks.base.Inside`."""
        return "--nms" if self.suppresses else ""

    def check_flags(self) -> None:
        """Raise ValueError for flags that need another one."""
        for name in ("conf_thres", "iou_thres", "topk_per_class", "topk_all"):
            if getattr(self, name) is not None and not self.suppresses:
                raise ValueError(f"{flag_of(name)} sets suppression inside the file; pass --nms too")


OPTIONS = {"train": TrainOptions, "val": ValOptions, "detect": PredictOptions, "export": ExportOptions}
