"""The benchmark of dilated convolutions on small maps: what it compares, how it times, what its table says."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch.nn import functional

from benchmarks import dilations
from benchmarks.deploy import prepare_weights
from benchmarks.dilations import all_taps, in_turns, measure, with_all_taps
from mgil.block.mrie import MRIE


def test_it_compares_nine_taps_with_those_on_the_map() -> None:
    mrie, x = MRIE(2, 3, (2,)), torch.zeros(1, 2, 2, 2)
    with patch.object(functional, "conv2d", wraps=functional.conv2d) as used:
        for run in (with_all_taps(lambda: mrie(x)), lambda: mrie(x)):
            run()
    assert [call.args[1].shape[2:] for call in used.call_args_list] == [(3, 3), (1, 1)]
    convolution = mrie.branches[0].conv
    with all_taps():
        assert convolution.at_size(2, 2) is convolution
    assert convolution.at_size(2, 2).kernel_size == (1, 1)


def test_both_take_turns_in_being_first(monkeypatch: pytest.MonkeyPatch) -> None:
    order, now = [], [0.0]

    def takes(name: str, seconds: float) -> dilations.Run:
        def run() -> None:
            order.append(name)
            now[0] += seconds if len(order) > 4 else 100  # the first two rounds are not counted

        return run

    monkeypatch.setattr(dilations.time, "process_time", lambda: now[0])
    row = in_turns(takes("whole", 0.003), takes("live", 0.002), 3)
    assert "".join(name[0] for name in order) == "wl" + "lw" + "wl" + "lw" + "wl"
    assert row == pytest.approx({"all taps": 3, "live taps": 2, "all / live": 1.5})


@pytest.mark.nightly
def test_rows_of_a_size(tmp_path: Path) -> None:
    path = prepare_weights(tmp_path, ["yolov5n-mgil"])["yolov5n-mgil"]
    rows = list(measure(path, 64, Namespace(batch=2, rounds=1, formats=["onnx"])))
    assert [row["what"].split(",")[0] for row in rows] == [
        "MFLOPs",
        "ms of forward + backward",
        *["ms of an image"] * 2,
    ]
    # at 64 px the coarse branches of 256 and of 128 channels have maps of 2x2 pixels, and rates of 2 and 3
    assert 1e6 * (rows[0]["all taps"] - rows[0]["live taps"]) == pytest.approx(2 * 4 * 8 * (256 * 160 + 128 * 80))
    assert all(row["all taps"] > 0 and row["live taps"] > 0 for row in rows)
