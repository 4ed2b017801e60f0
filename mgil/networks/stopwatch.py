"""How long the stages of a prediction take."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch


class Stopwatch:
    """Seconds by stage, added up; it starts at once.

    Args:
        device: Whose work counts: a GPU's is waited for.
        stages: Those that are named even where nothing was done, in order.
    """

    def __init__(self, device: torch.device, stages: Sequence[str]) -> None:
        self.device, self.seconds = device, dict.fromkeys(stages, 0.0)
        self.start()

    def start(self) -> None:
        """What follows counts; what came since the last call does not."""
        self._last = self._now()

    def done(self, stage: str) -> None:
        """All since the last call was this stage."""
        now = self._now()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def milliseconds(self, pictures: int) -> dict[str, float]:
        """By stage, for one of so many pictures."""
        return {stage: seconds * 1e3 / max(pictures, 1) for stage, seconds in self.seconds.items()}

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
