"""Watching what an action costs: time, and memory at its highest."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

RESET_PEAK = Path("/proc/self/clear_refs")


class TooLong(BaseException):
    """Not an Exception, so that nothing that is tested takes it for a damaged file."""


def peak_bytes() -> int:
    """The most memory that this process has held since the last reset; 0 where the system does not tell."""
    if not RESET_PEAK.exists():
        return 0
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


@contextmanager
def bounded(seconds: float, megabytes: float) -> Iterator[None]:
    """Fail where the block takes longer, or more memory on top of what the process has."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"still running after {6 * seconds:g} s")

    if RESET_PEAK.exists():
        RESET_PEAK.write_text("5")
    before, start = peak_bytes(), time.process_time()
    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 6 * seconds)  # wall-clock time; the machine may be busy with other things
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
    spent, grown = time.process_time() - start, (peak_bytes() - before) / (1 << 20)
    assert spent < seconds, f"took {spent:.1f} s"
    assert grown < megabytes, f"took {grown:.0f} MB"
