"""The few things that differ when torchrun starts several processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from types import FrameType
from typing import Any, NoReturn

import torch
from torch import distributed

# A rank that waits longer than this for the others ends with an error; validation on rank 0 must fit in it.
PATIENCE = timedelta(minutes=30)
STORE_PATIENCE = timedelta(seconds=10)  # for torchrun's store, which lives on one of the machines


class LostProcess(ConnectionError):
    """Another process of the job ended while this one needed it."""


def world_size() -> int:
    """Number of processes, 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Number of this process among all."""
    return int(os.environ.get("RANK", 0))


def local_rank() -> int:
    """Number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def is_main() -> bool:
    """Whether this process is the one that prints, evaluates and writes files."""
    return rank() == 0


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes of torchrun for the time of the block; alone, do nothing.

    Raises:
        LostProcess: Another process ended, in place of the error of whichever call noticed it.
    """
    if world_size() == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _one_interrupt():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        try:
            yield
        except Exception as error:
            first_to_fail()  # before the others notice that this process goes
            if _tells_of_another(error):
                text = "another process of this job ended, killed or out of memory; go on with --resume"
                raise LostProcess(text) from error
            raise
        finally:
            distributed.destroy_process_group()


@cache
def first_to_fail() -> bool:
    """Whether this process is the first of the job to fail, so that its error is the one to print.

    An error of one process makes all others fail, and an error in the options fails them all alike: torchrun's store,
    which outlives the processes, counts them.
    """
    if world_size() == 1 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    try:
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = distributed.TCPStore(*place, is_master=False, timeout=STORE_PATIENCE, wait_for_workers=False)
        return store.add(f"failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}", 1) == 1
    except (RuntimeError, OSError):  # the store is gone with its machine: better twice than never
        return True


@contextmanager
def _one_interrupt() -> Iterator[None]:
    """Let the first Ctrl-C alone interrupt the block; signals belong to the main thread, elsewhere do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _interrupt_once)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupt_once:  # if interrupted, the second is still to come
            signal.signal(signal.SIGINT, before)


def _interrupt_once(_number: int, _frame: FrameType | None) -> NoReturn:
    """Stop on Ctrl-C, and in peace: torchrun passes on the one that this process has got already."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _tells_of_another(error: Exception) -> bool:
    """Whether gloo or nccl complains of a connection; they have no error class of their own everywhere."""
    return isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def from_main(value: Any) -> Any:
    """Give every process the main one's value (any object made of plain data)."""
    if world_size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over all processes."""
    if world_size() > 1:
        value = value.clone()
        distributed.all_reduce(value)
        value /= world_size()
    return value


def any_process(flag: torch.Tensor) -> torch.Tensor:
    """Whether a () bool tensor is true in any process; every process must ask, and none waits for its device."""
    if world_size() == 1:
        return flag
    number = flag.float()
    distributed.all_reduce(number, distributed.ReduceOp.MAX)
    return number > 0


def all_processes(flag: bool) -> bool:
    """Whether a flag is true in all processes; every process must ask."""
    return all(from_all(flag))


def from_all(value: Any) -> list[Any]:
    """The values of all processes, by rank (any objects made of plain data)."""
    if world_size() == 1:
        return [value]
    box = [None] * world_size()
    distributed.all_gather_object(box, value)
    return box
