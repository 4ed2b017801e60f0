"""Ctrl-C while worker processes are being started."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let a Ctrl-C wait until the block is over.

    A terminal sends it to workers too. One that is about to be born would die of it with a traceback, and in this
    process, in the midst of a fork, the interrupt would get lost.
    """
    if threading.current_thread() is not threading.main_thread():  # where Python handles no signals
        yield
        return
    came: list[FrameType | None] = []
    before = signal.signal(signal.SIGINT, lambda _number, frame: came.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
    if came and callable(before):
        before(signal.SIGINT, came[0])
