"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from mgil.datasets.batches.batch import TrainBatch
from mgil.datasets.batches.loader import TrainLoader
from mgil.engine.distributed import from_all, mean_over_processes, world_size
from mgil.engine.memory_errors import memory_errors
from mgil.engine.training.multi_scale import MultiScale
from mgil.engine.training.precision import Precision
from mgil.engine.training.schedule import Schedule
from mgil.engine.training.step_guard import StepGuard
from mgil.engine.training.weight_step import WeightStep
from mgil.files.text import Report
from mgil.networks.network import Network
from mgil.networks.precision import as_float32
from mgil.tasks.abilities import TaughtLoss
from mgil.tasks.base import Loss

SHOW_EVERY_S = 0.5  # of the losses in the progress bar; reading them waits for the device


@dataclass(frozen=True)
class EpochLosses:
    """Means of an epoch's loss terms over all processes, by name, and what the epoch took."""

    terms: dict[str, float]
    rates: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        return "  ".join(f"{name} {value:.4f}" for name, value in self.terms.items())

    def columns(self) -> dict[str, float]:
        """The columns of results.csv."""
        losses = {f"train/{name}_loss": value for name, value in self.terms.items()}
        return losses | {f"x/lr{group}": rate for group, rate in enumerate(self.rates)}


def needs_contiguous(model: nn.Module, device: torch.device) -> bool:
    """Whether a network must not be trained in channels last.

    On CPUs the gradients of strided 1x1 layers of fewer than 8 channels, as RepVGG's first has them, overwrite foreign
    memory in it (PyTorch 2.14.1 with AVX2: the process dies, at once or later).
    """
    return device.type == "cpu" and any(
        isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.in_channels < 8
        for layer in model.modules()
    )


class Trainer:
    """Trains one model: batches in, updated weights and their average out.

    Args:
        model: On its device; trained in place.
        loader: Training batches.
        loss: The criterion.
        optimizer: Over the model's parameters.
        schedule: Sets the optimizer's rates.
        precision: Number type of the forward pass.
        seed: Of the sizes that `multi_scale` draws.
        multi_scale: Resize every batch to a random size of whole strides, see `MultiScale`.
        compiled: Run the forward pass through torch.compile.
        frozen: Modules that stay in evaluation mode, so that their BatchNorm statistics rest too.
        report: Gets a line for people about every step that is skipped.
    """

    # The layout that tensor cores want; on one CPU thread a step of yolov5n-mgil at 64 px took 0.76 of the time in it
    # (yolov5n 0.89 at 64 px, 1.00 at 160 px).
    memory_format = torch.channels_last

    def __init__(
        self,
        model: Network,
        loader: TrainLoader,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        precision: Precision,
        *,
        seed: int = 0,
        multi_scale: bool = False,
        compiled: bool = False,
        frozen: tuple[nn.Module, ...] = (),
        report: Report = print,
    ) -> None:
        self.model = model
        self.loader = loader
        self.loss = loss
        self.shown = loss.shown if isinstance(loss, TaughtLoss) else None
        self.optimizer = optimizer
        self.schedule = schedule
        self.precision = precision
        self.multi_scale = MultiScale(seed, model.max_stride, loader.composer.rescaled) if multi_scale else None
        self.frozen = frozen
        self.device = next(model.parameters()).device
        if needs_contiguous(model, self.device):
            self.memory_format = torch.contiguous_format
        model.to(memory_format=self.memory_format)  # before DistributedDataParallel lays out its gradients
        lazy = self.device.type == "cuda" and bool(optimizer.defaults.get("fused"))  # only these leave out steps there
        self.guard = StepGuard(model, lazy, report, loader.files_in)
        self.weight_step = WeightStep(model, optimizer, precision, self.guard)
        self.ema = self.weight_step.ema
        assert isinstance(self.ema.model, Network)
        self.ema.model.amp = precision.of_validation
        gpu = [self.device.index] if self.device.type == "cuda" else None
        self.parallel = DistributedDataParallel(model, device_ids=gpu) if world_size() > 1 else None
        forward = self.parallel or model
        self.forward = torch.compile(forward) if compiled else forward

    def train_epoch(self, epoch: int, title: str | None = None) -> EpochLosses:
        """Train one epoch.

        Args:
            epoch: Its number, from 0.
            title: Start of the progress bar's line; None shows no bar.

        Raises:
            FloatingPointError: Too many steps whose numbers are none (see `StepGuard`).
            ValueError: A batch that does not fit the GPU; a size that does is named. Or more than half of the images
                cannot be read.
        """
        started = time.perf_counter()
        self.model.train()
        for module in self.frozen:
            module.eval()
        self.guard.begin_epoch()
        names = self.loss.terms
        total = torch.zeros(len(names) + 1, device=self.device)  # of the terms, and number of batches that have a loss
        pending = 0
        self.weight_step.clear()
        # disable=None: no bar where the output is not a terminal
        disable = True if title is None else None
        shown = -math.inf
        bar = tqdm(self._batches(epoch), total=len(self.loader), disable=disable, leave=False)
        for index, batch in enumerate(bar):
            accumulate = self.schedule.set(epoch, index)
            pending += 1
            last = index == len(self.loader) - 1
            steps = pending >= accumulate or last
            with memory_errors(f"epoch {epoch + 1}, batch {index + 1}", batch.images.shape):
                total += self._backward(batch, epoch, index, steps)
                if steps:
                    self._step(last)
                    pending = 0
            if not bar.disable and (last or time.perf_counter() - shown >= SHOW_EVERY_S):
                bar.set_description(f"{title} {_means(names, total)}")
                shown = time.perf_counter()
        self._share_unreadable()
        means = _means(names, mean_over_processes(total))
        return replace(means, rates=self.schedule.rates(), seconds=time.perf_counter() - started)

    def _batches(self, epoch: int) -> Iterator[TrainBatch]:
        """An epoch's batches; a GPU augments them too, so that they may not fit before they are here."""
        batches = self.loader.epoch(epoch)
        shape = (self.loader.batch_size, 3, self.loader.size, self.loader.size)
        for index in range(len(self.loader)):
            with memory_errors(f"epoch {epoch + 1}, batch {index + 1}", shape):
                batch = next(batches)
            yield batch

    def _share_unreadable(self) -> None:
        """Skip in every process the images that one could not read: the main one tells them, and all count them."""
        unreadable = self.loader.unreadable
        for image, problem in chain.from_iterable(from_all(unreadable.take_new())):
            unreadable.add(image, problem)
        unreadable.take_new()  # known to all

    def _backward(self, batch: TrainBatch, epoch: int, index: int, steps: bool) -> torch.Tensor:
        """Add a batch's gradients; its loss terms and a 1 (zeros where they are NaN or Inf) stay on the device."""
        images = batch.images.to(self.device, non_blocking=True)
        targets = batch.targets.to(self.device, non_blocking=True)
        images = images.float().div_(255).contiguous(memory_format=self.memory_format)
        if self.shown:
            with self.precision.autocast():
                images, targets = self.shown(images, targets)
        if self.multi_scale:
            images, targets = self.multi_scale(images, targets, epoch, index)
        # gradients are averaged over processes when a step is due, not before
        with self.parallel.no_sync() if self.parallel and not steps else nullcontext():
            with self.precision.autocast():
                outputs = self.forward(images)
            loss, terms = self.loss(as_float32(outputs), targets)
            self.precision.scaler.scale(loss * world_size()).backward()  # DDP takes the mean, the loss is a sum
        good = self.guard.watch(epoch, index, loss)
        return torch.where(good, torch.cat((terms, terms.new_ones(1))), 0)

    def _step(self, last: bool) -> None:
        self.weight_step.take()
        self.guard.read(self.schedule.rates(), last)

    def state(self) -> dict[str, Any]:
        """What resuming needs beside the averaged weights: tensors and plain values."""
        return self.weight_step.state()

    def restore(self, state: dict[str, Any], averaged: dict[str, torch.Tensor]) -> None:
        """Take up a state of `state` and the averaged weights saved with it."""
        self.weight_step.restore(state, averaged)


def _means(names: Sequence[str], total: torch.Tensor) -> EpochLosses:
    """Means of loss terms, from their sums and the number of batches."""
    return EpochLosses(dict(zip(names, (total[:-1] / total[-1]).tolist(), strict=True)))
