"""Studies of pose that are run, and their report."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from benchmarks import side_by_side, study_plots
from benchmarks.study import Runner, main, parse_arguments
from benchmarks.study_cell import run_cell
from benchmarks.study_host_models import mflops_of
from benchmarks.study_plan import Cell, PoseTrainConfig, Study, plan
from benchmarks.study_pose_models import PoseModel
from benchmarks.study_pose_report import POSE_FORM
from benchmarks.study_summary import summarise
from benchmarks.study_table import Row, read_rows, write_rows
from mgil.engine import command
from tests.benchmarks.fake_peer import write_fake_peer
from tests.tasks.pose.people_sets import make_people

pytest.importorskip("timm")

TINY = PoseModel("simcc-small", "base", keys={"host_options": {"width": 8, "depth": 1}}, published=33.6)
# A peer that finds the first three people of the val split.
ROWS_OF = """
def rows_of(labels):
    rows = []
    for path in labels[:3]:
        values = [float(value) for value in path.read_text().split()]
        joints = [value * side for value, side in zip(values[5:], [50, 60, 0.5] * 3)]
        x, y, w, h = values[1] * 50, values[2] * 60, values[3] * 50, values[4] * 60
        rows.append([int(path.stem), x - w / 2, y - h / 2, w, h, 0.9, *joints])
    return rows
"""
RESULTS = "epoch, metrics/mAP50-95(B), metrics/mAP50-95(P)\n1, 0.9, 0.25\n2, 0.9, 0.5"


def runner_of(folder: Path, cells: list[Cell], *options: str) -> Runner:
    arguments = parse_arguments(["study.py", "--device", "cpu", *options])
    planned = tuple(plan(cell, [folder]) for cell in cells)
    return Runner(
        Study("made", cells[0].model.name, planned), folder / "out", folder / "out" / "study_made.csv", arguments
    )


@pytest.fixture
def folder(private_cache: None, tmp_path: Path) -> Path:
    make_people(tmp_path / "people")
    return tmp_path


def test_a_cell_of_ours(folder: Path) -> None:
    """Its figures are those of val.py on the weights that it kept."""
    train = PoseTrainConfig(data="people", imgsz=32, epochs=1, batch_size=4)
    runner = runner_of(folder, [Cell(TINY, train, images=8)])
    (cell,) = runner.pending()
    runner.write_job(cell)
    result = run_cell(runner.folder(cell))
    (weights,) = (runner.folder(cell) / "run" / "weights").iterdir()
    assert weights.name == "best.pt"
    flags = ["--data", str(folder / "people" / "people.yaml"), "--workers", "0", "--device", "cpu", "--amp", "off"]
    command.COMMANDS["val"](["--weights", str(weights), "--project", str(folder / "val"), *flags], "val.py")
    with (folder / "val" / "exp" / "oks.csv").open(newline="") as file:
        assert float(next(csv.DictReader(file))["ap"]) == pytest.approx(result["AP"], abs=1e-5)
    runner.update()
    (row,) = read_rows(runner.table)
    assert (row["published AP"], row["PCK kind"], row["epochs run"], row["split"]) == (33.6, "PCK@0.1", 1, "val")
    assert row["MFLOPs"] == pytest.approx(mflops_of(PoseModel, cell.definition["model"], 32, 3), rel=1e-6)
    assert len(row["curve"]) == 1 and row["train seconds"] > 0 and "torch" in row["versions"]
    assert row["PCK"] == pytest.approx(result["PCK"], abs=1e-6) and 0 < row["AP"] < 1
    assert runner.pending() == []


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_a_peers_cell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the peer itself: its copy of the people, what it is asked, and how its answers are scored."""
    write_fake_peer(folder / "fake.py", "find_people", RESULTS, ROWS_OF, 1000)
    monkeypatch.setitem(side_by_side.SCRIPTS, "ultralytics", str(folder / "fake.py"))
    (folder / "peers" / "bin").mkdir(parents=True)
    (folder / "peers" / "bin" / "python").symlink_to(sys.executable)
    train = PoseTrainConfig(data="people", imgsz=32, epochs=2, batch_size=4, patience=4, seed=3)
    asked_for = Cell(PoseModel("yolo11n-pose", peer="ultralytics"), train, {"degrees": 20.0})
    runner = runner_of(folder, [asked_for], "--peers", str(folder / "peers"))
    (cell,) = runner.pending()
    runner.write_job(cell)
    result = run_cell(runner.folder(cell))
    assert result["AP"] == pytest.approx(76 / 101) == result["AP50"] and result["AR"] == pytest.approx(0.75)
    assert result["AP 32-64 px"] == result["AP"] and "PCK" not in result
    assert (result["parameters"], result["MFLOPs"], result["train seconds"]) == (7, 32, 12.5)
    assert (result["curve"], result["epochs run"]) == ([0.25, 0.5], 2)  # of poses, not of boxes
    assert result["versions"] == "fake 1, torch 0"
    told, find = json.loads((runner.folder(cell) / "asked.json").read_text())
    wanted: dict[str, Any] = {"model": "yolo11n-pose", "size": 32, "batch": 4, "epochs": 2, "patience": 4, "seed": 3}
    assert {key: told[key] for key in wanted} == wanted and told["recipe"] == {"degrees": 20.0}
    assert (find["conf_thres"], find["max_det"], find["batch"]) == (0.001, 300, 1)


def row(model: str, seed: int, score: float, **changes: Any) -> Row:
    return {
        "study": "made", "baseline": "base", "cell": f"{model}{seed}", "model": model, "data": "lspet", "size": 32,
        "seed": seed, "split": "val", "epochs": 3, "batch": 8, "patience": 5, "epochs run": 3, "AP": score,
        "AP50": score + 0.2, "AP75": score / 2, "AR": score + 0.1, "AP 64-128 px": score / 4, "AP >128 px": score,
        "PCK": score + 0.3, "PCK kind": "PCK@0.2", "parameters": 1_500_000, "MFLOPs": 7.5, "operations of": "",
        "published AP": None, "train seconds": 90.0, "threads": 1, "machine": "a machine", "versions": "torch 1",
        "curve": [score / 4, score / 2, score], **changes,
    }  # fmt: skip


SCORES = {"base": (0.30, 0.32), "whole": (0.35, 0.36), "wide": (0.41, 0.45)}


def rows() -> list[Row]:
    told: dict[str, dict[str, Any]] = {
        "base": {}, "whole": {"published AP": 37.5, "MFLOPs": 31.7}, "wide": {"operations of": "whole", "MFLOPs": 31.6},
    }  # fmt: skip
    return [row(name, seed, score, **told[name]) for name, own in SCORES.items() for seed, score in enumerate(own)]


def welch(one: str, other: str) -> str:
    interval = stats.ttest_ind(SCORES[one], SCORES[other], equal_var=False).confidence_interval(0.95)
    return f"[{interval.low:+.4f}, {interval.high:+.4f}]"


def test_a_report_needs_the_csv_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "study_made.csv"
    peer = row("yolo11n-pose (ultralytics)", 0, 0.1, **{"PCK": None, "PCK kind": "", "versions": "ultralytics 8"})
    write_rows(table, [*rows(), peer])
    main([str(table), "--report", "--results", str(tmp_path / "out")])
    text = (tmp_path / "out" / "study_made.md").read_text()
    header = (
        "| model | seeds | AP | AP50 | AP75 | PCK | difference [95 %] | paper's AP | parameters | MFLOPs at 32 |"
        " AP 64-128 px of the picture | AP >128 px of the picture | epochs | minutes |"
    )
    assert header in text  # nobody is smaller than 64 px: no columns for them
    assert (
        "| base | 2 | 0.3100 ± 0.0141 | 0.5100 | 0.1550 | 0.6100 |  |  | 1.50 M | 7.5 | 0.0775 | 0.3100 | 3 | 1.5 |"
        in text
    )
    assert f"| +0.0450 {welch('whole', 'base')} | 37.5 | 1.50 M | 31.7 |" in text
    assert f"- whole minus wide: -0.0750 {welch('whole', 'wide')}, at 31.7 and 31.6 MFLOPs." in text
    assert "| yolo11n-pose (ultralytics) | 1 | 0.1000 | 0.3000 | 0.0500 |  |" in text
    for words in (
        "A project's name in brackets",
        "PCK is PCK@0.2, mean over all labels, and chooses",
        "The paper's AP",
        "multiply-add as two",
    ):
        assert words in text
    for name in ("curves", "mflops"):
        assert (tmp_path / "out" / f"study_made_{name}.png").stat().st_size > 5000
    monkeypatch.setattr(study_plots, "_figure", lambda *_parts: None)  # drawing takes long
    write_rows(table, [row("base", 0, 0.3)])
    main([str(table), "--report", "--results", str(tmp_path / "out")])
    text = (tmp_path / "out" / "study_made.md").read_text()
    assert not any(words in text for words in ("brackets", "paper's AP", "equal operations", "interval", "deviation"))


def test_a_csv_of_poses_keeps_what_it_is_given(tmp_path: Path) -> None:
    write_rows(tmp_path / "made.csv", rows())
    again = read_rows(tmp_path / "made.csv")
    for key, value in rows()[2].items():
        assert again[2][key] == (value if isinstance(value, str | None) else pytest.approx(value))
    (line,) = [line for line in summarise(again, POSE_FORM)["lspet", 32, "val"] if line["model"] == "whole"]
    assert (line["published AP"], line["operations of"]) == (37.5, "")
    assert line["AR"] == pytest.approx(0.455)
