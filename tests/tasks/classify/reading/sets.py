"""Small sets of pictures with classes, in the forms that they are distributed in, written for the tests."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mgil.tasks.classify.reading.config import class_data
from mgil.tasks.classify.reading.load import read_classes
from mgil.tasks.classify.split import ClassSplit

TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def write_picture(path: Path, width: int = 12, height: int = 9, colour: tuple[int, int, int] = (90, 120, 60)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)
    return path


def write_folders(folder: Path, **splits: Mapping[str, int]) -> Path:
    """`folder/split/class/0.png` and so on: as many as are asked for."""
    for split, classes in splits.items():
        for name, count in classes.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                write_picture(folder / split / name / f"{number}.png")
    return folder


def write_tiny(folder: Path) -> Path:
    """Two classes of TinyImageNet, as it is distributed."""
    for wnid in ("n02", "n01"):
        for number in range(2):
            write_picture(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", 64, 64)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    for number in range(3):
        write_picture(folder / "val" / "images" / f"val_{number}.JPEG", 64, 64)
        write_picture(folder / "test" / "images" / f"test_{number}.JPEG", 64, 64)
    lines = ("val_0.JPEG\tn02\t0\t32\t44\t62", "val_1.JPEG\tn01\t52\t55\t57\t59", "val_2.JPEG\tn02\t4\t0\t60\t55", "")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines))
    (folder / "wnids.txt").write_text("n02\nn01\n")
    (folder / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\ttailed frog\n")
    return folder


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """(N, 32, 32, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def values_of(pixels: np.ndarray) -> np.ndarray:
    """(N, 3072), the red values of a picture first."""
    return pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)


def write_binary(path: Path, pixels: np.ndarray, *labels: Sequence[int]) -> Path:
    """A binary file of CIFAR's: one label a record, or two."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [np.array(column, np.uint8)[:, None] for column in labels]
    path.write_bytes(np.concatenate([*columns, values_of(pixels)], axis=1).tobytes())
    return path


def python2_pickle(value: Any) -> bytes:
    """What Python 2 wrote of a value with protocol 2, as CIFAR's files were: its texts are bytes."""
    return b"\x80\x02" + _pickled(value) + b"."


def _pickled(value: Any) -> bytes:
    if isinstance(value, str | bytes):
        raw = value.encode() if isinstance(value, str) else value
        return (b"U" + bytes([len(raw)]) if len(raw) < 256 else b"T" + struct.pack("<i", len(raw))) + raw
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_pickled, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_pickled, value)) + b"t"
    if isinstance(value, dict):
        return b"}(" + b"".join(map(_pickled, (part for pair in value.items() for part in pair))) + b"u"
    kind = b"cnumpy\ndtype\n" + _pickled(("u1", 0, 1)) + b"R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85U\x01btR"
    return empty + b"(K\x01" + _pickled(value.shape) + kind + b"\x89" + _pickled(value.tobytes()) + b"tb"


def write_cifar10(folder: Path, pickled: bool = False) -> tuple[np.ndarray, list[int]]:
    """Two records in each of the five files of train, and three of test: pixels and labels of train."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, labels = pictures(10), list(range(10))[::-1]
    tests = pictures(3, seed=1)
    parts = [(f"data_batch_{part + 1}", pixels[2 * part :][:2], labels[2 * part :][:2]) for part in range(5)]
    for name, own, classes in [*parts, ("test_batch", tests, [3, 1, 9])]:
        if pickled:
            names = [f"{name}_{index}.png" for index in range(len(own))]
            content = {"batch_label": name, "labels": classes, "data": values_of(own), "filenames": names}
            (folder / name).write_bytes(python2_pickle(content))
        else:
            write_binary(folder / f"{name}.bin", own, classes)
    if pickled:
        meta = {"num_cases_per_batch": 10000, "label_names": list(TEN), "num_vis": 3072}
        (folder / "batches.meta").write_bytes(python2_pickle(meta))
    else:
        (folder / "batches.meta.txt").write_text("\n".join(TEN) + "\n\n")
    return pixels, labels


def read(path: Path | str, split: str = "val", strict: bool = False) -> tuple[ClassSplit, list[str]]:
    """The split and what was reported."""
    lines: list[str] = []
    return read_classes(class_data(str(path)), split, strict=strict, report=lines.append), lines
