"""What the training batches of an epoch are made of, before their pixels are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mgil.datasets.batches.composer import Composer
from mgil.datasets.batches.geometry import Plan
from mgil.datasets.batches.unreadable import Unreadable

PLAN_STREAM = 1  # separates the plans from what else is drawn from the seed
# Batches are planned together up to this many pictures: drawing numbers and moving boxes costs little more for many
# pictures than for few. The draws depend on it.
PLANNED_AT_ONCE = 512


@dataclass(frozen=True)
class PlannedBatches:
    """Consecutive batches before their pixels are drawn.

    Attributes:
        plan: of all of them.
        targets: (T, C) targets of all pictures, sorted by picture.
    """

    plan: Plan
    targets: np.ndarray

    def targets_of(self, first: int, stop: int) -> torch.Tensor:
        """(t, C) targets of pictures `first` to `stop` - 1, numbered from 0."""
        begin, end = np.searchsorted(self.targets[:, 0], [first, stop])
        targets = self.targets[begin:end].copy()
        targets[:, 0] -= first
        return torch.from_numpy(targets)


class BatchPlanner:
    """Plans the batches of one process, some at a time; a plan is a function of (seed, epoch, its number, rank).

    Args:
        composer: how pictures are made of which images.
        batch_size: images per batch.
        seed: of the plans.
        rank: this process among those that train together.
        window: of the store, see `TileStore.window`.
        unreadable: the images that have no targets.
    """

    def __init__(
        self, composer: Composer, batch_size: int, *, seed: int, rank: int, window: int | None, unreadable: Unreadable
    ) -> None:
        self.composer = composer
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.window = window
        self.unreadable = unreadable

    @property
    def at_once(self) -> int:
        """Batches that are planned together; rectangles differ in size, so each is planned alone."""
        return 1 if self.composer.rect else max(1, PLANNED_AT_ONCE // self.batch_size)

    def plan(self, epoch: int, number: int, sequence: np.ndarray) -> PlannedBatches:
        """Plan the batches from `number` * `at_once` on, of an epoch that visits the images in `sequence`."""
        rng = np.random.default_rng([self.seed, PLAN_STREAM, epoch, number, self.rank])
        first = number * self.at_once * self.batch_size
        primaries = np.arange(first, min(first + self.at_once * self.batch_size, len(sequence)))
        output_hw = self.composer.output_hw(sequence[primaries])
        partners = self.reach(sequence, primaries // self.batch_size)
        plan = self.composer.plan(rng, primaries, partners, sequence, output_hw)
        plan = self.composer.with_pastes(rng, plan, images_of(plan, sequence))
        return self.with_targets(plan, sequence)

    def with_targets(self, plan: Plan, sequence: np.ndarray) -> PlannedBatches:
        """Add the targets, without those of images that could not be read."""
        return PlannedBatches(plan, self.composer.targets(plan, images_of(plan, sequence), list(self.unreadable)))

    def pictures(self, planned: PlannedBatches, index: int) -> tuple[int, int]:
        """First and last + 1 picture of batch `index` among those planned with it."""
        first = index % self.at_once * self.batch_size
        return first, min(first + self.batch_size, planned.plan.picture_count)

    def images_in(self, epoch: int, index: int, sequence: np.ndarray) -> list[int]:
        """Data set indices that batch `index` shows, each once: those that its pictures are drawn for come first."""
        planned = self.plan(epoch, index // self.at_once, sequence)
        part = planned.plan.part(*self.pictures(planned, index))
        shown = np.concatenate((sequence[part.primaries], images_of(part, sequence).ravel()))
        return list(dict.fromkeys(shown[shown >= 0].tolist()))

    def reach(self, sequence: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last + 1 position that batches may draw from: what the store holds when it has the whole batch."""
        if self.window is None:
            return np.zeros_like(indices), np.full_like(indices, len(sequence))
        stops = np.minimum((indices + 1) * self.batch_size, len(sequence))
        return np.maximum(0, stops - self.window), stops


def images_of(plan: Plan, sequence: np.ndarray) -> np.ndarray:
    """(L, 4) data set index in each slot of a plan, -1 where it is empty."""
    return np.where(plan.positions >= 0, sequence[plan.positions], -1)
