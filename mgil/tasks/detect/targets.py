"""Forms of boxes, and the way of a split's labels through an augmentation plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.geometry import Plan

if TYPE_CHECKING:
    from mgil.datasets.reading.polygons import Polygons
    from mgil.datasets.reading.samples import Samples


def cxcywh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """(..., 4) centre and size to corners."""
    half = boxes[..., 2:] / 2
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)


def xyxy_to_cxcywh(boxes: np.ndarray) -> np.ndarray:
    """(..., 4) corners to centre and size."""
    return np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], axis=-1)


def transform_boxes(boxes_xyxy: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """The upright boxes around mapped boxes.

    Args:
        boxes_xyxy: (T, 4).
        matrices: (T, 2, 3) one affine map per box, or (T, 3, 3) with a perspective.
    """
    corners_x, corners_y = boxes_xyxy[:, [0, 2, 2, 0]], boxes_xyxy[:, [1, 1, 3, 3]]
    moved = [row[:, :1] * corners_x + row[:, 1:2] * corners_y + row[:, 2:] for row in np.moveaxis(matrices, 1, 0)]
    if len(moved) == 3:
        moved = [axis / moved[2] for axis in moved[:2]]
    lowest_and_highest = [axis.min(axis=1) for axis in moved] + [axis.max(axis=1) for axis in moved]
    return np.stack(lowest_and_highest, axis=1)


def clip_boxes(boxes_xyxy: np.ndarray, size_hw: np.ndarray) -> np.ndarray:
    """Boxes cut at the borders of an image.

    Args:
        boxes_xyxy: (T, 4).
        size_hw: (2,) or (T, 2) size of the image.
    """
    limits = np.asarray(size_hw)[..., [1, 0, 1, 0]]
    return np.clip(boxes_xyxy, 0, limits)


def canvas_boxes(plan: Plan, samples: Samples, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels of all tiles of a plan, where they are on their canvases.

    Args:
        plan: recipe of the batch.
        samples: the split.
        images: (L, 4) data set index of the tile in each slot; ignored where the slot is empty.

    Returns:
        (T,) rows of the label arrays, (T,) slots counted through all layers, and (T, 4) corners in canvas pixels.
    """
    slots = np.flatnonzero(plan.positions.reshape(-1) >= 0)
    rows, owners = samples.rows_of(images.reshape(-1)[slots])
    slots = slots[owners]
    tile_hw = plan.tile_sizes_hw.reshape(-1, 2)[slots]
    boxes = cxcywh_to_xyxy(samples.boxes_cxcywh[rows].astype(np.float64)) * tile_hw[:, [1, 0, 1, 0]]
    return rows, slots, boxes + plan.origins_xy.reshape(-1, 2)[slots][:, [0, 1, 0, 1]]


def canvas_outlines(
    plan: Plan, polygons: Polygons, rows: np.ndarray, slots: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The outlines of the labels that `canvas_boxes` gave, those of pasted objects after them, on their canvases.

    Returns:
        (O,) which of the labels and pasted objects have an outline, (O,) how many points each, and (P, 2) the points.
    """
    counts = polygons.ends[rows + 1] - polygons.ends[rows]
    owners = np.repeat(np.arange(len(rows)), counts)
    place = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    points = polygons.points[polygons.ends[rows[owners]] + place].astype(np.float64)
    points = points * plan.tile_sizes_hw.reshape(-1, 2)[slots[owners], ::-1]
    points += plan.origins_xy.reshape(-1, 2)[slots[owners]]
    points = points.clip(0, plan.canvas_sizes_hw[slots[owners] // 4, ::-1])
    if plan.pastes is not None and plan.pastes.outlines:
        counts = np.concatenate([counts, [len(outline) for outline in plan.pastes.outlines]])
        points = np.concatenate([points, *(outline + 0.5 for outline in plan.pastes.outlines)])  # middles of pixels
    return np.flatnonzero(counts), counts[counts > 0], points


def transform_points(points: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Points where maps bring them, (P, 2).

    Args:
        points: (P, 2).
        matrices: (P, 2, 3) one affine map per point, or (P, 3, 3) with a perspective.
    """
    moved = np.einsum("pij,pj->pi", matrices[:, :, :2], points) + matrices[:, :, 2]
    return moved[:, :2] / moved[:, 2:] if moved.shape[1] == 3 else moved


def enclose_outlines(points: np.ndarray, counts: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The upright boxes around what an image shows of outlines, (O, 4); without area where it shows nothing.

    Args:
        points: (P, 2) corners of all outlines.
        counts: (O,) how many each outline has, at least 1.
        size_hw: of the image.
    """
    firsts = np.cumsum(counts) - counts
    whole = np.concatenate([np.minimum.reduceat(points, firsts), np.maximum.reduceat(points, firsts)], axis=1)
    boxes = clip_boxes(whole, np.array(size_hw))
    cut = np.any(boxes != whole, axis=1) & np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    if cut.any():  # a few, and only these take long
        boxes[cut] = _enclose_cut(points[np.repeat(cut, counts)], counts[cut], size_hw)
    return boxes


def _enclose_cut(points: np.ndarray, counts: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The same from the sides of the outlines, and the image's corners within them."""
    firsts, limits = np.cumsum(counts) - counts, np.array(size_hw[::-1], float)
    following = np.arange(len(points)) + 1
    following[firsts + counts - 1] = firsts
    steps = points[following] - points
    # Each side is seen from one share of its way to another: between its crossings of the image's borders.
    level = np.where((points >= 0) & (points <= limits), np.inf, -np.inf)  # for a side along a border
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = np.sort([-points / steps, (limits - points) / steps], axis=0)
        entered, left = np.where(steps == 0, [-level, level], crossings)
        shares = np.stack([entered.max(axis=1).clip(min=0), left.min(axis=1).clip(max=1)])[..., None]
        ends = np.where(shares[0] <= shares[1], points + shares * steps, np.nan)
        reaches = points[:, 0] + (np.array([[0.0], [limits[1]]]) - points[:, 1]) / steps[:, 1] * steps[:, 0]
    low, high = np.fmin.reduceat(ends.min(axis=0), firsts), np.fmax.reduceat(ends.max(axis=0), firsts)
    for y, reach in zip((0.0, limits[1]), reaches, strict=True):  # corners of the image that lie within the outline
        passes = (points[:, 1] > y) != (points[following, 1] > y)
        for x in (0.0, limits[0]):
            within = np.add.reduceat(passes & (reach > x), firsts, dtype=int) % 2 == 1
            low[within], high[within] = np.fmin(low[within], (x, y)), np.fmax(high[within], (x, y))
    return np.nan_to_num(np.concatenate([low, high], axis=1))


def plan_targets(
    plan: Plan, samples: Samples, images: np.ndarray, config: AugmentConfig, polygons: Polygons | None = None
) -> np.ndarray:
    """The labels of an augmented batch.

    A box is cut at the canvas' edge, mapped by its corners, or its outline by its points, cut at the output's edge
    and enclosed. It survives as in YOLOv5 (both sides above 2 px, aspect below 100, more than a tenth of its area
    left), except that the area that is left is compared with the whole object's, not with what the canvas' edge had
    left of it. It is compared on the canvas too, since a turned box encloses more than it has: YOLOv5 keeps the line
    that is left of a box wholly outside.

    Args:
        plan: recipe of the batch.
        samples: the split, without crowds.
        images: (L, 4) data set index of the tile in each slot; ignored where the slot is empty.
        config: thresholds.
        polygons: the outlines of the split's labels, where they are to be followed.

    Returns:
        (T, 6) float32: picture, class, cx, cy, w, h in output pixels; sorted by picture.
    """
    rows, slots, boxes = canvas_boxes(plan, samples, images)
    layers, classes = slots // 4, samples.classes[rows]
    if plan.pastes is not None:
        layers = np.concatenate([layers, plan.pastes.layers])
        classes = np.concatenate([classes, plan.pastes.classes])
        boxes = np.concatenate([boxes, plan.pastes.boxes_xyxy])
    on_canvas = clip_boxes(boxes, plan.canvas_sizes_hw[layers])
    full_area, area_left = (np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (boxes, on_canvas))
    kept = area_left > config.min_area_ratio * full_area
    full_area *= plan.area_factors[layers]
    matrices = plan.matrices[layers]
    if plan.perspectives is not None:  # what is nearer is larger
        matrices = plan.maps[layers]
        middles = np.column_stack([(boxes[:, :2] + boxes[:, 2:]) / 2, np.ones(len(boxes))])
        full_area /= np.abs((matrices[:, 2] * middles).sum(axis=1)) ** 3
    boxes = transform_boxes(on_canvas, matrices)
    if polygons:
        outlined, counts, points = canvas_outlines(plan, polygons, rows, slots)
        if len(outlined):
            moved = transform_points(points, np.repeat(matrices[outlined], counts, axis=0))
            boxes[outlined] = enclose_outlines(moved, counts, plan.output_hw)
    boxes = clip_boxes(boxes, np.array(plan.output_hw))

    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    shorter, longer = np.minimum(width, height), np.maximum(width, height)
    kept &= (shorter > config.min_box_px) & (longer < config.max_aspect * shorter)
    kept &= width * height > config.min_area_ratio * full_area
    pictures = plan.pictures[layers][kept]
    targets = np.concatenate(
        [pictures[:, None], classes[kept, None], xyxy_to_cxcywh(boxes[kept])], axis=1, dtype=np.float32
    )
    return targets[np.argsort(pictures, kind="stable")]
