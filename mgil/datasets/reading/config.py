"""A data set's YAML file, read and resolved into a `DataConfig`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from mgil.datasets.reading.categories import Classes, classes_of, is_json
from mgil.datasets.reading.digits import DIGITS
from mgil.datasets.reading.figures.made import FIGURES
from mgil.datasets.reading.glyphs import GLYPHS
from mgil.datasets.reading.value_range import ValueRange, range_of
from mgil.files.class_names import first_double
from mgil.files.names import hint_for
from mgil.files.paths import find, find_or_match
from mgil.files.shipped import shipped
from mgil.files.text import check_class_names
from mgil.files.yaml_file import read_yaml_mapping

SHIPPED_FOLDER = shipped("data")
MOST_COUNT = 1_000_000  # pixels, epochs or images
SPLITS = ("train", "val", "test")
TRAINING_KEYS = ("imgsz", "epochs", "batch_size", "hyp")
VALUE_KEYS = ("bits", "range")
KEY_POINT_KEYS = ("kpt_names", "flip_idx", "sigmas", "skeleton")
KEYS = (
    *(*SPLITS, "path", "names", "nc", "kpt_shape", *KEY_POINT_KEYS, "category_ids", "download", "generate", "convert"),
    *(*VALUE_KEYS, *TRAINING_KEYS),
)
GENERATED = {made.name: made for made in (DIGITS, FIGURES, GLYPHS)}  # what `generate` names
# Written by other tools for people to read; they change nothing here.
INFORMATION_KEYS = frozenset({"author", "date", "description", "info", "license", "roboflow", "url", "version"})
# Data sets of YOLOv5 that are not here, and what to do instead.
NOT_HERE = {
    r"Argoverse|GlobalWheat2020|Objects365|SKU-110K|VisDrone|xView":
        r"give the path of its file in YOLOv5's data; code in it is not run, so bring images and labels",
    r"(ImageNet|Imagenette|Imagewoof)\d*": r"classify takes the folder with its train/ and val/ itself: --data FOLDER",
    r"(fashion-?)?mnist": r"classify takes pictures in a folder per class: --data FOLDER with train/ and val/",
    r"(coco128|coco)-seg": r"boxes are found here, no masks; use \1.yaml",
}  # fmt: skip

# Files that other programs take for a data set, and what to do instead.
NO_YAML = {
    ".data": "a data set is a YAML: darknet's `valid` is `val` there, and `names` has the lines of the names file",
    ".names": "a data set is a YAML with `train`, `val` and these lines as `names`",
    ".txt": "a data set is a YAML: write one with `train: {}`, `val` and `names`",
    ".json": "a data set is a YAML: write one with `train: {}` and `val`",
}

# From the YAML's names and `category_ids`, the entries of each split and the YAML's path to the classes.
ClassesOf: TypeAlias = Callable[[tuple[str, ...] | None, Any, Mapping[str, tuple[str, ...]], Path], Classes]


@dataclass(frozen=True)
class DataConfig:
    """A data set: where its splits are, and what its classes are called."""

    yaml_path: Path  # or the folder or file that is the whole set, where it needs no YAML
    root: Path  # the folder that relative split paths start from
    # Each entry: image folder, .txt list, or (alone) a COCO .json file, or what the task reads; absolute paths.
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    names: tuple[str, ...]  # by class index
    category_ids: tuple[int, ...]  # the COCO category id of each class; a split's json may have others
    names_from: str = ""  # the file that the names are from; "": the YAML
    generate: str | None = None  # in GENERATED: `mgil.datasets.reading.load.make_generated` makes the set in `root`
    download: str | None = None  # the YAML's `download` entry as text for people; never executed
    imgsz: int | None = None  # training size in pixels that suits the images, where the user gives none
    epochs: int | None = None  # length of training that suits the set, where the user gives none
    batch_size: int | None = None  # images per batch that suit the set, where the user gives none
    hyp: Mapping[str, Any] = field(default_factory=dict)  # changes to the default recipe that the set needs
    values: ValueRange | None = None  # what the values of pictures of more than 8 bits mean; None: all 16 bits
    one_class: bool = False  # every object is of the only class, whatever the files say
    kpt_shape: tuple[int, int] | None = None  # key points of a label line and numbers of each; None: as the lines look
    key_points: Mapping[str, Any] = field(default_factory=dict)  # KEY_POINT_KEYS as written; pose checks them

    def split(self, name: str) -> tuple[str, ...]:
        """The sources of split `name`, which is 'train', 'val' or 'test'."""
        if name not in SPLITS:
            raise ValueError(f"split {name!r} is not one of {', '.join(SPLITS)}")
        sources: tuple[str, ...] = getattr(self, name)
        return sources

    @property
    def bases(self) -> tuple[str, str, str]:
        """The folders that a line of a list may be relative to, behind the list's own; "" is the working folder."""
        return str(self.root), str(self.yaml_path.parent), ""

    def as_one_class(self) -> DataConfig:
        """The same data set with one class for every object: its only one, or `item` with category id 1."""
        names, ids = (self.names, self.category_ids) if len(self.names) == 1 else (("item",), (1,))
        return replace(self, names=names, category_ids=ids, one_class=True)


def load_data_config(path: str | Path, classes: ClassesOf = classes_of) -> DataConfig:
    """Read a data set YAML. Nothing is written.

    Keys:
        path: the data set's folder, relative to the YAML's own folder, which is also the default.
        train, val, test: each a folder of images, a .txt list of images, a pattern with * and such, a list of these, or
            one COCO .json file; relative to `path`.
        names: a list, or a mapping from 0 upwards; optional when train is a COCO .json, or where only val or test are.
        nc: optional; must equal the number of names.
        kpt_shape: optional; the shape of the key points that follow the box on a label line, e.g. [17, 3].
        kpt_names, flip_idx, sigmas, skeleton: optional, what pose has to know of key points.
        category_ids: optional, the COCO category id of each class; else a COCO .json's, else COCO's where the names are
            COCO's 80, else 1 to nc. A COCO .json is read by the names of its categories, whatever their ids.
        download, convert: optional, what `mgil.datasets.reading.download` fetches and how it is rewritten after.
        generate: optional; `digits`, `figures` or `glyphs` is made when a split is first read, in `path` or, where that
            cannot be written, in the user's cache folder.
        imgsz, epochs, batch_size: optional, what to train with unless the user says otherwise.
        bits, range: optional, what 16-bit images use of their values: 8 to 16 bits, or `[lowest, highest]`.
        hyp: optional, values of the default recipe that the set needs otherwise, e.g. `{fliplr: 0.0}` for text.

    Args:
        path: the file; a bare name such as `coco.yaml` is also looked for among the shipped ones in data/.
        classes: says what the classes are called, from the same arguments as `classes_of`.

    Raises:
        FileNotFoundError: no such file.
        PermissionError: there is no folder for a set that is to be made.
        ValueError: a key that is not known, or a value that makes no sense; names the file and the value.
    """
    yaml_path = find_data_yaml(path)
    content = _read_mapping(yaml_path)
    generate = _read_generate(content.get("generate"), yaml_path)
    root = _read_root(content, yaml_path, generate)
    sources = {split: _read_split(content.get(split), split, root, yaml_path) for split in SPLITS}
    if not any(sources.values()):
        raise ValueError(f"{yaml_path}: gives neither train, val nor test")
    names = _read_names(content, yaml_path)
    if names is None and generate is not None:
        names = GENERATED[generate].names  # its COCO .json may not be there yet
    found = classes(names, content.get("category_ids"), sources, yaml_path)
    _check_count(content.get("nc"), len(found.names), yaml_path)
    return DataConfig(
        yaml_path,
        root,
        sources["train"],
        sources["val"],
        sources["test"],
        names=found.names,
        category_ids=found.category_ids,
        names_from=found.source,
        generate=generate,
        download=_describe(content.get("download")),
        imgsz=_read_count(content, "imgsz", yaml_path),
        epochs=_read_count(content, "epochs", yaml_path),
        batch_size=_read_count(content, "batch_size", yaml_path),
        hyp=_read_hyp(content, yaml_path),
        key_points={key: content[key] for key in KEY_POINT_KEYS if content.get(key) is not None},
        kpt_shape=_read_kpt_shape(content.get("kpt_shape"), yaml_path),
        values=_read_values(content, yaml_path),
    )


def find_data_yaml(path: str | Path) -> Path:
    """The file itself, or for a bare name the shipped data/<name>, whatever its capitals.

    Raises:
        FileNotFoundError: neither is there; names the nearest shipped one.
    """
    path = Path(path)
    found = find(str(path), there=os.path.isfile)
    if found is not None:
        return Path(os.path.abspath(found))
    if path.is_dir():
        inside = ", ".join(sorted(file.name for file in path.glob("*.y*ml")))
        raise FileNotFoundError(
            f"data set file {path} is a folder; give a YAML file{f', such as {inside}' * bool(inside)}"
        )
    shipped = {file.name.lower(): file for file in SHIPPED_FOLDER.glob("*.yaml")}
    if path.parent == Path(".") and path.name:
        for name in (path.name.lower(), f"{path.name.lower()}.yaml"):
            if name in shipped:
                return shipped[name]
    hint = hint_for(path.name, shipped, NOT_HERE, ending=".yaml", quoted=False)
    hint = hint or f"shipped ones: {', '.join(sorted(shipped))}"
    raise FileNotFoundError(f"data set file {path} not found; {hint}")


def _read_mapping(yaml_path: Path) -> dict[str, Any]:
    try:
        content = read_yaml_mapping(yaml_path, text_under="names")
        _check_keys(content, yaml_path)
    except ValueError as error:
        hint = NO_YAML.get(yaml_path.suffix.lower())
        if hint is None:
            raise
        raise ValueError(f"{error}; {hint.format(yaml_path.name)}") from error
    return content


def _check_keys(content: dict[str, Any], yaml_path: Path) -> None:
    for key in content:
        if key not in KEYS and key not in INFORMATION_KEYS:
            hint = hint_for(key, KEYS) or f"known keys: {', '.join(KEYS)}"
            raise ValueError(f"{yaml_path}: unknown key {key!r}; {hint}")


def _read_generate(value: Any, yaml_path: Path) -> str | None:
    if value is not None and (not isinstance(value, str) or value not in GENERATED):
        *others, last = map(repr, GENERATED)
        raise ValueError(f"{yaml_path}: generate: {value!r} is not known; {', '.join(others)} and {last} are")
    return value


def _read_count(content: dict[str, Any], key: str, yaml_path: Path) -> int | None:
    value = content.get(key)
    if value is not None and (type(value) is not int or not 1 <= value <= MOST_COUNT):
        raise ValueError(f"{yaml_path}: {key} is {value!r}, must be an integer from 1 to {MOST_COUNT}")
    return value


def _read_hyp(content: dict[str, Any], yaml_path: Path) -> dict[str, Any]:
    value = content.get("hyp") or {}
    if not isinstance(value, dict):
        raise ValueError(f"{yaml_path}: hyp is {value!r}, must be a mapping such as {{fliplr: 0.0}}")
    return value


def _read_kpt_shape(value: Any, yaml_path: Path) -> tuple[int, int] | None:
    if value is None:
        return None
    whole = isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)
    if not whole or not 1 <= value[0] <= MOST_COUNT or value[1] not in (2, 3):
        raise ValueError(f"{yaml_path}: kpt_shape is {value!r}, must be [points, 2 or 3], such as [17, 3]")
    return value[0], value[1]


def _read_values(content: dict[str, Any], yaml_path: Path) -> ValueRange | None:
    try:
        return range_of(content.get("bits"), content.get("range"))
    except ValueError as error:
        raise ValueError(f"{yaml_path}: {error}") from error


def _read_root(content: dict[str, Any], yaml_path: Path, generate: str | None) -> Path:
    value = content.get("path")
    if value is None:
        value = "."
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{yaml_path}: path {value!r} is not the name of a folder")
    found = find(value, (str(yaml_path.parent), ""))
    root = Path(os.path.abspath(found or yaml_path.parent / Path(os.path.expandvars(value)).expanduser()))
    return root if generate is None else GENERATED[generate].folder(root)


def _read_split(value: Any, split: str, root: Path, yaml_path: Path) -> tuple[str, ...]:
    entries = [] if value is None else value if isinstance(value, list) else [value]
    for entry in entries:
        if not isinstance(entry, str) or not entry.strip() or "\0" in entry:
            raise ValueError(f"{yaml_path}: {split}: {entry!r} is not the name of a folder or file")
        if min(entry.strip()) < " ":
            raise ValueError(
                f"{yaml_path}: {split}: {entry!r} has control characters; in double quotes a backslash begins "
                "an escape: write / instead, or use single quotes"
            )
    paths = tuple(_resolve(entry.strip(), root, yaml_path.parent) for entry in entries)
    if len(paths) > 1 and any(map(is_json, paths)):
        raise ValueError(f"{yaml_path}: {split}: a COCO .json must be the split's only entry, found {len(paths)}")
    return paths


def _resolve(entry: str, root: Path, yaml_folder: Path) -> str:
    """The path of a split's entry: where it is, else where it should be."""
    found = find_or_match(entry, (str(root),))
    if found is None and entry.startswith("../"):  # Roboflow writes ../train/images for a folder beside the YAML
        found = find(entry[3:], (str(root),))
    if found is None and root == yaml_folder:  # without `path`, YOLOv5 and darknet start from the working folder
        found = find_or_match(entry)
    return os.path.abspath(found or root / Path(os.path.expandvars(entry)).expanduser())


def _read_names(content: dict[str, Any], yaml_path: Path) -> tuple[str, ...] | None:
    value = content.get("names")
    if value is None:
        return None
    if isinstance(value, dict):
        value = _names_in_order(value, yaml_path)
    if not isinstance(value, list) or not value:
        raise ValueError(f"{yaml_path}: names must be a list or a mapping from class index to name, found {value!r}")
    for index, name in enumerate(value):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{yaml_path}: name of class {index} is {name!r}, not text; put it in quotes")
    names = tuple(value)
    if double := first_double(names):
        first, second = double
        raise ValueError(f"{yaml_path}: class {first} and class {second} are both called {names[second]!r}; rename one")
    try:
        check_class_names(names)
    except ValueError as error:
        raise ValueError(f"{yaml_path}: {error}") from error
    return names


def _check_count(nc: Any, names: int, yaml_path: Path) -> None:
    if nc is not None and str(nc).strip() not in (f"{names}", f"{names}.0"):  # nc: "2" is a 2
        raise ValueError(f"{yaml_path}: nc is {nc!r} but there are {names} names")


def _names_in_order(value: dict[Any, Any], yaml_path: Path) -> list[Any]:
    """The names of a mapping from class index to name, or from name to class index."""
    indexed = {_as_index(key): name for key, name in value.items()}
    wanted = set(range(len(value)))
    if indexed.keys() == wanted:
        return [indexed[index] for index in range(len(value))]
    reversed_ = {_as_index(index): name for name, index in value.items()}
    if reversed_.keys() == wanted and all(isinstance(name, str) for name in value):
        return [reversed_[index] for index in range(len(value))]
    reason = ""
    numbers = sorted(key for key in indexed if key is not None)
    if len(numbers) == len(value):
        missing = min(wanted.difference(numbers))
        reason = f"; they start at {numbers[0]}" if numbers[0] else f"; {missing} is missing, {numbers[-1]} is there"
    raise ValueError(f"{yaml_path}: the keys of names must be 0 to {len(value) - 1}, each once{reason}")


def _as_index(key: Any) -> int | None:
    """A class index that is written as a number or as its text."""
    text = str(key).strip()
    return int(text) if type(key) in (int, str) and text.isascii() and text.isdigit() and len(text) < 9 else None


def _describe(download: Any) -> str | None:
    """The `download` entry as text for people: what is behind each URL stays in the YAML."""
    if download is None or download == "":
        return None
    entries = download if isinstance(download, list) else [download]
    texts = (entry.get("url", entry) if isinstance(entry, dict) else entry for entry in entries)
    return "\n".join(str(text).strip() for text in texts)
