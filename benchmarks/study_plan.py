"""From a study's YAML to its cells, each of which is known by a hash of all that defines it.

Keys of the YAML:
    models: list of a `--cfg` name, or of mappings
        {cfg, name, rows, mgil, width, depth}   see `benchmarks.study_models.resolve_architecture`
        {peer: yolov5 | ultralytics, model, name}   trained from scratch by its own code
    data: list of names, or of mappings {data, name, sizes, seeds}; see `benchmarks.study_data.find_data`
    sizes: input sizes in pixels; default: what the data set suggests
    seeds: default: 0
    baseline: name of the model that the others are compared with
    split: `val` (default), or `holdout`: train on a fixed part of train, validate on the rest, leave val alone
    holdout: the part that is held out (0.15)
    images: at most so many of each split; for trying things out
    overrides: list of {where: {model, data, size, seed}, ...settings}; patterns such as "yolov5*" may stand there
    settings, in the study, in an entry of data or models, or in overrides, the later over the earlier:
        epochs, batch: default: what the data set suggests, else those of train.py
        patience: epochs without a better fitness (100)
        hyp: recipe of this project; default: the one for the size
        recipe: {name: value}, changes to it

What a data set's own YAML changes of the recipe holds too, whatever the recipe. Peers train with their own recipes.
Augmentation that a data set or the study's data entry asks for (no mirrored digits) applies to them as well; any value
of theirs can be changed by `recipe` in their own entry or in an override.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.study_data import find_data
from benchmarks.study_models import resolve_architecture
from data.augment import AugmentConfig
from data.config import DataConfig, load_data_config
from engine.hyp import default_hyp, load_hyp
from engine.train_config import TrainConfig
from engine.train_setup import DEFAULT_BATCH, DEFAULT_EPOCHS
from files.names import hint_for
from files.yaml_file import read_yaml_mapping

PEERS = ("yolov5", "ultralytics")
SPLITS = ("val", "holdout")
SETTINGS = ("epochs", "batch", "patience", "hyp", "recipe")
STUDY_KEYS = (
    "name", "models", "data", "sizes", "seeds", "baseline", "split", "holdout", "images", "overrides", *SETTINGS,
)  # fmt: skip
OWN_KEYS = ("name", "cfg", "rows", "mgil", "width", "depth", *SETTINGS)
PEER_KEYS = ("name", "peer", "model", "epochs", "batch", "patience", "recipe")
DATA_KEYS = ("name", "data", "sizes", "seeds", *SETTINGS)
WHERE_KEYS = ("model", "data", "size", "seed")
DEFAULT_HOLDOUT = 0.15
AUGMENTATION = {item.name for item in fields(AugmentConfig)}


@dataclass(frozen=True)
class Cell:
    """One training of a study.

    Attributes:
        model: its name in tables.
        data: name of the data set.
        data_yaml: where that is on this machine.
        size: input size in pixels.
        seed: of the training.
        definition: all that the result depends on, names and machines apart: plain values.
    """

    model: str
    data: str
    data_yaml: Path
    size: int
    seed: int
    definition: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Another definition is another cell."""
        return hashlib.sha256(json.dumps(self.definition, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def folder_name(self) -> str:
        """For people, and unique."""
        text = f"{self.model}_{self.data}_{self.size}_{self.seed}"
        return f"{re.sub(r'[^A-Za-z0-9.-]+', '_', text).strip('_')}_{self.id}"

    @property
    def facts(self) -> dict[str, Any]:
        """What `where` and --only choose by."""
        return {"model": self.model, "data": self.data, "size": self.size, "seed": self.seed}

    def __str__(self) -> str:
        return f"{self.model}, {self.data}, {self.size} px, seed {self.seed}"


@dataclass(frozen=True)
class Study:
    """A grid of cells."""

    name: str
    baseline: str
    split: str
    holdout: float
    images: int | None
    cells: tuple[Cell, ...]


def load_study(path: Path, roots: Sequence[Path] = (), only: Iterable[str] = ()) -> Study:
    """Read a study's YAML.

    Args:
        path: the file.
        roots: folders of data sets.
        only: `key=pattern` texts, key one of model, data, size and seed; cells that match one for every key named.

    Raises:
        FileNotFoundError: a data set, model or recipe that is not there.
        ValueError: an unknown key or a value that makes no sense.
    """
    content = read_yaml_mapping(path)
    check_keys(content, STUDY_KEYS, str(path))
    models = [read_model(entry, str(path)) for entry in entries(content, "models", path)]
    data = [read_data(entry, str(path)) for entry in entries(content, "data", path)]
    names = [entry["name"] for entry in models]
    for kind, found in (("models", names), ("data", [entry["name"] for entry in data])):
        twice = sorted({name for name in found if found.count(name) > 1})
        if twice:
            raise ValueError(f"{path}: {kind}: two are called {twice[0]!r}; give one of them another name")
    split, holdout = content.get("split", "val"), content.get("holdout", DEFAULT_HOLDOUT)
    if split not in SPLITS:
        raise ValueError(f"{path}: split: {split!r} is none of {', '.join(SPLITS)}")
    if not isinstance(holdout, float) or not 0 < holdout < 1:
        raise ValueError(f"{path}: holdout: {holdout!r} must be a number between 0 and 1")
    if "holdout" in content and split != "holdout":
        raise ValueError(f"{path}: holdout: {holdout!r} has no effect without split: holdout")
    images = content.get("images")
    if images is not None and (type(images) is not int or images < 1):
        raise ValueError(f"{path}: images: {images!r} must be a whole number of 1 or more")
    baseline = content.get("baseline", names[0])
    if baseline not in names:
        raise ValueError(f"{path}: baseline: {baseline!r} is none of the models {', '.join(names)}")
    content |= {"split": split, "holdout": holdout}
    cells = tuple(make_cells(content, models, data, path, roots, read_only(only)))
    check_distinct(cells, path)
    if not cells:
        raise ValueError(f"--only {' '.join(only)}: no cell of {path} matches")
    return Study(study_name(content, path), baseline, split, holdout, images, cells)


def study_name(content: Mapping[str, Any], path: Path) -> str:
    """What a study's folder and files are called after."""
    return str(content.get("name", path.stem))


def make_cells(
    content: dict[str, Any],
    models: list[dict[str, Any]],
    data: list[dict[str, Any]],
    path: Path,
    roots: Sequence[Path],
    only: Mapping[str, list[str]],
) -> Iterator[Cell]:
    """The cells in an order in which the first seeds of all models come first."""
    overrides = entries(content, "overrides", path) if "overrides" in content else []
    for override in overrides:
        check_keys(override, ("where", *SETTINGS), f"{path}: overrides")
        check_keys(override.get("where", {}), WHERE_KEYS, f"{path}: overrides: where")
    unused = {number: override.get("where", {}) for number, override in enumerate(overrides)}
    architectures: dict[str, dict[str, Any]] = {}  # made when they are needed: solving for a width takes a moment
    for entry in data:
        if not matches({"data": entry["name"]}, only):
            continue
        data_yaml = find_data(entry["data"], path.parent, roots)
        config = load_data_config(data_yaml)
        suggested = [config.imgsz] if config.imgsz else None
        sizes = entry.get("sizes", content.get("sizes", suggested))
        if sizes is None:
            raise ValueError(f"{path}: no sizes, and {entry['data']} suggests none; add e.g. sizes: [64]")
        seeds = entry.get("seeds", content.get("seeds", [0]))
        for seed, size, model in product(check_numbers(seeds, 0, path), check_numbers(sizes, 32, path), models):
            facts = {"model": model["name"], "data": entry["name"], "size": size, "seed": seed}
            here = {number: override for number, override in enumerate(overrides)
                    if matches(facts, override.get("where", {}))}  # fmt: skip
            unused = {number: where for number, where in unused.items() if number not in here}
            if not matches(facts, only):
                continue
            if model["name"] not in architectures:
                architectures[model["name"]] = describe_model(model, path)
            settings = settle(config, model, [content, entry], [model, *here.values()], size)
            definition = {"model": architectures[model["name"]], "data": entry["name"], "classes": list(config.names)}
            definition |= {"size": size, "seed": seed, "split": content["split"], **settings}
            definition |= {key: content[key] for key in ("holdout",) if content["split"] == "holdout"}
            definition |= {key: content[key] for key in ("images",) if content.get(key)}
            yield Cell(model["name"], entry["name"], data_yaml, size, seed, definition)
    if unused and not only:
        raise ValueError(f"{path}: overrides: no cell matches where: {next(iter(unused.values()))}")


def settle(
    config: DataConfig,
    model: Mapping[str, Any],
    common: Sequence[Mapping[str, Any]],
    special: Sequence[Mapping[str, Any]],
    size: int,
) -> dict[str, Any]:
    """Epochs, batch, patience and recipe of a cell.

    Args:
        config: the data set.
        model: the model's entry.
        common: settings that are meant for all models, the later over the earlier.
        special: settings for some cells, over the common ones.
        size: input size in pixels.
    """
    levels = [*common, *special]
    settings: dict[str, Any] = {
        "epochs": config.epochs or DEFAULT_EPOCHS,
        "batch": config.batch_size or DEFAULT_BATCH,
        "patience": TrainConfig.patience,
        "hyp": default_hyp(size),
    }
    settings |= {key: level[key] for level in levels for key in settings if key in level}
    shared = {key: value for level in (config.hyp, *(level.get("recipe", {}) for level in common))
              for key, value in level.items()}  # fmt: skip
    own = {key: value for level in special for key, value in level.get("recipe", {}).items()}
    hyp = settings.pop("hyp")
    if "peer" in model:
        if any("hyp" in level for level in special):
            raise ValueError(f"hyp: {hyp!r} is a recipe of this project; {model['name']} trains with its own")
        recipe = {key: value for key, value in shared.items() if key in AUGMENTATION} | own
    else:
        recipe = load_hyp(hyp, shared | own).as_dict()
    for key in ("epochs", "batch", "patience"):
        if type(settings[key]) is not int or settings[key] < (key != "patience"):
            raise ValueError(f"{key}: {settings[key]!r} is not a whole number of {int(key != 'patience')} or more")
    return {**settings, "recipe": recipe}


def read_model(entry: Any, where: str) -> dict[str, Any]:
    """A model entry with its name."""
    entry = {"cfg": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or ("cfg" in entry) == ("peer" in entry):
        raise ValueError(f"{where}: models: {entry!r} is neither a name nor a mapping with either cfg or peer")
    if "cfg" in entry:
        check_keys(entry, OWN_KEYS, f"{where}: models")
        return {"name": str(entry["cfg"]).removesuffix(".yaml"), **entry}
    check_keys(entry, PEER_KEYS, f"{where}: models")
    if entry["peer"] not in PEERS or not isinstance(entry.get("model"), str):
        raise ValueError(f"{where}: models: {entry!r} needs `peer`, one of {', '.join(PEERS)}, and `model`")
    return {"name": f"{entry['model']} ({entry['peer']})", **entry}


def describe_model(entry: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What of a model entry defines a cell."""
    if "peer" in entry:
        return {"peer": entry["peer"], "model": entry["model"]}
    options = {key: entry[key] for key in ("rows", "mgil", "width", "depth") if key in entry}
    return resolve_architecture(str(entry["cfg"]), folder=path.parent, **options)


def read_data(entry: Any, where: str) -> dict[str, Any]:
    """A data entry with its name."""
    entry = {"data": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not isinstance(entry.get("data"), str):
        raise ValueError(f"{where}: data: {entry!r} is neither a name nor a mapping with `data`")
    check_keys(entry, DATA_KEYS, f"{where}: data")
    return {"name": Path(entry["data"]).stem, **entry}


def read_only(texts: Iterable[str]) -> dict[str, list[str]]:
    """--only as patterns by key."""
    patterns: dict[str, list[str]] = {}
    for text in texts:
        key, separator, pattern = text.partition("=")
        if not separator or key not in WHERE_KEYS:
            raise ValueError(f"--only {text!r}: give key=pattern, key one of {', '.join(WHERE_KEYS)}")
        patterns.setdefault(key, []).append(pattern)
    return patterns


def matches(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether every fact that is asked for here has one of the values, or patterns, that are asked for."""
    matches_one = partial(map, lambda pair: fnmatchcase(str(facts[pair[0]]), str(pair[1])))
    return all(
        any(matches_one((key, value) for value in (values if isinstance(values, list) else [values])))
        for key, values in wanted.items()
        if key in facts
    )


def entries(content: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    """A list of the YAML that must not be empty."""
    value = content.get(key)
    if not isinstance(value, list) or not value:
        raise ValueError(f"{path}: {key}: {value!r} must be a list with at least one entry")
    return value


def check_keys(entry: Any, known: Sequence[str], where: str) -> None:
    """Raise ValueError for a key that is not known, with the nearest one that is."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: {entry!r} is no mapping")
    for key in entry:
        if key not in known:
            hint = hint_for(key, known) or f"known are {', '.join(known)}"
            raise ValueError(f"{where}: unknown key {key!r}; {hint}")


def check_numbers(values: Any, low: int, path: Path) -> list[int]:
    """A list of whole numbers from `low`."""
    if not isinstance(values, list) or not values or any(type(value) is not int or value < low for value in values):
        raise ValueError(f"{path}: {values!r} must be a list of one or more whole numbers, each {low} or more")
    return values


def check_distinct(cells: Sequence[Cell], path: Path) -> None:
    """Raise ValueError where two names stand for the same training."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.id, cell)
        if other is not cell:
            raise ValueError(f"{path}: {cell.model!r} is the same as {other.model!r}; leave one of them out")
