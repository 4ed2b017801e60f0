"""Coloured squares are followed through random augmentations: boxes must stay on their objects, in both kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.geometry import Plan, draw_plan
from mgil.datasets.batches.kernel_opencv import Painter
from mgil.datasets.batches.kernel_torch import render_torch
from mgil.datasets.batches.letterbox import FILL
from mgil.datasets.reading.samples import Samples
from mgil.tasks.detect.targets import cxcywh_to_xyxy, plan_targets
from tests.datasets.scenes import make_samples

SIZE = 64
IMAGES = 30
PLAIN_COLOURS = {"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}
Render = Callable[[Plan, np.ndarray, np.ndarray], torch.Tensor]


def opencv(plan: Plan, tiles: np.ndarray, slots: np.ndarray) -> torch.Tensor:
    return Painter(plan, slots).draw(tiles, 0, plan.picture_count)


def on_torch(plan: Plan, tiles: np.ndarray, slots: np.ndarray) -> torch.Tensor:
    return render_torch(plan, torch.from_numpy(tiles), slots)


def squares(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Samples]:
    """Tiles with a white rectangle in each colour plane, whose class is the plane; the last tile is blank."""
    tiles = np.full((IMAGES + 1, SIZE, SIZE, 3), FILL, np.uint8)
    sizes = rng.integers(SIZE // 3, SIZE + 1, (IMAGES, 2))
    sizes[np.arange(IMAGES), rng.integers(2, size=IMAGES)] = SIZE
    boxes = np.empty((IMAGES, 3, 4))
    for image, (height, width) in enumerate(sizes):
        for plane in range(3):
            w, h = rng.integers(6, 20, 2)
            x, y = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
            tiles[image, y : y + h, x : x + w, plane] = 255
            boxes[image, plane] = np.array([x + w / 2, y + h / 2, w, h]) / [width, height, width, height]
    labelled = [[(plane, *box) for plane, box in enumerate(rows)] for rows in boxes]
    return tiles, sizes, make_samples(["a.png"] * IMAGES, sizes.tolist(), labelled)


def extents(plane: np.ndarray, level: float) -> np.ndarray:
    """Left, top, right and bottom of what is brighter than a share of the way from the background to white."""
    rows, columns = np.nonzero(plane > FILL + level * (255 - FILL))
    if len(rows) == 0:
        return np.zeros(4)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


def follow(config: AugmentConfig, render: Render, level: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes of the labels, boxes of the pixels and whether a label is there, one row per picture, slot and plane."""
    rng = np.random.default_rng(seed)
    tiles, sizes, samples = squares(rng)
    pictures = 250 if render is opencv else 60  # torch is slow on a CPU
    plan = draw_plan(rng, config, rng.integers(IMAGES, size=pictures), (0, IMAGES), sizes, (SIZE, SIZE))
    labelled, seen = np.zeros((2, pictures, 4, 3, 4))
    present = np.zeros((pictures, 4, 3), bool)
    for slot in range(4):
        others = np.arange(4) != slot
        # The picture with the squares of one of its four tiles, and the labels of that tile.
        images = render(plan, tiles, np.where(others, IMAGES, plan.positions)).numpy()
        only = replace(plan, positions=np.where(others, -1, plan.positions))
        targets = plan_targets(only, samples, only.positions, config)
        rows = targets[:, 0].astype(int), slot, targets[:, 1].astype(int)
        labelled[rows] = cxcywh_to_xyxy(targets[:, 2:])
        present[rows] = True
        for picture in range(pictures):
            for plane in range(3):
                seen[picture, slot, plane] = extents(images[picture, plane], level)
    return labelled, seen, present


@pytest.mark.parametrize("render", [opencv, on_torch])
@pytest.mark.parametrize("mosaic", [1.0, 0.5, 0.0])
def test_boxes_lie_on_their_pixels(render: Render, mosaic: float) -> None:
    config = AugmentConfig(mosaic=mosaic, fliplr=0.5, flipud=0.5, translate=0.2, scale=0.5, **PLAIN_COLOURS)
    labelled, seen, present = follow(config, render, 0.5, seed=1)
    assert present.sum() > 50
    assert np.abs(labelled - seen)[present].max() <= 1.0


@pytest.mark.parametrize("render", [opencv, on_torch])
@pytest.mark.parametrize("mosaic", [1.0, 0.0])
def test_boxes_enclose_turned_pixels(render: Render, mosaic: float) -> None:
    config = AugmentConfig(
        mosaic=mosaic,
        degrees=180,
        shear=10,
        fliplr=0.5,
        flipud=0.5,
        scale=0.3,
        min_box_px=0,
        min_area_ratio=0,
        **PLAIN_COLOURS,
    )
    # At a sharp corner bilinear sampling gives about a quarter of the contrast.
    labelled, seen, present = follow(config, render, 0.25, seed=2)
    # A box that the picture's edge cuts may reach further than the visible part of a turned object.
    whole = present & (labelled[..., :2] > 0.01).all(-1) & (labelled[..., 2:] < SIZE - 0.01).all(-1)
    assert whole.sum() > 50
    assert np.abs(labelled - seen)[whole].max() <= 1.0


@pytest.mark.parametrize("render", [opencv, on_torch])
def test_dropped_boxes_are_small_or_mostly_hidden(render: Render) -> None:
    config = AugmentConfig(translate=0.3, scale=0.3, **PLAIN_COLOURS)
    labelled, seen, present = follow(config, render, 0.5, seed=3)
    sides = seen[..., 2:] - seen[..., :2]
    # The smallest square has 6 x 6 pixels, 4.2 x 4.2 when shrunk; the largest 19 x 19, 24.7 x 24.7 when enlarged.
    clearly_visible = (sides > 4).all(-1) & (sides.prod(-1) > 0.1 * 24.7**2)
    assert clearly_visible.sum() > 50
    assert present[clearly_visible].all()
    nothing_seen = (sides <= 1).any(-1)
    assert nothing_seen.sum() > 50
    assert not present[nothing_seen].any()
