"""Making the next batches in the background while the current one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def prefetched(
    make: Callable[[int], Item], indices: Iterable[int], *, threads: int = 1, ahead: int = 2
) -> Iterator[Item]:
    """Yield make(i) for every index, in order, made by background threads.

    At most `threads` + `ahead` - 1 results wait or are being made. An error in `make` is raised here. Closing the
    iterator, or leaving the program, waits for what is being made and for no more.

    Args:
        make: called once per index; with one thread the calls never overlap.
        indices: what to make.
        threads: how many calls may overlap.
        ahead: results that may wait.
    """
    pending: deque[Future[Item]] = deque()
    executor = ThreadPoolExecutor(threads, thread_name_prefix="batches")
    try:
        for index in indices:
            pending.append(executor.submit(make, index))
            if len(pending) >= threads + ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        executor.shutdown(wait=True)
