"""How a task makes its training pictures; the loader draws them, whatever they show."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

import numpy as np
import torch

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.geometry import Plan, draw_plan
from mgil.datasets.batches.letterbox import fitted_size_hw, rect_shape_hw
from mgil.datasets.batches.stores import TileDecoder


class Composer(ABC):
    """Says which tiles a training picture is made of, by which maps, and with which targets.

    An item is what a tile shows: here an image of the split, resized so that its longer side is `size`.

    Args:
        image_paths: N, by item.
        sizes_hw: (N, 2) pixels of the images.
        size: Side of the square pictures, and of the tiles.
        augment: Strengths of the augmentation.
        mosaic: Whether pictures may be mosaics.
        rect: Pictures of like shape share the smallest rectangle that holds them, instead of squares.
        stride: With `rect`, sides are multiples of this.
    """

    def __init__(
        self,
        image_paths: Sequence[str],
        sizes_hw: np.ndarray,
        size: int,
        augment: AugmentConfig,
        *,
        mosaic: bool,
        rect: bool = False,
        stride: int = 32,
    ) -> None:
        sizes_hw = np.asarray(sizes_hw, np.int64).reshape(-1, 2)
        self.image_paths = image_paths
        self.size = size
        self.augment = augment
        self.mosaic = mosaic
        self.rect = rect
        self.stride = stride
        self.aspects = sizes_hw[:, 0] / sizes_hw[:, 1]
        self.tile_sizes_hw = fitted_size_hw(sizes_hw, size) if len(sizes_hw) else sizes_hw
        self.decoder = TileDecoder(image_paths, sizes_hw, size)

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for people about how pictures are made."""
        return ()

    def __len__(self) -> int:
        """Items."""
        return len(self.aspects)

    def output_hw(self, items: np.ndarray) -> tuple[int, int]:
        """Height and width of the pictures that are drawn for these items together."""
        if self.rect:
            return rect_shape_hw(self.tile_sizes_hw[items], self.stride)
        return self.size, self.size

    def plan(
        self,
        rng: np.random.Generator,
        primaries: np.ndarray,
        partners: tuple[np.ndarray, np.ndarray],
        sequence: np.ndarray,
        output_hw: tuple[int, int],
    ) -> Plan:
        """Draw where every pixel comes from.

        Args:
            rng, primaries, partners, output_hw: As `geometry.draw_plan` has them.
            sequence: (P,) item at each position of the epoch.
        """
        sizes_hw = self.tile_sizes_hw[sequence]
        return draw_plan(rng, self.augment, primaries, partners, sizes_hw, output_hw, mosaic=self.mosaic)

    def with_pastes(self, rng: np.random.Generator, plan: Plan, items: np.ndarray) -> Plan:
        """The plan with what the task pastes onto its canvases; the same where it pastes nothing.

        Args:
            rng: Source of every draw.
            plan: From `plan`.
            items: (L, 4) item in each slot; -1 where the slot is empty.
        """
        return plan

    @abstractmethod
    def targets(self, plan: Plan, items: np.ndarray, skipped: Collection[int]) -> np.ndarray:
        """What the loss is to learn from the pictures of a plan.

        Args:
            plan: From `plan`.
            items: (L, 4) item in each slot; ignored where the slot is empty.
            skipped: Items that could not be read; they are grey and teach nothing.

        Returns:
            (T, C) float32, the number of the picture first, sorted by it.
        """

    def rescaled(self, targets: torch.Tensor, factor: float) -> torch.Tensor:
        """Targets of pictures that were resized by a factor (--multi-scale); the same where they are no pixels."""
        return targets
