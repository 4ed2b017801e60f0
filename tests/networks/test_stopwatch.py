"""The stopwatch of predictions, by a clock that the test turns."""

from __future__ import annotations

import time

import pytest
import torch

from mgil.networks.stopwatch import Stopwatch


def test_seconds_by_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.5, 12.5, 20.0, 20.25, 21.25])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = Stopwatch(torch.device("cpu"), ("preprocess", "inference", "decode"))
    watch.done("preprocess")
    watch.done("inference")
    watch.start()  # what came between is of no stage
    watch.done("preprocess")
    watch.done("detector")
    assert watch.milliseconds(2) == {"preprocess": 375, "inference": 1000, "decode": 0, "detector": 500}
    assert list(watch.milliseconds(0).values()) == [750, 2000, 0, 1000]


def test_a_gpu_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    device = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda which: order.append(str(which)))
    monkeypatch.setattr(time, "perf_counter", lambda: order.append("clock") or 0.0)
    Stopwatch(device, ()).done("inference")
    assert order == ["cuda:1", "clock"] * 2
