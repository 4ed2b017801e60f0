"""Threads for work beside a network on a CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import torch


def single_core_threads(count: int, name: str) -> ThreadPoolExecutor:
    """Threads in each of which PyTorch computes with one core.

    With more they would bring OpenMP teams of their own. Then there are more of its threads than cores, so those of the
    network sleep at every barrier instead of spinning, and its forward pass takes up to half as long again.
    """
    return ThreadPoolExecutor(count, thread_name_prefix=name, initializer=_use_one_core)


def _use_one_core() -> None:
    of_others = torch.get_num_threads()  # asking is what sets up the thread, which would undo the next line later
    torch.set_num_threads(1)
    restoring = Thread(target=torch.set_num_threads, args=(of_others,))  # for threads to come; it has set that, too
    restoring.start()
    restoring.join()
