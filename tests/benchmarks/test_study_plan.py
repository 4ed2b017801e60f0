"""A study's module, its cells, and what they come to with the data, models and recipes that they name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.study_models import Model
from benchmarks.study_plan import LATER, TAUGHT, Cell, PlannedCell, PoseTrainConfig, find_study, load_study, plan
from benchmarks.study_pose_models import PoseModel
from mgil.engine.training.config import TrainConfig, TrainFlags
from mgil.files.recipe import DEGRADED, load_recipe
from mgil.tasks.detect.recipe import DetectRecipe
from tests.benchmarks.small_study import write_study
from tests.engine.tiny import TINY, make_data, random_squares, write_yaml

TRAIN = TrainConfig(data="squares", imgsz=32)
PEER = Model("yolo11n", peer="ultralytics")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model, and a set of 20 + 4 pictures whose YAML asks for no mirroring."""
    write_yaml(tmp_path / "tiny.yaml", TINY)
    data = make_data(tmp_path / "data" / "squares", random_squares(20), random_squares(4, seed=1))
    data.write_text(data.read_text() + "epochs: 7\nhyp: {fliplr: 0.0, lr0: 0.5}\n")
    return tmp_path


@pytest.fixture
def tiny(folder: Path) -> Model:
    return Model(str(folder / "tiny.yaml"))


def planned(folder: Path, *cells: Cell, only: tuple[str, ...] = ()) -> tuple[PlannedCell, ...]:
    return load_study(write_study(folder, cells), [folder / "data"], only).cells


def grid(*models: Model) -> list[Cell]:
    """Every model at two sizes with two seeds."""
    return [
        Cell(model, replace(TRAIN, imgsz=size, seed=seed)) for seed in (0, 1) for size in (32, 64) for model in models
    ]


def test_cells_come_in_the_modules_order(folder: Path, tiny: Model) -> None:
    flie = replace(tiny, name="flie", mgil={"fusion": "none"})
    study = load_study(write_study(folder, grid(tiny, flie, PEER)), [folder / "data"])
    assert (study.name, study.baseline) == ("study", "tiny")
    assert len(study.cells) == 3 * 2 * 2 == len({cell.id for cell in study.cells})
    assert [str(cell) for cell in study.cells[:2]] == [
        "tiny, squares, 32 px, seed 0",
        "flie, squares, 32 px, seed 0",
    ]
    assert [cell.definition["seed"] for cell in study.cells] == [0] * 6 + [1] * 6
    assert study.cells[1].definition["model"]["backbone"][1] == [-1, 1, "MGIL", [16, {"fusion": "none"}]]
    assert study.cells[2].definition["model"] == {"peer": "ultralytics", "model": "yolo11n"}
    assert study.cells[2].definition["classes"] == ["red", "green", "blue"]


def test_the_id_follows_the_definition_and_nothing_else(folder: Path, tiny: Model) -> None:
    def one(cell: Cell) -> PlannedCell:
        return plan(cell, [folder / "data"])

    first = one(Cell(tiny, TRAIN))
    renamed = one(Cell(replace(tiny, name="another name"), TRAIN))
    assert renamed.id == first.id and renamed.folder_name != first.folder_name
    trains: list[dict[str, Any]] = [
        {"epochs": 9}, {"batch_size": 9}, {"patience": 9}, {"seed": 1}, {"imgsz": 64}, {"hyp": "scratch-low"},
    ]  # fmt: skip
    cells: list[dict[str, Any]] = [{"recipe": {"box": 0.3}}, {"holdout": 0.15}, {"holdout": 0.3}, {"images": 8}]
    models: list[dict[str, Any]] = [{"mgil": {"fine_convs": 1}}, {"width": 2.0}]
    ids = {
        *(one(Cell(tiny, replace(TRAIN, **change))).id for change in trains),
        *(one(Cell(tiny, TRAIN, **change)).id for change in cells),
        *(one(Cell(replace(tiny, **change), TRAIN)).id for change in models),
        first.id,
    }
    assert len(ids) == 13
    write_yaml(folder / "tiny.yaml", {**TINY, "activation": "ReLU"})  # the file behind the name
    assert one(Cell(tiny, TRAIN)).id not in ids


def test_weights_are_known_by_what_they_hold(folder: Path, tiny: Model) -> None:
    """Wherever they lie: beside the data, in a folder of their own, or at a path."""
    cell = Cell(tiny, replace(TRAIN, weights="start.pt"))
    with pytest.raises(FileNotFoundError, match="weights start.pt do not exist; .*--data-root"):
        plan(cell, [folder / "data"])
    beside, apart = folder / "data" / "start.pt", folder / "weights" / "start.pt"
    apart.parent.mkdir()
    beside.write_bytes(b"one"), apart.write_bytes(b"two")
    found = plan(cell, [folder / "data"])
    beside.unlink()
    other = plan(cell, [folder / "data"])
    assert (found.weights, other.weights) == (beside.resolve(), apart.resolve())
    assert len({found.id, other.id, plan(Cell(tiny, TRAIN), [folder / "data"]).id}) == 3
    apart.write_bytes(b"one")
    assert plan(cell, [folder / "data"]).id == found.id
    finetune = load_recipe(DetectRecipe, "finetune")
    assert found.definition["recipe"]["batchnorm"] == "loaded"
    assert found.definition["recipe"]["weight_decay"] == finetune.weight_decay
    assert found.definition["recipe"]["lr0"] == finetune.lr0  # the data set's is for training from scratch


def test_a_cell_is_set_over_its_data_set_over_the_defaults(folder: Path, tiny: Model) -> None:
    recipe = {"lrf": 0.5, "mosaic": 0.0}
    ours, changed, peer, peer_changed = planned(
        folder,
        Cell(tiny, TRAIN),
        Cell(tiny, replace(TRAIN, epochs=70, batch_size=8, patience=4, seed=1), {**recipe, "lr0": 0.1}),
        Cell(PEER, TRAIN),
        Cell(PEER, replace(TRAIN, seed=1), recipe),
    )
    settings = [[cell.definition[key] for key in ("epochs", "batch", "patience")] for cell in (ours, changed)]
    assert settings == [[7, 16, 100], [70, 8, 4]]
    default = load_recipe(DetectRecipe, "hyp.lowres.yaml").as_dict()
    idle = {*LATER, *TAUGHT, *DEGRADED}  # which it leaves as they were
    default = {key: value for key, value in default.items() if key not in idle}
    assert ours.definition["recipe"] == {**default, "fliplr": 0.0, "lr0": 0.5}
    assert changed.definition["recipe"] == {**default, "fliplr": 0.0, "mosaic": 0.0, "lr0": 0.1, "lrf": 0.5}
    # a peer keeps its own recipe, but for augmentation that the data ask for, and what is meant for it
    assert peer.definition["recipe"] == {"fliplr": 0.0}
    assert peer_changed.definition["recipe"] == {"fliplr": 0.0, "mosaic": 0.0, "lrf": 0.5}


def test_strengths_define_a_cell_where_they_are_at_work(folder: Path, tiny: Model) -> None:
    (folder / "teacher.pt").write_bytes(b"weights")
    taught = replace(TRAIN, teacher=str(folder / "teacher.pt"), teacher_img=64, seed=2)
    cells = Cell(tiny, TRAIN), Cell(tiny, replace(TRAIN, seed=1), {"degrade": 0.5}), Cell(tiny, taught)
    plain, degraded, learning = planned(folder, *cells)
    own = [{*cell.definition["recipe"]} - {*plain.definition["recipe"]} for cell in (degraded, learning)]
    assert own == [{"degrade", *DEGRADED}, {*TAUGHT}]
    assert learning.definition["teacher"].startswith("teacher.pt, sha256 ") and learning.definition["teacher_img"] == 64
    assert learning.teacher == folder / "teacher.pt" and "teacher" not in plain.definition


def test_cells_are_chosen_by_patterns(folder: Path, tiny: Model) -> None:
    cells = grid(tiny, replace(tiny, name="flie", mgil={"fusion": "none"}))
    assert len(planned(folder, *cells, only=("model=f*", "seed=1"))) == 2
    assert len(planned(folder, *cells, only=("size=32", "size=64", "seed=0"))) == 4
    absent = Cell(tiny, replace(TRAIN, data="absent"))
    assert len(planned(folder, *cells, absent, only=("data=squares",))) == 8  # what is not chosen need not be there
    with pytest.raises(FileNotFoundError, match=r"absent.yaml not found.*--data-root"):
        planned(folder, *cells, absent)
    with pytest.raises(ValueError, match="give key=pattern"):
        planned(folder, *cells, only=("tiny",))
    with pytest.raises(ValueError, match="--only model=tyni seed=0: no cell"):
        planned(folder, *cells, only=("model=tyni", "seed=0"))


@pytest.mark.parametrize(
    ("train", "changes", "message"),
    [
        ({"imgsz": 0}, {}, "yolov5n, squares, 0 px, seed 0: imgsz is missing"),
        ({"batch_size": -1}, {}, "batch_size -1 depends on the machine"),
        ({"device": "cpu"}, {}, "device 'cpu': a cell sets data, weights, hyp, epochs"),
        ({"cfg": "yolov5s"}, {}, "cfg 'yolov5s': a cell sets data"),
        ({"hyp": "scratch-low"}, {"model": PEER}, "hyp 'scratch-low' is this project's"),
        ({"weights": "a.pt"}, {"model": PEER}, "weights 'a.pt': peers are trained from scratch"),
        ({}, {"holdout": 3}, "holdout 3 must be from 0 to below 1"),
        ({}, {"images": -5}, "images -5 must be 0 or more"),
    ],
)
def test_mistakes_in_a_cell_are_named(train: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cell(**{"model": Model("yolov5n"), "train": replace(TRAIN, **train), **changes})


def test_a_cells_options_are_of_its_models_task() -> None:
    wanted = r"write train=TrainConfig\(...\) for a Model, train=PoseTrainConfig\(...\) for a PoseModel"
    for train in (TrainFlags(data="squares", imgsz=32), PoseTrainConfig(data="squares", imgsz=32)):
        with pytest.raises(ValueError, match=f"yolov5n, squares, 32 px, seed 0: {wanted}"):
            Cell(Model("yolov5n"), train)
    with pytest.raises(ValueError, match=f"simcc-small, squares, 32 px, seed 0: {wanted}"):
        Cell(PoseModel("simcc-small"), TRAIN)


def test_a_recipe_of_unknown_values_is_refused(folder: Path, tiny: Model) -> None:
    with pytest.raises(ValueError, match="unknown key 'lr'; did you mean"):
        planned(folder, Cell(tiny, TRAIN, {"lr": 0.1}))


def test_cells_must_be_distinct(folder: Path, tiny: Model) -> None:
    twin = replace(tiny, name="twin")
    with pytest.raises(ValueError, match="twin, squares, .* is the same training as tiny, squares"):
        planned(folder, Cell(tiny, TRAIN), Cell(twin, TRAIN))
    with pytest.raises(ValueError, match="two different cells are tiny, squares, 32 px, seed 0"):
        planned(folder, Cell(tiny, TRAIN), Cell(tiny, replace(TRAIN, epochs=9)))
    assert len(planned(folder, Cell(tiny, TRAIN), Cell(tiny, TRAIN, holdout=0.15))) == 2


def test_a_study_is_a_name_or_a_path(folder: Path, tiny: Model) -> None:
    path = write_study(folder, [Cell(tiny, TRAIN)])
    assert find_study(str(path)) == path
    assert find_study("smoke").name == "smoke.py"
    for name in ("smok", str(folder / "absent.py")):
        with pytest.raises(FileNotFoundError, match=rf"'{name}' does not exist; .* one of ablation, coco, .*tin40"):
            find_study(name)
    for text in ("cells = []", "cells = ['yolov5n']", ""):
        path.write_text(text)
        with pytest.raises(ValueError, match="must have a list `cells` of one or more"):
            load_study(path)
