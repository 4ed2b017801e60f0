"""The models of a study of pose, and what its cells come to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.study_host_models import mflops_of
from benchmarks.study_models import Model
from benchmarks.study_plan import Cell, PoseTrainConfig, find_study, load_cells, load_study, plan
from benchmarks.study_pose_models import PoseModel
from benchmarks.study_widths import nearest_width
from mgil.engine.training.config import TrainConfig
from mgil.files.recipe import load_recipe
from mgil.tasks.pose.config import load_architecture
from mgil.tasks.pose.recipe import PoseRecipe
from tests.tasks.pose.people_sets import NAMES, make_people

pytest.importorskip("timm")

TRAIN = PoseTrainConfig(data="people", imgsz=32)
BASE = PoseModel("simcc-small", "base", keys={"host_options": {"width": 8, "depth": 1}})
PEER = PoseModel("yolo11n-pose", peer="ultralytics")


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    make_people(tmp_path / "people", 2, 2)
    return [tmp_path]


def test_a_definition_is_the_whole_architecture() -> None:
    definition = PoseModel("simcc-small").definition(32, 3)
    whole = load_architecture("simcc-small.yaml")
    assert definition == {key: value for key, value in whole.items() if key in definition} | {"split": 3}
    assert set(whole) - set(definition) == {"source", "crop", "skeleton"}  # of the data and of the training
    assert PoseModel("simcc-small").definition(128, 3)["split"] == 2
    changed = BASE.definition(32, 3)
    assert changed == {**definition, "host_options": {"width": 8, "depth": 1}}
    deep = PoseModel("simcc-small", keys={"host_options": {"depth": 3}}).definition(32, 3)
    assert deep["host_options"] == {"width": 32, "depth": 3}  # what is not named stays
    assert PEER.definition(32, 3) == {"peer": "ultralytics", "model": "yolo11n-pose"}
    assert (PoseModel("simcc-small.yaml").name, PEER.name) == ("simcc-small", "yolo11n-pose (ultralytics)")


def test_the_nearest_width_is_found_from_anywhere() -> None:
    for start in (2, 20, 60):
        assert nearest_width(lambda width: width**2, 399, start, 2, 30, "MFLOPs") == 20
        assert nearest_width(lambda width: width**2, 360, start, 2, 30, "MFLOPs") == 18  # 324 is nearer than 400
    with pytest.raises(ValueError, match="no width up to 60 gives 4000 MFLOPs"):
        nearest_width(lambda width: width**2, 4000, 2, 2, 30, "MFLOPs")
    with pytest.raises(ValueError, match="no width gives 9 MFLOPs; the nearest, 2, gives 4"):
        nearest_width(lambda width: width**2, 9, 2, 2, 30, "MFLOPs")


@pytest.mark.nightly
def test_a_width_is_solved_for_operations() -> None:
    other = replace(BASE, name="block", keys={**BASE.keys, "blocks": "flie"})
    wide = replace(BASE, name="wide", like=other).definition(32, 3)
    wanted = mflops_of(PoseModel, other.definition(32, 3), 32, 3)
    width = wide["host_options"]["width"]
    costs = [
        mflops_of(PoseModel, {**wide, "host_options": {"width": width + more, "depth": 1}}, 32, 3)
        for more in (-2, 0, 2)
    ]
    off = [abs(cost - wanted) for cost in costs]
    assert width > 8 and off[1] == min(off) < 0.1 * wanted
    hrnet = PoseModel("simcc-hrnet-w32", like=BASE)
    with pytest.raises(ValueError, match="host hrnet_w32 has no width to be changed"):
        hrnet.definition(32, 3)


def test_operations_are_those_of_a_written_out_network() -> None:
    """The stem and the head by hand, at two multiply-adds each; BatchNorm's two are counted as in training."""
    small, large = (mflops_of(PoseModel, BASE.definition(size, 3), size, 3) for size in (32, 64))
    head = [2 * 3 * 2 * (size // 4) ** 2 * 3 * size / 1e6 for size in (32, 64)]  # two layers, 3 maps, 3 bins a pixel
    assert (large - head[1]) / (small - head[0]) == pytest.approx(4)  # the rest grows with the area


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peer": "yolov5"}, "'yolov5' is none of ultralytics"),
        ({"peer": "ultralytics", "keys": {"blocks": "spd"}}, "taken as it is: leave keys and like out"),
        ({"like": PEER}, "a peer's operations are not known"),
        ({"keys": {"block": "spd"}}, "unknown key 'block'"),
        ({"keys": {"blocks": "spd", "block_options": {"fusion": "sum"}}}, "unknown key 'fusion'"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PoseModel("simcc-small", **changes).definition(32, 3)


def test_a_cell_is_all_that_its_result_depends_on(roots: list[Path]) -> None:
    cell = plan(Cell(BASE, TRAIN, {"lr0": 0.1}), roots)
    assert cell.task == cell.definition["task"] == "pose" and cell.definition["classes"] == NAMES
    assert (cell.definition["epochs"], cell.definition["batch"], cell.definition["crop"]) == (7, 16, "linear")
    default = {**load_recipe(PoseRecipe, "hyp.pose-small.yaml").as_dict(), "lr0": 0.1}
    assert cell.definition["recipe"].items() <= default.items() and "smoothing" in cell.definition["recipe"]
    others = [
        Cell(BASE, TRAIN),
        Cell(BASE, replace(TRAIN, crop="area"), {"lr0": 0.1}),
        Cell(replace(BASE, keys={**BASE.keys, "gaussian": True}), TRAIN, {"lr0": 0.1}),
    ]
    assert len({cell.id, *(plan(other, roots).id for other in others)}) == 4
    told = plan(Cell(replace(BASE, name="told", published=33.6), TRAIN, {"lr0": 0.1}), roots)
    assert told.id == cell.id and told.noted == {"published AP": 33.6, "operations of": ""}
    peer = plan(Cell(PEER, TRAIN), roots).definition
    assert "crop" not in peer and peer["recipe"] == {}  # its own
    with pytest.raises(ValueError, match="device 'cpu': a cell sets data, .*, crop alone"):
        Cell(BASE, replace(TRAIN, device="cpu"))


def test_tasks_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [Cell(BASE, TRAIN), Cell(Model("yolov5n"), TrainConfig(data="digits", imgsz=32))]
    monkeypatch.setattr("runpy.run_path", lambda _path: {"cells": cells})
    with pytest.raises(ValueError, match="cells of several tasks have other figures"):
        load_cells(tmp_path / "study.py")


def test_the_shipped_ablation_is_one_grid(tmp_path: Path) -> None:
    """Every cell of ours is the same but for the model and the seed; the paper's figures stand by their models."""
    make_people(tmp_path / "lspet", 2, 2).rename(tmp_path / "lspet" / "lspet.yaml")
    study = load_study(find_study("pose_ablation"), [tmp_path], ("model=[!ewy]*",))  # solving widths takes long
    rest = {key: {str(cell.definition[key]) for cell in study.cells} for key in study.cells[0].definition}
    assert {key for key, values in rest.items() if len(values) > 1} == {"model", "seed"}
    assert study.baseline == "base" and len(study.cells) == 2 * 9
    models = {cell.model: cell.definition["model"] for cell in study.cells}
    common = {"blocks", "block_options", "places"}
    assert all({key for key in own if own[key] != models["base"][key]} <= common for own in models.values())
    assert (
        models["FLIE + CII"]["block_options"] == {"fusion": "sum"} and models["FLIE + CII + MGAF"]["blocks"] == "mgil"
    )
    rivals = {cell.model.name: cell.model for cell in load_cells(find_study("pose_ablation"))}
    assert all(rivals[name].noted()["operations of"] == "FLIE + CII + MGAF" for name in ("widened", "enlarged"))
    published = {cell.model: cell.noted["published AP"] for cell in study.cells if cell.noted["published AP"]}
    assert published == {"SPD": 33.6, "FLIE": 36.3, "FLIE + CII + MGAF": 37.5}
