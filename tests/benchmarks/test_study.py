"""Studies that are run: cells in processes, failures, interruptions, what is left for later."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import side_by_side, study_latency
from benchmarks.study import Runner, main, parse_arguments, stop
from benchmarks.study_cell import detect_ours, read_detections, run_cell
from benchmarks.study_latency import latency_key
from benchmarks.study_models import Model
from benchmarks.study_plan import Cell, PlannedCell, Study, load_study
from benchmarks.study_table import read_rows
from benchmarks.study_training import is_over
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.engine.training.config import TrainConfig
from mgil.engine.training.log import read_results
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.files.packages import MissingPackage
from mgil.networks.detector import DetectionModel, build_model
from mgil.networks.profile import profile
from mgil.tasks.detect.coco import coco_averages, xyxy_to_xywh
from tests.benchmarks.fake_peer import write_fake_peer
from tests.benchmarks.small_study import write_study
from tests.engine.tiny import RECIPE, TINY, make_data, random_squares, write_yaml

QUIET = ["--device", "cpu", "--no-latency"]


# A peer that finds every box of the val split whose class is below 2.
ROWS_OF = """
def rows_of(labels):
    rows = []
    for path in labels:
        for line in path.read_text().splitlines():
            kind, x, y, w, h = map(float, line.split())
            if kind < 2:
                rows.append([int(path.stem), kind, 32 * (x - w / 2), 32 * (y - h / 2), 32 * w, 32 * h, 0.9])
    return rows
"""
RESULTS = "  epoch, metrics/mAP50-95(B)\n 1, 0.25\n 2, 0.5\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model and a tiny data set."""
    write_yaml(tmp_path / "tiny.yaml", TINY)
    make_data(tmp_path / "data", random_squares(16, seed=3), random_squares(6, seed=4))
    return tmp_path


def tiny_cell(folder: Path, **train: Any) -> Cell:
    settings = {"data": str(folder / "data" / "squares.yaml"), "imgsz": 32, "epochs": 2, "batch_size": 8}
    return Cell(Model(str(folder / "tiny.yaml")), TrainConfig(**{**settings, **train}), RECIPE)


def flie_cell(folder: Path, **train: Any) -> Cell:
    cell = tiny_cell(folder, **train)
    return replace(cell, model=replace(cell.model, name="flie", mgil={"fusion": "none"}))


def both(folder: Path, **train: Any) -> list[Cell]:
    return [tiny_cell(folder, **train), flie_cell(folder, **train)]


def study_of(folder: Path, cells: Iterable[Cell]) -> Study:
    return load_study(write_study(folder, cells))


def runner_of(folder: Path, cells: Iterable[Cell], *options: str, table: str = "out/study.csv") -> Runner:
    arguments = parse_arguments(["study.py", *QUIET, *options])
    return Runner(study_of(folder, cells), folder / "out", folder / table, arguments)


def run(folder: Path, cells: Iterable[Cell], *options: str) -> Path:
    """Run a study; the csv."""
    main([str(write_study(folder, cells)), "--output", str(folder / "out"), *options])
    return folder / "out" / "study" / "study_study.csv"


@pytest.mark.nightly
def test_a_small_study(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two cells at once, one more that fails, then latency and report; and nothing is done twice."""
    tiny_one, flie_one = both(folder)
    broken = replace(tiny_one, model=replace(tiny_one.model, name="broken"), recipe={**RECIPE, "weight_decay": 1e30})
    with pytest.raises(SystemExit, match="1 cells failed: broken, squares, 32 px, seed 0"):
        run(folder, [tiny_one, broken, flie_one], "--device", "cpu", "--workers", "2")
    said = capsys.readouterr()
    assert "FloatingPointError" in said.err and "flie, squares, 32 px, seed 0: AP 0." in said.out
    table = folder / "out" / "study" / "study_study.csv"
    tiny, flie = rows = read_rows(table)
    assert [row["model"] for row in rows] == ["tiny", "flie"]
    architecture = {**TINY, "backbone": [*TINY["backbone"][:1], [-1, 1, "MGIL", [16, {"fusion": "none"}]],
                                         *TINY["backbone"][2:]]}  # fmt: skip
    for row, content in ((tiny, TINY), (flie, architecture)):
        cost = profile(build_model(content, num_classes=3))
        assert row["parameters"] == cost.parameters and row["GFLOPs at 640"] == pytest.approx(cost.gflops, rel=1e-6)
        assert row["GFLOPs"] == pytest.approx(cost.gflops / 400, rel=0.01)  # 32 px
        assert row["epochs run"] == len(row["curve"]) == 2 and row["train seconds"] > 0 and 0 <= row["AP"] <= 1
        assert row["PyTorch ms"] > 0 and row["ONNX ms"] > 0 and row["GPU ONNX ms"] is None
        assert row["cells at once"] == 2 and row["threads"] == 1 and "torch" in row["versions"]
    assert flie["parameters"] < tiny["parameters"]
    assert (table.parent / "study_study.md").exists()
    (cell,) = (table.parent / "cells").glob("tiny_*")
    kept = [path.name for path in (cell / "run" / "weights").iterdir()]
    assert kept == ["best.pt"]
    before = table.read_bytes()
    run(folder, both(folder), *QUIET)
    assert table.read_bytes() == before and "AP 0" not in capsys.readouterr().out.split("| model |")[0]


@pytest.mark.nightly
def test_a_killed_cell_goes_on_from_its_last_epoch(folder: Path) -> None:
    runner = runner_of(folder, [tiny_cell(folder, epochs=15)])
    (cell,) = runner.pending()
    assert runner.state(cell) == "new"
    process = runner.start(cell)
    last = runner.folder(cell) / "run" / "weights" / "last.pt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    stop(process)
    stop(process)  # one that has ended already is no trouble
    assert process.poll() is not None and runner.state(cell) == "to be resumed" and not is_over(last)
    done = len(read_results(runner.folder(cell) / "run" / "results.csv"))
    torch_threads = torch.get_num_threads()
    result = run_cell(runner.folder(cell))  # what its process does
    torch.set_num_threads(torch_threads)
    assert result["epochs run"] == 15 and runner.state(cell) == "done" and 1 <= done < 15
    epochs = [int(row["epoch"]) for row in read_results(runner.folder(cell) / "run" / "results.csv")]
    assert epochs == list(range(15))
    (line,) = [line for line in (runner.folder(cell) / "log.txt").read_text().splitlines() if "epoch 1/15" in line]
    assert line  # the first epoch was not trained again: what followed was printed here


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_a_peers_cell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the peer itself: its copy of the data, what it is asked, and how its answers are scored."""
    write_fake_peer(folder / "fake.py", "detect", RESULTS, ROWS_OF, 100)
    monkeypatch.setitem(side_by_side.SCRIPTS, "ultralytics", str(folder / "fake.py"))
    (folder / "peers" / "bin").mkdir(parents=True)
    (folder / "peers" / "bin" / "python").symlink_to(sys.executable)
    train = tiny_cell(folder, patience=4, seed=3).train
    asked_for = Cell(Model("yolo11n", peer="ultralytics"), train, {"hsv_s": 0.2, "lr0": 0.02})
    runner = runner_of(folder, [asked_for], "--peers", str(folder / "peers"))
    (cell,) = runner.pending()
    runner.write_job(cell)
    result = run_cell(runner.folder(cell))
    truth = load_samples(load_data_config(cell.data_yaml), "val", cache_dir=folder, report=lambda _line: None)
    assert set(truth.classes) == {0, 1, 2}
    assert result["AP"] == pytest.approx(2 / 3) == result["AP50"]
    assert (result["parameters"], result["GFLOPs at 640"], result["GFLOPs"]) == (7, 6.4, 0.32)
    assert (result["curve"], result["epochs run"], result["train seconds"]) == ([0.25, 0.5], 2, 12.5)
    assert result["versions"] == "fake 1, torch 0"
    train, detect = json.loads((runner.folder(cell) / "asked.json").read_text())
    assert train["recipe"] == {"hsv_s": 0.2, "lr0": 0.02}
    wanted = {"model": "yolo11n", "size": 32, "batch": 8, "epochs": 2, "patience": 4, "seed": 3, "device": "cpu"}
    assert {key: train[key] for key in wanted} == wanted
    assert (detect["conf_thres"], detect["iou_thres"], detect["max_det"]) == (0.001, 0.6, 300)


def test_our_network_sees_the_peers_padding(folder: Path) -> None:
    data = load_data_config(folder / "data" / "squares.yaml")
    samples = load_samples(data, "val", cache_dir=folder, report=lambda _line: None)
    model = build_model(TINY, names=data.names, imgsz=32)
    save_checkpoint(folder / "best.pt", model, {})
    seen = set()

    def look(module: torch.nn.Module, inputs: Any) -> None:
        if isinstance(module, DetectionModel):
            seen.add(tuple(inputs[0].shape))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
    detect_ours(folder / "best.pt", samples, data, 96, torch.device("cpu"), 0)
    hook.remove()
    side = math.ceil(96 / 32 + 0.5) * 32  # YOLOv5's LoadImagesAndLabels
    assert {shape for shape in seen if shape[0] == 6} == {(6, 3, side, side)}


def test_what_the_timing_needs_is_looked_for_before_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells, late = both(folder), ("--limit-minutes", "-1")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackage, match="^onnxruntime is not installed: pip install .*; or give --no-latency"):
        run(folder, cells, "--device", "cpu", *late)
    run(folder, cells, "--dry-run")
    assert not (folder / "out").exists()
    run(folder, cells, *QUIET, *late)


def test_a_dry_run_lists_and_leaves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [cell for seed in range(2) for cell in both(folder, seed=seed)]
    run(folder, cells, "--dry-run")
    said = capsys.readouterr().out
    assert said.count("new ") == 4 and "4 cells, 4 to run" in said and "2 epochs, batch 8" in said
    assert not (folder / "out").exists()
    run(folder, cells, "--dry-run", "--only", "model=flie")
    assert "2 cells, 2 to run" in capsys.readouterr().out


def test_when_the_time_is_over_no_cell_begins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder, both(folder), *QUIET, "--limit-minutes", "-1")
    assert "the time is over; 2 cells are left" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="no cell of the study is finished yet"):
        run(folder, both(folder), "--report")


def test_a_cell_whose_data_cannot_be_divided_fails_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "set.yaml").write_text("train: train.json\nval: val.json\nnames: [a]\ncategory_ids: [1]\n")
    with pytest.raises(SystemExit, match="1 cells failed: tiny, set"):
        run(folder, [replace(tiny_cell(folder, data=str(folder / "set.yaml")), holdout=0.15)], *QUIET)
    assert "[1/1] tiny, set, 32 px, seed 0: failed:" in capsys.readouterr().out


def test_cells_that_the_csv_has_are_done_elsewhere(folder: Path) -> None:
    runner = runner_of(folder, both(folder), table="committed.csv")
    options = runner.options
    tiny, flie = runner.study.cells
    result = {"AP": 0.5, "parameters": 9, "curve": [0.1, 0.5]}
    runner.folder(tiny).mkdir(parents=True)
    (runner.folder(tiny) / "result.json").write_text(json.dumps(result))
    runner.update()
    elsewhere = Runner(runner.study, folder / "elsewhere", folder / "committed.csv", options)
    assert elsewhere.pending() == [flie]
    key = latency_key(tiny, options.threads, torch.device("cpu"))  # the models can be timed where no cell was trained
    elsewhere.output.mkdir()
    (elsewhere.output / "latency.json").write_text(json.dumps({key: {"ONNX ms": 1.5, "latency machine": "this"}}))
    elsewhere.update()
    (row,) = read_rows(folder / "committed.csv")
    assert (row["AP"], row["ONNX ms"], row["latency machine"], row["parameters"]) == (0.5, 1.5, "this", 9)
    changed = runner_of(folder, both(folder, epochs=3), table="committed.csv")
    assert len(changed.pending()) == 2
    runner.folder(changed.study.cells[1]).mkdir(parents=True)
    (runner.folder(changed.study.cells[1]) / "result.json").write_text(json.dumps(result))
    changed.update()  # a row of what the cell was before would be taken for a seed of what it is now
    assert [(row["model"], row["epochs"]) for row in read_rows(folder / "committed.csv")] == [("flie", 3)]


def test_an_interruption_after_the_last_epoch_is_no_reason_to_train(folder: Path) -> None:
    last = folder / "last.pt"
    config = {"epochs": 10, "patience": 3}
    for epoch, best, over in ((4, 3, False), (10, 9, True), (7, 3, True), (6, 3, False)):
        training = {"progress": {"epoch": epoch, "best_epoch": best}, "config": config}
        content = {"format": "mgil-yolov5", "version": 1, "architecture": {}, "names": [], "imgsz": 32}
        torch.save({**content, "state_dict": {}, "info": {}, "training": training}, last)
        assert is_over(last) == over


def test_a_peers_detections_are_scored_as_ours(folder: Path) -> None:
    data = load_data_config(folder / "data" / "squares.yaml")
    samples = load_samples(data, "val", cache_dir=folder, report=lambda _line: None)
    boxes = xyxy_to_xywh(samples.boxes_xyxy_px())
    rows = np.column_stack([samples.image_index, samples.classes, boxes, np.full(len(boxes), 0.9)])
    path = folder / "detections.json"
    path.write_text(json.dumps(rows.tolist()))
    assert coco_averages(samples, data.category_ids, read_detections(path, samples)).ap == pytest.approx(1)
    path.write_text(json.dumps(rows[samples.image_index != 0].tolist()))
    assert coco_averages(samples, data.category_ids, read_detections(path, samples)).ap < 1
    path.write_text("[]")
    assert len(read_detections(path, samples)) == 0
    path.write_text("[[6, 0, 1, 1, 2, 2, 0.5]]")
    with pytest.raises(ValueError, match="detections in image 6 of 6"):
        read_detections(path, samples)


def test_models_are_timed_anew_unless_they_took_turns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[list[str]] = []

    def measure(group: Mapping[str, PlannedCell], *_rest: Any) -> dict[str, dict[str, Any]]:
        groups.append([cell.model for cell in group.values()])
        return {key: {"ONNX ms": 1.0, "turns": len(groups)} for key in group}

    monkeypatch.setattr(study_latency, "measure_group", measure)
    cells = study_of(folder, both(folder)).cells
    for chosen in (cells[:1], cells[:1], cells[1:], cells, cells):
        study_latency.measure_study(chosen, folder / "latency.json", 1, torch.device("cpu"), folder)
    assert groups == [["tiny"], ["flie"], ["tiny", "flie"]]
