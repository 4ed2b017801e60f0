"""The variants of the accuracy benchmark: each replaces what it says, and nothing is replaced after it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

import mgil.engine.training.run
from benchmarks.accuracy_cost import SLOW_PATHS, HsvPainter, summary
from mgil.datasets.batches import geometry, loader, stores
from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.geometry import draw_plan
from mgil.engine.training.trainer import Trainer
from mgil.tasks.detect.recipe import DetectRecipe


def what_is_used() -> dict[str, object]:
    model = torch.nn.Conv2d(1, 1, 1)
    rng = np.random.default_rng(0)
    sizes = np.full((8, 2), 64)
    plan = draw_plan(rng, AugmentConfig(), np.arange(8), (0, 8), sizes, (64, 64))
    return {
        "no-window": bool(plan.is_window.all()),
        "no-reduced": stores.decode_scanned,
        "no-matrix": (loader.Painter, geometry.draw_colours),
        "no-layout": Trainer.memory_format,
        "no-fused": mgil.engine.training.parts.build_optimizer(model, "SGD", DetectRecipe(), 0.0).param_groups[0][
            "fused"
        ],
    }


@pytest.mark.parametrize("name", SLOW_PATHS)
def test_a_variant_replaces_one_path_and_puts_it_back(name: str) -> None:
    before = what_is_used()
    changes = SLOW_PATHS[name]()
    for change in changes:
        change.__enter__()
    inside = what_is_used()
    for change in changes:
        change.__exit__(None, None, None)
    assert {key for key in before if inside[key] != before[key]} == {name}
    assert what_is_used() == before


def test_hsv_gains_are_those_of_hsv() -> None:
    random = np.random.default_rng(1)
    picture = cv2.cvtColor(random.integers(40, 200, (16, 16, 3)).astype(np.uint8), cv2.COLOR_HSV2RGB)
    changed = picture.copy()
    HsvPainter.recolour(None, changed, np.array([1.0, 1.0, 0.5]))  # type: ignore[arg-type]
    assert np.abs(changed - picture / 2.0).max() <= 2
    HsvPainter.recolour(None, changed, np.array([1.0, 0.0, 1.0]))  # type: ignore[arg-type]
    assert (changed.max(axis=2) == changed.min(axis=2)).all()


def test_summary_against_numpy() -> None:
    rows = [
        {"variant": name, "seed": seed, "mAP50-95": str(value)}
        for name, values in {"fast": (0.2, 0.3, 0.25), "slow": (0.22, 0.28, 0.31)}.items()
        for seed, value in enumerate(values)
    ]
    fast, slow = summary(rows)
    assert (fast["variant"], fast["seeds"], fast["minus fast"]) == ("fast", 3, 0.0)
    assert slow["mean mAP50-95"] == pytest.approx(0.27)
    assert slow["standard deviation"] == pytest.approx(np.std([0.22, 0.28, 0.31], ddof=1))
    assert slow["minus fast"] == pytest.approx(0.02)
