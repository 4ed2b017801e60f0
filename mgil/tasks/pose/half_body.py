"""Boxes of half bodies: crops that teach a network people of whom only a part is in sight."""

from __future__ import annotations

import numpy as np

from mgil.tasks.pose.crops import PADDING
from mgil.tasks.pose.people import People
from mgil.tasks.pose.reading.known_points import plain_name

HALF_PADDING = 1.5  # sides of a half body's box become so many times as long, as in HRNet
LEAST_LABELLED = 9  # joints of a person, so that half of them are still a few
LEAST_OF_HALF = 3
UPPER_SHARE = 0.69  # of the people, the upper body: HRNet draws a normal number below 0.5
LOWER = ("hip", "knee", "ankle", "pelvis", "foot", "heel", "toe")


def half_bodies(rng: np.random.Generator, people: People, items: np.ndarray, share: float) -> np.ndarray:
    """(B, 4) left, top, width, height: boxes of some people, for a share of them of the upper or the lower body.

    Args:
        rng: Source of every draw; there are as many whatever the people.
        people: The items.
        items: (B,) which.
        share: Probability of a half body.
    """
    boxes = people.boxes[items].copy()
    if not share:
        return boxes
    chosen, upper = rng.random(len(items)) < share, rng.random(len(items)) < UPPER_SHARE
    points = people.key_points[items]
    labelled = points[..., 2] > 0
    chosen &= labelled.sum(axis=1) >= LEAST_LABELLED
    is_lower = np.array([any(word in plain_name(name) for word in LOWER) for name in people.skeleton.names])
    halves = labelled[:, None] & np.stack([is_lower, ~is_lower])  # (B, 2, K)
    enough = halves.sum(axis=2) >= LEAST_OF_HALF
    row = np.arange(len(items))
    half = np.where(enough[row, upper.astype(int)], upper, ~upper).astype(int)  # the other one, where it is too few
    chosen &= enough[row, half]
    shown, points = halves[row, half][chosen][..., None], points[chosen][..., :2] + 0.5
    if len(points):
        middles = (points * shown).sum(axis=1) / shown.sum(axis=1)  # of the joints, not of their box
        high = np.where(shown, points, -np.inf).max(axis=1)
        extents = (high - np.where(shown, points, np.inf).min(axis=1)) * HALF_PADDING / PADDING
        boxes[chosen] = np.concatenate([middles - extents / 2, extents], axis=1)
    return boxes
