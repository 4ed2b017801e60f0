"""From a study's module to its cells, each of which is known by a hash of all that defines it.

A study is a Python file with a list `cells`; benchmarks/studies/ has the shipped ones:

    MODELS = [Model("yolov5n"), Model("yolov5n-mgil", "yolov5n-mgil narrowed", like="yolov5n")]
    cells = [Cell(model, TrainConfig(data="digits", imgsz=64, seed=seed)) for seed in range(3) for model in MODELS]

They are run in this order, so first seeds are best written first. The first one's model is the baseline that the others
are compared with.

Poses and classes are studied with other classes of models and of options:

    cells = [Cell(PoseModel("simcc-small-mgil"), PoseTrainConfig(data="figures", imgsz=32))]
    cells = [Cell(ClassModel("resnet18-mgil"), ClassTrainConfig(data="tin40cls", imgsz=32))]

What a data set's own YAML changes of the recipe holds too, whatever the recipe. Peers train with their own recipes.
Augmentation that a data set asks for (no mirrored digits) applies to them as well; any value of theirs can be changed
by `recipe`.
"""

from __future__ import annotations

import hashlib
import json
import re
import runpy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from benchmarks.study_class_models import ClassModel
from benchmarks.study_data import find_data, find_weights
from benchmarks.study_host_models import HostModel
from benchmarks.study_models import Model
from benchmarks.study_pose_models import PoseModel
from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.reading.config import DataConfig
from mgil.engine.data_of_weights import load_data
from mgil.engine.training.config import TrainFlags, train_config
from mgil.engine.training.setup import DEFAULT_BATCH, DEFAULT_EPOCHS, changes_for
from mgil.files.recipe import DEGRADED, load_recipe
from mgil.tasks.registry import DEFAULT_TASK, task_named

STUDIES = Path(__file__).parent / "studies"
MODELS: dict[str, type] = {DEFAULT_TASK: Model, "pose": PoseModel, "classify": ClassModel}  # by task
PoseTrainConfig, ClassTrainConfig = train_config("pose"), train_config("classify")
SETTINGS = ("data", "weights", "hyp", "epochs", "batch_size", "imgsz", "patience", "seed")
OWN_SETTINGS = {"pose": ("crop",), DEFAULT_TASK: ("teacher", "teacher_img")}  # of a task
# Fields of the recipe that came after the first studies: at their defaults they define nothing.
LATER = ("batchnorm", "new_rate", "lr_drops", "lr_drop", "degrade")
TAUGHT = ("teach_scores", "teach_attention")
ONLY_KEYS = ("model", "data", "size", "seed")
AUGMENTATION = {item.name for item in fields(AugmentConfig)}


@dataclass(frozen=True)
class Cell:
    """One training of a study, as its module says it.

    Attributes:
        model: what is trained.
        train: a `TrainConfig` of data, weights, imgsz, epochs, batch_size, patience, seed, hyp, teacher and
            teacher_img, for a `PoseModel` a `PoseTrainConfig`, which has crop in place of teachers; data set and
            weights are found by `benchmarks.study_data`. Epochs and batch size default to what the data set suggests.
        recipe: changes to the recipe.
        holdout: fixed share of train to validate on, while val is left alone; 0: val is validated on.
        images: at most so many of each split, for trying things out; 0: all.

    Raises:
        ValueError: a value that makes no sense, or another option of train.py.
    """

    model: Model | HostModel
    train: TrainFlags
    recipe: Mapping[str, Any] = field(default_factory=dict)
    holdout: float = 0.0
    images: int = 0

    def __post_init__(self) -> None:
        task = self.train.task
        if type(self.model) is not MODELS.get(task):
            raise ValueError(
                f"{self}: write train=TrainConfig(...) for a Model, train=PoseTrainConfig(...) for a PoseModel, "
                "train=ClassTrainConfig(...) for a ClassModel"
            )
        config, settings = train_config(task), (*SETTINGS, *OWN_SETTINGS.get(task, ()))
        default = config(data=self.train.data)
        for item in fields(config):
            value = getattr(self.train, item.name)
            if item.name not in settings and value != getattr(default, item.name):
                raise ValueError(f"{self}: {item.name} {value!r}: a cell sets {', '.join(settings)} alone")
        if not self.train.imgsz:
            raise ValueError(f"{self}: imgsz is missing; write e.g. imgsz=64")
        if self.train.batch_size < 0:
            raise ValueError(f"{self}: batch_size {self.train.batch_size} depends on the machine; write e.g. 16")
        for name in ("weights", "teacher"):
            if self.model.peer and getattr(self.train, name, ""):
                raise ValueError(f"{self}: {name} {getattr(self.train, name)!r}: peers are trained from scratch")
        if self.model.peer and self.train.hyp:
            raise ValueError(f"{self}: hyp {self.train.hyp!r} is this project's; a peer has its own, change its recipe")
        if not 0 <= self.holdout < 1:
            raise ValueError(f"{self}: holdout {self.holdout!r} must be from 0 to below 1")
        if self.images < 0:
            raise ValueError(f"{self}: images {self.images!r} must be 0 or more")

    def __str__(self) -> str:
        return "{model}, {data}, {size} px, seed {seed}".format_map(self.facts)

    @property
    def facts(self) -> dict[str, Any]:
        """What --only chooses by."""
        train = self.train
        return {"model": self.model.name, "data": Path(train.data).stem, "size": train.imgsz, "seed": train.seed}


@dataclass(frozen=True)
class PlannedCell:
    """A cell whose data set, model and recipe were found.

    Attributes:
        model: its name in tables.
        data_yaml: the data set on this machine.
        weights: the weights to start from on this machine; None: from scratch.
        definition: all that the result depends on, names and machines apart: plain values.
        noted: columns of its row that change nothing about the training.
        teacher: the weights whose answers are learned too, on this machine; None: there are none.
    """

    model: str
    data_yaml: Path
    definition: Mapping[str, Any]
    weights: Path | None = None
    noted: Mapping[str, Any] = field(default_factory=dict)
    teacher: Path | None = None

    @property
    def task(self) -> str:
        """What is trained for."""
        return str(self.definition.get("task", DEFAULT_TASK))

    @property
    def data(self) -> str:
        """Name of the data set."""
        return str(self.definition["data"])

    @property
    def size(self) -> int:
        """Input size in pixels."""
        return int(self.definition["size"])

    @property
    def id(self) -> str:
        """Another definition is another cell."""
        return hashlib.sha256(json.dumps(self.definition, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def folder_name(self) -> str:
        """For people, and unique."""
        text = f"{self.model}_{self.data}_{self.size}_{self.definition['seed']}"
        return f"{re.sub(r'[^A-Za-z0-9.-]+', '_', text).strip('_')}_{self.id}"

    @property
    def facts(self) -> dict[str, Any]:
        """Columns of its row that are known before it is trained."""
        columns = ("data", "size", "seed", "split", "epochs", "batch", "patience")
        return {"cell": self.id, "model": self.model, **{name: self.definition[name] for name in columns}}

    def __str__(self) -> str:
        return f"{self.model}, {self.data}, {self.size} px, seed {self.definition['seed']}"


@dataclass(frozen=True)
class Study:
    """What is to be run.

    Attributes:
        name: of its folder and files.
        baseline: model that the others are compared with.
        cells: those that were chosen.
    """

    name: str
    baseline: str
    cells: tuple[PlannedCell, ...]

    @property
    def task(self) -> str:
        """What all its cells are trained for."""
        return self.cells[0].task


def find_study(name: str) -> Path:
    """The file of a study: a shipped one's name, or a path to one's own.

    Raises:
        FileNotFoundError: neither; the message lists the shipped ones.
    """
    path = Path(name) if name.endswith(".py") else STUDIES / f"{name}.py"
    if not path.is_file():
        shipped = ", ".join(sorted(study.stem for study in STUDIES.glob("*.py")))
        raise FileNotFoundError(f"study {name!r} does not exist; give the path of a .py file, or one of {shipped}")
    return path


def load_cells(path: Path) -> list[Cell]:
    """Run a study's file, and return its cells.

    Raises:
        ValueError: no `cells` in it, or something else than cells.
    """
    cells = runpy.run_path(str(path)).get("cells")
    if not isinstance(cells, list) or not cells or not all(isinstance(cell, Cell) for cell in cells):
        raise ValueError(f"{path}: it must have a list `cells` of one or more benchmarks.study_plan.Cell")
    if len({cell.train.task for cell in cells}) > 1:
        raise ValueError(f"{path}: cells of several tasks have other figures; give each task a study of its own")
    return cells


def load_study(path: Path, roots: Sequence[Path] = (), only: Iterable[str] = ()) -> Study:
    """Read a study, and find what its cells name.

    Args:
        path: the study's file.
        roots: folders of data sets.
        only: `key=pattern` texts, key one of model, data, size and seed; cells that match one for every key named.

    Raises:
        FileNotFoundError: a data set, model or recipe that is not there.
        ValueError: a value that makes no sense.
    """
    cells = load_cells(path)
    patterns = read_only(only)
    chosen = [cell for cell in cells if matches(cell.facts, patterns)]
    if not chosen:
        raise ValueError(f"--only {' '.join(only)}: no cell of {path} matches")
    planned = tuple(plan(cell, roots) for cell in chosen)
    check_distinct(planned, path)
    return Study(path.stem, cells[0].model.name, planned)


def plan(cell: Cell, roots: Sequence[Path]) -> PlannedCell:
    """Find what a cell names."""
    train, model = cell.train, cell.model
    data_yaml, task = find_data(train.data, roots), task_named(train.task)
    config = load_data(task, str(data_yaml))
    names = task.adapted(config, train).names
    definition = {
        **cell.facts,
        "model": model.definition() if isinstance(model, Model) else model.definition(train.imgsz, len(names)),
        "classes": list(names),
        "split": "holdout" if cell.holdout else "val",
        "epochs": train.epochs or config.epochs or DEFAULT_EPOCHS,
        "batch": train.batch_size or config.batch_size or DEFAULT_BATCH,
        "patience": train.patience,
        "recipe": planned_recipe(cell, config),
    }
    teacher = find_weights(train.teacher, roots) if getattr(train, "teacher", "") else None
    if teacher:
        definition |= {"teacher": _identity(teacher), "teacher_img": train.teacher_img}
    if train.task != DEFAULT_TASK:
        definition["task"] = train.task
        if not model.peer:
            definition |= {name: getattr(train, name) for name in OWN_SETTINGS.get(train.task, ())}
    for key in ("holdout", "images"):
        if getattr(cell, key):
            definition[key] = getattr(cell, key)
    weights = find_weights(train.weights, roots) if train.weights else None
    if weights:
        definition["weights"] = _identity(weights)
    noted = {} if isinstance(model, Model) else model.noted()
    return PlannedCell(model.name, data_yaml, definition, weights, noted, teacher)


def _identity(weights: Path) -> str:
    return f"{weights.name}, sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()[:16]}"


def planned_recipe(cell: Cell, config: DataConfig) -> dict[str, Any]:
    """A cell's whole recipe; of a peer what differs from its own."""
    if cell.model.peer:
        return {key: value for key, value in config.hyp.items() if key in AUGMENTATION} | dict(cell.recipe)
    train, task = cell.train, task_named(cell.train.task)
    # train.py takes another for classes that the weights do not know; a study's cells name that
    finetune = bool(train.weights) and not train.hyp
    source = train.hyp or task.default_recipe(train.imgsz, finetune)
    recipe = load_recipe(task.recipe, source, {**changes_for(config, finetune), **cell.recipe}).as_dict()
    unchanged = task.recipe().as_dict()
    idle = {*(DEGRADED if not recipe["degrade"] else ()), *(TAUGHT if not getattr(train, "teacher", "") else ())}
    idle |= {key for key in LATER if recipe[key] == unchanged[key]}
    return {key: value for key, value in recipe.items() if key not in idle}


def read_only(texts: Iterable[str]) -> dict[str, list[str]]:
    """--only as patterns by key."""
    patterns: dict[str, list[str]] = {}
    for text in texts:
        key, separator, pattern = text.partition("=")
        if not separator or key not in ONLY_KEYS:
            raise ValueError(f"--only {text!r}: give key=pattern, key one of {', '.join(ONLY_KEYS)}")
        patterns.setdefault(key, []).append(pattern)
    return patterns


def matches(facts: Mapping[str, Any], wanted: Mapping[str, Sequence[str]]) -> bool:
    """Whether every fact that is asked for matches one of its patterns."""
    return all(any(fnmatchcase(str(facts[key]), pattern) for pattern in wanted[key]) for key in wanted)


def check_distinct(cells: Iterable[PlannedCell], path: Path) -> None:
    """Raise ValueError where two cells are the same training, or would share a row."""
    seen: dict[Any, PlannedCell] = {}
    for cell in cells:
        if (other := seen.setdefault(cell.id, cell)) is not cell:
            raise ValueError(f"{path}: {cell} is the same training as {other}; leave one of them out")
        if seen.setdefault((str(cell), cell.definition["split"]), cell) is not cell:
            raise ValueError(f"{path}: two different cells are {cell}; give one of the models another name")
