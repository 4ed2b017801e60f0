"""AutoAnchor: do the anchors suit the labels, and finding better ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans

Sizes = NDArray[np.floating]
ENOUGH_RECALL = 0.98  # YOLOv5 leaves anchors alone above this
MIN_SIDE_PX = 2.0  # smaller boxes are noise, not shapes to cluster
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


def fit_anchors(sizes_wh: Sizes, number: int = 9, ratio: float = 4.0, generations: int = 1000, seed: int = 0) -> Sizes:
    """Find anchors for boxes: k-means, then random mutations that are kept when they help (YOLOv5's AutoAnchor).

    Args:
        sizes_wh: (N, 2) box sizes in pixels of the network input.
        number: Number of anchors.
        ratio: The loss's `anchor_t`.
        generations: Number of mutations tried.
        seed: The result depends on nothing else.

    Returns:
        (number, 2) sizes in pixels, ordered by area.

    Raises:
        ValueError: Fewer usable boxes than anchors.
    """
    random = np.random.default_rng(seed)
    usable = sizes_wh[(sizes_wh >= MIN_SIDE_PX).all(1)].astype(np.float64)
    if len(usable) < number:
        raise ValueError(f"only {len(usable)} boxes of {MIN_SIDE_PX:g} px or more: too few to fit {number} anchors to")
    if len(usable) > MOST_LABELS:
        usable = usable[random.choice(len(usable), MOST_LABELS, replace=False)]
    anchors = _cluster(usable, number, random)
    best = _fitness(usable, anchors, ratio)
    for _ in range(generations):
        mutation = _mutation(anchors.shape, random)
        candidate = np.maximum(anchors * mutation, MIN_SIDE_PX)
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
