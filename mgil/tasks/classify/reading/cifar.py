"""CIFAR-10 and CIFAR-100 as they are distributed: the binary files and the pickles for Python, which are not run.

A record of a binary file is one label (CIFAR-100: the group's and the class's), then 32x32 red, green and blue values.
https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mgil.files.class_names import places_in, same_classes
from mgil.files.regular import open_regular
from mgil.files.text import check_class_names, printable, to_utf8
from mgil.tasks.classify.reading.pickled import unpickled

SIDE = 32  # pixels
PIXELS = 3 * SIDE * SIDE
MOST_BYTES = 256 << 20  # CIFAR-100's largest file has 155 MB
BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
# Files of train and of test in each distribution.
FORMS = (
    (tuple(f"{name}.bin" for name in BATCHES), ("test_batch.bin",)),
    (BATCHES, ("test_batch",)),
    (("train.bin",), ("test.bin",)),
    (("train",), ("test",)),
)
FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py", "cifar-100-binary", "cifar-100-python")  # in the archives
GROUPED = "fine_label_names.txt"  # beside records with two labels
TEXT_NAMES = ("batches.meta.txt", GROUPED)
PICKLED_NAMES = {"batches.meta": "label_names", "meta": "fine_label_names"}


def find_cifar(folder: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Paths of the files of train and test in a folder, or in the one that its archive makes there; None: no CIFAR.

    Raises:
        ValueError: Some of the files are missing, or several distributions are there.
    """
    found = [forms for name in ("", *FOLDERS) if (forms := _in_folder(os.path.join(folder, name)))]
    if len(found) > 1:
        several = " and ".join(printable(os.path.dirname(train[0])) for train, _ in found)
        raise ValueError(f"{several} are in {printable(folder)}: give one of them")
    return found[0] if found else None


def _in_folder(folder: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    for train, test in FORMS:
        missing = [name for name in (*train, *test) if not os.path.isfile(os.path.join(folder, name))]
        if not missing:
            return tuple(os.path.join(folder, name) for name in train), (os.path.join(folder, test[0]),)
        if len(missing) <= len(train) and len(train) > 1:
            raise ValueError(f"{printable(folder)}: a part of CIFAR-10; {', '.join(missing)} missing")
    return None


def cifar_names(path: str) -> tuple[str, ...] | None:
    """The names of the classes, from the file beside a file of CIFAR; None: there is none.

    Raises:
        ValueError: It is damaged.
    """
    folder = os.path.dirname(path)
    names: Any = None
    for name in TEXT_NAMES:
        if os.path.isfile(names_path := os.path.join(folder, name)):
            names = [line.strip() for line in os.fsdecode(to_utf8(_bytes_of(names_path))).splitlines() if line.strip()]
            break
    else:
        for name, key in PICKLED_NAMES.items():
            if os.path.isfile(names_path := os.path.join(folder, name)):
                names = _pickled(names_path).get(key)
                break
        else:
            return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{printable(names_path)}: has no names of classes")
    check_class_names(names)
    return tuple(names)


def read_cifar(paths: Sequence[str], names: Sequence[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The pictures of several files.

    Args:
        paths: The files.
        names: Of the data set's classes; where they are those of CIFAR's own file in another order, the labels become
            indices of these.

    Returns:
        N names "FILE:INDEX", (N,) int64 classes, and (N, 32, 32, 3) uint8 RGB.

    Raises:
        ValueError: A file is damaged, or has labels that the data set does not name.
    """
    shown: list[str] = []
    classes, pixels = [], []
    for path in paths:
        labels, planes = _read_pickle(path) if os.path.splitext(path)[1] != ".bin" else _read_binary(path)
        beyond = np.flatnonzero(labels >= len(names))
        if len(beyond):
            raise ValueError(
                f"{printable(path)}: record {beyond[0]} is of class {labels[beyond[0]]}, there are {len(names)} names"
            )
        own = cifar_names(path)
        if own is not None and same_classes(names, own):
            labels = np.array(places_in(names, own))[labels]
        shown += [f"{path}:{index}" for index in range(len(labels))]
        classes.append(labels.astype(np.int64))
        pixels.append(planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
    return shown, np.concatenate(classes), np.ascontiguousarray(np.concatenate(pixels))


def _read_binary(path: str) -> tuple[np.ndarray, np.ndarray]:
    """(N,) labels and (N, 3072) values."""
    content = np.frombuffer(_bytes_of(path), np.uint8)
    grouped = os.path.isfile(os.path.join(os.path.dirname(path), GROUPED)) or len(content) % (PIXELS + 1) != 0
    size = PIXELS + 1 + grouped
    if not len(content) or len(content) % size:
        raise ValueError(
            f"{printable(path)}: has {len(content):,} bytes, no whole records of {PIXELS + 1:,} (CIFAR-10) or "
            f"{PIXELS + 2:,} (CIFAR-100); is it cut off?"
        )
    records = content.reshape(-1, size)
    return records[:, size - PIXELS - 1], records[:, size - PIXELS :]


def _read_pickle(path: str) -> tuple[np.ndarray, np.ndarray]:
    """As `_read_binary`."""
    content = _pickled(path)
    labels, values = content.get("fine_labels", content.get("labels")), content.get("data")
    if not isinstance(labels, list) or not labels or not all(map(_is_byte, labels)):
        raise ValueError(f"{printable(path)}: has no labels of CIFAR's")
    if not isinstance(values, np.ndarray) or values.shape != (len(labels), PIXELS):
        raise ValueError(f"{printable(path)}: has no {len(labels)} pictures of {PIXELS:,} values for its labels")
    return np.array(labels, np.uint8), values


def _is_byte(value: Any) -> bool:
    return type(value) is int and 0 <= value < 256


def _pickled(path: str) -> dict[str, Any]:
    try:
        return unpickled(_bytes_of(path))
    except ValueError as error:
        raise ValueError(f"{printable(path)}: not a file of CIFAR's that can be read ({error})") from error


def _bytes_of(path: str) -> bytes:
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise ValueError(f"{printable(path)}: too large for a file of CIFAR's")
        return file.read()
