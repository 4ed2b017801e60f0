"""Classification's recipes: the shipped ones, the published values, and values that cannot be."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch import nn

from mgil.engine.training.schedule import Schedule, build_optimizer
from mgil.files.recipe import FOLDER, load_recipe
from mgil.tasks.classify.recipe import FINETUNE, SMALL, ClassRecipe

SHIPPED = (SMALL, FINETUNE, "hyp.cifar.yaml", "hyp.tinyimagenet.yaml", "hyp.yolov5-cls.yaml")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_loads(name: str) -> None:
    recipe = load_recipe(ClassRecipe, name)
    content = yaml.safe_load((FOLDER / name).read_text())
    assert {key: value for key, value in recipe.as_dict().items() if key in content} == content
    assert recipe.colours().mosaic == 0 and recipe.flipud == 0
    assert load_recipe(ClassRecipe, yaml.safe_load(yaml.safe_dump(recipe.as_dict()))) == recipe


def rates_of(recipe: ClassRecipe, epochs: int, batch_size: int) -> tuple[torch.optim.Optimizer, list[float]]:
    """The optimizer, and its rate of the weights at the end of each epoch of 200 batches."""
    optimizer = build_optimizer(nn.Linear(2, 2), recipe.optimizer, recipe, recipe.weight_decay)
    schedule = Schedule(optimizer, recipe, epochs, 200, batch_size)
    rates = []
    for epoch in range(epochs):
        assert schedule.set(epoch, 199) == 1
        rates.append(schedule.rates()[1])
    return optimizer, rates


@pytest.mark.parametrize(
    ("name", "epochs", "batch", "rate", "momentum", "decay", "drops"),
    [
        ("tinyimagenet", 200, 256, 0.01793, 0.9447, 0.002113, None),
        ("cifar", 200, 128, 0.1, 0.9, 5e-4, None),
        ("cifar", 500, 128, 0.1, 0.9, 5e-4, [0.12, 0.24, 0.32]),
    ],
)
def test_the_published_rates_of_spd_conv(
    name: str, epochs: int, batch: int, rate: float, momentum: float, decay: float, drops: list[float] | None
) -> None:
    recipe = load_recipe(ClassRecipe, name, {"lr_drops": drops} if drops else None)
    optimizer, rates = rates_of(recipe, epochs, batch)
    assert isinstance(optimizer, torch.optim.SGD) and recipe.weight_decay == decay
    assert optimizer.param_groups[1]["momentum"] == momentum
    expected = [rate] * 60 + [rate * 0.2] * 60 + [rate * 0.04] * 40 + [rate * 0.008] * (epochs - 160)
    assert rates[1:] == pytest.approx(expected[1:])  # the first is the warm-up's
    assert (recipe.pad, recipe.scale_min, recipe.fliplr) == (4, 1, 0.5)


def test_the_values_of_yolov5() -> None:
    recipe = load_recipe(ClassRecipe, "yolov5-cls")
    optimizer, rates = rates_of(recipe, 10, 64)
    assert isinstance(optimizer, torch.optim.Adam) and (recipe.weight_decay, recipe.smoothing) == (5e-5, 0.1)
    assert rates == pytest.approx([0.001 * ((1 - epoch / 10) * 0.99 + 0.01) for epoch in range(10)])


def test_what_a_search_tries() -> None:
    spans = load_recipe(ClassRecipe, {"flipud": 0.0, "mixup": 0.2, "scale_min": 0.5}).spans()
    assert "flipud" not in spans  # what is 0 stays 0
    assert spans["mixup"] == pytest.approx((0.2 / 3, 0.5)) and spans["scale_min"] == pytest.approx((0.5 / 3, 1.0))
    for low, high in ClassRecipe.searched.values():
        assert low < high


@pytest.mark.parametrize(
    ("values", "named"),
    [({"mixup": 0.6, "cutmix": 0.6}, "mixup and cutmix"), ({"cutmix_alpha": 0}, "cutmix_alpha"),
     ({"mixup_alpha": 1e9}, "mixup_alpha"), ({"scale_min": 0}, "scale_min"), ({"scale_min": 1.2}, "scale_min"),
     ({"ratio": 0.75}, "ratio"), ({"pad": 2.5, "scale_min": 1}, "pad"), ({"pad": 4}, "pad.*scale_min: 1"),
     ({"degrees": 200}, "degrees"), ({"dropout": 1.0}, "dropout"), ({"smoothing": 1.0}, "smoothing"),
     ({"mosaic": 1.0}, "mosaic"), ({"fliplr": "yes"}, "fliplr"), ({"lr_drop": 2}, "lr_drop")],
)  # fmt: skip
def test_impossible_values(values: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        load_recipe(ClassRecipe, values)
