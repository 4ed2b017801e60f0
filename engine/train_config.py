"""What `train.py` can be told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from engine.hyp import OPTIMIZERS
from engine.input_size import check_input_size
from engine.precision import CHOICES as AMP_CHOICES

CACHE_CHOICES = ("auto", "ram", "none")
DEFAULT_CFG = "yolov5n-mgil.yaml"
# Fields that may differ when a run is resumed: how it runs and how long, not what it learns from and how.
MAY_CHANGE_ON_RESUME = (
    *("resume", "epochs", "patience", "device", "workers", "cache"),
    *("noplots", "nosave", "noval", "save_period"),
)


def flag_of(name: str) -> str:
    """The flag that sets a field."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class TrainConfig:
    """One training run; the fields are YOLOv5's flags with underscores.

    Raises:
        ValueError: A value that cannot be right; the flag is named.
    """

    weights: str = ""  # initial weights, a .pt file; "" starts from scratch
    cfg: str = ""  # model YAML; "" is the weights' own architecture, or without weights yolov5n-mgil.yaml
    data: str = "digits.yaml"  # data set YAML
    hyp: str = ""  # recipe; "" is hyp.lowres.yaml up to 320 px, hyp.scratch-low.yaml above
    epochs: int = 0  # passes over the data; 0 is the data set's own suggestion, else 100
    batch_size: int = (
        0  # images per batch over all processes; 0 is the data set's suggestion, else 16; -1 fills the GPU
    )
    imgsz: int = 0  # longer side of the images in pixels; 0 is the data set's own suggestion, else 640
    rect: bool = False  # batches of like aspect ratio in rectangles, without mosaic
    resume: str = ""  # last.pt of the run to go on with
    nosave: bool = False  # keep only the last epoch's checkpoint
    noval: bool = False  # validate only after the last epoch
    noautoanchor: bool = False  # keep the anchors of the model YAML
    noplots: bool = False  # draw no pictures
    cache: str = "auto"  # decoded images in memory: auto (if they fit), ram, none
    image_weights: bool = False  # draw images with hard classes more often
    device: str = ""  # "", cpu, 0, or 0,1 under torchrun
    multi_scale: bool = False  # another size for every batch, imgsz +/- 50 %
    single_cls: bool = False  # treat all classes as one
    optimizer: str = ""  # SGD, Adam or AdamW; "" is the recipe's
    sync_bn: bool = False  # share BatchNorm statistics between GPUs
    workers: int = 8  # processes that decode images when they are not kept in memory
    project: str = "runs/train"  # parent of the run's folder
    name: str = "exp"  # the run's folder
    exist_ok: bool = False  # write into an existing folder
    cos_lr: bool = False  # cosine instead of linear decay of the learning rate
    label_smoothing: float = 0.0  # class targets 1 - s/2 and s/2
    patience: int = 100  # stop after this many epochs without a better fitness; 0 never stops
    freeze: tuple[int, ...] = (0,)  # rows of the model not to train: one number n is the first n rows
    save_period: int = -1  # also keep a checkpoint every so many epochs; -1 does not
    seed: int = 0  # of everything random
    amp: str = "auto"  # mixed precision: auto, off, bf16, fp16
    compile: bool = False  # run the model through torch.compile
    strict: bool = False  # a bad label or image ends the run
    download: bool = False  # fetch a missing data set from the URL in its YAML

    def __post_init__(self) -> None:
        self._at_least("epochs", 0)
        self._at_least("imgsz", 0)
        self._at_least("workers", 0)
        self._at_least("patience", 0)
        self._at_least("seed", 0)
        if self.batch_size != -1:
            self._at_least("batch_size", 0)
        check_input_size((self.imgsz,) if self.imgsz else ())
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"--label-smoothing {self.label_smoothing}: must be from 0 to below 1")
        for name, choices in (("optimizer", ("", *OPTIMIZERS)), ("cache", CACHE_CHOICES), ("amp", AMP_CHOICES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"--{name} {getattr(self, name)!r}: choose one of {', '.join(choices)}")
        if self.save_period != -1:
            self._at_least("save_period", 1)
        if any(row < 0 for row in self.freeze):
            raise ValueError(f"--freeze {self.freeze}: rows count from 0")
        if self.rect and self.multi_scale:
            raise ValueError("--rect and --multi-scale exclude each other")
        if self.image_weights and self.noval:
            raise ValueError("--image-weights needs the AP of every epoch; leave --noval out")

    def _at_least(self, name: str, low: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise ValueError(f"{flag_of(name)} {value!r}: must be an integer of {low} or more")

    def frozen_rows(self) -> tuple[int, ...]:
        """Rows of the model that are not trained."""
        return tuple(range(self.freeze[0])) if len(self.freeze) == 1 else self.freeze

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for opt.yaml and checkpoints."""
        return {**asdict(self), "freeze": list(self.freeze)}


def config_from_dict(values: dict[str, Any]) -> TrainConfig:
    """The inverse of `TrainConfig.as_dict`.

    Raises:
        ValueError: An unknown key; the nearest known one is named.
    """
    known = [item.name for item in fields(TrainConfig)]
    for key in values:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise ValueError(f"unknown training option {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return TrainConfig(**{**values, "freeze": tuple(values.get("freeze", (0,)))})
