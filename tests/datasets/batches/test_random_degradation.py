"""Training pictures of which some are made worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.degradation_steps import SPANS, Step
from mgil.datasets.batches.random_degradation import RandomDegradation
from mgil.files.recipe import DEGRADED, Recipe
from tests.datasets.scenes import write_split
from tests.tasks.detect.judging import train_loader

STRONG = RandomDegradation(0.6, blur=1.5, area=4.0, gamma=2.0, noise=12.0, jpeg=20.0)
KINDS = ["blur", "area", "gamma", "noise", "jpeg"]


def drawn(degradation: RandomDegradation, count: int = 4000) -> list[tuple[Step, ...]]:
    found = degradation.draw(np.random.default_rng(0), count)
    return [one.steps for one in found if one is not None]


def test_how_often_and_in_which_order() -> None:
    chains = drawn(STRONG)
    assert len(chains) / 4000 == pytest.approx(0.6 * (1 - 0.5**5), abs=0.02)
    for place, kind in enumerate(KINDS):
        with_it = [chain for chain in chains if kind in [step.kind for step in chain]]
        assert len(with_it) / 4000 == pytest.approx(0.3, abs=0.02), kind
        assert all([KINDS.index(step.kind) for step in chain] == sorted(KINDS.index(step.kind) for step in chain)
                   for chain in with_it), place  # fmt: skip


def test_strengths_fill_their_spans_evenly() -> None:
    strengths: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for chain in drawn(STRONG):
        for step in chain:
            strengths[step.kind].append(step.strength)
    spans = {"blur": (0, 1.5, 0.75), "area": (1, 4, 2), "gamma": (0.5, 2, 1), "noise": (0, 12, 6), "jpeg": (20, 95, 57)}
    for kind, (least, most, middle) in spans.items():
        values = np.array(strengths[kind])
        assert least <= values.min() and values.max() <= most
        assert np.median(values) == pytest.approx(middle, rel=0.08), kind
        assert values.min() < least + 0.05 * (most - least) and values.max() > most - 0.05 * (most - least)


@pytest.mark.parametrize("off", [{"blur": 0}, {"area": 1}, {"gamma": 1}, {"noise": 0}, {"jpeg": 100}])
def test_what_changes_nothing_is_not_taken(off: dict[str, Any]) -> None:
    chains = drawn(RandomDegradation(**{**vars(STRONG), **off}), 500)
    assert {step.kind for chain in chains for step in chain} == set(KINDS) - set(off)


def test_pictures_follow_from_the_key() -> None:
    images = torch.randint(0, 256, (16, 3, 24, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first = STRONG(images.clone(), (0, 1, 2, 0))
    assert torch.equal(first, STRONG(images.clone(), (0, 1, 2, 0)))
    assert not torch.equal(first, STRONG(images.clone(), (0, 1, 3, 0)))
    plan = STRONG.draw(np.random.default_rng([8, 0, 1, 2, 0]), 16)
    assert {one is None for one in plan} == {True, False}
    for image, found, one in zip(images, first, plan, strict=True):
        pixels = image.permute(1, 2, 0).numpy()
        assert np.array_equal(found.permute(1, 2, 0).numpy(), pixels if one is None else one(pixels))


def test_an_epoch_s_batch_is_the_one_that_is_made_alone(tmp_path: Path) -> None:
    samples = write_split(tmp_path, 13)
    loaders = [
        train_loader(samples, 32, 4, AugmentConfig(), report=lambda _line: None, degradation=degradation)
        for degradation in (STRONG, None)
    ]
    worse, plain = (list(loader.epoch(1)) for loader in loaders)
    differing = 0
    for index, (one, other) in enumerate(zip(worse, plain, strict=True)):
        assert torch.equal(one.images, loaders[0].batch(1, index).images)
        assert torch.equal(one.targets, other.targets)
        differing += sum(not torch.equal(*pair) for pair in zip(one.images, other.images, strict=True))
    assert 2 <= differing <= 11
    (from_the_middle, *_) = list(loaders[0].epoch(1, first_batch=2))
    assert torch.equal(from_the_middle.images, worse[2].images)


def test_recipes_hold_to_what_degradations_can_be() -> None:
    for name, (least, most) in DEGRADED.items():
        span = SPANS[name.removeprefix("degrade_")]
        assert most == span.most and least == (1 if span.nothing == 1 else span.least)
        Recipe(**{name: float(least)}), Recipe(**{name: float(most)})
        with pytest.raises(ValueError, match=f"hyp {name}: .* must be from {least} to {most}"):
            Recipe(**{name: most + 1.0})
    with pytest.raises(ValueError, match=r"hyp degrade: 1\.5 must be at most 1"):
        Recipe(degrade=1.5)
    with pytest.raises(ValueError, match=r"hyp degrade_area: 0\.5 must be from 1 to 64"):
        Recipe(degrade_area=0.5)


@pytest.mark.cuda
def test_on_a_gpu_as_on_the_cpu() -> None:
    images = torch.randint(0, 256, (16, 3, 24, 40), dtype=torch.uint8)
    assert torch.equal(STRONG(images.cuda(), (0, 1, 2, 0)).cpu(), STRONG(images, (0, 1, 2, 0)))
