"""Classification's batches: augmented crops for training and plain ones for evaluation, with their classes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mgil.datasets.batches.augment import draw_colours
from mgil.datasets.batches.batch import EvalBatch
from mgil.datasets.batches.composer import Composer
from mgil.datasets.batches.decode import decode_scanned
from mgil.datasets.batches.eval_loader import EvalLoader, Made
from mgil.datasets.batches.geometry import Plan, plan_of
from mgil.tasks.base import Loading
from mgil.tasks.classify.crops import (
    cut_regions,
    eval_crop,
    maps_of_boxes,
    moved,
    padded_maps,
    random_boxes,
    seen_xyxy,
)
from mgil.tasks.classify.recipe import ClassRecipe
from mgil.tasks.classify.split import ClassSplit
from mgil.tasks.classify.tiles import ClassDecoder, longest_of, tile_sizes

FILL = 0  # black, with which the published recipes pad


class ClassComposer(Composer):
    """Augmented crops of pictures, alone, blended with another (mixup) or covered by a part of it (cutmix).

    Args:
        split: N pictures with their classes.
        recipe: Strengths.
        imgsz: Side of the network's input in pixels.
        how: "center" or "squash": what evaluation shows of a picture, and training where it takes no random crop. What
            is squashed is squashed first, and crops are taken then.
    """

    def __init__(self, split: ClassSplit, recipe: ClassRecipe, imgsz: int, how: str) -> None:
        super().__init__(split.image_paths, split.sizes_hw, imgsz, recipe.colours(), mosaic=False)
        self.recipe, self.classes = recipe, split.classes
        self.tile_sizes_hw = tile_sizes(split.sizes_hw, recipe, imgsz, how)
        self.decoder = ClassDecoder(split, self.tile_sizes_hw, longest_of(recipe, how))

    def plan(
        self,
        rng: np.random.Generator,
        primaries: np.ndarray,
        partners: tuple[np.ndarray, np.ndarray],
        sequence: np.ndarray,
        output_hw: tuple[int, int],
    ) -> Plan:
        """See `Composer`; a picture has at most one partner."""
        count, recipe = len(primaries), self.recipe
        drawn = rng.random(count)
        blended = np.flatnonzero(drawn < recipe.mixup)
        covered = np.flatnonzero((drawn >= recipe.mixup) & (drawn < recipe.mixup + recipe.cutmix))
        seconds = np.concatenate([blended, covered])
        low, high = (np.broadcast_to(bound, count)[seconds] for bound in partners)
        positions = np.concatenate([primaries, rng.integers(low, high)])
        tiles_hw = self.tile_sizes_hw[sequence[positions]]
        plan = plan_of(self._maps(rng, tiles_hw)[:, :2], tiles_hw, positions, output_hw, fill=FILL)

        regions = np.full((len(positions), 4), -1)
        regions[count + len(blended) :] = cut_regions(rng, recipe.cutmix_alpha, len(covered), self.size)
        areas = (regions[:, 2] - regions[:, 0]) * (regions[:, 3] - regions[:, 1]) / self.size**2
        weights = np.where(np.arange(len(positions)) < count, 1.0, areas)
        weights[count : count + len(blended)] = rng.beta(recipe.mixup_alpha, recipe.mixup_alpha, len(blended))
        weights[seconds] -= weights[count:]
        return replace(
            plan,
            primaries=primaries,
            pictures=np.concatenate([np.arange(count), seconds]),
            weights=weights,
            regions=regions if len(covered) else None,
            colours=draw_colours(rng, self.augment, count),
        )

    def _maps(self, rng: np.random.Generator, tiles_hw: np.ndarray) -> np.ndarray:
        """(L, 3, 3) random maps from tiles to the network's input."""
        recipe, size = self.recipe, self.size
        if recipe.pad:
            maps = padded_maps(rng, tiles_hw, int(recipe.pad), size)
        elif recipe.scale_min < 1:
            maps = maps_of_boxes(random_boxes(rng, tiles_hw, recipe, size), size)
        else:  # tiles are what evaluation shows
            maps = maps_of_boxes(np.concatenate([np.zeros_like(tiles_hw), tiles_hw[:, ::-1]], axis=1), size)
        return moved(rng, maps, recipe, size)

    def targets(self, plan: Plan, items: np.ndarray, skipped: Collection[int]) -> np.ndarray:
        """(T, 3) float32: picture, class, weight; the weights of a picture that shows anything add up to 1."""
        items = items[:, 3]
        weights = np.where(np.isin(items, list(skipped)), 0.0, plan.weights)
        sums = np.bincount(plan.pictures, weights, plan.picture_count)[plan.pictures]
        rows = np.flatnonzero(weights > 0)
        rows = rows[np.argsort(plan.pictures[rows], kind="stable")]
        found = np.stack([plan.pictures, self.classes[items], weights / np.maximum(sums, np.finfo(float).tiny)], axis=1)
        return found[rows].astype(np.float32)


class ClassLoader(EvalLoader):
    """Batches of pictures as a network sees them; `gains` and `pads` of a batch map pictures to crops, edges to edges.

    Args:
        split: N pictures with their classes.
        imgsz: Side of the network's input in pixels.
        how: "center" or "squash", see `eval_crop`.
        loading: As `Task.eval_loader` has it. With `reduced`, a JPEG of at least twice the size that a crop needs is
            decoded at a reduced scale, and brought to what the crop needs before it is cut.

    Raises:
        ValueError: `loading.shape_hw` is no square, or `how` is unknown.
    """

    def __init__(self, split: ClassSplit, imgsz: int, how: str, loading: Loading) -> None:
        height, width = loading.shape_hw or (imgsz, imgsz)
        if height != width:
            raise ValueError(f"the network's input is {height}x{width} pixels; classification takes squares")
        seen_xyxy((1, 1), how)
        self.classified, self.how = split, how
        super().__init__(split, height, rect=False, **loading.of_any_task)

    @property
    def kept_bytes(self) -> int:
        """What all crops take in memory."""
        return 3 * len(self.classified) * self.size**2

    def batch(self, index: int, apply: Callable[..., Iterable[Any]] = map) -> EvalBatch:
        """See `EvalLoader`."""
        items, made = self._collected(index, apply)
        count = len(items)
        pixels = np.stack([crop for crop, _ in made]) if made else np.zeros((0, self.size, self.size, 3), np.uint8)
        seen = np.array([seen_xyxy(size_hw, self.how) for _, size_hw in made], float).reshape(-1, 4)
        gains = self.size / (seen[:, 2:] - seen[:, :2])
        targets = np.stack([np.arange(count), self.classified.classes[items], np.ones(count)], axis=1)
        return EvalBatch(
            torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))),
            torch.from_numpy(targets.astype(np.float32)),
            items,
            gains,
            -seen[:, :2] * gains,
        )

    def _made(self, item: int) -> Made:
        """The (S, S, 3) crop and the picture's (height, width)."""
        picture, size_hw = self._picture(item)
        return eval_crop(picture, self.size, self.how), size_hw

    def _picture(self, image: int) -> tuple[np.ndarray, tuple[int, int]]:
        """A picture, with `reduced` no larger than its crop needs, and its (height, width) in the file."""
        split = self.classified
        height, width = split.sizes_hw[image].tolist()
        needed = max(height, width) * self.size // min(height, width)  # its shorter side is then the crop's
        if self.reduced and split.pixels is None and needed < max(height, width):
            return decode_scanned(split.image_paths[image], needed, (height, width), **self.shown)
        return split.picture(image, **self.shown), (height, width)
