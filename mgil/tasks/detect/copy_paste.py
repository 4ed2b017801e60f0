"""Which objects of a mosaic are pasted a second time, mirrored: YOLOv5's copy_paste."""

from __future__ import annotations

import numpy as np

from mgil.datasets.batches.geometry import Plan
from mgil.datasets.batches.pastes import Pastes
from mgil.datasets.reading.polygons import Polygons
from mgil.datasets.reading.samples import Samples
from mgil.tasks.detect.targets import canvas_boxes, clip_boxes

MOST_HIDDEN = 0.3  # of any box, by the box of a pasted object


def draw_pastes(
    rng: np.random.Generator, plan: Plan, samples: Samples, polygons: Polygons, items: np.ndarray, share: float
) -> Pastes:
    """Draw what is pasted onto the mosaics of a plan.

    A share of the objects with an outline is tried in random order. Each goes where it is after a flip of the whole
    canvas, unless its box would hide 30 % or more of a box that is there, one pasted before included.

    Args:
        rng: source of every draw.
        plan: recipe of the batch.
        samples: the split, without crowds.
        polygons: the outlines of its labels.
        items: (L, 4) data set index of the tile in each slot.
        share: of the objects.
    """
    rows, slots, boxes = canvas_boxes(plan, samples, items)
    shown = clip_boxes(boxes, plan.canvas_sizes_hw[slots // 4])
    visible = np.all(shown[:, 2:] > shown[:, :2], axis=1)
    outlined = visible & (polygons.ends[rows + 1] > polygons.ends[rows])
    is_mosaic = np.any(plan.positions[:, :3] >= 0, axis=1)
    ends = np.searchsorted(slots, 4 * np.arange(len(is_mosaic) + 1))  # of each layer among the labels
    found: list[int] = []
    for layer in np.flatnonzero(is_mosaic):
        labels = slice(ends[layer], ends[layer + 1])
        tried = rng.permutation(ends[layer] + np.flatnonzero(outlined[labels]))
        tried = tried[: round(share * len(tried))]
        covers = _mirrored(shown[tried], plan.canvas_sizes_hw[layer, 1])
        free = (_hidden(shown[labels][visible[labels]], covers) < MOST_HIDDEN).all(axis=1)
        spares = _hidden(covers, covers) < MOST_HIDDEN
        pasted: list[int] = []
        for number in np.flatnonzero(free).tolist():
            if spares[number, pasted].all():
                pasted.append(number)
        found += tried[pasted].tolist()
    chosen = np.array(found, np.int64)
    layers, origins = slots[chosen] // 4, plan.origins_xy.reshape(-1, 2)
    return Pastes(
        layers=layers,
        slots=slots[chosen] % 4,
        classes=samples.classes[rows[chosen]].astype(np.int64),
        boxes_xyxy=_mirrored(boxes[chosen], plan.canvas_sizes_hw[layers, 1]),
        outlines=[_outline(plan, slots[label], origins[slots[label]], polygons.of(rows[label])) for label in found],
    )


def _mirrored(boxes_xyxy: np.ndarray, widths: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = np.moveaxis(boxes_xyxy, -1, 0)
    return np.stack([widths - x2, y1, widths - x1, y2], axis=-1)


def _hidden(boxes_xyxy: np.ndarray, covers: np.ndarray) -> np.ndarray:
    """The share of each box, (T, 4), that lies under each of others, (K, 4): (K, T)."""
    low = np.maximum(boxes_xyxy[:, :2], covers[:, None, :2])
    high = np.minimum(boxes_xyxy[:, 2:], covers[:, None, 2:])
    return (high - low).clip(0).prod(axis=2) / (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)


def _outline(plan: Plan, slot: int, origin: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n, 2) int32 canvas pixels at the corners of a pasted object."""
    tile_wh = plan.tile_sizes_hw.reshape(-1, 2)[slot, ::-1]
    height, width = plan.canvas_sizes_hw[slot // 4]
    on_canvas = (points * tile_wh + origin).clip(0, [width, height])
    on_canvas[:, 0] = width - on_canvas[:, 0]
    return np.rint(on_canvas - 0.5).astype(np.int32)  # OpenCV counts from pixel centres
