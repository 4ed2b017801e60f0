"""Pictures of batches: a grid of images, enlarged where they are small, with their boxes and class names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np
import torch

from mgil.files.atomic import write_bytes_atomic
from mgil.files.fonts import drawable_names
from mgil.files.paint import paint_boxes

Kept = TypeVar("Kept")
_CELL_PX = 384  # what a person needs to read a label in one image of the grid
_PICTURES, _MOST_PICTURED = 3, 16  # of an evaluation, and items in one at most
BATCH_PICTURES = tuple(f"val_batch{i}_{kind}.jpg" for i in range(_PICTURES) for kind in ("labels", "pred"))
_GRID_PX = 1920  # the picture's longest side
_GAP_PX = 4
_LINE_PX = 2
_FONT_PX = 14


def draw_batch_grid(
    images: torch.Tensor,
    targets: torch.Tensor,
    names: Sequence[str],
    path: str | Path,
    max_images: int = 16,
) -> None:
    """Save a square grid of a batch's first images with their boxes. Small images are enlarged in whole steps.

    Args:
        images: (B, 3, H, W) uint8 RGB.
        targets: (T, 6): image index, class, centre x, centre y, width, height in pixels of ``images``; or (T, 7) with a
            score last, which is then printed.
        names: class names.
        path: .jpg or .png to write.
        max_images: images drawn at most.

    Raises:
        OSError: the picture cannot be written.
    """
    targets_by_image = targets.detach().float().cpu().numpy()

    def paint(cell: np.ndarray, index: int, scale: float) -> None:
        _draw_targets(cell, targets_by_image[targets_by_image[:, 0] == index], names, scale)

    draw_grid(images, paint, path, max_images)


def draw_grid(
    images: torch.Tensor, paint: Callable[[np.ndarray, int, float], None], path: str | Path, max_images: int = 16
) -> None:
    """Save a square grid of a batch's first images. Small images are enlarged in whole steps.

    Args:
        images: (B, 3, H, W) uint8 RGB.
        paint: Paints on an image: gets it enlarged, (h, w, 3) uint8 RGB, with its index and the enlargement.
        path: .jpg or .png to write.
        max_images: images drawn at most.

    Raises:
        OSError: the picture cannot be written.
    """
    count = min(len(images), max_images)
    columns = max(1, math.ceil(math.sqrt(count)))
    rows = max(1, math.ceil(count / columns))
    scale = _cell_scale(images.shape[-2:], columns)
    cell_h, cell_w = round(images.shape[-2] * scale), round(images.shape[-1] * scale)
    canvas = np.full((rows * (cell_h + _GAP_PX) - _GAP_PX, columns * (cell_w + _GAP_PX) - _GAP_PX, 3), 255, np.uint8)
    for index in range(count):
        image = np.ascontiguousarray(images[index].detach().cpu().numpy().transpose(1, 2, 0))
        image = cv2.resize(image, (cell_w, cell_h), interpolation=cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA)
        paint(image, index, scale)
        top, left = index // columns * (cell_h + _GAP_PX), index % columns * (cell_w + _GAP_PX)
        canvas[top : top + cell_h, left : left + cell_w] = image
    done, data = cv2.imencode(Path(path).suffix, cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))
    assert done, path
    write_bytes_atomic(path, data.tobytes(), durable=False)


class ChosenPictures(Generic[Kept]):
    """Keeps, while batches come, what the pictures of `BATCH_PICTURES` need of some items from all over a split.

    The first batches would not do: they may all be of one kind, e.g. images of the rarest shape.

    Args:
        folder: Where the pictures go.
        items: (N,) those that may be shown. Each picture shows some that are spread evenly over them, in their order.
    """

    def __init__(self, folder: Path, items: np.ndarray) -> None:
        self.folder, self.items = folder, _spread_over(items, _PICTURES, _MOST_PICTURED)
        self._wanted = {item for shown in self.items for item in shown}
        self._kept: dict[int, Kept] = {}

    def wanted(self, items: np.ndarray) -> Iterator[tuple[int, int]]:
        """Rows of a batch of (B,) items that are to be kept, and the item of each."""
        return ((row, item) for row, item in enumerate(items.tolist()) if item in self._wanted)

    def keep(self, item: int, what: Kept) -> None:
        """Keep what a picture needs of an item; of tensors of a batch copies, for a slice would keep all of it."""
        self._kept[item] = what

    def pictures(self) -> Iterator[tuple[dict[int, Kept], Path, Path]]:
        """What is kept for each picture, by item, and the paths of the labelled and of the predicted one.

        Items that could not be read are missing, and pictures without any.
        """
        for number, shown in enumerate(self.items):
            if kept := {item: self._kept[item] for item in shown if item in self._kept}:
                labelled, predicted = (self.folder / name for name in BATCH_PICTURES[2 * number : 2 * number + 2])
                yield kept, labelled, predicted


def _spread_over(items: np.ndarray, pictures: int, most: int) -> list[list[int]]:
    """Choose items for a few pictures, each of which shows some from all over them, in their order.

    Args:
        items: (N,) what there is to choose from.
        pictures: How many there may be.
        most: Items in one.
    """
    shown = min(len(items), pictures * most)
    if not shown:
        return []
    chosen = items[np.linspace(0, len(items) - 1, shown).round().astype(int)]
    count = math.ceil(shown / most)
    return [chosen[number::count].tolist() for number in range(count)]


def _cell_scale(size_hw: Sequence[int], columns: int) -> float:
    """Whole-number enlargement for small images, a reduction only where the grid would not fit."""
    longest = max(size_hw)
    enlarge = max(1, _CELL_PX // longest)
    return min(float(enlarge), max(_GRID_PX / (columns * longest), 1e-3))


def _draw_targets(image: np.ndarray, targets: np.ndarray, names: Sequence[str], scale: float) -> None:
    if targets.shape[1] > 6:
        targets = targets[np.argsort(-targets[:, 6], kind="stable")]  # best score drawn on top
    classes, names = targets[:, 1].astype(int).tolist(), drawable_names(tuple(names))
    texts = [names[index] if 0 <= index < len(names) else str(index) for index in classes]
    if targets.shape[1] > 6:
        texts = [f"{text} {score:.2f}" for text, score in zip(texts, targets[:, 6], strict=True)]
    centres, halves = targets[:, 2:4] * scale, targets[:, 4:6] * scale / 2
    boxes = np.concatenate((centres - halves, centres + halves), axis=1)
    paint_boxes(image, boxes, classes, texts, line_width=_LINE_PX, font_px=_FONT_PX)
