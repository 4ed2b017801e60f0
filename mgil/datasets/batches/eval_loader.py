"""Evaluation batches: letterboxed, never augmented, with the map back to the original images."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch

from mgil.datasets.batches.batch import EvalBatch
from mgil.datasets.batches.decode import Change, decode_scanned
from mgil.datasets.batches.letterbox import FILL, fitted_size_hw, longer_side_within, place_planar, rect_shape_hw
from mgil.datasets.batches.prefetch import prefetched
from mgil.datasets.batches.unreadable import Unreadable
from mgil.datasets.reading.depths import DepthTally
from mgil.files.text import Report

Made = tuple[np.ndarray, tuple[int, int]]  # pixels, and (height, width) of the picture that they are of
# From data set indices, (B, 2) sizes (width, height) and (B, 2) pads (x, y) in the input, all in pixels, to targets.
TargetsOf = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Images(Protocol):
    """Images of a split: N paths, and (N, 2) sizes (height, width) in pixels."""

    @property
    def image_paths(self) -> Sequence[str]: ...
    @property
    def sizes_hw(self) -> np.ndarray: ...


class ItemBatches(ABC):
    """Batches of the items of a split that can be read, made by threads; can be iterated any number of times.

    What is made of an item is kept for the next time where a subclass gives `_kept` a dictionary.

    Args:
        count: Items of the split.
        batch_size: Items per batch; the last may hold fewer.
        workers, ahead, strict, report: As `EvalLoader` has them.

    Attributes:
        groups: Items of each batch; the subclass says which.
        depths: Says what values of images of more than 8 bits mean; may be replaced before the first batch.
    """

    groups: list[np.ndarray]
    _kept: dict[int, Made] | None = None

    def __init__(self, count: int, batch_size: int, workers: int, ahead: bool, strict: bool, report: Report) -> None:
        self.batch_size = batch_size
        self.threads = max(1, min(workers, os.cpu_count() or 1))
        self.ahead = ahead
        self.unreadable = Unreadable(count, strict=strict, report=report)
        self.depths = DepthTally()

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.groups)

    def __iter__(self) -> Iterator[EvalBatch]:
        """Batches in order.

        Raises:
            ValueError: see `Unreadable.add`.
        """
        made = prefetched(self.batch, range(len(self)), threads=self.threads) if self.ahead else self._in_turn()
        return self._to_the_end(made)

    def _to_the_end(self, made: Iterable[EvalBatch]) -> Iterator[EvalBatch]:
        for batch in made:
            if len(batch.indices):
                yield batch
        self.depths.close(self.unreadable.report)

    def _in_turn(self) -> Iterator[EvalBatch]:
        with ThreadPoolExecutor(self.threads) as executor:
            for index in range(len(self)):
                yield self.batch(index, executor.map)

    @abstractmethod
    def batch(self, index: int, apply: Callable[..., Iterable[Any]] = map) -> EvalBatch:
        """Make one batch, which may be empty; `apply` calls a function for every item, as `map` does."""

    @abstractmethod
    def _made(self, item: int) -> Made:
        """What a batch needs of an item. ValueError: it cannot be read."""

    def _collected(self, index: int, apply: Callable[..., Iterable[Any]]) -> tuple[np.ndarray, list[Made]]:
        """The items of a batch that can be read, and what is made of each; the others are told."""
        items, made = [], []
        group = self.groups[index].tolist()
        for item, found in zip(group, apply(self._read, group), strict=True):
            if isinstance(found, str):
                self.unreadable.add(item, found)
            else:
                items.append(item)
                made.append(found)
        return np.array(items, np.int64), made

    def _read(self, item: int) -> Made | str:
        """What is made of an item, perhaps the last time, or why it cannot be read."""
        if self._kept is not None and item in self._kept:
            return self._kept[item]
        if item in self.unreadable:
            return "skipped before"
        try:
            made = self._made(item)
        except ValueError as error:
            return str(error)
        if self._kept is not None:
            self._kept[item] = made
        return made


class EvalLoader(ItemBatches):
    """Letterboxed batches of a split, see `ItemBatches`.

    The longer side of every image becomes `size` (by area where it shrinks), and with `rect` it is put into the
    smallest rectangle of whole strides around it: what detect.py's network sees, too. YOLOv5's val adds half a stride
    first (`pad`), so that at 64 px its network sees 96. A batch holds images of one rectangle only: YOLOv5 takes the
    rectangle around all images of a batch, so that its AP depends on the batch size and on how equal shapes are sorted
    (by 0.006 and more on 128 images).

    An image that cannot be read any more, though its header was good when the labels were read, is in no batch and is
    reported once. Making the loader sorts the images and reads none.

    Args:
        split: the images.
        size: longer side of the images in pixels.
        batch_size: images per batch; the last may hold fewer.
        targets: makes a batch's targets, (T, C) float32; None: there are none.
        stride: with `rect`, sides are multiples of this.
        rect: rectangles instead of squares.
        workers: decoding threads, no more than there are cores; one works even with 0.
        pad: with `rect`, border in strides that is added before rounding up.
        ahead: make the next batches in the background. Otherwise all threads decode a batch when it is asked for: where
            the network has all cores, its threads then wait for none of these (4,992 images on two: 46 s, not 55).
        memory_budget: bytes in which to keep the resized images for the next time, if all of them fit.
        shape_hw: the one height and width of every batch, for networks that take no other; every image is made as
            large as fits, and `size` and `rect` have no say.
        strict: make an image that cannot be read an error.
        reduced: decode large JPEGs at reduced scale, see `decode_resized`; scores differ a little.
        change: made to every picture before it is resized or cut, see `decode_resized`.
        report: told which images are skipped, and after the first pass of values that are not used well.

    Raises:
        ValueError: size or batch size below 1.
    """

    def __init__(
        self,
        split: Images,
        size: int,
        batch_size: int,
        *,
        targets: TargetsOf | None = None,
        stride: int = 32,
        rect: bool = True,
        workers: int = 0,
        pad: float = 0.0,
        memory_budget: int = 0,
        ahead: bool = True,
        shape_hw: tuple[int, int] | None = None,
        strict: bool = False,
        reduced: bool = False,
        change: Change | None = None,
        report: Report = print,
    ) -> None:
        if size < 1 or batch_size < 1:
            raise ValueError(f"size {size}, batch size {batch_size}: must be at least 1")
        super().__init__(len(split.image_paths), batch_size, workers, ahead, strict, report)
        self.split = split
        self.targets = targets
        self.size = size
        self.stride = stride
        self.rect = rect and shape_hw is None
        self.shape_hw = shape_hw or (size, size)
        self.pad = pad
        self.reduced = reduced
        self.change = change
        sizes_hw = np.asarray(split.sizes_hw, np.int64).reshape(-1, 2)
        self.sides = longer_side_within(sizes_hw, self.shape_hw)
        self.fitted_hw = fitted_size_hw(sizes_hw, self.sides[:, None]) if len(sizes_hw) else sizes_hw
        self.groups = self._group()
        fits = len(sizes_hw) and self.kept_bytes <= memory_budget
        self._kept = {} if fits else None

    @property
    def shown(self) -> dict[str, Any]:
        """How pictures are decoded: arguments of `decode_scanned`."""
        return {"values": self.depths.values, "seen": self.depths.add, "change": self.change}

    @property
    def kept_bytes(self) -> int:
        """What all resized images take in memory."""
        return 3 * int(self.fitted_hw.prod(axis=1).sum())

    def batch(self, index: int, apply: Callable[..., Iterable[Any]] = map) -> EvalBatch:
        """Make one batch, which may be empty; `apply` calls a function for every image, as `map` does."""
        shape_hw = self.shape_hw
        if self.rect:
            shape_hw = rect_shape_hw(self.fitted_hw[self.groups[index]], self.stride, self.pad)
        indices, made = self._collected(index, apply)
        count = len(indices)
        images = np.full((count, 3, *shape_hw), FILL, np.uint8)
        gains, pads, inputs = np.empty((count, 2)), np.empty((count, 2)), np.empty((count, 2))
        for row, (resized, original_hw) in enumerate(made):
            pads[row] = place_planar(resized, images[row])
            inputs[row] = resized.shape[1::-1]
            gains[row] = inputs[row] / original_hw[::-1]
        targets = self.targets(indices, inputs, pads) if self.targets else np.zeros((0, 1), np.float32)
        return EvalBatch(torch.from_numpy(images), torch.from_numpy(targets), indices, gains, pads)

    def _group(self) -> list[np.ndarray]:
        """Data set indices of each batch."""
        by_shape = self.rect and len(self.fitted_hw)
        parts = _by_shape(self.fitted_hw, self.stride, self.pad) if by_shape else [np.arange(len(self.fitted_hw))]
        return [part[i : i + self.batch_size] for part in parts for i in range(0, len(part), self.batch_size)]

    def _made(self, item: int) -> Made:
        """The resized image and its original (height, width). ValueError: it cannot be read."""
        path, side, size_hw = self.split.image_paths[item], int(self.sides[item]), self.split.sizes_hw[item]
        return decode_scanned(path, side, size_hw, reduced=self.reduced, **self.shown)


def _by_shape(fitted_hw: np.ndarray, stride: int, pad: float) -> list[np.ndarray]:
    """Indices of the images of each rectangle."""
    sizes_hw, owner = np.unique(fitted_hw, axis=0, return_inverse=True)
    shapes = [rect_shape_hw(one, stride, pad) for one in sizes_hw]
    shape_of = np.unique(shapes, axis=0, return_inverse=True)[1].reshape(-1)[owner.reshape(-1)]
    return [np.flatnonzero(shape_of == shape) for shape in range(shape_of.max() + 1)]
