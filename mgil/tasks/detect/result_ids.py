"""Which image and which class the ids of a COCO result file mean: its file names, and a line for people."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.image_ids import number_of
from mgil.datasets.reading.samples import Samples
from mgil.files.text import printable

MOST_LISTED = 10  # classes in a line


def category_ids_of(samples: Samples, data: DataConfig) -> tuple[int, ...]:
    """The COCO category id of each class in the split's own json, else the data set's."""
    return samples.json.category_ids if samples.json else data.category_ids


def file_names(samples: Samples, images: np.ndarray) -> list[str]:
    """The names of images (by index) as their json has them, else from the folder that holds all of the split on."""
    if samples.json:
        folder = samples.json.image_folder
    else:
        folder = os.path.commonpath({os.path.dirname(path) for path in samples.image_paths})
    start = os.path.join(folder, "")
    paths = (samples.image_paths[index] for index in images.tolist())
    return [path.removeprefix(start).replace(os.sep, "/") for path in paths]


def notes_on_ids(samples: Samples, names: Sequence[str], category_ids: Sequence[int]) -> list[str]:
    """How the ids of images and classes were given, a line each."""
    listed = [f"{number} {printable(name)}" for number, name in zip(category_ids, names, strict=True)]
    if not samples.json:
        return [_image_line(samples), f"category ids: {_some(listed)}"]
    path, lacking = printable(samples.json.path), samples.json.lacking
    own = [text for index, text in enumerate(listed) if index not in lacking]
    parts = [f"those of {path}: {_some(own)}"] if own else []
    parts += [f"no category there: {_some([listed[index] for index in lacking])}"] if lacking else []
    return [f"image ids: those of {path}", f"category ids: {'; '.join(parts)}"]


def _some(texts: Sequence[str]) -> str:
    return ", ".join([*texts[:MOST_LISTED], *["..."] * (len(texts) > MOST_LISTED)])


def _image_line(samples: Samples) -> str:
    paths = list(samples.image_paths)
    ids = samples.image_ids.tolist()
    other = [index for index, path in enumerate(paths) if number_of(path) != ids[index]]
    rule = "the numbers that the files are named by"
    if len(other) == len(paths):
        rule = "counted from 1 in the order of the files"
    elif other:
        rule += f"; {len(other)} of {len(paths)} have ids that were left"
    index = other[0] if other else 0
    (name,) = file_names(samples, np.array([index]))
    return f"image ids: {rule}, e.g. {ids[index]} for {printable(name)}; each entry has its file_name"
