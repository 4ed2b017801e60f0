"""The shipped studies: they are what they were, and the committed results are theirs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from benchmarks.study_plan import STUDIES, Cell, find_study, load_cells, load_study, plan
from benchmarks.study_table import read_rows
from mgil.files.recipe import load_recipe
from mgil.networks.config import load_architecture
from mgil.tasks.detect.recipe import DetectRecipe, default_recipe

RESULTS = STUDIES.parent / "results"
# Number of cells, and a hash of what they say (see `said`), computed when studies were YAML files.
SHIPPED = {
    "ablation": (36, "34dc361bca036857"),
    "coco": (4, "be3e840767a86735"),
    "coco_smoke": (4, "3ac66ceef34b317a"),
    "degraded": (12, "b81718baa86bc679"),
    "finetune": (68, "12d877b45e0699bf"),
    "iso_cost": (72, "d75ea75d2f18adad"),  # yolov5n-mgil-res and yolov5n-lite came later
    "iso_cost_lr": (12, "8179a5f4d596ed29"),
    "lite": (30, "598db244e749cd97"),
    "lite_stem": (8, "3a7e86a4761235bd"),
    "recipe": (21, "659f6506c4362349"),
    "resolution": (105, "0342d7ba3f6c26e2"),
    "p3_scratch": (21, "9aad633876d9ae4a"),
    "p3_trials": (14, "fc2953ad1f310150"),
    "plateau": (12, "4abf821c5455e176"),
    "small_pictures": (54, "e6921b8721f087ad"),
    "smoke": (2, "7ad2a7f50d39ac6f"),
    "teaching": (18, "350613f93a321d8b"),
    "teachers": (1, "1b12a21ab58893ec"),
    "tin40": (21, "fa054a24d5799449"),
}

OTHERS = {"pose_ablation", "pose_sizes", "tin40_classes"}  # see test_study_pose_models and test_study_classes


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    """The YAML of a set that is not shipped."""
    (tmp_path / "helmet320.yaml").write_text("train: train\nval: val\nnames: [head, helmet]\n")
    return [tmp_path]


def said(cell: Cell) -> str:
    """All that a cell's definition is made of; a recipe's values only where they differ from the default."""
    model, train = cell.model, cell.train
    default = load_recipe(DetectRecipe, train.hyp or default_recipe(train.imgsz)).as_dict()
    recipe = {key: value for key, value in cell.recipe.items() if value != default[key]}
    network = [model.cfg, model.peer, model.rows, model.mgil, model.width, model.like]
    settings = [train.epochs, train.batch_size, train.patience, train.hyp, recipe, cell.holdout, cell.images]
    settings += [train.weights] if train.weights else []
    settings += [train.teacher, train.teacher_img] if train.teacher else []
    return json.dumps([model.name, train.data, train.imgsz, train.seed, network, *settings], sort_keys=True)


def test_all_are_known() -> None:
    assert {path.stem for path in STUDIES.glob("*.py")} == set(SHIPPED) | OTHERS


@pytest.mark.parametrize("study", SHIPPED)
def test_cells_are_what_they_were(study: str) -> None:
    texts = sorted(map(said, load_cells(find_study(study))))
    assert (len(texts), hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]) == SHIPPED[study]


@pytest.mark.parametrize("study", SHIPPED)
def test_models_are_there(study: str) -> None:
    cells = load_cells(find_study(study))
    for cfg in {name for cell in cells if not cell.model.peer for name in (cell.model.cfg, cell.model.like) if name}:
        load_architecture(f"{cfg}.yaml")


@pytest.mark.parametrize("study", ["iso_cost", "iso_cost_lr", "lite"])
def test_committed_rows_are_of_these_cells(study: str, roots: list[Path]) -> None:
    """Where this fails after a change of models or recipes, a new run measures those rows again.

    Solved widths take long; the rows that have them are left to `test_a_solved_width_is_the_committed_one`.
    """
    table = read_rows(RESULTS / f"study_{study}.csv")
    cells = [plan(cell, roots) for cell in load_cells(find_study(study)) if not cell.model.like]
    known = {tuple(cell.facts.values()) for cell in cells}
    names = {cell.model for cell in cells}
    columns = list(cells[0].facts)
    rows = {tuple(row[column] for column in columns) for row in table if row["model"] in names}
    assert rows and rows <= known
    assert {row["baseline"] for row in table} == {load_cells(find_study(study))[0].model.name}


@pytest.mark.nightly
@pytest.mark.parametrize("model", ["narrowed", "widened"])
def test_a_solved_width_is_the_committed_one(model: str, roots: list[Path]) -> None:
    only = (f"model=*{model}", "data=helmet320", "seed=0")
    (cell,) = load_study(find_study("iso_cost"), roots, only).cells
    assert cell.id in {row["cell"] for row in read_rows(RESULTS / "study_iso_cost.csv")}


def test_the_digits_keep_their_recipe_in_every_cell(roots: list[Path]) -> None:
    found = load_study(find_study("ablation"), roots, ("data=digits", "seed=0")).cells
    assert [cell.definition["recipe"]["fliplr"] for cell in found] == [0.0] * len(found) and len(found) == 12
    rows = {cell.model: cell.definition["model"]["backbone"][0][3] for cell in found}
    assert rows["FLIE"] == [64, {"fusion": "none"}] and rows["FLIE + CII"] == [64, {"fusion": "sum"}]
    assert rows["3 + 3 convolutions"] == [64, {"fine_convs": 3, "coarse_convs": 3}]
