"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from mgil.datasets.batches.batch import TrainBatch
from mgil.datasets.batches.loader import TrainLoader
from mgil.engine.distributed import from_all, mean_over_processes, world_size
from mgil.engine.memory_errors import memory_errors
from mgil.engine.training.ema import ModelEma
from mgil.engine.training.precision import Precision
from mgil.engine.training.schedule import Schedule
from mgil.engine.training.step_guard import StepGuard
from mgil.networks.network import Network
from mgil.tasks.base import Loss

MOST_GRADIENT = 10.0  # norm that gradients are clipped to
SHOW_EVERY_S = 0.5  # of the losses in the progress bar; reading them waits for the device
SIZE_STREAM = 7  # separates the random sizes of --multi-scale from other draws of the seed


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
        multi_scale: Resize every batch to a random size within +/- 50 %.
        compiled: Run the forward pass through torch.compile.
        frozen: Modules that stay in evaluation mode, so that their BatchNorm statistics rest too.
        report: Gets a line for people about every step that is left out.
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
        report: Callable[[str], None] = print,
    ) -> None:
        self.model = model
        self.loader = loader
        self.loss = loss
        self.optimizer = optimizer
        self.schedule = schedule
        self.precision = precision
        self.seed = seed
        self.multi_scale = multi_scale
        self.frozen = frozen
        self.device = next(model.parameters()).device
        model.to(memory_format=self.memory_format)  # before DistributedDataParallel lays out its gradients
        self.ema = ModelEma(model)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        gpu = [self.device.index] if self.device.type == "cuda" else None
        self.parallel = DistributedDataParallel(model, device_ids=gpu) if world_size() > 1 else None
        start_momentum(optimizer)
        self.guard = StepGuard(model, self.device.type == "cuda", report, loader.files_in)
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
        self.optimizer.zero_grad(set_to_none=True)
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
        self._share_left_out()
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

    def _share_left_out(self) -> None:
        """Leave out in every process what one could not read: the main one tells it, and all count it."""
        left_out = self.loader.left_out
        for image, problem in chain.from_iterable(from_all(left_out.take_new())):
            left_out.add(image, problem)
        left_out.take_new()  # known to all

    def _backward(self, batch: TrainBatch, epoch: int, index: int, steps: bool) -> torch.Tensor:
        """Add a batch's gradients; its loss terms and a 1 (zeros where they are no numbers) stay on the device."""
        images = batch.images.to(self.device, non_blocking=True)
        targets = batch.targets.to(self.device, non_blocking=True)
        images = images.float().div_(255).contiguous(memory_format=self.memory_format)
        if self.multi_scale:
            images, targets = self._resize(images, targets, epoch, index)
        # gradients are averaged over processes when a step is due, not before
        with self.parallel.no_sync() if self.parallel and not steps else nullcontext():
            with self.precision.autocast():
                outputs = self.forward(images)
            loss, terms = self.loss(outputs, targets)
            self.precision.scaler.scale(loss * world_size()).backward()  # DDP takes the mean, the loss is a sum
        good = self.guard.watch(epoch, index, loss)
        return torch.where(good, torch.cat((terms, terms.new_ones(1))), 0)

    def _step(self, last: bool) -> None:
        """Bring the gradients into the weights and these into their average; a step at fault leaves no trace."""
        self.precision.scaler.unscale_(self.optimizer)
        norm = self._clip()
        fault = self.guard.judge(norm, self.precision)
        self._optimize(norm, fault)
        self.guard.settle(fault)
        if self.guard.lazy:
            self.ema.update(unless=fault)
        elif not fault:
            self.ema.update()
        self.precision.update(fault)
        self.optimizer.zero_grad(set_to_none=True)
        self.guard.read(self.schedule.rates(), last)

    def _optimize(self, norm: torch.Tensor, fault: torch.Tensor) -> None:
        """Step the optimizer, unless the step is at fault or its gradients overflowed."""
        if self.guard.lazy:  # the fused optimizers leave the step out themselves, on the device
            self.optimizer.found_inf = (fault | ~norm.isfinite()).float()  # type: ignore[attr-defined]
            self.optimizer.step()
            del self.optimizer.found_inf  # type: ignore[attr-defined]
        elif not fault:
            self.precision.scaler.step(self.optimizer)

    def _clip(self) -> torch.Tensor:
        """Bring the gradients' norm down to `MOST_GRADIENT`; the norm before."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        # On the CPU a look at the norm saves the multiplication by one; on a GPU it would wait for the device.
        if self.device.type != "cpu" or not norm <= MOST_GRADIENT:
            nn.utils.clip_grads_with_norm_(self.parameters, MOST_GRADIENT, norm)
        return norm

    def _resize(
        self, images: torch.Tensor, targets: torch.Tensor, epoch: int, index: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Bring a batch to a random multiple of the stride within +/- 50 % of its size."""
        stride = self.model.max_stride
        size = images.shape[-1]
        low, high = max(round(size * 0.5 / stride), 1), max(round(size * 1.5 / stride), 1)
        random = np.random.default_rng([self.seed, SIZE_STREAM, epoch, index])
        wanted = int(random.integers(low, high + 1)) * stride
        factor = wanted / size
        if factor == 1:
            return images, targets
        # antialias: a plain bilinear step below one half would skip pixels, the very thing low resolution cannot spare
        images = F.interpolate(images, size=(wanted, wanted), mode="bilinear", antialias=factor < 1)
        return images, self.loader.composer.rescaled(targets, factor)

    def state(self) -> dict[str, Any]:
        """What resuming needs beside the averaged weights: tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "ema_updates": self.ema.updates,
            "bad_steps": self.guard.in_a_row,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any], averaged: dict[str, torch.Tensor]) -> None:
        """Take up a state of `state` and the averaged weights saved with it."""
        self.model.load_state_dict(state["model"])
        self.ema.model.load_state_dict(averaged)
        self.ema.updates = state["ema_updates"]
        self.guard.in_a_row = state.get("bad_steps", 0)
        fused = [group["fused"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self.optimizer.param_groups, fused, strict=True):
            group["fused"] = own  # this device's way to step, not the saved run's
        if state["scaler"]:  # empty where the run did not need one: on another device or with another --amp auto
            self.precision.scaler.load_state_dict(state["scaler"])


def start_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give SGD the momentum buffers of zeros that its first step amounts to.

    The fused SGD makes them in its first step, of whatever lies in memory, and fills them in only if that step is not
    left out. With float16 it usually is: the scaler starts too high.
    """
    for group in optimizer.param_groups if isinstance(optimizer, torch.optim.SGD) else ():
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _means(names: Sequence[str], total: torch.Tensor) -> EpochLosses:
    """Means of loss terms, from their sums and the number of batches."""
    return EpochLosses(dict(zip(names, (total[:-1] / total[-1]).tolist(), strict=True)))
