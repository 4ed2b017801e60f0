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

from benchmarks import study_plots
from benchmarks.study import main
from benchmarks.study_report import DETECTION_FORM, write_report
from benchmarks.study_summary import difference, summarise
from benchmarks.study_table import Row, merge_rows, read_rows, write_rows

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
SCORES = {
    "base": {0: 0.30, 1: 0.32, 2: 0.31},
    "four": {0: 0.35, 1: 0.36, 2: 0.37, 3: 0.50},
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


def scores(*models: str) -> list[list[float]]:
    return [list(SCORES[model].values()) for model in models]


def test_intervals_are_those_of_the_textbook() -> None:
    welch = difference(*scores("others", "base"))
    variances = np.array([0.04**2 / 2 / 2, 0.01**2 / 3])  # of the two means
    freedom = variances.sum() ** 2 / (variances[0] ** 2 / 1 + variances[1] ** 2 / 2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variances.sum())
    assert welch.mean == pytest.approx(0.11)
    assert welch.interval == pytest.approx((0.11 - half, 0.11 + half))


def test_one_seed_has_no_interval() -> None:
    alone = difference(*scores("single", "base"))
    assert alone.interval is None and str(alone) == "-0.1100"
    assert difference([0.5], [0.4]).interval is None and difference([0.5], [0.4]).mean == pytest.approx(0.1)


def test_no_spread_is_an_interval_of_no_width() -> None:
    found = difference([0.5, 0.5], [0.25, 0.25, 0.25])
    assert (found.mean, found.interval) == (0.25, (0.25, 0.25))


def test_a_line_sums_up_the_seeds(tmp_path: Path) -> None:
    lines = {line["model"]: line for line in summarise(rows(), DETECTION_FORM)["digits", 64, "val"]}
    assert lines["base"]["minus baseline"] is None and lines["base"]["seeds"] == 3
    assert lines["base"]["AP"] == pytest.approx(0.31)
    assert lines["base"]["standard deviation"] == pytest.approx(np.std([0.30, 0.32, 0.31], ddof=1))
    assert lines["four"]["AP"] == pytest.approx(0.395)
    assert lines["four"]["minus baseline"] == pytest.approx(0.085)
    assert lines["single"]["standard deviation"] is None and lines["single"]["low"] is None
    assert lines["base"]["train seconds"] == 90 and lines["base"]["AP75"] == pytest.approx(0.155)
    holdout = summarise([*rows(), row("base", 0, 0.9, split="holdout")], DETECTION_FORM)
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
    interval = stats.ttest_ind(*scores("four", "base"), equal_var=False).confidence_interval(0.95)
    assert f"| +0.0850 [{interval.low:+.4f}, {interval.high:+.4f}] |" in text
    assert "mean ± standard deviation over seeds" in text and "in turns" in text and "stand together" not in text
    assert "GPU" not in text and "| ONNX ms |" not in text.split("## digits, 96 px")[1]
    assert "digits, 96 px" in capsys.readouterr().out
    with (tmp_path / "out" / "study_made_table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 8 and float(lines[1]["minus baseline"]) == pytest.approx(0.085)
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == [f"study_made_{name}.png" for name in ("curves", "gflops", "onnx_ms", "pytorch_ms", "size")]
    for name in pictures:
        assert f"]({name})" in text
        assert cv2.imread(str(tmp_path / "out" / name)).std() > 5
    with pytest.raises(ValueError, match="add --report"):
        main([str(table)])


def test_an_introduction_says_what_concerns_its_table(tmp_path: Path) -> None:
    bare = {"PyTorch ms": None, "ONNX ms": None, "latency machine": "", "latency threads": None}
    write_rows(tmp_path / "made.csv", [row("base", 0, 0.3, **bare), row("single", 0, 0.2, **bare)])
    write_report(tmp_path / "made.csv", tmp_path)
    text = (tmp_path / "made.md").read_text()
    assert not any(words in text for words in ("deviation", "interval", "Milliseconds", "Latency", "brackets"))
    assert "Minutes are wall time" in text
    write_rows(tmp_path / "made.csv", [row("base", 0, 0.3), row("yolo11n (ultralytics)", 0, 0.2)])
    write_report(tmp_path / "made.csv", tmp_path)
    assert "A project's name in brackets" in (tmp_path / "made.md").read_text()
    write_rows(tmp_path / "made.csv", [*rows(), row("base", 9, 0.3, epochs=30)])
    write_report(tmp_path / "made.csv", tmp_path)
    assert "different epochs or batch sizes stand together** for base." in (tmp_path / "made.md").read_text()


def test_an_empty_study_says_so(tmp_path: Path) -> None:
    write_rows(tmp_path / "empty.csv", [])
    with pytest.raises(ValueError, match="no cell is finished yet"):
        write_report(tmp_path / "empty.csv", tmp_path)


@pytest.mark.parametrize("name", ["study_iso_cost", "study_iso_cost_lr", "study_lite"])
def test_committed_reports_are_those_of_their_csv(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study_plots, "_figure", lambda *_parts: None)  # drawing takes long
    main([str(RESULTS / f"{name}.csv"), "--report", "--results", str(tmp_path)])
    for file in (f"{name}.md", f"{name}_table.csv"):
        assert (tmp_path / file).read_bytes() == (RESULTS / file).read_bytes()
    assert "| model |" in capsys.readouterr().out
