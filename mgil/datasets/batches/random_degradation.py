"""Training pictures of which some are made worse, each in its own way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from mgil.datasets.batches.degradation_steps import Step
from mgil.datasets.batches.degrade import Degradation

DEGRADE_STREAM = 8  # separates these draws from what else is drawn from the seed
MOST_THREADS = 4
LEAST_SPOILT = 95  # the best quality that is drawn for a JPEG, where the recipe's least is below


@cache
def _threads() -> ThreadPoolExecutor:
    """For pictures of a GPU: made once, and no more than a few, as other processes have theirs."""
    return ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="degrade")


@dataclass(frozen=True)
class RandomDegradation:
    """How pictures are made worse; strengths are those of `mgil.datasets.batches.degradation_steps`.

    Steps come in a camera's order: blur, fewer pixels, gamma, noise, JPEG. One whose strength changes nothing is never
    taken. Factors are drawn evenly in their logarithm, others evenly.

    Attributes:
        share: Of the pictures that are made worse.
        blur, area, noise: At most.
        gamma: At most, and one over this at least.
        jpeg: Quality, at least.
    """

    share: float
    blur: float
    area: float
    gamma: float
    noise: float
    jpeg: float

    def draw(self, rng: np.random.Generator, count: int) -> list[Degradation | None]:
        """What `count` pictures go through; None: nothing."""
        chosen, taken, strengths = rng.random(count), rng.random((count, 5)) < 0.5, rng.random((count, 5))
        makers: tuple[tuple[str, bool, Callable[[float], float]], ...] = (
            ("blur", self.blur > 0, lambda share: self.blur * share),
            ("area", self.area > 1, lambda share: self.area**share),
            ("gamma", self.gamma > 1, lambda share: self.gamma ** (2 * share - 1)),
            ("noise", self.noise > 0, lambda share: self.noise * share),
            ("jpeg", self.jpeg < 100, self._quality),
        )
        found: list[Degradation | None] = []
        for picture in range(count):
            steps = [
                Step(kind, make(strengths[picture, place]))
                for place, (kind, works, make) in enumerate(makers)
                if works and taken[picture, place]
            ]
            found.append(Degradation(tuple(steps)) if steps and chosen[picture] < self.share else None)
        return found

    def _quality(self, share: float) -> float:
        return float(round(self.jpeg + share * max(LEAST_SPOILT - self.jpeg, 0)))

    def __call__(self, images: torch.Tensor, key: tuple[int, ...]) -> torch.Tensor:
        """A batch with some of its pictures made worse.

        Args:
            images: (B, 3, H, W) uint8. Those on a GPU go to the CPU and back.
            key: Numbers that all draws follow from.
        """
        drawn = self.draw(np.random.default_rng([DEGRADE_STREAM, *key]), len(images))
        rows = [row for row, one in enumerate(drawn) if one is not None]
        if not rows:
            return images
        pixels = images[rows].permute(0, 2, 3, 1).contiguous().cpu().numpy()

        def worse(place: int) -> np.ndarray:
            degradation = drawn[rows[place]]
            assert degradation is not None
            return degradation(pixels[place])

        if images.device.type == "cpu":  # its cores belong to the network
            made = [worse(place) for place in range(len(rows))]
        else:
            made = list(_threads().map(worse, range(len(rows))))
        changed = torch.from_numpy(np.stack(made)).to(images.device)
        images[rows] = changed.permute(0, 3, 1, 2)
        return images
