"""What only some tasks can do: follow objects, look in boxes that others find, read data sets of their own forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from mgil.datasets.reading.config import DataConfig
from mgil.files.text import Report
from mgil.tasks.base import Average, Loss, Predictor, Result, Split


@runtime_checkable
class Followable(Result, Protocol):
    """A result whose objects can be followed from picture to picture."""

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by index."""

    @property
    def boxes_xyxy(self) -> np.ndarray:
        """(n, 4) pixels of the picture."""

    @property
    def scores(self) -> np.ndarray:
        """(n,) 0..1."""

    @property
    def box_scores(self) -> np.ndarray:
        """(n,) 0..1, of the boxes alone: what a tracker goes by."""

    @property
    def classes(self) -> np.ndarray:
        """(n,) class indices."""

    def followed(self, rows: np.ndarray, track_ids: np.ndarray, trails: tuple[np.ndarray, ...]) -> Followable:
        """Those (k,) rows alone, with the (k,) numbers of their tracks, and (m, 2) points where each was, oldest first.

        The numbers are in its text and its drawing, and end its label lines and table rows.
        """


@runtime_checkable
class FollowingPredictor(Predictor, Protocol):
    """The predictor of a task whose objects can be followed: it gives what a tracker asks for."""

    sure_score: float  # a detection of at least this may begin a track

    def candidates(self, images: Sequence[np.ndarray], paths: Sequence[str]) -> Sequence[Followable]:
        """As the call, with detections that are too weak to be shown but may go on a track."""


@dataclass(frozen=True)
class Finder:
    """Weights of another task, in whose boxes a task looks.

    Attributes:
        weights: The file.
        flag: That named it, for messages.
        options: Values for the flags that detect.py has for the other task; those that it does not have are left out.
    """

    weights: str
    flag: str
    options: Mapping[str, Any]


class BoxPredictor(Predictor, Protocol):
    """The predictor of a task that looks in boxes."""

    def use(self, finder: FollowingPredictor | None, source: str, report: Report) -> None:
        """Begin: look in the boxes that the weights `source` find; None: the options have no `Finder`.

        Raises:
            ValueError: It finds nothing that this task can look in.
        """


class Taken(Protocol):
    """What a network has from a file of tensors; as a text, for people."""

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of its tensors that came from there as they are."""

    @property
    def carried(self) -> Mapping[str, float]:
        """Its blocks that begin as layers of the file, with the share of their first kernel's taps that is filled."""

    @property
    def left(self) -> tuple[str, ...]:
        """Names of its tensors that begin untrained."""


@runtime_checkable
class TaughtLoss(Loss, Protocol):
    """A training loss that also asks a teacher; see `TeachingTask`."""

    def shown(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What the network that learns sees of a training batch, called before it: pictures in 0..1, and targets."""


@runtime_checkable
class TeachingTask(Protocol):
    """A task whose networks may learn from another one's answers."""

    def teacher(self, options: Any) -> str:
        """The weights that --teacher names; "": there is none."""

    def with_teacher(self, options: Any, teacher: nn.Module, names: Sequence[str], recipe: Any, report: Report) -> Any:
        """The options with the teacher's full path and input size. ValueError: it cannot teach names or recipe."""

    def taught(
        self, loss: Any, model: Any, teacher: nn.Module, recipe: Any, options: Any, average: Average | None
    ) -> TaughtLoss:
        """The loss of labels with the teacher's beside it; `composer` makes pictures at the teacher's size then."""


@runtime_checkable
class ForeignTask(Protocol):
    """A task whose networks may start from weights of other programs."""

    def take(self, model: Any, tensors: Mapping[str, Tensor]) -> Taken:
        """Fill a fresh network from tensors by name. ValueError: none fits."""


@runtime_checkable
class DataTask(Protocol):
    """A task whose data sets have other forms than a YAML too."""

    def data(self, path: str) -> DataConfig:
        """What --data names, without reading labels; its `yaml_path` names the same data set again.

        Raises:
            FileNotFoundError: There is no such thing.
            ValueError: It is no data set.
        """

    def data_place(self, path: str) -> Path:
        """The `yaml_path` of what --data names, without reading it; errors as `data`, of what is not there."""


@runtime_checkable
class BoxTask(Protocol):
    """A task, beside `Task`, whose network looks in boxes that another one may find: its predictor is a `BoxPredictor`.

    The engine opens the other weights; tasks do not know each other.
    """

    def finder(self, options: Any) -> Finder | None:
        """The weights that the options of val.py or detect.py name; None: no others are needed."""

    def with_filed(self, split: Any, options: Any, report: Report) -> Split:
        """The split with the boxes of a file that the options name beside the labelled ones; without such, as it is."""

    def pictures(self, split: Any) -> Sequence[str]:
        """Paths of all pictures of a split, each once."""

    def with_found(self, split: Any, found: Iterable[tuple[str, Followable]], source: str, report: Report) -> Split:
        """The split with boxes that the weights `source` found in its pictures, by path, beside the labelled ones."""
