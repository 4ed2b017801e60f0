"""PCK, the share of key points that are near to their labels: PCKh@0.5 as MPII evaluates it, PCK@0.2 as LSP, or by box.

Distances are between places in pictures. MPII's labels count pixels from 1, and its evaluation adds 1 to predictions;
here both count from 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mgil.tasks.pose.people import People
from mgil.tasks.pose.reading.known_points import side_and_part

THRESHOLDS = np.linspace(0, 0.5, 51)  # of the curves
_NO_PART_OF_PCKH = ("pelvis", "thorax")


@dataclass(frozen=True)
class Pck:
    """PCK on crops of labelled boxes; NaN where no key point is labelled.

    Attributes:
        name: With its threshold, e.g. "PCKh@0.5".
        unit: What distances are divided by, in words.
        threshold: A key point whose distance in units is not above this is right.
        counts: (K,) labels that count.
        by_key_point: (K,) shares of 0..1.
        mean: Each label counts alike.
        curves: (K, 51) by_key_point at `THRESHOLDS`.
        groups: Names without left and right, with the mean of the two sides.
    """

    name: str
    unit: str
    threshold: float
    counts: np.ndarray
    by_key_point: np.ndarray
    mean: float
    curves: np.ndarray
    groups: tuple[tuple[str, float], ...]


def pck_of(people: People, items: np.ndarray, places: np.ndarray) -> Pck:
    """PCK by the unit that the data set has: heads, else torsos, else boxes.

    Args:
        people: The labels.
        items: (n,) people who were looked at.
        places: (n, K, 2) found, in pixels of the picture.
    """
    labels, names = people.key_points[items], people.skeleton.names
    visible = labels[..., 2] > 0
    if people.head_sizes is not None:
        name, unit, threshold = "PCKh@0.5", "the head", 0.5
        units = people.head_sizes[items]
        visible = visible & ~np.isin([text.lower() for text in names], _NO_PART_OF_PCKH)
    elif people.torso is not None:
        name, unit, threshold = "PCK@0.2", "the torso", 0.2
        units = torso_sizes(labels, people.torso)
    else:
        name, unit, threshold = "PCK@0.1", "the box's longer side", 0.1
        units = people.boxes[items, 2:].max(axis=1, initial=0.0)
    distances, counted = normalised(places, labels[..., :2], visible, units)
    counts = counted.sum(axis=0)
    by_key_point = shares(distances, counted, threshold)
    return Pck(
        name=name,
        unit=unit,
        threshold=threshold,
        counts=counts,
        by_key_point=by_key_point,
        mean=mean_of(by_key_point, counts),
        curves=np.stack([shares(distances, counted, at) for at in THRESHOLDS], axis=1),
        groups=groups_of(names, by_key_point),
    )


def torso_sizes(labels: np.ndarray, torso: tuple[int, int]) -> np.ndarray:
    """(n,) distances between two key points of (n, K, 3) labels; NaN where one of them has no label."""
    ends = labels[:, list(torso)]
    sizes = np.linalg.norm(ends[:, 0, :2] - ends[:, 1, :2], axis=1)
    return np.where((ends[..., 2] > 0).all(axis=1), sizes, np.nan)


def normalised(
    places: np.ndarray, labels: np.ndarray, visible: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n, K) distances in units, and which of them count: labelled ones of people whose unit is known and not 0."""
    known = units > 0  # NaN is not
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = np.linalg.norm(places - labels, axis=-1) / units[:, None]
    return np.where(np.isfinite(distances), distances, math.inf), visible & known[:, None]


def shares(distances: np.ndarray, counted: np.ndarray, threshold: float) -> np.ndarray:
    """(K,) shares of the counted distances that are not above a threshold; NaN where none counts."""
    right = ((distances <= threshold) & counted).sum(axis=0)
    counts = counted.sum(axis=0)
    return np.where(counts > 0, right / np.maximum(counts, 1), np.nan)


def mean_of(by_key_point: np.ndarray, counts: np.ndarray) -> float:
    """The mean over all labels, which is that over key points weighted by how often each is labelled; NaN: no label."""
    total = counts.sum()
    return float(np.where(counts > 0, by_key_point * counts, 0).sum() / total) if total else math.nan


def groups_of(names: Sequence[str], by_key_point: np.ndarray) -> tuple[tuple[str, float], ...]:
    """Means of left and right by what names have in common, in the order of the names; without those of no label."""
    members: dict[str, list[float]] = {}
    for name, value in zip(names, by_key_point.tolist(), strict=True):
        if not math.isnan(value):
            side, part = side_and_part(name)
            members.setdefault(part if side and part else name, []).append(value)
    return tuple((name, float(np.mean(values))) for name, values in members.items())
