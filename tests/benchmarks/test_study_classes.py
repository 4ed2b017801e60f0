"""Studies of classification: their models, their pictures, a cell that is run, and the report."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from benchmarks.study import Runner, parse_arguments
from benchmarks.study_cell import run_cell
from benchmarks.study_class_data import class_part, lists_of_boxes
from benchmarks.study_class_models import ClassModel
from benchmarks.study_data import held_out
from benchmarks.study_host_models import mflops_of
from benchmarks.study_plan import Cell, ClassTrainConfig, Study, find_study, load_cells, plan
from benchmarks.study_report import form_of, write_report
from benchmarks.study_table import Row, read_rows, write_rows
from mgil.engine import command
from mgil.tasks.classify.reading.config import class_data
from mgil.tasks.classify.reading.load import read_classes

pytest.importorskip("timm")

SHADES = {"dark": 40, "light": 210}
TINY = ClassModel("resnet18", "base", keys={"host_options": {"channels": [8, 16, 16, 16]}}, published=61.68)


@pytest.fixture
def folder(private_cache: None, tmp_path: Path) -> Path:
    """Dark and light pictures of 16 px, as folders of classes with a YAML."""
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for name, shade in SHADES.items():
            place = tmp_path / "shades" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                noise = random.integers(-20, 20, (16, 16, 3))
                cv2.imwrite(str(place / f"{number}.png"), (shade + noise).astype(np.uint8))
    (tmp_path / "shades" / "shades.yaml").write_text("train: train\nval: val\n")
    return tmp_path


def test_a_cell_of_ours(folder: Path) -> None:
    """Its figures are those of val.py on the weights that it kept."""
    asked = Cell(TINY, ClassTrainConfig(data="shades", imgsz=32, epochs=1, batch_size=4))
    arguments = parse_arguments(["study.py", "--device", "cpu"])
    study = Study("made", "base", (plan(asked, [folder]),))
    runner = Runner(study, folder / "out", folder / "out" / "study_made.csv", arguments)
    (cell,) = runner.pending()
    runner.write_job(cell)
    result = run_cell(runner.folder(cell))
    weights = runner.folder(cell) / "run" / "weights" / "best.pt"
    flags = ["--data", str(folder / "shades" / "shades.yaml"), "--workers", "0", "--device", "cpu", "--amp", "off"]
    command.COMMANDS["val"](["--weights", str(weights), "--project", str(folder / "val"), *flags], "val.py")
    with (folder / "val" / "exp" / "per_class.csv").open(newline="") as file:
        found = [float(line["top1_acc"]) for line in csv.DictReader(file)]
    assert len(found) == 2 and np.mean(found) == pytest.approx(result["top-1"], abs=1e-6)  # 4 pictures of each
    assert not (weights.parent / "last.pt").exists() and result["top-5"] == 1
    runner.update()
    (row,) = read_rows(runner.table)
    assert (row["published top-1"], row["epochs run"], row["split"]) == (61.68, 1, "val")
    assert row["MFLOPs"] == pytest.approx(mflops_of(ClassModel, cell.definition["model"], 32, 2), rel=1e-6)
    assert len(row["curve"]) == 1 and runner.pending() == []


def test_parts_are_lists_of_the_same_pictures(folder: Path) -> None:
    data_yaml = folder / "shades" / "shades.yaml"
    assert class_part(data_yaml, "shades", 0, 0, folder / "parts") == data_yaml
    whole = read_classes(class_data(data_yaml), "train", strict=True, report=print)
    part = class_part(data_yaml, "shades", 0.25, 0, folder / "parts")
    read = {split: read_classes(class_data(part), split, strict=True, report=print) for split in ("train", "val")}
    chosen = held_out(16, 0.25)
    for split, rows in (("train", set(range(16)) - chosen), ("val", chosen)):
        wanted = {(whole.image_paths[row], whole.classes[row]) for row in rows}
        assert set(zip(read[split].image_paths, read[split].classes, strict=True)) == wanted
        assert read[split].names == ("dark", "light")
    few = read_classes(
        class_data(class_part(data_yaml, "shades", 0, 6, folder / "parts")), "val", strict=True, report=print
    )
    assert len(few) == 6 and len(set(few.classes.tolist())) == 2  # some of each class, which follow one another


def test_pictures_with_one_box_are_of_its_class(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes, line = folder / "boxes", "{} 0.5 0.5 0.2 0.2\n"
    lines = {"one": line.format(1), "two": line.format(0) + "0 0.3 0.3 0.2 0.2\n", "none": "", "other": line.format(0)}
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (boxes / kind / split).mkdir(parents=True)
        for name, text in lines.items():
            cv2.imwrite(str(boxes / "images" / split / f"{name}.png"), np.zeros((8, 8, 3), np.uint8))
            (boxes / "labels" / split / f"{name}.txt").write_text(text)
    content = {"train": "images/train", "val": "images/val", "names": ["cat", "dog"]}
    (boxes / "boxes.yaml").write_text(yaml.safe_dump(content))
    made = lists_of_boxes(boxes / "boxes.yaml", folder / "out")
    assert capsys.readouterr().out == "train: 2 pictures, 2 left out\nval: 2 pictures, 2 left out\n"
    found = read_classes(class_data(made), "val", strict=True, report=print)
    named = {Path(path).stem: found.names[kind] for path, kind in zip(found.image_paths, found.classes, strict=True)}
    assert named == {"one": "dog", "other": "cat"}


def row(model: str, seed: int, score: float, **changes: Any) -> Row:
    return {
        "study": "made", "baseline": "base", "cell": f"{model}{seed}", "model": model, "data": "tin40", "size": 32,
        "seed": seed, "split": "val", "epochs": 3, "batch": 8, "patience": 5, "epochs run": 3, "top-1": score,
        "top-5": score + 0.3, "parameters": 1_500_000, "MFLOPs": 7.5, "operations of": "", "published top-1": None,
        "train seconds": 90.0, "threads": 1, "machine": "a machine", "versions": "torch 1",
        "curve": [score / 2, score], **changes,
    }  # fmt: skip


def test_a_report_needs_the_csv_alone(tmp_path: Path) -> None:
    rows = [row("base", seed, score, **{"published top-1": 61.68}) for seed, score in enumerate((0.40, 0.42))]
    rows += [row("block", seed, score, MFLOPs=18.0) for seed, score in enumerate((0.43, 0.45))]
    rows += [row("wide", 0, 0.46, MFLOPs=18.1, **{"operations of": "block"})]
    write_rows(tmp_path / "study_made.csv", rows)
    assert form_of(read_rows(tmp_path / "study_made.csv")).score == "top-1"
    write_report(tmp_path / "study_made.csv", tmp_path / "out")
    text = (tmp_path / "out" / "study_made.md").read_text()
    assert "| base | 2 | 0.4100 ± 0.0141 | 0.7100 |  | 61.68 | 1.50 M | 7.5 | 3 | 1.5 |" in text
    assert "- block minus wide: -0.0200, at 18.0 and 18.1 MFLOPs." in text
    assert "top-1 against MFLOPs" in text and "AP" not in text
    assert (tmp_path / "out" / "study_made_mflops.png").stat().st_size > 5000


def test_the_shipped_study() -> None:
    cells = load_cells(find_study("tin40_classes"))
    assert len(cells) == 18 and {cell.train.seed for cell in cells} == {0, 1, 2}
    assert [bool(cell.model.like) for cell in cells[:6]] == [False] * 5 + [True]


@pytest.mark.nightly
def test_the_widened_one_has_the_operations_of_the_block() -> None:
    cells = load_cells(find_study("tin40_classes"))
    wide = cells[5]
    costs = [mflops_of(ClassModel, cell.model.definition(32, 40), 32, 40) for cell in (cells[2], wide)]
    assert costs[1] == pytest.approx(costs[0], rel=0.1)
