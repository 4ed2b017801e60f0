"""The training loop."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from data.batch import TrainBatch
from data.loader import TrainLoader
from engine.distributed import mean_over_processes, world_size
from engine.ema import ModelEma
from engine.precision import Precision
from engine.schedule import Schedule
from models import DetectionModel
from models.loss import DetectionLoss

MOST_GRADIENT = 10.0  # norm that gradients are clipped to
SIZE_STREAM = 7  # separates the random sizes of --multi-scale from other draws of the seed


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: The next epoch to train, from 0.
        best_fitness: Highest fitness so far; -1 before the first validation.
        best_epoch: The epoch that reached it.
    """

    epoch: int = 0
    best_fitness: float = -1.0
    best_epoch: int = 0

    def record(self, fitness: float) -> bool:
        """Note an epoch's fitness; whether it is the best so far."""
        if fitness > self.best_fitness or math.isnan(self.best_fitness):
            self.best_fitness, self.best_epoch = fitness, self.epoch
            return True
        return False


@dataclass(frozen=True)
class EpochLosses:
    """Mean loss terms of an epoch over all processes, and what the epoch took."""

    box: float
    obj: float
    cls: float
    rates: list[float] = field(default_factory=list)
    seconds: float = 0.0


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
    """

    # The layout that tensor cores want; on one CPU thread a step of yolov5n-mgil at 64 px took 0.76 of the time in it
    # (yolov5n 0.89 at 64 px, 1.00 at 160 px).
    memory_format = torch.channels_last

    def __init__(
        self,
        model: DetectionModel,
        loader: TrainLoader,
        loss: DetectionLoss,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        precision: Precision,
        *,
        seed: int = 0,
        multi_scale: bool = False,
        compiled: bool = False,
        frozen: tuple[nn.Module, ...] = (),
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
        forward = self.parallel or model
        self.forward = torch.compile(forward) if compiled else forward

    def train_epoch(self, epoch: int, title: str | None = None) -> EpochLosses:
        """Train one epoch.

        Args:
            epoch: Its number, from 0.
            title: Start of the progress bar's line; None shows no bar.

        Raises:
            FloatingPointError: The loss is not a number any more.
        """
        started = time.perf_counter()
        self.model.train()
        for module in self.frozen:
            module.eval()
        total = torch.zeros(3, device=self.device)
        pending = 0
        self.optimizer.zero_grad(set_to_none=True)
        # disable=None: no bar where the output is not a terminal
        disable = True if title is None else None
        bar = tqdm(self.loader.epoch(epoch), total=len(self.loader), disable=disable, leave=False)
        for index, batch in enumerate(bar):
            accumulate = self.schedule.set(epoch, index)
            pending += 1
            steps = pending >= accumulate or index == len(self.loader) - 1
            total += self._backward(batch, epoch, index, steps)
            if steps:
                self._step()
                pending = 0
            if not bar.disable and index % 20 == 0:  # reading the losses waits for the device: not at every step
                bar.set_description(f"{title} {_terms(total / (index + 1))}")
        mean = mean_over_processes(total / max(len(self.loader), 1)).tolist()
        if not all(map(math.isfinite, mean)):
            raise FloatingPointError(f"epoch {epoch}: the loss is {mean}; lower lr0, or train with --amp off")
        box, obj, cls = mean
        return EpochLosses(box, obj, cls, rates=self.schedule.rates(), seconds=time.perf_counter() - started)

    def _backward(self, batch: TrainBatch, epoch: int, index: int, steps: bool) -> torch.Tensor:
        """Add a batch's gradients; its loss terms stay on the device, so that nothing waits for it."""
        images = batch.images.to(self.device, non_blocking=True)
        targets = batch.targets.to(self.device, non_blocking=True)
        images = images.float().div_(255).contiguous(memory_format=self.memory_format)
        if self.multi_scale:
            images, targets = self._resize(images, targets, epoch, index)
        # gradients are averaged over processes when a step is due, not before
        with self.parallel.no_sync() if self.parallel and not steps else nullcontext():
            with self.precision.autocast():
                raws = self.forward(images)
            loss, terms = self.loss(raws, targets)
            self.precision.scaler.scale(loss * world_size()).backward()  # DDP takes the mean, YOLOv5's loss is a sum
        return terms

    def _step(self) -> None:
        scaler = self.precision.scaler
        scaler.unscale_(self.optimizer)
        self._clip()
        scaler.step(self.optimizer)
        scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update()

    def _clip(self) -> None:
        """Bring the gradients' norm down to `MOST_GRADIENT`."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        # On the CPU a look at the norm saves the multiplication by one; on a GPU it would wait for the device.
        if self.device.type != "cpu" or not norm <= MOST_GRADIENT:
            nn.utils.clip_grads_with_norm_(self.parameters, MOST_GRADIENT, norm)

    def _resize(
        self, images: torch.Tensor, targets: torch.Tensor, epoch: int, index: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Bring a batch to a random multiple of the stride within +/- 50 % of its size."""
        stride = int(self.model.stride.max())
        size = images.shape[-1]
        low, high = max(round(size * 0.5 / stride), 1), max(round(size * 1.5 / stride), 1)
        random = np.random.default_rng([self.seed, SIZE_STREAM, epoch, index])
        wanted = int(random.integers(low, high + 1)) * stride
        factor = wanted / size
        if factor == 1:
            return images, targets
        # antialias: a plain bilinear step below one half would skip pixels, the very thing low resolution cannot spare
        images = F.interpolate(images, size=(wanted, wanted), mode="bilinear", antialias=factor < 1)
        scale = targets.new_tensor([1, 1, factor, factor, factor, factor])
        return images, targets * scale

    def state(self) -> dict[str, Any]:
        """What resuming needs beside the averaged weights: tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "ema_updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any], averaged: dict[str, torch.Tensor]) -> None:
        """Take up a state of `state` and the averaged weights saved with it."""
        self.model.load_state_dict(state["model"])
        self.ema.model.load_state_dict(averaged)
        self.ema.updates = state["ema_updates"]
        fused = [group["fused"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self.optimizer.param_groups, fused, strict=True):
            group["fused"] = own  # this device's way to step, not the saved run's
        self.precision.scaler.load_state_dict(state["scaler"])


def _terms(mean: torch.Tensor) -> str:
    box, obj, cls = mean.tolist()
    return f"box {box:.4f}  obj {obj:.4f}  cls {cls:.4f}"
