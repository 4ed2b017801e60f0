"""Classification's own flags, beside those that the commands have for every task.

Imports nothing heavy: --help shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mgil.files.flags import Refused, flag, flag_of, refused

CROP_MODES = ("center", "squash")  # timm's words
CROP_HELP = "classify: what of a picture is looked at: center, its largest square in the middle; squash, all of it"
_RECIPE = "a key of the recipe: --hyp FILE"
REFUSED = (
    refused("--model", why="--cfg names the network (timm:NAME too), --weights a file to begin with"),
    refused("--pretrained", why="nothing is fetched: --weights FILE begins with weights that are there"),
    refused("--cutoff", why="--weights with a --cfg of your own takes the layers that fit; --freeze N keeps N of them"),
    refused("--lr0", "--lr", why=f"lr0 is {_RECIPE}"),
    refused("--decay", "--weight-decay", why=f"weight_decay is {_RECIPE}"),
    refused("--label-smoothing", "--smoothing", why=f"smoothing is {_RECIPE}"),
    refused("--dropout", "--drop", why=f"dropout is {_RECIPE}"),
    refused("--image-weights", why="every picture is drawn once an epoch", nargs=0),
    refused("--single-cls", why="one class alone needs no network", nargs=0),
    refused("--verbose", why="per_class.csv has every class, as val.py --verbose shows them", nargs=0),
)


@dataclass(frozen=True)
class TrainOptions:
    """Flags of training."""

    default_data: ClassVar[str] = "digits-cls.yaml"

    crop_mode: str | None = flag(
        None, choices=CROP_MODES, help=f"{CROP_HELP}; default: the weights' or the model's, which is center"
    )

    refuses: ClassVar[tuple[Refused, ...]] = REFUSED


@dataclass(frozen=True)
class ValOptions:
    """Flags of evaluation."""

    crop_mode: str | None = flag(None, choices=CROP_MODES, help=f"{CROP_HELP}; default: as in training")
    save_txt: bool = flag(False, help="write labels/*.txt")
    save_json: bool = flag(False, help="classify: write the five best classes of every picture")

    def check_flags(self) -> None:
        """Raise ValueError for flags that do not fit together."""
        joined: Any = self  # with the flags that evaluation has for every task
        if joined.task == "speed":
            for name in ("save_txt", "save_json"):
                if getattr(self, name):
                    raise ValueError(
                        f"{flag_of(name)}: --task speed measures times and writes no results; leave it out"
                    )


@dataclass(frozen=True)
class PredictOptions:
    """Flags of detect.py; also keywords of `load_model`."""

    crop_mode: str | None = flag(None, choices=CROP_MODES, help=f"{CROP_HELP}; default: as in training")

    without: ClassVar[tuple[str, ...]] = ("line_thickness",)  # there are no lines


@dataclass(frozen=True)
class ExportOptions:
    """Classification has no flags of export: a file gives probabilities."""


OPTIONS = {"train": TrainOptions, "val": ValOptions, "detect": PredictOptions, "export": ExportOptions}
