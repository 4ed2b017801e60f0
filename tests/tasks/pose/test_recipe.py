"""Pose's recipes: the shipped ones, the published values, and values that cannot be."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch import nn

from mgil.engine.training.schedule import Schedule, build_optimizer
from mgil.files.recipe import FOLDER, load_recipe
from mgil.tasks.pose.recipe import PoseRecipe

SHIPPED = sorted(path.name for path in FOLDER.glob("hyp.simcc-*.yaml")) + sorted(
    path.name for path in FOLDER.glob("hyp.pose-*.yaml")
)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_loads(name: str) -> None:
    recipe = load_recipe(PoseRecipe, name)
    content = yaml.safe_load((FOLDER / name).read_text())
    assert {key: value for key, value in recipe.as_dict().items() if key in content} == content
    assert recipe.colours().mosaic == 0


@pytest.mark.parametrize(
    ("name", "epochs", "drops"), [("simcc-hrnet", 210, (170, 200)), ("simcc-resnet", 140, (90, 120))]
)
def test_the_published_learning_rates(name: str, epochs: int, drops: tuple[int, int]) -> None:
    recipe = load_recipe(PoseRecipe, name)
    optimizer = build_optimizer(nn.Linear(2, 2), recipe.optimizer, recipe, recipe.weight_decay)
    assert isinstance(optimizer, torch.optim.Adam) and recipe.weight_decay == 0
    schedule = Schedule(optimizer, recipe, epochs, 10, 128)
    rates = []
    for epoch in range(epochs):
        assert schedule.set(epoch, 0) == 1
        rates.append(schedule.rates()[0])
    expected = [1e-3] * drops[0] + [1e-4] * (drops[1] - drops[0]) + [1e-5] * (epochs - drops[1])
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "named"),
    [({"rotated": 1.5}, "rotated"), ({"degrees": 200}, "degrees"), ({"sigma": 0}, "sigma"), ({"scale": 1.0}, "scale"),
     ({"mosaic": 1.0}, "mosaic"), ({"lr_drops": [90, 120]}, "lr_drops"), ({"smoothing": -0.1}, "smoothing")],
)  # fmt: skip
def test_impossible_values(values: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        load_recipe(PoseRecipe, values)
