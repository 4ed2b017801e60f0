"""Pose's own flags, beside those that the commands have for every task.

Imports nothing heavy: --help shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mgil.files.flags import flag

CROPS = ("linear", "area")


@dataclass(frozen=True)
class TrainOptions:
    """Flags of training."""

    default_data: ClassVar[str] = "figures.yaml"

    crop: str = flag(
        "linear",
        choices=CROPS,
        help="how people are cut out of pictures: linear looks at the nearest four pixels, as SimCC does, "
        "area averages over all, as a small sensor does",
    )

    def check_flags(self) -> None:
        """Raise ValueError for flags of training that pose cannot follow."""
        joined: Any = self  # with the flags that training has for every task
        if joined.multi_scale:
            raise ValueError("--multi-scale: the head of this task is made for one input size; leave it out")
