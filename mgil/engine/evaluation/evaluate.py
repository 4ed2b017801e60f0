"""The evaluation loop: batches through a network, its stages clocked, the task's judge beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from mgil.engine.evaluation.finisher import Finisher, now
from mgil.engine.memory_errors import memory_errors
from mgil.networks.precision import autocast
from mgil.tasks.base import Judge, Loss, Scores

if TYPE_CHECKING:
    from mgil.datasets.batches.batch import EvalBatch


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, and what it took."""

    scores: Scores
    losses: tuple[float, ...]  # the loss's terms, mean over images; empty when no loss was asked for
    speeds_ms: tuple[float, float, float]  # pre-process, inference, and the task's last stage, per image
    size_hw: tuple[int, int]  # largest network input seen

    def speed_line(self, batch_size: int, last_stage: str) -> str:
        """YOLOv5's line of times."""
        pre, inference, last = self.speeds_ms
        shape = (batch_size, 3, *self.size_hw)
        return (
            f"Speed: {pre:.1f} ms pre-process, {inference:.1f} ms inference, {last:.1f} ms {last_stage} per image "
            f"at shape {shape}"
        )


@torch.no_grad()
def evaluate(
    model: torch.nn.Module,
    loader: Iterable[EvalBatch],
    judge: Judge,
    *,
    device: torch.device | None = None,
    loss: Loss | None = None,
    progress: bool = False,
    alone: bool = False,
) -> Evaluation:
    """Run `model` over a split and score it.

    On a CPU the judge works in a thread, one batch behind, see `Finisher`.

    Args:
        model: Maps (B, 3, H, W) float 0..1 to the task's predictions; set to evaluation mode for the run and put back.
            A `Network` computes in the number type of its `amp`.
        loader: Batches of the split; the images that its `unreadable` names, if it has that, do not count.
        judge: Of this model on this split.
        device: Where the model is; by default that of its parameters.
        loss: Validation loss, computed from the same forward pass where the model gives what it takes.
        progress: Show a progress bar.
        alone: One stage after the other, for times that are those of each stage alone.

    Raises:
        ValueError: A batch that the GPU cannot hold.
    """
    device = device or next((p.device for p in model.parameters()), torch.device("cpu"))
    clock = _Clock(device, getattr(model, "amp", "off"), loss)
    was_training = model.training
    model.eval()
    try:
        with Finisher(judge, device, at_once=alone) as finisher:
            for number, batch in enumerate(tqdm(loader, desc="val", disable=None if progress else True, leave=False)):
                where = f"validation batch {number + 1}"
                finisher.before_network()
                with memory_errors(where, batch.images.shape):
                    predictions = clock.step(batch, judge)
                finisher.take(batch, predictions, where)
            finisher.wait()
    finally:
        model.train(was_training)
    speeds_ms = clock.speeds_ms(finisher.seconds)
    return Evaluation(
        judge.scores(tuple(getattr(loader, "unreadable", ()))), clock.mean_losses(), speeds_ms, clock.size_hw
    )


class _Clock:
    """The stages of one batch up to its predictions, their times, and the running loss."""

    def __init__(self, device: torch.device, amp: str, loss: Loss | None) -> None:
        self.device, self.amp, self.loss = device, amp, loss
        self.images = 0
        self.losses = torch.zeros(len(loss.terms) if loss else 0, device=device)
        self.memory = torch.zeros(0, device=device)
        self.seconds = [0.0, 0.0]
        self.size_hw = (0, 0)

    def step(self, batch: EvalBatch, judge: Judge) -> Any:
        """Pre-process one batch and predict."""
        started = now(self.device)
        images = self._scaled(batch.images.to(self.device, non_blocking=True))
        scaled = now(self.device)
        with autocast(self.device, self.amp):  # for what a judge asks of the network beside its call
            predictions, outputs = judge.forward(images, self.loss is not None)
        self.seconds[0] += scaled - started
        self.seconds[1] += now(self.device) - scaled
        if self.loss is not None and outputs is not None:
            self.losses += self.loss(outputs, batch.targets.to(self.device))[1].detach() * len(images)
        self.images += len(images)
        self.size_hw = (max(self.size_hw[0], images.shape[2]), max(self.size_hw[1], images.shape[3]))
        return predictions

    def _scaled(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 -> float 0..1, in the same memory for every batch: fresh pages cost more than the arithmetic."""
        if len(self.memory) < images.numel():
            self.memory = torch.empty(images.numel(), device=self.device)
        memory = self.memory[: images.numel()]
        batch, channels, height, width = images.shape
        if self.amp == "off":
            scaled = memory.view(images.shape)
        else:  # channels last, see `Network.computing_in`
            scaled = memory.view(batch, height, width, channels).permute(0, 3, 1, 2)
        return scaled.copy_(images).div_(255)

    def mean_losses(self) -> tuple[float, ...]:
        return tuple((self.losses / max(self.images, 1)).tolist())

    def speeds_ms(self, last_seconds: float) -> tuple[float, float, float]:
        pre, inference, last = (1000 * seconds / max(self.images, 1) for seconds in (*self.seconds, last_seconds))
        return pre, inference, last
