"""What follows the network in an evaluation, in a thread beside what comes next."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from mgil.engine.memory_errors import memory_errors
from mgil.tasks.base import Judge

if TYPE_CHECKING:
    from mgil.datasets.batches.batch import EvalBatch


def has_idle_core() -> bool:
    """Whether PyTorch's threads leave a core of this process idle.

    Where they do not, other work beside the network makes its threads wait for each other.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return torch.get_num_threads() < cores


def one_core_thread() -> ThreadPoolExecutor:
    """A thread in which PyTorch computes with one core.

    With more it would bring an OpenMP team of its own. Then there are more of PyTorch's threads than cores, so those of
    the network sleep at every barrier instead of spinning, and its forward pass takes up to half as long again.
    """
    return ThreadPoolExecutor(1, thread_name_prefix="judge", initializer=_use_one_core)


def _use_one_core() -> None:
    of_others = torch.get_num_threads()  # asking sets the thread up, which would undo the next line later
    torch.set_num_threads(1)  # of this thread and of all to come
    restoring = Thread(target=torch.set_num_threads, args=(of_others,))  # of those to come
    restoring.start()
    restoring.join()


class Finisher:
    """Has a judge finish and add up batches, one by one in their order.

    On a CPU a thread does it, while the next batch is decoded, and where a core is idle beside the network too. On a
    GPU it is done at once: there the network and suppression wait for one queue.

    Args:
        judge: Its `finish` and `add` are called.
        device: Where predictions are.
        at_once: Without a thread on a CPU too.

    Attributes:
        seconds: Spent in `judge.finish` so far.
    """

    def __init__(self, judge: Judge, device: torch.device, at_once: bool = False) -> None:
        self.judge = judge
        self.device = device
        self.seconds = 0.0
        beside = device.type == "cpu" and not at_once
        self.keeps_pace = beside and has_idle_core()  # beside the network
        self._executor = one_core_thread() if beside else None
        self._under_way: Future[None] | None = None

    def before_network(self) -> None:
        """Wait for what would disturb the network; raises what the last batch's judging raised."""
        if not self.keeps_pace:
            self.wait()

    def take(self, batch: EvalBatch, predictions: Any, where: str) -> None:
        """Begin with a batch, when the one before it is done; `where` is its name in errors."""
        self.wait()
        if self._executor is None:
            self._finish(batch, predictions, where)
        else:
            self._under_way = self._executor.submit(self._finish, batch, predictions, where)

    def wait(self) -> None:
        """Until all batches are counted; raises what the last one's judging raised."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    @torch.no_grad()  # which each thread must say for itself
    def _finish(self, batch: EvalBatch, predictions: Any, where: str) -> None:
        with memory_errors(where, batch.images.shape):
            started = now(self.device)
            found = self.judge.finish(predictions)
            self.seconds += now(self.device) - started
        self.judge.add(batch, found)

    def __enter__(self) -> Finisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)


def now(device: torch.device) -> float:
    """Seconds on a clock, when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
