"""Data sets that the program makes itself: a folder that appears complete or not at all, and random numbers."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mgil.datasets.reading.label_cache import cache_folder

STAMP_NAME = "made-by-mgil-yolov5.txt"


@dataclass(frozen=True)
class GeneratedSet:
    """One such data set.

    Attributes:
        name: What the YAML's `generate` calls it, and its folder in the cache folder.
        stamp: The content of the file that marks a folder as made; a new text makes every copy be made anew.
        names: Of its classes.
        write: Fills an empty folder with all but the stamp.
    """

    name: str
    stamp: str
    names: tuple[str, ...]
    write: Callable[[Path], None]

    def folder(self, wanted: Path) -> Path:
        """Where the data set is, or will be made: `wanted`, or the cache folder where `wanted` cannot be written.

        Nothing is written.

        Raises:
            PermissionError: neither can be written.
            ValueError: the folder holds something that this program did not make.
        """
        places = (wanted, cache_folder() / self.name)
        for place in places:
            if self._is_made(place):
                return place
        for place in places:
            _refuse_others(place)
            if _can_be_made(place):
                return place
        raise PermissionError(
            f"cannot write the {self.name} data set to {places[0]} nor to {places[1]}; set MGIL_CACHE to a folder"
        )

    def make(self, folder: Path) -> None:
        """Make the data set if it is not there yet.

        The folder appears complete or not at all, and two processes may do this at the same time.

        Args:
            folder: from `folder`.

        Raises:
            OSError: it cannot be written.
            ValueError: `folder` holds something that this program did not make.
        """
        if self._is_made(folder):
            return
        _refuse_others(folder)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        except OSError as error:
            advice = "copy its YAML to a folder that can be written"
            why = f"{error.strerror}; the {self.name} data set is made here: {advice}"
            raise OSError(error.errno, why, str(folder)) from error
        try:
            self.write(temporary)
            (temporary / STAMP_NAME).write_text(self.stamp, encoding="utf-8", newline="\n")
            self._put_in_place(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _is_made(self, folder: Path) -> bool:
        stamp = folder / STAMP_NAME
        return stamp.is_file() and stamp.read_text(encoding="utf-8") == self.stamp

    def _put_in_place(self, temporary: Path, place: Path) -> None:
        if hasattr(os, "sync"):
            os.sync()  # once, where syncing each of thousands of files would take a minute
        temporary.chmod(0o755)  # mkdtemp's own mode shuts other users out
        if place.is_dir() and not self._is_made(place):
            place.rename(temporary.with_name(f"{temporary.name}-old"))  # an older version, or an empty folder
            shutil.rmtree(temporary.with_name(f"{temporary.name}-old"), ignore_errors=True)
        try:
            temporary.rename(place)
        except OSError:
            if not self._is_made(place):  # otherwise another process was faster, with the same files
                raise


class Draws:
    """Whole random numbers from PCG64's raw stream, which NumPy guarantees never to change."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def below(self, limit: int) -> int:
        """One number of 0 .. limit-1."""
        return ((int(self._bits.random_raw()) >> 33) * limit) >> 31

    def between(self, low: int, high: int) -> int:
        """One number of low .. high, both included."""
        return low + self.below(high - low + 1)

    def array(self, limit: int, shape: tuple[int, ...]) -> np.ndarray:
        """Numbers of 0 .. limit-1, int64, of the given shape."""
        high_bits = self._bits.random_raw(math.prod(shape)) >> np.uint64(33)
        return ((high_bits * np.uint64(limit)) >> np.uint64(31)).astype(np.int64).reshape(shape)


def resize_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resize of an integer (h, w) array with pixel centres aligned, in whole numbers, rounded down once."""
    rows, columns = _bilinear_weights(image.shape[0], height), _bilinear_weights(image.shape[1], width)
    return (rows @ image @ columns.T) // (4 * height * width)


@lru_cache(maxsize=1024)
def _bilinear_weights(source: int, target: int) -> np.ndarray:
    """(target, source) int64 weights; each row adds up to 2 * target."""
    # 2 * target * position is whole: (2i+1) * source - target; held to the outermost centres.
    position = np.clip((2 * np.arange(target) + 1) * source - target, 0, 2 * target * (source - 1))
    low = position // (2 * target)
    weights = np.zeros((target, source), np.int64)
    np.add.at(weights, (np.arange(target), low), 2 * target - position % (2 * target))
    np.add.at(weights, (np.arange(target), np.minimum(low + 1, source - 1)), position % (2 * target))
    return weights


def _refuse_others(place: Path) -> None:
    if place.is_dir() and any(place.iterdir()) and not (place / STAMP_NAME).is_file():
        raise ValueError(f"{place} holds files that this program did not make; move it, or set another path")


def _can_be_made(place: Path) -> bool:
    """Whether a folder beside `place` could be made and renamed to it: asked of the nearest folder that is there."""
    parent = place.parent
    while not os.path.lexists(parent) and parent != parent.parent:
        parent = parent.parent
    return parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
