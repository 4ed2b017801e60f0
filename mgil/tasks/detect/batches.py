"""Detection's batches: what its training pictures show, and its evaluation batches with boxes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.composer import Composer
from mgil.datasets.batches.eval_loader import EvalLoader
from mgil.datasets.batches.geometry import Plan
from mgil.datasets.reading.polygons import read_polygons
from mgil.datasets.reading.samples import Samples
from mgil.tasks.base import Loading, options_for
from mgil.tasks.detect.copy_paste import draw_pastes
from mgil.tasks.detect.options import TrainOptions, ValOptions
from mgil.tasks.detect.targets import plan_targets


class DetectComposer(Composer):
    """Mosaics and plain images with their boxes, (T, 6) targets as `TrainBatch` says.

    Args:
        samples: The split.
        size: Side of the square pictures in pixels.
        augment: Strengths of the augmentation.
        rect: Plain images of like shape in the smallest rectangle that holds them, instead of mosaics in squares.
        stride: With `rect`, sides are multiples of this.
    """

    def __init__(
        self, samples: Samples, size: int, augment: AugmentConfig, *, rect: bool = False, stride: int = 32
    ) -> None:
        super().__init__(
            samples.image_paths, samples.sizes_hw, size, augment, mosaic=not rect, rect=rect, stride=stride
        )
        self.labels = samples.without_crowds()
        self.polygons = read_polygons(self.labels) if augment.copy_paste or augment.perspective else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Where copy_paste has no effect."""
        if not self.augment.copy_paste or (self.polygons and self.mosaic and self.augment.mosaic):
            return ()
        why = "no label has a polygon" if not self.polygons else "it pastes within mosaics, and there are none"
        return (f"copy_paste {self.augment.copy_paste:g} does nothing here: {why}",)

    def with_pastes(self, rng: np.random.Generator, plan: Plan, items: np.ndarray) -> Plan:
        """See `Composer`."""
        if not self.augment.copy_paste or not self.polygons:
            return plan
        pastes = draw_pastes(rng, plan, self.labels, self.polygons, items, self.augment.copy_paste)
        return replace(plan, pastes=pastes)

    def targets(self, plan: Plan, items: np.ndarray, skipped: Collection[int]) -> np.ndarray:
        """See `Composer`."""
        if skipped:
            gone = np.isin(items, list(skipped))
            pastes = plan.pastes and plan.pastes.only(~gone[plan.pastes.layers, plan.pastes.slots])
            plan = replace(plan, positions=np.where(gone, -1, plan.positions), pastes=pastes)
        return plan_targets(plan, self.labels, items, self.augment, self.polygons)

    def rescaled(self, targets: torch.Tensor, factor: float) -> torch.Tensor:
        """See `Composer`."""
        return rescaled(targets, factor)


def rescaled(targets: torch.Tensor, factor: float) -> torch.Tensor:
    """(T, 6) targets of pictures that were resized by a factor."""
    return targets * targets.new_tensor([1, 1, factor, factor, factor, factor])


def train_composer(
    samples: Samples, imgsz: int, augment: AugmentConfig, stride: int, options: TrainOptions
) -> DetectComposer:
    """The training pictures of a command, at the size of the network, or at that of its teacher."""
    size = options.teacher_img if options.teacher else imgsz
    # what a recipe says in pixels is meant in those of the network that learns
    pixels = {"min_box_px": augment.min_box_px * size / imgsz, "perspective": augment.perspective * imgsz / size}
    return DetectComposer(samples, size, replace(augment, **pixels), rect=options.rect, stride=stride)


def detect_eval_loader(samples: Samples, size: int, batch_size: int, **options: Any) -> EvalLoader:
    """An `EvalLoader` whose targets are the boxes, without crowds; arguments as there."""
    labels = samples.without_crowds()

    def targets(indices: np.ndarray, inputs_wh: np.ndarray, pads: np.ndarray) -> np.ndarray:
        rows, owners = labels.rows_of(indices)
        boxes = labels.boxes_cxcywh[rows] * np.tile(inputs_wh[owners], 2)
        boxes[:, :2] += pads[owners]
        return np.concatenate([owners[:, None], labels.classes[rows, None], boxes], axis=1, dtype=np.float32)

    return EvalLoader(samples, size, batch_size, targets=targets, **options)


def eval_batches(
    samples: Samples, imgsz: int, stride: int, options: TrainOptions | ValOptions, loading: Loading
) -> EvalLoader:
    """The evaluation batches of a command, see `mgil.tasks.base.Task`.

    Raises:
        ValueError: --pad with a file that takes one shape only.
    """
    pad = options_for(ValOptions, options).pad
    if pad and loading.shape_hw:
        height, width = loading.shape_hw
        raise ValueError(
            f"--pad {pad}: the file was exported for {height}x{width} pixels (height x width) only; leave --pad "
            "out, or export again with --dynamic"
        )
    return detect_eval_loader(
        samples,
        imgsz,
        stride=stride,
        rect=not loading.speed_only,
        pad=pad,
        shape_hw=loading.shape_hw,
        **loading.of_any_task,
    )
