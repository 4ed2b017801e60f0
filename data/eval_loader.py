"""Evaluation batches: letterboxed, never augmented, with the map back to the original images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from data.batch import EvalBatch
from data.boxes import LabelTable
from data.decode import decode_resized
from data.letterbox import FILL, fitted_size_hw, place_planar, rect_shape_hw
from data.prefetch import prefetched

if TYPE_CHECKING:
    from data.samples import Samples


class EvalLoader:
    """Letterboxed batches of a split; can be iterated any number of times.

    As in YOLOv5, the longer side of every image becomes `size` (by area where it shrinks), and with `rect` it is put
    into the smallest rectangle of whole strides around it plus a border. A batch holds images of one rectangle only:
    YOLOv5 takes the rectangle around all images of a batch, so that its AP depends on the batch size and on how equal
    shapes are sorted (by 0.006 and more on 128 images).
    """

    def __init__(
        self,
        samples: Samples,
        size: int,
        batch_size: int,
        *,
        stride: int = 32,
        rect: bool = True,
        workers: int = 0,
        pad: float = 0.5,
        reduced: bool = False,
        memory_budget: int = 0,
    ) -> None:
        """Sort the images; none is read yet.

        Args:
            samples: the split.
            size: longer side of the images in pixels.
            batch_size: images per batch; the last may hold fewer.
            stride: with `rect`, sides are multiples of this.
            rect: rectangles instead of squares.
            workers: decoding threads; one works in the background even with 0.
            pad: with `rect`, border in strides that is added before rounding up.
            reduced: decode JPEGs at reduced scale; faster, and a grey level or so different.
            memory_budget: bytes in which to keep the resized images for the next time, if all of them fit.

        Raises:
            ValueError: size or batch size below 1.
        """
        if size < 1 or batch_size < 1:
            raise ValueError(f"size {size}, batch size {batch_size}: must be at least 1")
        self.samples = samples
        self.size = size
        self.batch_size = batch_size
        self.stride = stride
        self.rect = rect
        self.workers = workers
        self.pad = pad
        self.reduced = reduced
        self.labels = LabelTable.from_samples(samples)
        sizes_hw = np.asarray(samples.sizes_hw, np.int64).reshape(-1, 2)
        self.aspects = sizes_hw[:, 0] / sizes_hw[:, 1]
        self.groups = self._group()
        fits = len(sizes_hw) and 3 * fitted_size_hw(sizes_hw, size).prod(axis=1).sum() <= memory_budget
        self._kept: dict[int, tuple[np.ndarray, tuple[int, int]]] | None = {} if fits else None

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.groups)

    def __iter__(self) -> Iterator[EvalBatch]:
        """Batches in order, decoded ahead in background threads.

        Raises:
            ValueError: an image is gone or cannot be decoded.
        """
        return prefetched(self.batch, range(len(self)), threads=max(self.workers, 1))

    def batch(self, index: int) -> EvalBatch:
        """Make one batch."""
        indices = self.groups[index]
        shape_hw = (self.size, self.size)
        if self.rect:
            shape_hw = rect_shape_hw(self.aspects[indices], self.size, self.stride, self.pad)
        count = len(indices)
        images = np.full((count, 3, *shape_hw), FILL, np.uint8)
        gains, pads, inputs = np.empty((count, 2)), np.empty((count, 2)), np.empty((count, 2))
        for row, image in enumerate(indices.tolist()):
            resized, original_hw = self._read(image)
            pads[row] = place_planar(resized, images[row])
            inputs[row] = resized.shape[1::-1]
            gains[row] = inputs[row] / original_hw[::-1]
        targets = torch.from_numpy(self._targets(indices, inputs, pads))
        return EvalBatch(torch.from_numpy(images), targets, indices, gains, pads)

    def _group(self) -> list[np.ndarray]:
        """Data set indices of each batch."""
        parts = [np.arange(len(self.aspects))]
        if self.rect and len(self.aspects):
            aspects, owner = np.unique(self.aspects, return_inverse=True)
            shapes = [rect_shape_hw(aspects[i : i + 1], self.size, self.stride, self.pad) for i in range(len(aspects))]
            shape_of = np.unique(shapes, axis=0, return_inverse=True)[1].reshape(-1)[owner]
            parts = [np.flatnonzero(shape_of == shape) for shape in range(shape_of.max() + 1)]
        return [part[i : i + self.batch_size] for part in parts for i in range(0, len(part), self.batch_size)]

    def _read(self, image: int) -> tuple[np.ndarray, tuple[int, int]]:
        if self._kept is None:
            return decode_resized(self.samples.image_paths[image], self.size, reduced=self.reduced)
        if image not in self._kept:
            self._kept[image] = decode_resized(self.samples.image_paths[image], self.size, reduced=self.reduced)
        return self._kept[image]

    def _targets(self, indices: np.ndarray, inputs_wh: np.ndarray, pads: np.ndarray) -> np.ndarray:
        rows, owners = self.labels.rows_of(indices)
        boxes = self.labels.boxes_cxcywh[rows] * np.tile(inputs_wh[owners], 2)
        boxes[:, :2] += pads[owners]
        return np.concatenate([owners[:, None], self.labels.classes[rows, None], boxes], axis=1, dtype=np.float32)
