"""The statistics, the table and the plots of a study, from a made-up csv."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy import stats

from benchmarks.study import main
from benchmarks.study_report import difference, summarise, write_report
from benchmarks.study_table import Row, merge_rows, read_rows, write_rows

SCORES = {
    "base": {0: 0.30, 1: 0.32, 2: 0.31},
    "paired": {0: 0.35, 1: 0.36, 2: 0.37, 3: 0.50},
    "others": {7: 0.40, 8: 0.44},
    "single": {0: 0.20},
}


def row(model: str, seed: int, score: float, **changes: Any) -> Row:
    return {
        "study": "made up", "baseline": "base", "cell": f"{model}{seed}", "model": model, "data": "digits", "size": 64,
        "seed": seed, "split": "val", "epochs": 3, "batch": 8, "patience": 5, "epochs run": 3, "AP": score,
        "AP50": score + 0.2, "AP75": score / 2, "AP small": score, "AP large": math.nan, "parameters": 1_500_000,
        "GFLOPs at 640": 4.5, "GFLOPs": 0.045, "PyTorch ms": 4.0, "ONNX ms": 1.25, "train seconds": 90.0, "threads": 1,
        "machine": "a machine", "versions": "torch 1", "latency threads": 1, "latency machine": "a machine",
        "curve": [score / 4, score / 2, score], **changes,
    }  # fmt: skip


def rows(**changes: Any) -> list[Row]:
    return [row(model, seed, score, **changes) for model, seeds in SCORES.items() for seed, score in seeds.items()]


def test_intervals_are_those_of_the_textbook() -> None:
    base = SCORES["base"]
    paired = difference(SCORES["paired"], base)
    deltas = np.array([0.05, 0.04, 0.06])  # of the shared seeds
    half = stats.t.ppf(0.975, 2) * deltas.std(ddof=1) / math.sqrt(3)
    assert paired.kind == "paired" and paired.mean == pytest.approx(0.05)
    assert paired.interval == pytest.approx((0.05 - half, 0.05 + half))

    welch = difference(SCORES["others"], base)
    variances = np.array([0.04**2 / 2 / 2, 0.01**2 / 3])  # of the two means
    freedom = variances.sum() ** 2 / (variances[0] ** 2 / 1 + variances[1] ** 2 / 2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variances.sum())
    assert welch.kind == "Welch" and welch.mean == pytest.approx(0.11)
    assert welch.interval == pytest.approx((0.11 - half, 0.11 + half))


def test_one_seed_has_no_interval() -> None:
    alone = difference(SCORES["single"], SCORES["base"])
    assert alone.interval is None and alone.kind == "" and str(alone) == "-0.1100"
    assert difference({0: 0.5}, {0: 0.4}).interval is None
    assert difference({0: 0.5}, {1: 0.4}).mean == pytest.approx(0.1)


@pytest.mark.parametrize(("seeds", "kind"), [((0, 1), "paired"), ((5, 6), "Welch")])
def test_no_spread_is_an_interval_of_no_width(seeds: tuple[int, int], kind: str) -> None:
    found = difference({0: 0.5, 1: 0.5}, dict.fromkeys(seeds, 0.25))
    assert (found.mean, found.interval, found.kind) == (0.25, (0.25, 0.25), kind)


def test_a_line_sums_up_the_seeds(tmp_path: Path) -> None:
    lines = {line["model"]: line for line in summarise(rows())["digits", 64, "val"]}
    assert lines["base"]["minus baseline"] is None and lines["base"]["seeds"] == 3
    assert lines["base"]["AP"] == pytest.approx(0.31)
    assert lines["base"]["standard deviation"] == pytest.approx(np.std([0.30, 0.32, 0.31], ddof=1))
    assert lines["paired"]["AP"] == pytest.approx(0.395)  # all four seeds
    assert lines["paired"]["minus baseline"] == pytest.approx(0.05)  # the three that the baseline has too
    assert lines["single"]["standard deviation"] is None and lines["single"]["low"] is None
    assert lines["base"]["train seconds"] == 90 and lines["base"]["AP75"] == pytest.approx(0.155)
    holdout = summarise([*rows(), row("base", 0, 0.9, split="holdout")])
    assert holdout["digits", 64, "holdout"][0]["AP"] == 0.9  # never mixed with val
    assert lines == {line["model"]: line for line in holdout["digits", 64, "val"]}


def test_the_csv_keeps_what_it_is_given(tmp_path: Path) -> None:
    write_rows(tmp_path / "made.csv", rows())
    again = read_rows(tmp_path / "made.csv")
    first = rows()[0]
    for key, value in first.items():
        assert again[0][key] == (None if key == "AP large" else pytest.approx(value) if key == "curve" else value)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no column 'model'; give the csv"):
        read_rows(tmp_path / "other.csv")


def test_rows_are_replaced_and_latency_is_kept() -> None:
    old = [row("base", 0, 0.3), row("base", 1, 0.3), row("gone", 0, 0.1)]
    same = row("base", 0, 0.3, **{"PyTorch ms": None})
    changed = row("base", 1, 0.4, cell="another definition", **{"PyTorch ms": None})
    merged = merge_rows(old, [same, changed, row("new", 0, 0.2)], [("new", "digits", 64, 0, "val")])
    assert [line["model"] for line in merged] == ["new", "base", "base", "gone"]
    assert [line["PyTorch ms"] for line in merged] == [4.0, 4.0, None, 4.0]
    assert merged[2]["AP"] == 0.4


def test_a_report_needs_the_csv_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "committed" / "study_made.csv"
    table.parent.mkdir()
    write_rows(table, [*rows(), *rows(size=96, **{"GFLOPs": 0.1, "ONNX ms": None})])
    main([str(table), "--report", "--results", str(tmp_path / "out")])
    text = (tmp_path / "out" / "study_made.md").read_text()
    assert "| base | 3 | 0.3100 ± 0.0100 | 0.5100 |  | 1.50 M | 4.5 | 0.045 | 4.00 | 1.25 | 3 | 1.5 |" in text
    assert "| single | 1 | 0.2000 | 0.4000 | -0.1100 | 1.50 M" in text  # no deviation, no interval
    assert "| +0.0500 [+0.0252, +0.0748] |" in text
    assert "GPU" not in text and "| ONNX ms |" not in text.split("## digits, 96 px")[1]
    assert "digits, 96 px" in capsys.readouterr().out
    with (tmp_path / "out" / "study_made_table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 8 and float(lines[1]["minus baseline"]) == pytest.approx(0.05)
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == [f"study_made_{name}.png" for name in ("curves", "gflops", "onnx_ms", "pytorch_ms", "size")]
    for name in pictures:
        assert f"]({name})" in text
        assert cv2.imread(str(tmp_path / "out" / name)).std() > 5
    with pytest.raises(ValueError, match="add --report"):
        main([str(table)])


def test_an_empty_study_says_so(tmp_path: Path) -> None:
    write_rows(tmp_path / "empty.csv", [])
    with pytest.raises(ValueError, match="no cell is finished yet"):
        write_report(tmp_path / "empty.csv", tmp_path)
