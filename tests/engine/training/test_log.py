"""What people see of a training run: its progress bar and the time that is left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mgil.engine.training.log import RECENT_EPOCHS, ResultsCsv, TimeLeft
from mgil.engine.training.run import run_train
from tests.engine.tiny import Playground
from tests.trust.spoiling import make_trainer, twelve_batches

pytestmark = pytest.mark.usefixtures("private_cache")


def test_the_time_left_is_that_of_the_last_epochs() -> None:
    """Epochs of 10 s, after them of 100 s: the estimate is the mean over the last ten times what is left."""
    times = iter([0.0, *(10.0 * end for end in range(1, 21)), *(200.0 + 100 * end for end in range(1, 13))])
    left = TimeLeft(lambda: next(times))
    said = [left.after_epoch(60 - epoch) for epoch in range(1, 33)]
    assert RECENT_EPOCHS == 10
    assert said[0] == ", 9:50 left"  # 59 epochs of 10 s
    assert said[19] == ", 6:40 left"  # 40 of 10 s
    assert said[20] == ", 12:21 left"  # 39 of (9 * 10 + 100) / 10 s
    assert said[31] == ", 46:40 left"  # 28 of 100 s


def test_hours_and_the_end() -> None:
    times = iter([5.0, 3605.0, 7205.0])
    left = TimeLeft(lambda: next(times))
    assert left.after_epoch(3) == ", 3:00:00 left"
    assert left.after_epoch(0) == ""


def test_an_epochs_line_tells_the_time_left(ground: Playground, tmp_path: Path) -> None:
    lines: list[str] = []
    run_train(ground.config(tmp_path, epochs=3), lines.append)
    ends = [line.rsplit("  ", 1)[1] for line in lines if re.match(r"epoch \d/3 ", line)]
    assert len(ends) == 3
    assert all(re.fullmatch(r"\d+\.\d s, 0:\d\d left", end) for end in ends[:2]), ends
    assert re.fullmatch(r"\d+\.\d s", ends[2])


class Bar:
    """Stands for tqdm's bar at a terminal."""

    disable = False

    def __init__(self, batches: Iterator[Any], **_: Any) -> None:
        self.batches = batches
        self.shown: list[tuple[int, str]] = []
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            self.count += 1
            yield batch

    def set_description(self, text: str) -> None:
        self.shown.append((self.count, text))


@pytest.mark.parametrize(("wait_s", "batches"), [(0.0, range(1, 13)), (1e9, (1, 12))])
def test_the_bars_losses_follow_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_s: float, batches: Any
) -> None:
    """An epoch of 12 batches: as often as the time between two looks allows, and always at the first and the last."""
    bars: list[Bar] = []

    def bar(*given: Any, **options: Any) -> Bar:
        bars.append(Bar(*given, **options))
        return bars[-1]

    monkeypatch.setattr("mgil.engine.training.trainer.tqdm", bar)
    monkeypatch.setattr("mgil.engine.training.trainer.SHOW_EVERY_S", wait_s)
    losses = make_trainer(twelve_batches(tmp_path), []).train_epoch(0, "1/1")
    (shown,) = (one.shown for one in bars)
    assert [count for count, _ in shown] == list(batches)
    assert shown[-1][1] == "1/1 " + "  ".join(f"{term} {losses.terms[term]:.4f}" for term in ("box", "obj", "cls"))
    assert len({text for _, text in shown}) == len(shown)


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        (lambda text: text.encode("utf-8-sig"), 2),
        (lambda text: text.replace("\n0,", "\n0.0,").replace("\n1,", "\n1.0,").encode(), 2),
        (lambda text: text.replace("epoch", "   epoch").replace(",", ",   ").encode(), 2),  # YOLOv5's
        (lambda text: text.replace(",", ";").encode(), None),
        (lambda text: text.replace("epoch", "Epoche").encode(), None),
        (lambda text: text.replace("1,", "\u00e4,").encode("latin-1"), None),
        (lambda text: text.replace("\n1,", "\none,").encode(), None),
    ],
)
def test_a_table_that_another_program_saved(change: Any, rows: int | None, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    table = ResultsCsv(path, ("epoch", "a"))
    for epoch in range(2):
        table.add({"epoch": epoch, "a": 0.5})
    path.write_bytes(change(path.read_text()))
    if rows is None:
        with pytest.raises(ValueError, match=r"results\.csv: no longer the table of epochs"):
            ResultsCsv(path, ("epoch", "a"), first_epoch=2)
        return
    assert ResultsCsv(path, ("epoch", "a"), first_epoch=2).lines == ["epoch,a", "0,0.5", "1,0.5"]
