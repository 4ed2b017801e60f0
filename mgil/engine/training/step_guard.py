"""Steps whose loss, gradients or weights are NaN or Inf: found before they are applied, undone, named and counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mgil.engine.distributed import any_process, from_all
from mgil.engine.training.precision import Precision
from mgil.files.text import Report, printable

# A run goes on after a faulty step. It ends after so many in a row, also of several epochs, or when more than this
# share of an epoch's steps are faulty, if there are at least so many.
MOST_FAULTS_IN_A_ROW = 10
MOST_FAULTS_SHARE = 0.5
READ_EVERY = 20  # steps between two looks at what a GPU found, each of which waits for it
NAMED_FILES = 64  # a message names at most so many


@dataclass(frozen=True)
class Record:
    """What one step computed, still on the device.

    Attributes:
        places: Epoch and index of its batches.
        losses: (batches,) their losses.
        statistics: Sum of the BatchNorm statistics after their forward passes.
        norm: Norm of the gradients, the same in all processes.
        fault: Whether the step was skipped, the same in all processes.
    """

    places: tuple[tuple[int, int], ...]
    losses: Tensor
    statistics: Tensor
    norm: Tensor
    fault: Tensor


class StepGuard:
    """Judges steps. A step is one unit: with accumulated gradients, one faulty batch spoils the others beside it.

    The forward pass itself changes BatchNorm's statistics, so their values before the step are kept. On a GPU all
    decisions stay there and are read every `READ_EVERY` steps; elsewhere each is read at once, which costs nothing.

    Args:
        model: In training; its frozen modules in evaluation mode.
        lazy: Leave the decisions on the device.
        report: Gets a line per faulty batch.
        files: Paths of the images in a batch, by epoch and index.
    """

    def __init__(
        self,
        model: nn.Module,
        lazy: bool,
        report: Report,
        files: Callable[[int, int], Sequence[str]],
    ) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.lazy = lazy
        self.report = report
        self.files = files
        self.in_a_row = 0
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Look up what forward passes will change, and start counting."""
        norms = [
            module
            for module in self.model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training and module.track_running_stats
        ]
        statistics = [value for norm in norms for value in (norm.running_mean, norm.running_var)]
        self.statistics = [value.view(-1) for value in statistics if value is not None]
        self.counters = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
        self.good = self.now = self._present()
        self.places: list[tuple[int, int]] = []
        self.losses: list[Tensor] = []
        self.unread: list[Record] = []
        self.steps = self.faults = 0

    def watch(self, epoch: int, index: int, loss: Tensor) -> Tensor:
        """Note a batch's loss; whether it is finite."""
        self.places.append((epoch, index))
        self.losses.append(loss.detach())
        return ~not_finite(self.losses[-1])

    def judge(self, norm: Tensor, precision: Precision) -> Tensor:
        """Whether the step is at fault, () bool on the device and the same in all processes.

        Gradients that overflow float16 are no fault: the scaler skips that step itself and scales less.
        """
        self.now = self._present()
        losses, statistics = torch.stack(self.losses), self.now.sum()
        gradients = norm
        if precision.scaler.is_enabled():  # unless it is not the scale that is too large
            gradients = torch.where(precision.scaler.scale(torch.ones_like(norm)) < 1, norm, 0)
        fault = any_process(not_finite(losses.sum() + statistics + gradients))
        self.unread.append(Record(tuple(self.places), losses, statistics, norm, fault))
        self.places, self.losses = [], []
        return fault

    def finish(self, fault: Tensor) -> None:
        """Accept what the forward passes changed, or bring back what was before."""
        if self.statistics and (self.lazy or fault):
            self.now = torch.where(fault, self.good, self.now)
            torch._foreach_copy_(self.statistics, list(self.now.split([len(part) for part in self.statistics])))
            torch._foreach_add_(self.counters, fault * -len(self.unread[-1].places))  # each pass adds one
        self.good = self.now

    def _present(self) -> Tensor:
        """The statistics in a row, which takes one call for all."""
        return torch.cat(self.statistics) if self.statistics else torch.zeros((), device=self.device)

    def read(self, rates: Sequence[float], last: bool) -> None:
        """Count and report the faults since the last look, if it is time for one.

        Args:
            rates: Learning rates, for the message.
            last: The epoch is over.

        Raises:
            FloatingPointError: Too many; all processes raise it together.
        """
        if self.lazy and not last and len(self.unread) < READ_EVERY:
            return
        records, self.unread = self.unread, []
        faults = torch.stack([record.fault for record in records]).tolist()
        for fault, record in zip(faults, records, strict=True):
            self.steps += 1
            self.in_a_row = self.in_a_row + 1 if fault else 0
            if not fault:
                continue
            self.faults += 1
            self._report(record)
            if self.in_a_row >= MOST_FAULTS_IN_A_ROW:
                self._give_up(f"{self.in_a_row} steps in a row", record, rates)
        if last and self.steps >= MOST_FAULTS_IN_A_ROW and self.faults > MOST_FAULTS_SHARE * self.steps:
            self._give_up(f"{self.faults} of the epoch's {self.steps} steps", records[-1], rates)

    def _report(self, record: Record) -> None:
        """Name the batches that spoiled a step, of all processes: those at fault, or all where no one is."""
        losses, norm, statistics = record.losses.tolist(), record.norm.item(), record.statistics.item()
        whys = {
            place: f"the loss is {loss}"
            for place, loss in zip(record.places, losses, strict=True)
            if not math.isfinite(loss)
        }
        if not whys and not math.isfinite(statistics):
            whys = dict.fromkeys(record.places, f"BatchNorm statistics become {statistics}")
        shared = f"the gradients are {norm}"
        certain = from_all(self._lines(whys))
        for lines in certain if any(certain) else from_all(self._lines(dict.fromkeys(record.places, shared))):
            for line in lines:
                self.report(line)

    def _lines(self, whys: Mapping[tuple[int, int], str]) -> list[str]:
        return [
            f"epoch {epoch + 1}, batch {index + 1}: {why}; this step is skipped. Images: "
            + named(self.files(epoch, index))
            for (epoch, index), why in whys.items()
        ]

    def _give_up(self, what: str, record: Record, rates: Sequence[float]) -> None:
        epoch, index = record.places[-1]
        losses = ", ".join(f"{value:.4g}" for value in record.losses.tolist())
        raise FloatingPointError(
            f"epoch {epoch + 1}, batch {index + 1}: {what} gave NaN or Inf (loss {losses}) and were skipped; "
            f"lower lr0 (the rate is {max(rates):.3g} now), or train with --amp off"
        )


def not_finite(value: Tensor) -> Tensor:
    """Whether a () value is NaN or Inf; two operations, where torch.isfinite takes five."""
    return value * 0 != 0


def named(paths: Sequence[str]) -> str:
    """Files for one line of text; beyond `NAMED_FILES` their number."""
    text = ", ".join(map(printable, paths[:NAMED_FILES]))
    return text if len(paths) <= NAMED_FILES else f"{text} and {len(paths) - NAMED_FILES} more"
