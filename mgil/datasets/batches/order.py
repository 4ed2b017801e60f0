"""The order of a training epoch: which items each process visits, and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mgil.datasets.batches.composer import Composer

ORDER_STREAM = 0  # separates the order from what else is drawn from the seed


@dataclass(frozen=True)
class EpochOrder:
    """The order in which one process visits the items of an epoch: a function of (seed, epoch) and its own fields.

    Attributes:
        composer: of the items; with its `rect`, the images of a global batch are of like shape.
        batch_size: items per batch of this process.
        seed: of the order.
        rank: this process among `world_size`; each takes its part of every global batch.
        world_size: processes that train together.
        drop_last: leave out the incomplete last batch (a set smaller than one batch is one smaller batch).
    """

    composer: Composer
    batch_size: int
    seed: int
    rank: int
    world_size: int
    drop_last: bool

    def __len__(self) -> int:
        """Batches per epoch."""
        whole, rest = divmod(len(self.composer), self.batch_size * self.world_size)
        return whole + bool(rest and (whole == 0 or not self.drop_last))

    def sequence(self, epoch: int, weights: np.ndarray | None) -> np.ndarray:
        """Data set indices in the order in which this rank visits them: (len(self) batches,).

        Args:
            epoch: number of the epoch.
            weights: probability of each item, see `probabilities`; None: each once.
        """
        rng = np.random.default_rng([self.seed, ORDER_STREAM, epoch])
        count, rect = len(self.composer), self.composer.rect
        order = rng.permutation(count)
        if weights is not None:
            order = rng.choice(count, count, p=weights)
        share = self.batch_size * self.world_size
        used = len(self) * share if len(self) * share <= count else -(-count // self.world_size) * self.world_size
        order = np.resize(order, used)  # cut, or filled up from its start so that every rank gets as many
        if rect:
            order = order[np.argsort(self.composer.aspects[order], kind="stable")]
        parts = [order[start : start + share] for start in range(0, used, share)]
        if rect:  # a smaller last batch stays last
            whole = used // share
            parts = [parts[place] for place in (*rng.permutation(whole), *range(whole, len(parts)))]
        return np.concatenate([np.array_split(part, self.world_size)[self.rank] for part in parts])


def probabilities(weights: np.ndarray, count: int) -> np.ndarray:
    """Weights of `count` items, made to sum to one.

    Raises:
        ValueError: not one finite number >= 0 per item, or all zero.
    """
    weights = np.asarray(weights, np.float64)
    bad = weights.shape != (count,) or not np.isfinite(weights).all() or (weights < 0).any()
    if bad or not weights.sum() > 0:
        raise ValueError(f"image weights: need {count} numbers >= 0, not all 0; got {weights!r}")
    return weights / weights.sum()
