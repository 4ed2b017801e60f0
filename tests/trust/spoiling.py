"""A trainer whose chosen batches come out as NaN or Inf."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mgil.datasets.batches.loader import TrainLoader
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples
from mgil.engine.training.precision import Precision
from mgil.engine.training.schedule import Schedule, build_optimizer
from mgil.engine.training.trainer import Trainer
from mgil.files.recipe import load_recipe
from mgil.networks.detector import build_model
from mgil.tasks.base import Loss
from mgil.tasks.detect.criterion import make_loss
from mgil.tasks.detect.recipe import DetectRecipe
from tests.engine.tiny import RECIPE, TINY, random_squares, same_tensors, write_squares, write_yaml
from tests.tasks.detect.judging import train_loader
from tests.tasks.toy.data import ToyComposer, read_split, write_colours
from tests.tasks.toy.network import ToyLoss, ToyNetwork, ToyRecipe

NAN, INF = float("nan"), float("inf")

FAULTS = {
    "loss": "the loss is nan",
    "activation": "the loss is nan",
    "gradient": "the gradients are (inf|nan)",
    "statistics": "BatchNorm statistics become inf",
}


def twelve_batches(folder: Path) -> Samples:
    """48 pictures: twelve batches of four."""
    write_squares(folder, "train", random_squares(48))
    data = write_yaml(folder / "d.yaml", {"train": "images/train", "val": "images/train", "names": list("rgb")})
    return load_samples(load_data_config(data), "train", report=lambda _: None)


def make_trainer(
    samples: Samples,
    lines: list[str],
    *,
    optimizer: str = "SGD",
    scale: float = 0.0,
    lazy: bool = False,
    device: str = "cpu",
    **hyp: Any,
) -> Trainer:
    """A trainer of the tiny model; `scale` starts the scaler of float16, `lazy` decides on the device as on a GPU."""
    torch.manual_seed(0)
    model = build_model(TINY, names=list("rgb"), imgsz=32).to(device)
    recipe = load_recipe(DetectRecipe, RECIPE | {"nbs": 4, "lr0": 0.001} | hyp)
    loader = train_loader(samples, 32, 4, recipe.augment(), device=device, report=lambda _: None)
    steps = build_optimizer(model, optimizer, recipe, 5e-4)
    precision = Precision("off", torch.device(device))
    if scale:
        precision.scaler = torch.amp.GradScaler(device, init_scale=scale)
    trainer = Trainer(
        model,
        loader,
        make_loss(model.head, recipe.loss_gains(32, 3)),
        steps,
        Schedule(steps, recipe, 10, len(loader), 4),
        precision,
        report=lines.append,
    )
    trainer.guard.lazy = lazy
    return trainer


def make_toy_trainer(folder: Path, lines: list[str], *, optimizer: str = "SGD", lazy: bool = False) -> Trainer:
    """A trainer of the toy with twelve batches of two pictures."""
    torch.manual_seed(0)
    split = read_split([str(write_colours(folder, 24))])
    recipe = ToyRecipe(nbs=2, lr0=0.001, warmup_epochs=0)
    model = ToyNetwork("toy", ["colour"], 32)
    loader = TrainLoader(ToyComposer(split, recipe, 32, 1.0), 2, report=lambda _: None)
    steps = build_optimizer(model, optimizer, recipe, 5e-4)
    schedule = Schedule(steps, recipe, 10, len(loader), 2)
    precision = Precision("off", torch.device("cpu"))
    trainer = Trainer(model, loader, ToyLoss(), steps, schedule, precision, report=lines.append)
    trainer.guard.lazy = lazy
    return trainer


def targets_of(model: Any) -> tuple[nn.Module, nn.Module, nn.Parameter]:
    """A network's layer, BatchNorm and weight to spoil."""
    if isinstance(model, ToyNetwork):
        return model.drop, model.stem[1], model.head.weight
    return model.model[1], model.model[0].bn, model.model[2].conv.weight


class SpoiltLoss:
    """A loss, its values multiplied by a factor."""

    def __init__(self, loss: Loss, factor: Callable[[], float]) -> None:
        self.loss, self.factor, self.terms = loss, factor, loss.terms

    def __call__(self, outputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
        total, terms = self.loss(outputs, targets)
        factor = self.factor()
        return total * factor, terms * factor


class Spoiler:
    """Spoils chosen batches of a trainer, and keeps its whole state as it is before each batch."""

    def __init__(self, trainer: Trainer, kind: str, *places: tuple[int, int]) -> None:
        self.trainer = trainer
        self.places = set(places)
        self.place = (-1, -1)
        self.states: dict[tuple[int, int], Any] = {}
        self.set_rates, trainer.schedule.set = trainer.schedule.set, self.begin  # type: ignore[method-assign]
        self.kind = kind
        first, norm, weight = targets_of(trainer.model)
        first.register_forward_pre_hook(lambda _, given: (given[0] * self.factor("activation", NAN),))
        norm.register_forward_hook(self.spoil_statistics)
        weight.register_hook(lambda gradient: gradient * self.factor("gradient", INF))
        trainer.loss = SpoiltLoss(trainer.loss, lambda: self.factor("loss", NAN))

    def factor(self, kind: str, value: float) -> float:
        return value if kind == self.kind and self.place in self.places else 1.0

    def spoil_statistics(self, layer: Any, *_: Any) -> None:
        layer.running_var.data.mul_(self.factor("statistics", INF))

    def begin(self, epoch: int, batch: int) -> int:
        self.place = (epoch, batch)
        self.states[self.place] = deepcopy((self.trainer.state(), self.trainer.ema.model.state_dict()))
        self.states[self.place][0].pop("bad_steps")
        return self.set_rates(epoch, batch)

    def same(self, first: int, second: int) -> bool:
        """Whether the state before two batches of epoch 0 is the same, rates aside, which each batch sets anew."""
        states = deepcopy([self.states[0, first], self.states[0, second]])
        for trainer, _ in states:
            for group in trainer["optimizer"]["param_groups"]:
                group.pop("lr")
            moments = trainer["optimizer"]["state"]  # that are made, of zeros, count as none
            trainer["optimizer"]["state"] = {
                key: value for key, value in moments.items() if any(map(torch.any, value.values()))
            }
        return same_tensors(*states)
