"""The pictures of a study of classification as csv lists: parts of a set, and sets of boxes with one box a picture.

    python -m benchmarks.study_class_data path/to/tin40.yaml FOLDER    # FOLDER/tin40cls/tin40cls.yaml

A picture is of the class of its only box; pictures with none or several are left out, and counted.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from benchmarks.study_data import SPLIT_SEED, held_out, part_folder
from mgil.datasets.reading.config import TRAINING_KEYS, load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.files.atomic import write_text_atomic
from mgil.files.yaml_file import read_yaml_mapping
from mgil.tasks.classify.reading.config import class_data
from mgil.tasks.classify.reading.load import read_classes

NO_PART = ("test", "path", "generate", "download", "convert", *TRAINING_KEYS)  # keys that are not those of a part


def class_part(data_yaml: Path, name: str, holdout: float, images: int, folder: Path) -> Path:
    """The pictures as a cell sees them; see `benchmarks.study_data.split_yaml`, whose counterpart it is.

    Raises:
        ValueError: The set's files hold pixels, not pictures to be listed.
    """
    if not holdout and not images:
        return data_yaml
    data = class_data(str(data_yaml))
    sources = {"train": "train", "val": "train" if holdout else "val"}
    target = part_folder(folder, name, holdout, images)
    target.mkdir(parents=True, exist_ok=True)
    content = {key: value for key, value in read_yaml_mapping(data_yaml).items() if key not in NO_PART}
    for split, source in sources.items():
        found = read_classes(data, source, strict=False, report=lambda _line: None)
        if found.pixels is not None:
            raise ValueError(f"{data_yaml}: holdout and images list pictures; this set's files hold pixels")
        rows = np.arange(len(found))
        if holdout:
            chosen = held_out(len(found), holdout)
            rows = np.array([row for row in rows.tolist() if (row in chosen) == (split == "val")])
        if images:  # of all classes, which follow one another in folders
            rows = np.sort(np.random.default_rng(SPLIT_SEED).permutation(rows)[:images])
        paths = [found.image_paths[row] for row in rows.tolist()]
        content[split] = str((target / f"{split}.csv").absolute())
        write_list(Path(content[split]), paths, [found.names[kind] for kind in found.classes[rows].tolist()])
        content["names"] = list(found.names)
    write_text_atomic(target / f"{name}.yaml", yaml.safe_dump(content, sort_keys=False))
    return target / f"{name}.yaml"


def write_list(path: Path, images: Sequence[str], classes: Sequence[str]) -> None:
    """A csv of pictures and their classes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("path", "class"), *zip(images, classes, strict=True)])
    write_text_atomic(path, text.getvalue())


def lists_of_boxes(data_yaml: Path, folder: Path) -> Path:
    """Make csv lists of a set of boxes: each picture with one box is of the box's class.

    Args:
        data_yaml: The set.
        folder: Gets a folder NAMEcls with lists and YAML.

    Returns:
        The YAML.
    """
    data, name = load_data_config(data_yaml), f"{data_yaml.stem}cls"
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        samples = load_samples(data, split, report=lambda _line: None)
        alone = np.flatnonzero(np.diff(samples.offsets) == 1)
        classes = samples.classes[samples.offsets[alone]].tolist()
        paths = [str(Path(samples.image_paths[row]).absolute()) for row in alone.tolist()]
        write_list(target / f"{split}.csv", paths, [data.names[kind] for kind in classes])
        print(f"{split}: {len(alone)} pictures, {len(samples) - len(alone)} left out")
    content = {"train": "train.csv", "val": "val.csv", "names": list(data.names)}
    write_text_atomic(target / f"{name}.yaml", yaml.safe_dump(content, sort_keys=False))
    return target / f"{name}.yaml"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="YAML of a set of boxes")
    parser.add_argument("folder", type=Path, help="where the new set's folder goes")
    options = parser.parse_args(arguments)
    try:
        print(lists_of_boxes(options.data, options.folder))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
