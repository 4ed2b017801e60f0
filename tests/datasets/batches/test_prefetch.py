from __future__ import annotations

import threading

import pytest

from mgil.datasets.batches.memory import free_ram_bytes
from mgil.datasets.batches.prefetch import prefetched


@pytest.mark.parametrize("threads", [1, 4])
def test_results_come_in_order(threads: int) -> None:
    assert list(prefetched(lambda i: i * i, range(50), threads=threads)) == [i * i for i in range(50)]
    assert list(prefetched(lambda i: i, [], threads=threads)) == []


def test_no_more_than_asked_is_made_ahead() -> None:
    made: list[int] = []

    def make(index: int) -> int:
        made.append(index)
        return index

    results = prefetched(make, range(100), threads=1, ahead=2)
    assert made == []
    for index in range(10):
        assert next(results) == index
        assert len(made) <= index + 3
    results.close()  # type: ignore[attr-defined]
    assert len(made) <= 12


def test_errors_are_raised_in_their_place_and_end_the_work() -> None:
    def make(index: int) -> int:
        if index == 3:
            raise ValueError("three.jpg: broken")
        return index

    results = prefetched(make, range(100))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())


def test_free_ram_is_plausible() -> None:
    assert 2**20 < free_ram_bytes() < 2**50
