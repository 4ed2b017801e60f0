"""Ctrl-C and SIGTERM as a request: the work in hand is finished, files are closed, and then the program ends."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mgil.engine.distributed import world_size

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether the user, or the system, asked the program to stop.

    Attributes:
        signal: the number of the first signal; None so far.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def end(self) -> None:
        """Leave as the signal would have: KeyboardInterrupt after Ctrl-C, else exit status 128 + its number."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise SystemExit(128 + self.signal)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the stack (exit status 143), so that temporary files go; a second one has no effect.

    As with `stop_requests`, in the main thread alone, and not where it is ignored.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    handler = signal.getsignal(signal.SIGTERM)
    is_ours = threading.current_thread() is threading.main_thread() and handler not in (signal.SIG_IGN, None)
    if is_ours:
        signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM into a request; a second one interrupts at once.

    Handlers belong to the main thread: elsewhere, signals stay what they are. So does one that is ignored (nohup).
    """
    request = StopRequest()

    def handle(number: int, _frame: FrameType | None) -> None:
        if request:
            raise KeyboardInterrupt
        request.signal = number

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
        for number in before:
            signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def how_to_go_on(last: Path | None, nosave: bool, program: str) -> str:
    """What to do after Ctrl-C.

    Args:
        last: Where the run's last.pt is, or will be; None: the run had not begun.
        nosave: Whether it is written after the last epoch alone.
        program: How the user calls it: "train.py" or "mgil train".
    """
    if last is not None and last.exists():
        is_script = program.endswith(".py")
        if world_size() > 1:
            program = f"torchrun ... {program if is_script else f'--no-python {program}'}"
        elif is_script:
            program = f"python {program}"
        return f"to go on: {program} --resume {shlex.quote(str(last.parent.parent))}"
    when = "last epoch (--nosave)" if nosave else "first epoch"
    return f"no last.pt was saved yet, the first one comes after the {when}"
