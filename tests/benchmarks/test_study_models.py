"""The models of a study: networks with other rows, options and widths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.study_models import Model, gflops_of, solve_width
from tests.engine.tiny import TINY, write_yaml


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return write_yaml(tmp_path / "tiny.yaml", TINY)


def test_a_model_is_called_after_its_file_or_its_project() -> None:
    assert Model("yolov5n").name == Model("models/yolov5n.yaml").name == "yolov5n"
    assert Model("yolo11n", peer="ultralytics").name == "yolo11n (ultralytics)"
    assert Model("yolo11n", peer="ultralytics").definition() == {"peer": "ultralytics", "model": "yolo11n"}
    assert Model("yolov5n", "widened", width=0.5).name == "widened"


def test_a_definition_is_the_whole_architecture(tiny: str) -> None:
    definition = Model(tiny).definition()
    assert {key: definition[key] for key in TINY} == TINY and "source" not in definition
    flie = Model(tiny, mgil={"fusion": "none"}).definition()
    block = [-1, 1, "MGIL", [16, {"fusion": "none"}]]
    assert flie == {**definition, "backbone": [TINY["backbone"][0], block, *TINY["backbone"][2:]]}
    assert Model(tiny, width=2.0).definition() == {**definition, "width_multiple": 2.0}


@pytest.mark.nightly
def test_a_width_is_solved_for_operations(tiny: str, tmp_path: Path) -> None:
    single, double = Model(tiny).definition(), Model(tiny, width=2.0).definition()
    assert gflops_of(double) > 3 * gflops_of(single)
    wide = write_yaml(tmp_path / "wide.yaml", {**TINY, "width_multiple": 2.0})
    assert Model(tiny, like=wide).definition() == double
    assert solve_width(double, gflops_of(single)) == 1.0  # downwards too
    more = 1.05 * gflops_of(double)  # between two steps of 8 channels
    wider = solve_width(double, more)
    costs = [gflops_of({**single, "width_multiple": wider + step / 128}) for step in (-1, 0, 1)]
    assert abs(costs[1] - more) == min(abs(cost - more) for cost in costs) > 0
    with pytest.raises(ValueError, match=r"no width gives 0\.\d+ GFLOPs; the nearest, 0\.5, gives"):
        solve_width(single, gflops_of(single) / 2)
    with pytest.raises(ValueError, match=r"no width up to 4 gives 1e\+06"):
        solve_width(single, 1e6)


def test_operations_do_not_ask_how_anchors_are_given(tiny: str) -> None:
    """Three squares a level, which AutoAnchor replaces, have no values where no memory is taken."""
    definition = Model(tiny).definition()
    assert gflops_of({**definition, "anchors": 3}) == gflops_of(definition) > 0


def test_rows_take_the_place_of_the_models_own(tiny: str) -> None:
    definition = Model(tiny).definition()
    last = len(definition["backbone"]) + len(definition["head"]) - 1
    stem, head = [-1, 1, "SPDConv", [32]], definition["head"][-1]
    other = Model(tiny, rows={0: stem, last: head}).definition()
    assert other == {**definition, "backbone": [stem, *definition["backbone"][1:]]}
    for number in (-1, last + 1):
        with pytest.raises(ValueError, match=rf"no row {number}; rows are numbered 0 to {last}"):
            Model(tiny, rows={number: stem}).definition()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peer": "yolov9"}, "'yolov9' is none of yolov5, ultralytics"),
        ({"peer": "yolov5", "width": 0.5}, "yolov5n of yolov5 is taken as it is"),
        ({"width": 0.5, "like": "yolov5s"}, "not both"),
        ({"mgil": {"fusion": "sum"}}, "yolov5n has no MGIL row to give {'fusion': 'sum'} to"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Model("yolov5n", **changes).definition()
