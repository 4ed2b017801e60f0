"""Learning rates, warm-up, accumulation and parameter groups, in closed form."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import nn

from mgil.block.mgil import MGIL
from mgil.engine.training.schedule import BIASES, NORMS, WEIGHTS, Schedule, build_optimizer, scaled_weight_decay
from mgil.files.recipe import load_recipe
from mgil.networks.detector import build_model
from mgil.tasks.detect.recipe import DetectRecipe

EPOCHS = 10


class Mixed(nn.Module):
    """One of each kind of parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.group = nn.GroupNorm(2, 4)
        self.layer = nn.LayerNorm(4)
        self.linear = nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(2))


def names_by_group(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[set[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [{names[id(parameter)] for parameter in group["params"]} for group in optimizer.param_groups]


def make_schedule(
    hyp: DetectRecipe, batches: int, batch_size: int = 16, cosine: bool = False, name: str = "SGD"
) -> Schedule:
    optimizer = build_optimizer(Mixed(), name, hyp, 0.1)
    return Schedule(optimizer, hyp, EPOCHS, batches, batch_size, cosine)


def test_each_parameter_is_in_its_group() -> None:
    model = Mixed()
    groups = names_by_group(model, build_optimizer(model, "SGD", DetectRecipe(), 5e-4))
    assert groups[BIASES] == {f"{name}.bias" for name in ("conv", "norm", "group", "layer", "linear")}
    assert groups[WEIGHTS] == {"conv.weight", "linear.weight", "scale"}
    assert groups[NORMS] == {"norm.weight", "group.weight", "layer.weight"}


def test_only_weights_decay() -> None:
    optimizer = build_optimizer(Mixed(), "SGD", DetectRecipe(), 0.25)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.25, 0.0]


def test_an_mgil_block_is_in_the_groups_whole() -> None:
    block = MGIL(4, 8)
    groups = names_by_group(block, build_optimizer(block, "SGD", DetectRecipe(), 5e-4))
    assert sorted(name for group in groups for name in group) == sorted(dict(block.named_parameters()))
    gate = {name for name, _ in block.named_parameters() if ".conv.bias" in name or ".fc." in name}
    assert gate, "the adaptive fusion has a convolution with bias and a linear layer"
    assert {name for name in gate if name.endswith("bias")} <= groups[BIASES]
    assert {name for name in gate if name.endswith("weight")} <= groups[WEIGHTS]
    norms = {name for name, module in block.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert groups[NORMS] == {f"{name}.weight" for name in norms}


def test_the_groups_of_yolov5n() -> None:
    """57 convolutions with BatchNorm, and the head's three with bias."""
    model = build_model("yolov5n.yaml", num_classes=80)
    optimizer = build_optimizer(model, "SGD", DetectRecipe(), 5e-4)
    assert [len(group["params"]) for group in optimizer.param_groups] == [60, 60, 57]
    total = sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"])
    assert total == 1_872_157


def test_frozen_parameters_are_left_out() -> None:
    model = Mixed()
    model.conv.requires_grad_(False)
    groups = names_by_group(model, build_optimizer(model, "SGD", DetectRecipe(), 5e-4))
    assert not {"conv.weight", "conv.bias"} & set().union(*groups)


@pytest.mark.parametrize(("name", "kind"), [("SGD", torch.optim.SGD), ("Adam", torch.optim.Adam)])
def test_optimizers(name: str, kind: type) -> None:
    optimizer = build_optimizer(Mixed(), name, DetectRecipe(lr0=0.02, momentum=0.9), 5e-4)
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert group["lr"] == 0.02
    if name == "SGD":
        assert (group["momentum"], group["nesterov"]) == (0.9, True)
    else:
        assert group["betas"] == (0.9, 0.999)


def test_sgd_without_momentum_is_plain() -> None:
    """PyTorch has no Nesterov step without one."""
    group = build_optimizer(Mixed(), "SGD", DetectRecipe(momentum=0.0), 5e-4).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.0, False)


def test_adamw_decays_apart_from_the_gradient() -> None:
    """With zero gradients AdamW multiplies by 1 - lr * decay, and Adam takes a step of about lr."""
    moved = {}
    for name in ("Adam", "AdamW"):
        model = nn.Linear(1, 1)
        nn.init.ones_(model.weight)
        optimizer = build_optimizer(model, name, DetectRecipe(lr0=0.1), 0.5)
        model.weight.grad = torch.zeros(1, 1)
        optimizer.step()
        moved[name] = model.weight.item()
    assert moved["AdamW"] == pytest.approx(1 - 0.1 * 0.5)
    assert moved["Adam"] == pytest.approx(1 - 0.1, abs=1e-4)


def test_unknown_optimizer() -> None:
    with pytest.raises(ValueError, match="'Lion'.*SGD, Adam, AdamW"):
        build_optimizer(Mixed(), "Lion", DetectRecipe(), 0.0)


@pytest.mark.parametrize("epoch", [0, 1, 5, 9])
def test_linear_decay(epoch: int) -> None:
    schedule = make_schedule(DetectRecipe(lr0=0.1, lrf=0.2, warmup_epochs=0), batches=7)
    schedule.set(epoch, 3)
    assert schedule.rates() == pytest.approx([0.1 * (1 - 0.8 * epoch / EPOCHS)] * 3)


@pytest.mark.parametrize("epoch", [0, 1, 5, 9])
def test_cosine_decay(epoch: int) -> None:
    schedule = make_schedule(DetectRecipe(lr0=0.1, lrf=0.2, warmup_epochs=0), batches=7, cosine=True)
    schedule.set(epoch, 3)
    wanted = 0.1 * (0.2 + 0.8 * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2)
    assert schedule.rates() == pytest.approx([wanted] * 3)


@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (0, 30), (1, 0), (2, 49)])
def test_warm_up(epoch: int, batch: int) -> None:
    """3 epochs of 50 batches: straight lines over 150 iterations, towards the rate of the epoch."""
    hyp = DetectRecipe(lr0=0.01, lrf=0.1, warmup_epochs=3.0, warmup_bias_lr=0.1, warmup_momentum=0.8, momentum=0.937)
    schedule = make_schedule(hyp, batches=50)
    schedule.set(epoch, batch)
    done = (epoch * 50 + batch) / 150
    target = 0.01 * (1 - 0.9 * epoch / EPOCHS)
    bias, weights, norms = schedule.rates()
    assert bias == pytest.approx(0.1 + (target - 0.1) * done)
    assert weights == norms == pytest.approx(target * done)
    momenta = [group["momentum"] for group in schedule.optimizer.param_groups]
    assert momenta == pytest.approx([0.8 + 0.137 * done] * 3)


def test_warm_up_takes_a_hundred_iterations_at_least() -> None:
    schedule = make_schedule(DetectRecipe(lr0=0.01, lrf=1.0, warmup_epochs=2), batches=31)
    schedule.set(3, 6)  # iteration 99
    assert schedule.rates()[1] == pytest.approx(0.01 * 0.99)
    schedule.set(3, 7)
    assert schedule.rates() == pytest.approx([0.01] * 3)
    assert schedule.optimizer.param_groups[0]["momentum"] == 0.937


def test_warm_up_takes_a_third_of_a_short_run_at_most() -> None:
    """10 epochs of 3 batches: 10 iterations."""
    schedule = make_schedule(DetectRecipe(lr0=0.01, lrf=1.0), batches=3)
    schedule.set(1, 2)
    assert schedule.rates()[1] == pytest.approx(0.01 * 0.5)
    schedule.set(3, 1)
    assert schedule.rates() == pytest.approx([0.01] * 3)


def test_no_warm_up_when_the_recipe_has_none() -> None:
    schedule = make_schedule(DetectRecipe(lr0=0.01, warmup_epochs=0.0), batches=10)
    assert schedule.set(0, 0) == 4
    assert schedule.rates() == [0.01] * 3


def test_adam_has_rates_but_no_momentum_to_warm() -> None:
    schedule = make_schedule(DetectRecipe(lr0=0.01), batches=50, name="Adam")
    schedule.set(0, 75)
    assert schedule.rates() == pytest.approx([0.055, 0.005, 0.005])
    assert all(group["betas"] == (0.937, 0.999) for group in schedule.optimizer.param_groups)


@pytest.mark.parametrize(("batch_size", "wanted"), [(1, 64), (16, 4), (24, 3), (40, 2), (64, 1), (128, 1), (500, 1)])
def test_accumulation_reaches_the_nominal_batch(batch_size: int, wanted: int) -> None:
    assert make_schedule(DetectRecipe(warmup_epochs=0), batches=10, batch_size=batch_size).set(0, 0) == wanted


def test_accumulation_grows_during_warm_up() -> None:
    schedule = make_schedule(DetectRecipe(), batches=100, batch_size=16)
    steps = Counter(schedule.set(*divmod(iteration, 100)) for iteration in range(300))
    # round(1 + 3 * i / 300): 1 up to i = 50 (1.5 rounds to the even 2), 2 and 3 for a hundred each, 4 from there
    assert steps == {1: 50, 2: 101, 3: 99, 4: 50}
    assert schedule.set(3, 0) == 4


@pytest.mark.parametrize(
    ("batch_size", "factor"),
    [(64, 1.0), (16, 1.0), (128, 2.0), (40, 40 * 2 / 64), (24, 24 * 3 / 64)],
)
def test_weight_decay_is_for_the_images_of_a_step(batch_size: int, factor: float) -> None:
    assert scaled_weight_decay(DetectRecipe(weight_decay=5e-4), batch_size) == pytest.approx(5e-4 * factor)


@pytest.mark.parametrize(
    ("drops", "drop", "epochs", "expected"),
    [
        ([0.3, 0.6, 0.8], 0.2, 200, {0: 1, 59: 1, 60: 0.2, 119: 0.2, 120: 0.04, 159: 0.04, 160: 0.008, 199: 0.008}),
        ([0.3, 0.6, 0.8], 0.2, 10, {2: 1, 3: 0.2, 5: 0.2, 6: 0.04, 7: 0.04, 8: 0.008, 9: 0.008}),
        ([0.5], 0.1, 4, {1: 1, 2: 0.1}),
        ([], 0.5, 4, {0: 1, 3: 1}),
    ],
)
def test_drops_are_shares_of_the_run(drops: list[float], drop: float, epochs: int, expected: dict[int, float]) -> None:
    recipe = load_recipe(DetectRecipe, {"lrf": 1.0, "lr_drops": drops, "lr_drop": drop, "warmup_epochs": 0, "lr0": 0.5})
    schedule = Schedule(build_optimizer(Mixed(), "SGD", recipe, 0.0), recipe, epochs, 3, 64)
    for epoch, share in expected.items():  # a function of the epoch alone, so that a resumed run goes on with it
        schedule.set(epoch, 2)
        assert schedule.rates() == pytest.approx([0.5 * share] * 3)


def test_drops_of_earlier_checkpoints() -> None:
    recipe = load_recipe(DetectRecipe, {"first_drop": 0.25, "second_drop": 0.0})
    assert (recipe.lr_drops, recipe.lr_drop) == ((0.25,), 0.1)
    assert load_recipe(DetectRecipe, recipe.as_dict()) == recipe
    assert load_recipe(DetectRecipe, {"first_drop": 0.0, "second_drop": 0.0}) == DetectRecipe()


@pytest.mark.parametrize(
    ("first", "second", "drops"),
    [(0.9, 0.5, (0.5, 0.9)), (0.6, 0.6, (0.6,)), (1.0, 0.0, ()), (0.5, 1, (0.5,)), ("3e-1", 0.6, (0.3, 0.6))],
)
def test_drops_of_earlier_checkpoints_had_any_order(first: object, second: object, drops: tuple[float, ...]) -> None:
    assert load_recipe(DetectRecipe, {"first_drop": first, "second_drop": second}).lr_drops == drops


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"second_drop": 0.5, "lr_drops": [0.3]}, "^hyp: second_drop is what lr_drops were called before; leave one"),
        ({"first_drop": 1.5}, r"^hyp: hyp first_drop: 1\.5 is no share of the run"),
        ({"first_drop": True}, "^hyp: hyp first_drop: True is no share"),
        ({"second_drop": "late"}, "^hyp: hyp second_drop: 'late' is no share"),
    ],
)
def test_impossible_earlier_drops(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe(DetectRecipe, values)


@pytest.mark.parametrize("drops", [[60, 120], [0.6, 0.3], [0.5, 0.5], 0.5, [1], [True], ["x"], "0.5"])
def test_impossible_drops(drops: object) -> None:
    with pytest.raises(ValueError, match=r"lr_drops: .* shares of the run"):
        load_recipe(DetectRecipe, {"lr_drops": drops})


def test_rmsprop_follows_its_formula() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    recipe = DetectRecipe(lr0=0.1, momentum=0.9)
    optimizer = build_optimizer(model, "RMSProp", recipe, 0.0)
    Schedule(optimizer, recipe, 3, 500, 64).set(1, 0)  # sets rate and momentum
    rate, squares, buffer, weight = optimizer.param_groups[0]["lr"], 0.0, 0.0, 1.0
    for gradient in (0.5, -2.0):
        model.weight.grad = torch.tensor([[gradient]])
        optimizer.step()
        squares = 0.99 * squares + 0.01 * gradient**2
        buffer = optimizer.param_groups[1]["momentum"] * buffer + gradient / (squares**0.5 + 1e-8)
        weight -= rate * buffer
    assert model.weight.item() == pytest.approx(weight)
