"""Pose's batches: crops of people, augmented for training and plain for evaluation, with their key points."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mgil.datasets.batches.augment import draw_colours
from mgil.datasets.batches.batch import EvalBatch
from mgil.datasets.batches.composer import Composer
from mgil.datasets.batches.eval_loader import EvalLoader, Made
from mgil.datasets.batches.geometry import Plan, plan_of
from mgil.tasks.base import Loading
from mgil.tasks.pose.crops import PADDING, crop_maps, crop_people
from mgil.tasks.pose.half_body import HALF_PADDING, half_bodies
from mgil.tasks.pose.people import People
from mgil.tasks.pose.recipe import PoseRecipe
from mgil.tasks.pose.tiles import PersonDecoder, Pictures, regions_of


class PoseComposer(Composer):
    """Augmented crops of people: zoom, rotation, flip and half bodies, drawn as SimpleBaseline draws them.

    Args:
        people: N items with key points.
        recipe: Strengths.
        size: Side of the crops in pixels.
        how: "linear" or "area", see `crop_people`.
    """

    def __init__(self, people: People, recipe: PoseRecipe, size: int, how: str) -> None:
        super().__init__(people.image_paths, people.sizes_hw, size, recipe.colours(), mosaic=False)
        self.people, self.recipe, self.how = people, recipe, how
        padding = max(PADDING, HALF_PADDING) if recipe.half_body else PADDING
        turned = np.sqrt(2) if recipe.degrees and recipe.rotated else 1.0
        self.regions = regions_of(people, padding * (1 + recipe.scale) * turned, size, how)
        self.tile_sizes_hw = self.regions.tile_sizes_hw
        self.decoder = PersonDecoder(people, self.regions)
        self.flip = np.array(people.skeleton.flip)

    def plan(
        self,
        rng: np.random.Generator,
        primaries: np.ndarray,
        partners: tuple[np.ndarray, np.ndarray],
        sequence: np.ndarray,
        output_hw: tuple[int, int],
    ) -> Plan:
        """See `Composer`; people have no partners."""
        items = sequence[primaries]
        maps = self._draw(rng, items) @ np.linalg.inv(self.regions.to_tiles(items))
        tiles_hw, averaged = self.tile_sizes_hw[items], self.how == "area"
        plan = plan_of(maps[:, :2], tiles_hw, primaries, output_hw, fill=0, averaged=averaged)
        return replace(plan, colours=draw_colours(rng, self.augment, len(items)))

    def _draw(self, rng: np.random.Generator, items: np.ndarray) -> np.ndarray:
        """(B, 3, 3) random maps from pictures to crops."""
        count, recipe = len(items), self.recipe
        boxes = half_bodies(rng, self.people, items, recipe.half_body)
        zoom = 1 + np.clip(rng.standard_normal(count) * recipe.scale, -recipe.scale, recipe.scale)
        angle = np.clip(rng.standard_normal(count) * recipe.degrees, -2 * recipe.degrees, 2 * recipe.degrees)
        angle = np.deg2rad(np.where(rng.random(count) < recipe.rotated, angle, 0.0))
        mirrored = rng.random(count) < recipe.fliplr
        gains = crop_maps(boxes, self.size).gains / zoom
        cosine, sine = gains * np.cos(angle), gains * np.sin(angle)
        maps = np.tile(np.eye(3), (count, 1, 1))
        maps[:, :2, :2] = np.stack([cosine, sine, -sine, cosine], axis=-1).reshape(count, 2, 2)
        middles = boxes[:, :2] + boxes[:, 2:] / 2
        maps[:, :2, 2] = self.size / 2 - np.einsum("nij,nj->ni", maps[:, :2, :2], middles)
        maps[mirrored, 0] = np.array([0.0, 0.0, self.size]) - maps[mirrored, 0]
        return maps

    def targets(self, plan: Plan, items: np.ndarray, skipped: Collection[int]) -> np.ndarray:
        """(B, 1 + 3 K) float32: picture, then x, y (edge coordinates of the crop in pixels) and visibility of each."""
        items = items[:, 3]
        maps = plan.maps @ self.regions.to_tiles(items)
        points = self.people.key_points[items].copy()
        points[..., :2] += 0.5
        points[..., :2] = np.einsum("nij,nkj->nki", maps[:, :2, :2], points[..., :2]) + maps[:, None, :2, 2]
        mirrored = np.linalg.det(maps[:, :2, :2]) < 0
        points[mirrored] = points[mirrored][:, self.flip]
        points[np.isin(items, list(skipped)), :, 2] = 0
        return _rows(points)


def _rows(points: np.ndarray) -> np.ndarray:
    """(B, 1 + 3 K) float32 targets of (B, K, 3) key points; what has no label is 0."""
    points = np.where(points[..., 2:] > 0, points, 0.0)
    return np.concatenate([np.arange(len(points))[:, None], points.reshape(len(points), -1)], axis=1, dtype=np.float32)


class PersonLoader(EvalLoader):
    """Batches of people's crops; `gains` and `pads` of a batch map pictures to crops, edges to edges.

    Args:
        people: N items.
        size: Side of the crops in pixels.
        how: "linear" or "area", see `crop_people`.
        loading: As `Task.eval_loader` has it.
    """

    def __init__(self, people: People, size: int, how: str, loading: Loading) -> None:
        self.people, self.how = people, how
        self.maps = crop_maps(people.boxes, size)
        self.pictures = Pictures()
        super().__init__(people, size, rect=False, **loading.of_any_task)

    def batch(self, index: int, apply: Callable[..., Iterable[Any]] = map) -> EvalBatch:
        """See `EvalLoader`."""
        items, made = self._collected(index, apply)
        maps, points = self.maps.rows(items), self.people.key_points[items].copy()
        points[..., :2] = maps.to_input(points[..., :2])
        pixels = np.stack([crop for crop, _ in made]) if made else np.zeros((0, 3, self.size, self.size), np.uint8)
        gains = np.repeat(maps.gains[:, None], 2, axis=1)
        return EvalBatch(torch.from_numpy(pixels), torch.from_numpy(_rows(points)), items, gains, maps.pads)

    def _group(self) -> list[np.ndarray]:
        """People of one picture follow each other; nobody asks for those who are ignored."""
        items = np.argsort(self.people.image_ids, kind="stable")
        items = items[~self.people.ignored[items]]
        return [items[start : start + self.batch_size] for start in range(0, len(items), self.batch_size)]

    def _made(self, item: int) -> Made:
        """The (3, S, S) crop and the picture's (height, width)."""
        path, size_hw = self.people.image_paths[item], self.people.sizes_hw[item]
        picture = self.pictures.read(path, size_hw, **self.shown)
        crops, _ = crop_people(picture, self.people.boxes[item : item + 1], self.size, self.how)
        return crops[0], picture.shape[:2]
