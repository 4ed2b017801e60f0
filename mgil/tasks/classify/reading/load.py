"""Reading a split of pictures with classes: which form its files have, what was found, and what is refused."""

from __future__ import annotations

import os

import numpy as np

from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.image_probe import probe_images
from mgil.datasets.reading.label_cache import LabelCache, sign_files
from mgil.datasets.reading.load import PROBLEMS_SHOWN, check_presence, make_generated
from mgil.datasets.reading.path_list import PathList
from mgil.datasets.reading.samples import Counts, Findings, NoImages, Samples, digest_of
from mgil.files.text import Report, printable
from mgil.tasks.classify.reading.cifar import SIDE, read_cifar
from mgil.tasks.classify.reading.config import is_folder_set, sources_of
from mgil.tasks.classify.reading.folders import gather_folders, gather_tiny_val, is_tiny_val
from mgil.tasks.classify.reading.gathered import EXPECTED, Gathered
from mgil.tasks.classify.reading.tables import gather_table, is_table
from mgil.tasks.classify.split import ClassSplit

NAMES_SHOWN = 5


def read_classes(data: DataConfig, split: str, *, strict: bool, report: Report) -> ClassSplit:
    """Read a split's pictures and their classes.

    A set that the YAML says to generate is made here, where it is not there yet.

    Args:
        data: from `class_data`.
        split: 'train', 'val' or 'test'.
        strict: make any problem an error.
        report: takes the lines for people: problems (the first 10) and a summary.

    Raises:
        FileNotFoundError: The split's files are not there.
        ValueError: They cannot be used, or `strict` and a problem.
    """
    if not data.split(split):
        what = f"has no folder for {split}; expected {EXPECTED}" if is_folder_set(data) else f"gives no {split} split"
        raise ValueError(f"{printable(str(data.yaml_path))}: {what}")
    make_generated(data)
    check_presence(data, split)
    sources = sources_of(data.split(split))
    gathered = Gathered(data.names)
    if _is_cifar(sources, split, data):
        paths, classes, pixels = read_cifar(sources, data.names)
        sizes_hw = np.full((len(paths), 2), SIDE, np.int32)
        found = ClassSplit(PathList(paths), sizes_hw, classes, data.names, pixels)
    else:
        _gather(sources, split, data, gathered)
        found = _usable(gathered, f"classes {data.names} {data.root} {sources}", report)
    _tell(found, gathered, split, data, report)
    _refuse(found, gathered, split, data, strict)
    return found


def _is_cifar(sources: list[str], split: str, data: DataConfig) -> bool:
    """Whether the entries are files of CIFAR's: whatever is neither a folder nor a csv list."""
    cifar = [source for source in sources if not os.path.isdir(source) and not is_table(source)]
    strange = [source for source in cifar if os.path.splitext(source)[1] not in ("", ".bin")]
    if strange or 0 < len(cifar) < len(sources):
        raise ValueError(
            f"{printable((strange or cifar)[0])}: the entries of {split} in {data.yaml_path} must be folders with a "
            "folder per class, csv lists, or files of CIFAR's alone"
        )
    return bool(cifar)


def _gather(sources: list[str], split: str, data: DataConfig, gathered: Gathered) -> None:
    for source in sources:
        before = gathered.again
        if is_table(source):
            gather_table(source, data.bases, gathered)
        elif is_tiny_val(source):
            gather_tiny_val(source, gathered)
        else:
            gather_folders(source, split, gathered)
        if again := gathered.again - before:
            there = "1 image is" if again == 1 else f"{again:,} images are"
            gathered.problems.append(f"{printable(source)}: {there} there again; each image is used once")
    if not gathered.paths:
        first = f"; the first problem: {gathered.problems[0]}" if gathered.problems else ""
        raise NoImages(f"{', '.join(map(printable, sources))}: no images found{first} ({split} of {data.yaml_path})")


def _usable(gathered: Gathered, key: str, report: Report) -> ClassSplit:
    """The pictures that can be decoded; what was found is taken from the cache where no file has changed.

    The cache is that of boxes, where a picture's class is the class of a box around all of it.
    """
    classes = np.array(gathered.classes, np.int32)
    signature = sign_files(gathered.paths) + digest_of(classes)
    cache = LabelCache(None, report)
    cached = cache.load(key, signature, len(gathered.names))
    if cached is None:
        cached = _probed(gathered.paths, classes)
        cache.save(key, signature, *cached)
    samples, found = cached
    gathered.problems += found.problems
    gathered.notes["images skipped"] += found.counts.bad_images
    return ClassSplit(PathList(samples.image_paths), samples.sizes_hw, samples.classes.astype(np.int64), gathered.names)


def _probed(paths: list[str], classes: np.ndarray) -> tuple[Samples, Findings]:
    probes = probe_images(paths)
    bad = [(path, size) for path, size in zip(paths, probes, strict=True) if isinstance(size, str)]
    good = np.array([not isinstance(size, str) for size in probes], bool)
    sizes_hw = np.array([size for size in probes if not isinstance(size, str)], np.int32).reshape(-1, 2)
    count = len(sizes_hw)
    samples = Samples.from_rows(
        [path for path, is_good in zip(paths, good.tolist(), strict=True) if is_good],
        sizes_hw,
        np.arange(count),
        np.tile([0.5, 0.5, 1.0, 1.0], (count, 1)),
        classes[good],
        sizes_hw.prod(axis=1),
    )
    problems = [f"{printable(path)}: {problem}; image skipped" for path, problem in bad]
    return samples, Findings(Counts(labelled=count, bad_images=len(bad)), problems)


def _tell(found: ClassSplit, gathered: Gathered, split: str, data: DataConfig, report: Report) -> None:
    for problem in gathered.problems[:PROBLEMS_SHOWN]:
        report(problem)
    if len(gathered.problems) > PROBLEMS_SHOWN:
        report(f"... and {len(gathered.problems) - PROBLEMS_SHOWN:,} more problems")
    counts = np.bincount(found.classes, minlength=len(data.names))
    lacking = [data.names[place] for place in np.flatnonzero(counts == 0).tolist()]
    if lacking and len(found):
        shown = ", ".join(map(printable, lacking[:NAMES_SHOWN])) + (", ..." if len(lacking) > NAMES_SHOWN else "")
        report(f"{'warning: ' if split == 'train' else ''}{split}: no images of {_classes(len(lacking))}: {shown}")
    parts = [
        f"{len(found):,} images of {_classes(int(np.count_nonzero(counts)))}",
        *(f"{count:,} {what}" for what, count in sorted(gathered.notes.items()) if count),
    ]
    report(f"{split}: {', '.join(parts)}")
    if split == "val" and is_folder_set(data) and data.val == data.test and (data.root / "val").is_dir():
        report(f"val: test/ is taken, as in YOLOv5; to take val/, write a YAML with `path: {data.root}` and `val: val`")


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count:,} classes"


def _refuse(found: ClassSplit, gathered: Gathered, split: str, data: DataConfig, strict: bool) -> None:
    place = f"({split} of {data.yaml_path})"
    first = f"; the first problem: {gathered.problems[0]}" if gathered.problems else ""
    if not len(found):
        raise ValueError(f"{printable(data.split(split)[0])}: none of the images can be used{first} {place}")
    if split == "train" and len(np.unique(found.classes)) < 2:
        name = data.names[int(found.classes[0])]
        raise ValueError(f"train: all images are of the class {name!r}; there is nothing to tell apart{first} {place}")
    if strict and gathered.problems:
        count = "1 problem" if len(gathered.problems) == 1 else f"{len(gathered.problems)} problems"
        raise ValueError(f"{split}: {count}, errors with --strict{first}")
