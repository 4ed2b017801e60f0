"""The README's table of models: who is named within which budget of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from benchmarks.study_table import write_rows
from benchmarks.which_model import (
    BUDGETS,
    PLACES,
    TIMED,
    Candidate,
    Place,
    best_of,
    candidates,
    named,
    table,
    training_of,
    whole_table,
)

PLACE = Place("squares", 64, 6, "from scratch", "some", "squares", "3 epochs")
README = Path(__file__).resolve().parents[2] / "README.md"


def row(model: str, ap: float, onnx: float | None, openvino: float | None = None, **other: Any) -> dict[str, Any]:
    names = {"model": model, "data": "squares", "size": 64, "seed": 0, "split": "val", "baseline": "yolov5n"}
    return {**names, "AP": ap, "ONNX ms": onnx, "OpenVINO ms": openvino, **other}


def test_time_is_that_of_the_slower_runtime_and_scores_are_means_over_seeds() -> None:
    rows = [
        row("other", 0.3, 3.0, 8.0),
        row("other", 0.5, 3.0, 8.0, seed=1),
        row("yolov5n", 0.2, 2.0, 4.0),
        row("other", 0.9, 6.0, 9.0, size=128),
        row("untimed", 0.9, None),
        row("held out", 0.9, 1.0, 1.0, split="holdout"),
        row("elsewhere", 0.9, 1.0, 1.0, data="circles"),
    ]
    base, other, larger, untimed = candidates(rows, PLACE)
    assert (untimed.name, untimed.times) == ("untimed", None)
    assert base == Candidate("yolov5n", 64, (0.2,), 1.0) and base.deviation == 0
    assert (other.scores, other.score, other.times, other.size) == ((0.3, 0.5), pytest.approx(0.4), 2.0, 64)
    assert other.deviation == pytest.approx(0.1 * 2**0.5) and larger.times == 3.0
    with pytest.raises(ValueError, match="study some: no time of yolov5n on squares at 64 px"):
        candidates([row("yolov5n", 0.2, None)], PLACE)


def test_a_runtime_that_the_baseline_was_not_timed_in_says_nothing() -> None:
    found = candidates([row("yolov5n", 0.2, 2.0), row("other", 0.3, 3.0, 1e9)], PLACE)
    assert [one.times for one in found] == [1.0, 1.5]


def test_the_best_within_a_budget_is_named_and_of_equals_the_cheaper() -> None:
    base = Candidate("yolov5n", 64, (0.19, 0.20, 0.21), 1.0)
    close = Candidate("close", 64, (0.203, 0.205, 0.207), 1.05)
    better = Candidate("better", 128, (0.29, 0.30, 0.31), 2.0)
    every = [base, close, better, Candidate("untimed", 64, (0.9,), None)]
    assert best_of(every, 1.1) is base  # 0.005 above, where its seeds differ by 0.010
    assert best_of([base, Candidate("clear", 64, (0.22, 0.224), 1.05)], 1.1).name == "clear"
    assert best_of(every, 2.0) is better and best_of(every, 1.9) is base


def test_what_is_said_of_a_model() -> None:
    assert named(Candidate("yolov5n, enlarged", 128, (0.29, 0.3, 0.31), 3.98), PLACE) == (
        "yolov5n at 128 px: 0.300 ± 0.010 (3.98x)"
    )
    assert named(Candidate("yolov5n", 64, (0.2,), 1.0), PLACE) == "yolov5n: 0.200 (1.00x)"


def write_times(folder: Path, rows: list[dict[str, Any]], study: str) -> None:
    """The times of rows, which their study's csv loses."""
    path = folder / TIMED.name
    text = [] if path.exists() else ["study,data,model,size,ONNX ms"]
    text += [f"{study},{one['data']},{one['model']},{one['size']},{one['ONNX ms'] or ''}" for one in rows]
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join([*text, ""]))
    write_rows(folder / f"study_{study}.csv", [one | {"ONNX ms": 77.0} for one in rows])


def test_every_model_of_a_place_with_its_difference(tmp_path: Path) -> None:
    facts = {"parameters": 1_500_000, "GFLOPs": 0.25}
    own = [{"seed": seed, "AP small": seed / 10, "train seconds": 60 + 90 * seed, **facts} for seed in range(3)]
    rows = [row(name, score + facts["seed"] / 100, time, **facts)
            for name, score, time in (("yolov5n", 0.2, 2.0), ("good", 0.4, 5.0))
            for facts in own]  # fmt: skip
    write_times(tmp_path, [*rows, row("untimed", 0.1, None, **facts)], "some")
    lines = whole_table(PLACE, tmp_path)
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| good", "| yolov5n", "| untimed"]
    low, high = stats.ttest_ind([0.4, 0.41, 0.42], [0.2, 0.21, 0.22], equal_var=False).confidence_interval(0.95)
    assert f"| +0.2000 [{low:+.4f}, {high:+.4f}] |" in lines[2] and lines[2].endswith("| 2.50x | 2.5 |")
    assert "0.410 ± 0.010" in lines[2] and "| 0.100, -, - | 1.50 M | 0.250 |" in lines[2] and "-0.1100" in lines[4]


def test_a_table_from_csv_files(tmp_path: Path) -> None:
    for study in {place.study for place in PLACES}:
        rows = [
            row(model, score, time, data=place.data, size=place.pixels)
            for place in PLACES
            if place.study == study
            for model, score, time in (("yolov5n", 0.2, 1.0), ("good", 0.4, 2.0))
        ]
        write_times(tmp_path, rows, study)
    lines = table(tmp_path)
    assert len(lines) == len(PLACES) + 2 and lines[0].count("within") == len(BUDGETS)
    assert all("yolov5n: 0.200 (1.00x)" in line and "good: 0.400 (2.00x)" in line for line in lines[2:])


def test_the_documents_say_what_the_committed_figures_do() -> None:
    """After a change of them: python -m benchmarks.which_model, with --all for the other."""
    assert "\n".join(table()) in README.read_text(encoding="utf-8")
    text = README.with_name("docs").joinpath("results.md").read_text(encoding="utf-8")
    for place in PLACES:
        lines = [f"### {place.title}", "", training_of(place), "", *whole_table(place)]
        assert "\n".join(lines) in text
