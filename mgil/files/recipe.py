"""What every task's recipe holds: learning rates, warm-up, decay; and how recipes are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from mgil.files.names import hint_for
from mgil.files.shipped import shipped
from mgil.files.yaml_file import read_yaml_mapping

FOLDER = shipped("data") / "hyps"
OPTIMIZERS = ("SGD", "Adam", "AdamW", "RMSProp")
BATCHNORM = ("batch", "loaded")
# With gradients clipped to a norm of 10, no lower learning rate can make weights Inf in one step.
MOST_RATE = 10.0
SEARCHED_FACTOR = 3.0
# Least and most of what training pictures go through.
DEGRADED = {
    "degrade_blur": (0, 50),
    "degrade_area": (1, 64),
    "degrade_gamma": (1, 10),
    "degrade_noise": (0, 255),
    "degrade_jpeg": (1, 100),
}
# Recipes and keys of YOLOv5 that are not here, and what to do instead.
NOT_HERE_RECIPES = {
    r"(hyp\.)?(Objects365|VOC)": r"it was tuned for one data set; use hyp.scratch-low.yaml",
    r"(hyp\.)?no-augmentation": "copy hyp.scratch-low.yaml and set hsv_h, hsv_s, "
    "hsv_v, translate, scale, fliplr and mosaic to 0",
}
NOT_HERE_KEYS = {"anchors": "write the number of anchors a level into the model's YAML, e.g. anchors: 3"}
EARLIER_DROPS = ("first_drop", "second_drop")  # keys of checkpoints of earlier versions, 0 for none


@dataclass(frozen=True)
class Recipe:
    """The part of a recipe that the engine follows; a task's own class adds what its pictures and its loss need.

    Every field may stand in a hyp YAML, under YOLOv5's name.

    Attributes:
        texts: The fields that are texts, and what they may be.
        without_effect: Keys that other projects' files hold and nothing reads.
        searched: The fields that `train.py --evolve` searches, and the limits of each.
        off: Values other than 0 with which a field does nothing, so that it is not searched.

    Raises:
        ValueError: A value that cannot be right, named.
    """

    texts: ClassVar[Mapping[str, tuple[str, ...]]] = {"optimizer": OPTIMIZERS, "batchnorm": BATCHNORM}
    without_effect: ClassVar[frozenset[str]] = frozenset()
    searched: ClassVar[Mapping[str, tuple[float, float]]] = {
        "lr0": (1e-5, 0.1),
        "lrf": (0.001, 1.0),
        "momentum": (0.6, 0.98),
        "weight_decay": (1e-6, 0.01),
        "warmup_epochs": (0.1, 10.0),
        "warmup_momentum": (0.1, 0.95),
        "warmup_bias_lr": (1e-5, 0.2),
        "new_rate": (0.1, 100.0),
    }
    off: ClassVar[Mapping[str, float]] = {"new_rate": 1.0}  # which from scratch is no other rate

    lr0: float = 0.01  # learning rate after warm-up
    lrf: float = 0.01  # the last epoch's learning rate, as a share of lr0
    momentum: float = 0.937  # SGD's and RMSProp's momentum, or Adam's beta1
    weight_decay: float = 5e-4  # at the nominal batch size
    optimizer: str = "SGD"  # SGD, Adam, AdamW or RMSProp; the flag --optimizer overrules it
    nbs: int = 64  # nominal batch size: gradients of smaller batches are accumulated up to it
    # Shares of the run, ascending, after which the learning rate is multiplied by lr_drop: epochs 60 and 120 of 200 are
    # [0.3, 0.6]. Shares and no epochs, so that a shorter run passes through the same stages.
    lr_drops: tuple[float, ...] = ()
    lr_drop: float = 0.1
    warmup_epochs: float = 3.0  # at least 100 iterations, at most a third of the run
    warmup_momentum: float = 0.8  # momentum at the start of warm-up
    warmup_bias_lr: float = 0.1  # learning rate of the biases at the start of warm-up
    # What BatchNorm normalises by in training: each batch, or the statistics that came with loaded weights, which then
    # stay as they are. Layers that no weights were loaded for take each batch all the same.
    batchnorm: str = "batch"
    # Learning rate of what loaded weights do not fill, as a multiple of lr0; for classes that they do not know, of all.
    new_rate: float = 1.0
    # Training pictures made worse, as `--degrade` of val.py does it, but at the size that the network sees.
    degrade: float = 0.0  # probability; a picture that is then takes each of the following with a probability of 1/2
    degrade_blur: float = 1.5  # standard deviation of a Gaussian blur, at most, in pixels; 0 none
    degrade_area: float = 3.0  # how many times fewer pixels a side, at most; 1 none
    degrade_gamma: float = 2.0  # exponent, from one over this to this; 1 none
    degrade_noise: float = 12.0  # standard deviation of Gaussian noise, at most, in grey levels of 255; 0 none
    degrade_jpeg: float = 20.0  # quality, at least; 100 none

    def __post_init__(self) -> None:
        for name, choices in self.texts.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"hyp {name}: {getattr(self, name)!r}; choose one of {', '.join(choices)}")
        object.__setattr__(self, "lr_drops", _drops(self.lr_drops))
        for item in fields(self):
            if item.name in self.texts or item.name == "lr_drops":
                continue
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"hyp {item.name}: {value!r} is not a number")
            if value < 0:
                raise ValueError(f"hyp {item.name}: {value!r} must not be negative")
        if not self.new_rate:
            raise ValueError("hyp new_rate: 0 would leave untrained what the weights do not fill")
        self.at_most_one("lrf", "lr_drop", "degrade")
        for name, (least, most) in DEGRADED.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"hyp {name}: {getattr(self, name)!r} must be from {least:g} to {most:g}")
        for name in ("lr0", "warmup_bias_lr"):  # lrf is at most 1, so lr0 * lrf is no larger than lr0
            if getattr(self, name) * (self.new_rate if name == "lr0" else 1) > MOST_RATE:
                raise ValueError(f"hyp {name}: {getattr(self, name)!r}; the highest learning rate is {MOST_RATE:g}")
        if not self.momentum < 1 or not self.warmup_momentum < 1:
            raise ValueError(f"hyp momentum: {self.momentum!r} and {self.warmup_momentum!r} must be below 1")
        if self.nbs < 1 or self.nbs != int(self.nbs):
            raise ValueError(f"hyp nbs: {self.nbs!r} must be a whole number of images")

    def images_of_step(self, batch_size: int) -> int:
        """Images whose gradients make one step: batches (of all processes) are accumulated to about `nbs`."""
        return batch_size * max(round(self.nbs / batch_size), 1)

    def at_most_one(self, *names: str) -> None:
        """Raise ValueError if one of these fields is above 1."""
        for name in names:
            if getattr(self, name) > 1:
                raise ValueError(f"hyp {name}: {getattr(self, name)!r} must be at most 1")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for hyp.yaml and checkpoints."""
        return {**asdict(self), "lr_drops": list(self.lr_drops)}

    def spans(self) -> dict[str, tuple[float, float]]:
        """Where a search that starts from this recipe looks, by field: from a third of its value to three times that.

        As in YOLOv5's --evolve, what is 0 stays 0: a flip that the data does not bear is not tried. So does what is
        `off`. A recipe's own value is in the span even where it is beyond the limits of `searched`.
        """
        found = {}
        for name, (least, most) in self.searched.items():
            own = float(getattr(self, name))
            if own and self.off.get(name) != own:
                found[name] = min(max(own / SEARCHED_FACTOR, least), own), max(min(own * SEARCHED_FACTOR, most), own)
        return found


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def load_recipe(
    kind: type[AnyRecipe], source: str | Path | Mapping[str, Any], changes: Mapping[str, Any] | None = None
) -> AnyRecipe:
    """Read a recipe.

    Args:
        kind: The task's class of recipes.
        source: A path, a name in data/hyps ("hyp.lowres.yaml", "scratch-low"), or a mapping.
        changes: Values that take the place of the recipe's own.

    Raises:
        FileNotFoundError: No such recipe; the message lists the known ones.
        ValueError: Not YAML, an unknown key (the nearest known one is named), or an impossible value.
    """
    if isinstance(source, Mapping):
        return _from_mapping(kind, {**source, **(changes or {})}, "hyp")
    path = _find(Path(source))
    content = read_yaml_mapping(path)
    if not content:
        raise ValueError(f"{path}: empty; a hyp file is a mapping of names to values")
    return _from_mapping(kind, {**content, **(changes or {})}, str(path))


def _find(source: Path) -> Path:
    names = (source.name, f"{source.name}.yaml", f"hyp.{source.name}.yaml", f"hyp.{source.name}")
    for candidate in (source, *(FOLDER / name for name in names if source.parent == Path("."))):
        if candidate.is_file():
            return candidate
    known = sorted(path.name for path in FOLDER.glob("*.yaml"))
    hint = hint_for(source.name, known, NOT_HERE_RECIPES, ending=".yaml", quoted=False)
    shipped_ones = f"the shipped ones are {', '.join(known)}"
    raise FileNotFoundError(f"hyp file {source} does not exist; {shipped_ones}{'; ' if hint else ''}{hint}")


def _from_mapping(kind: type[AnyRecipe], content: Mapping[str, Any], where: str) -> AnyRecipe:
    known = [item.name for item in fields(kind)]
    content = _with_drops(content, where)
    for key in content:
        if key not in known and key not in kind.without_effect:
            hint = hint_for(key, known, NOT_HERE_KEYS) or f"known keys: {', '.join(known)}"
            raise ValueError(f"{where}: unknown key {key!r}; {hint}")
    try:
        return kind(**{key: _number(value) for key, value in content.items() if key in known})
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _with_drops(content: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """A recipe of any version as one with `lr_drops`; before, drops had any order, and 1 meant none, as 0 did."""
    given = [key for key in EARLIER_DROPS if key in content]
    if not given:
        return content
    if "lr_drops" in content:
        raise ValueError(f"{where}: {given[0]} is what lr_drops were called before; leave one of them out")
    shares = {key: _number(content[key]) for key in given}
    for key, share in shares.items():
        if type(share) not in (int, float) or not 0 <= share <= 1:
            raise ValueError(f"{where}: hyp {key}: {share!r} is no share of the run; write lr_drops: [0.3, 0.6]")
    drops = sorted({float(share) for share in shares.values() if 0 < share < 1})
    return {"lr_drops": drops} | {key: value for key, value in content.items() if key not in EARLIER_DROPS}


def _drops(value: Any) -> tuple[float, ...]:
    """What a YAML says of `lr_drops`, checked."""
    found = tuple(map(_number, value)) if isinstance(value, list | tuple) else ()
    good = all(isinstance(share, float) and 0 < share < 1 for share in found)
    if not isinstance(value, list | tuple) or not good or list(found) != sorted(set(found)):
        raise ValueError(
            f"hyp lr_drops: {value!r} are not ascending shares of the run between 0 and 1; "
            "write epochs 60 and 120 of 200 as [0.3, 0.6]"
        )
    return found


def _number(value: Any) -> Any:
    """YAML reads 5e-4, which YOLOv5's users write, as a text; here it is the number that it looks like."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    return value
