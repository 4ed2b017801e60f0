"""AutoAnchor: do the anchors suit the labels, and finding better ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans

Sizes = NDArray[np.floating]
ENOUGH_RECALL = 0.98  # YOLOv5 leaves anchors alone above this
MIN_SIDE_PX = 2.0  # anchors below this could not tell one small box from another
LEVEL_REACH = 4.0  # a level's own boxes are up to this many cells large, as with the official anchors
LEAST_PER_ANCHOR = 10  # boxes that make fitting an anchor worth while
MOST_LABELS = 20_000  # a sample of this size fixes nine centres; more only takes longer


@dataclass(frozen=True)
class AnchorFit:
    """How well anchors suit boxes.

    Attributes:
        recall: Share of boxes with at least one anchor within the ratio: the best possible recall.
        per_box: Mean number of anchors within the ratio of a box.
    """

    recall: float
    per_box: float


def measure_fit(sizes_wh: Sizes, anchors_wh: Sizes, ratio: float = 4.0) -> AnchorFit:
    """Measure how well anchors suit boxes.

    Args:
        sizes_wh: (N, 2) box sizes in pixels of the network input.
        anchors_wh: (A, 2) anchor sizes in pixels.
        ratio: The loss's `anchor_t`.
    """
    if len(sizes_wh) == 0:
        return AnchorFit(1.0, float(len(anchors_wh)))
    closeness = _closeness(sizes_wh, anchors_wh)
    close = closeness > 1 / ratio
    return AnchorFit(float(close.any(1).mean()), float(close.sum(1).mean()))


def fit_levels(
    sizes_wh: Sizes, own_wh: Sizes, strides: Sequence[float], ratio: float = 4.0, generations: int = 1000, seed: int = 0
) -> Sizes:
    """Find anchors level by level: each level's are fitted to the boxes of sizes that its cells suit.

    YOLOv5 clusters all boxes at once and deals the result out to the levels in order of size. Where all objects are
    small, that puts 10-px anchors on the level of 32-px cells, which cannot place them.

    Args:
        sizes_wh: (N, 2) box sizes in pixels of the network input.
        own_wh: (levels, anchors, 2) the anchors so far, in pixels; a level with too few boxes keeps them.
        strides: Stride of each level in pixels, in any order.
        ratio: The loss's `anchor_t`.
        generations: Number of mutations tried for each level.
        seed: The result depends on nothing else.

    Returns:
        (levels, anchors, 2) sizes in pixels, ordered by area within a level.
    """
    side = np.sqrt(sizes_wh.prod(1))
    order = sorted(range(len(strides)), key=strides.__getitem__)
    bounds = [0.0, *(LEVEL_REACH * strides[level] for level in order[:-1]), np.inf]
    found = own_wh.astype(np.float64).copy()
    for level, low, high in zip(order, bounds, bounds[1:], strict=False):
        suited = sizes_wh[(side >= low) & (side < high)]
        number = found.shape[1]
        if len(suited) >= LEAST_PER_ANCHOR * number:
            found[level] = fit_anchors(suited, number, ratio, generations, seed)
    return found


def fit_anchors(sizes_wh: Sizes, number: int, ratio: float = 4.0, generations: int = 1000, seed: int = 0) -> Sizes:
    """Find anchors for boxes: k-means, then random mutations that are kept when they help (YOLOv5's AutoAnchor).

    Args:
        sizes_wh: (N, 2) box sizes in pixels of the network input; at least `number`.
        number: Number of anchors.
        ratio: The loss's `anchor_t`.
        generations: Number of mutations tried.
        seed: The result depends on nothing else.

    Returns:
        (number, 2) sizes in pixels, ordered by area.
    """
    random = np.random.default_rng(seed)
    usable = np.maximum(sizes_wh.astype(np.float64), MIN_SIDE_PX)
    if len(usable) > MOST_LABELS:
        usable = usable[random.choice(len(usable), MOST_LABELS, replace=False)]
    anchors = _cluster(usable, number, random)
    best = _fitness(usable, anchors, ratio)
    for _ in range(generations):
        candidate = np.maximum(anchors * _mutation(anchors.shape, random), MIN_SIDE_PX)
        fitness = _fitness(usable, candidate, ratio)
        if fitness > best:
            best, anchors = fitness, candidate
    return anchors[np.argsort(anchors.prod(1), kind="stable")]


def _closeness(sizes_wh: Sizes, anchors_wh: Sizes) -> Sizes:
    """(N, A): the smaller of the two sides' ratios, turned to be at most 1."""
    ratio = sizes_wh[:, None] / anchors_wh[None]
    return np.minimum(ratio, 1 / ratio).min(2)


def _fitness(sizes_wh: Sizes, anchors_wh: Sizes, ratio: float) -> float:
    """Mean closeness of each box's best anchor, where that anchor would match it."""
    best = _closeness(sizes_wh, anchors_wh).max(1)
    return float((best * (best > 1 / ratio)).mean())


def _cluster(sizes_wh: Sizes, number: int, random: np.random.Generator) -> Sizes:
    """K-means centres on sizes of unit variance; boxes of too few distinct sizes give jittered copies instead."""
    spread = sizes_wh.std(0)
    if (spread > 0).all():
        try:
            centres, _ = kmeans(sizes_wh / spread, number, iter=30, rng=random)
        except ValueError:
            centres = np.empty((0, 2))
        if len(centres) == number:
            return centres * spread
    chosen = sizes_wh[random.choice(len(sizes_wh), number)]
    return np.maximum(chosen * random.uniform(0.8, 1.25, chosen.shape), MIN_SIDE_PX)


def _mutation(shape: tuple[int, ...], random: np.random.Generator) -> Sizes:
    """Factors around 1, most of them changed, none beyond 0.3 to 3."""
    while True:
        changed = random.random(shape) < 0.9
        factors = 1 + changed * random.random() * random.standard_normal(shape) * 0.1
        if (factors != 1).any():
            return np.clip(factors, 0.3, 3.0)
