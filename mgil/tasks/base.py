"""What a task is: everything that training, evaluation, prediction and export ask of one.

The engine owns what every task shares: optimizer, schedule, EMA, AMP, DDP, resume, run folders, logs, sources, files.
A task owns what is special: labels, training pictures, network, loss, scores, results. It is one object with the
methods of `Task`, entered in `mgil.tasks.registry`; the engine looks it up by name and knows no more of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mgil.datasets.batches.batch import EvalBatch
from mgil.datasets.batches.composer import Composer
from mgil.datasets.batches.decode import Change
from mgil.datasets.batches.eval_loader import EvalLoader, Images
from mgil.datasets.reading.config import DataConfig
from mgil.files.recipe import Recipe
from mgil.files.text import Report
from mgil.networks.network import Network
from mgil.tasks.exported import ExportFacts, Exporting, Inside

Options = TypeVar("Options")
Average = Callable[[Tensor], Tensor]  # the mean of a value over all processes


class Split(Images, Protocol):
    """The images of a split with their labels, whatever these are."""

    def __len__(self) -> int: ...

    def content(self) -> dict[str, Any]:
        """Plain values that are equal where the labels are: numbers for people, and a digest of all called `labels`."""


class Loss(Protocol):
    """A training loss."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of its parts: `train/{term}_loss` in results.csv."""

    def __call__(self, outputs: Any, targets: Tensor, /) -> tuple[Tensor, Tensor]:
        """From training outputs and (T, C) targets to what is minimised, and its (terms,), detached.

        The former is a sum over the batch's images, as in YOLOv5, unless the task says otherwise; the terms are means.
        """


class Scores(Protocol):
    """What an evaluation found."""

    @property
    def fitness(self) -> float:
        """What the best epoch is chosen by; higher is better."""

    def columns(self) -> dict[str, float]:
        """The columns of results.csv that `Task.metrics` names."""

    def summary(self) -> str:
        """The figures at the end of an epoch's line."""

    def lines(self, imgsz: int, verbose: bool) -> list[str]:
        """The console's report; the line that counts comes last."""

    def row(self) -> dict[str, float]:
        """The columns of the table over several input sizes; those that `Task.plotted` names are drawn."""

    def write(self, folder: Path, pictures: bool) -> None:
        """Write the tables and, with `pictures`, the curves; `Task.final_table` after all else."""

    def save(self, folder: Path, stem: str, report: Report) -> None:
        """Write what the options ask for: label files, results of the weights called `stem`."""


class Judge(Protocol):
    """Scores a network on one split, batch by batch.

    `finish` and `add` may be called in another thread than `forward`, a batch behind it, but one by one and in order.
    """

    def forward(self, images: Tensor, with_loss: bool) -> tuple[Any, Any]:
        """Map (B, 3, H, W) in 0..1 to predictions, and to training outputs (None where the loss is not wanted)."""

    def finish(self, predictions: Any) -> Any:
        """What remains of predictions, e.g. after non-maximum suppression; timed by itself."""

    def add(self, batch: EvalBatch, found: Any) -> None:
        """Count a batch."""

    def scores(self, skipped: Collection[int]) -> Scores:
        """Every figure, without the images (by index) that could not be read."""


class Result(Protocol):
    """What was found in one picture."""

    @property
    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""

    @property
    def speed(self) -> dict[str, float]:
        """Milliseconds by stage: preprocess, inference, the task's last one, and what came before by its own name."""

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of what the network saw."""

    def __len__(self) -> int: ...

    def text(self) -> str:
        """What was found, in a few words."""

    def draw(self, line_width: int | None, labels: bool, confidences: bool) -> np.ndarray:
        """The picture with what was found, (H', W', 3) uint8 RGB."""

    def label_lines(self, with_scores: bool) -> str:
        """The content of its label file; empty where nothing was found."""

    def table_rows(self) -> list[list[Any]]:
        """Its rows of predictions.csv, under `Task.table_columns`."""

    def named_crops(self) -> Iterable[tuple[str, np.ndarray]]:
        """What --save-crop writes: the name of the folder and the (h, w, 3) pixels."""


class Predictor(Protocol):
    """A network at work: (H, W, 3) uint8 RGB pictures in, a result of each out."""

    model: nn.Module
    names: tuple[str, ...]
    device: torch.device
    size_hw: tuple[int, int]

    def __call__(self, images: Sequence[np.ndarray], paths: Sequence[str]) -> Sequence[Result]: ...


@dataclass(frozen=True)
class Loading:
    """How evaluation batches are made; see `EvalLoader`. `speed_only`: whole squares, of which times are wanted."""

    batch_size: int
    workers: int = 0
    shape_hw: tuple[int, int] | None = None
    memory_budget: int = 0
    ahead: bool = True
    speed_only: bool = False
    strict: bool = False
    reduced: bool = False
    change: Change | None = None
    report: Report = print

    @property
    def of_any_task(self) -> dict[str, Any]:
        """Arguments of `EvalLoader` that mean the same in every task."""
        names = ("batch_size", "workers", "memory_budget", "ahead", "strict", "reduced", "change", "report")
        return {name: getattr(self, name) for name in names}


def options_for(kind: type[Options], options: Any) -> Options:
    """The options of val.py, or its defaults where those of training stand: it judges as val.py does without flags."""
    return options if isinstance(options, kind) else kind()


class Task(Protocol):
    """One task. `options` is the task's own dataclass of flags for the command at work, see `registry.options_of`."""

    name: str  # the first word of train.py; stored in checkpoints and exported files
    recipe: type[Recipe]
    default_cfg: str
    named: tuple[str, str]  # what a network's names are of, one and several: a class, classes
    default_imgsz: int  # pixels, where neither the user nor the data set gives a size
    metrics: tuple[str, ...]  # columns of results.csv
    plotted: tuple[str, ...]  # columns of `Scores.row` that are drawn over input sizes
    speed_options: Mapping[str, Any]  # options of val.py --task speed
    last_stage: str  # what follows inference, for the line and the columns of times
    table_columns: tuple[str, ...]  # of predictions.csv
    final_table: str  # the file that `Scores.write` writes last: a training run whose folder has it is complete

    # data
    def adapted(self, data: DataConfig, options: Any) -> DataConfig:
        """The data set as the options want it seen, e.g. as one class."""

    def read(self, data: DataConfig, split: str, *, strict: bool, report: Report) -> Split:
        """Read a split's labels, after `make_generated` of `mgil.datasets.reading.load`.

        Raises:
            FileNotFoundError: They are not there.
            ValueError: They cannot be used.
        """

    def composer(self, split: Any, recipe: Any, imgsz: int, model: Any, options: Any) -> Composer:
        """How training pictures are made for a network, after `prepare`."""

    def eval_loader(self, split: Any, imgsz: int, model: Any, options: Any, loading: Loading) -> EvalLoader:
        """Evaluation batches for a network."""

    # training
    def default_recipe(self, imgsz: int, finetune: bool = False, known: bool = True) -> str:
        """The recipe for an input size in pixels.

        Args:
            imgsz: The size.
            finetune: All but the last row comes from weights.
            known: And these know most of the classes.
        """

    def build(self, architecture: Any, names: Sequence[str], imgsz: int) -> Network:
        """A network from a YAML's name or a checkpoint's plain values. FileNotFoundError, ValueError: it cannot be."""

    def check_architecture(self, name: str) -> None:
        """Raise what `build` would for a name given by the user, before any data is read."""

    def prepare(
        self, model: Any, split: Any, recipe: Any, imgsz: int, seed: int, options: Any, loaded: bool, report: Report
    ) -> None:
        """Fit a fresh network to the data before training, e.g. its anchors; `loaded`: its last row is from weights."""

    def loss(self, model: Any, recipe: Any, imgsz: int, options: Any, average: Average | None = None) -> Loss:
        """The training loss; `average` shares what must not differ between processes."""

    def item_weights(self, split: Any, scores: Any, options: Any) -> np.ndarray | None:
        """How often the coming epoch draws each training item, (N,); None: each once.

        The scores are the last ones; None before there are any.
        """

    def draw_labels(self, split: Any, names: Sequence[str], path: Path) -> None:
        """A picture of what the labels hold (labels.jpg)."""

    def draw_batch(self, images: Tensor, targets: Tensor, names: Sequence[str], path: Path) -> None:
        """A picture of a training batch with its targets."""

    # evaluation, prediction
    def judge(
        self, model: nn.Module, split: Any, data: DataConfig, options: Any, pictures: Path | None = None
    ) -> Judge:
        """The judge of a network on a split; `pictures` is the folder for pictures of batches.

        The network may have the data set's classes in another order: they are matched by name.
        """

    def outputs(self, split: Any, options: Any, stem: str) -> list[str]:
        """Paths in the run's folder of all files that `Scores.write` and `Scores.save` may write."""

    def evaluation_notes(self, model: nn.Module, source: str) -> list[str]:
        """What a user should know before the scores of the weights `source` come, a line each."""

    def pooled(self, models: Sequence[nn.Module], sources: Sequence[str]) -> nn.Module:
        """Several networks that answer as one. ValueError: these cannot."""

    def predictor(
        self, model: nn.Module, options: Any, *, device: torch.device, size_hw: tuple[int, int], half: bool = False
    ) -> Predictor:
        """The network at work on pictures."""

    # export
    def inside(self, options: Any) -> Inside | None:
        """What an exported file does after the network; None: nothing. ValueError: options that do not fit together."""

    def deploy_head(self, model: Any, twin: Any, size_hw: tuple[int, int] | None) -> None:
        """Give `twin`, a fused copy of `model`, the head for runtimes; `size_hw` is its only input size, None: any."""

    def export_notes(self, model: Any) -> dict[str, str]:
        """What the task wants to know of an exported file, for its metadata, by keys that no other task has."""

    def export_facts(self, metadata: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
        """Attributes of an exported file, by its metadata: text, or what JSON and YAML made of it; from anyone.

        ValueError: a value is not what its key says, or is missing; the file is not named.
        """

    def compare(self, found: Sequence[Tensor], expected: Sequence[Tensor], job: Exporting) -> object:
        """How far a file's outputs are from PyTorch's, as a line for people. ValueError: beyond what is explained."""

    def output_problem(self, shape: Sequence[int | None], facts: ExportFacts) -> str:
        """What is wrong with the shape of an exported file's output, or nothing; None stands for a free side."""

    def cleaned(self, found: Tensor, facts: ExportFacts) -> Tensor:
        """An exported file's output without what cannot be a result."""
