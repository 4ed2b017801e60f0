"""Weights in a network whose rows have other numbers than the weights' network has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mgil.engine.weights.checkpoints import load_checkpoint, save_checkpoint
from mgil.engine.weights.start import start_from
from mgil.networks.detector import DetectionModel, build_model
from tests.engine.tiny import NAMES, TINY
from tests.engine.weights.test_carry_over import BLOCK, rows, started, trained_like

PAIRS = [[2, 3], [3, 4]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the plain network, five rows and a head."""
    return saved(tmp_path_factory.mktemp("plain") / "plain.pt", rows())


def saved(path: Path, architecture: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    save_checkpoint(path, trained_like(build_model(architecture, names=NAMES, imgsz=96)), {})
    return path


def without_row_two(**other: Any) -> dict[str, Any]:
    """The plain network without its third row: the two after it are numbered one lower."""
    backbone = rows()["backbone"]
    del backbone[2]
    return rows() | {"backbone": backbone, "head": [[[1, 2, 3], 1, "Detect", ["nc", "anchors"]]]} | other


def with_a_row_more(**other: Any) -> dict[str, Any]:
    """The plain network with a new second row: the others are numbered one higher, the last as the weights' head."""
    backbone = rows()["backbone"]
    backbone.insert(1, [-1, 1, "Conv", [8, 1, 1]])
    return rows() | {"backbone": backbone, "head": [[[3, 4, 5], 1, "Detect", ["nc", "anchors"]]]} | other


def assert_rows(model: DetectionModel, weights: Path, pairs: dict[int, int]) -> None:
    """Rows of the model are those of the weights."""
    theirs = load_checkpoint(weights).state_dict
    for own, other in pairs.items():
        assert torch.equal(model.model[own].conv.weight, theirs[f"model.{other}.conv.weight"]), own


def test_rows_take_their_weights_where_the_model_says(weights: Path) -> None:
    model, start, _ = started(weights, without_row_two(weights_rows=PAIRS))
    assert_rows(model, weights, {0: 0, 1: 1, 2: 3, 3: 4})
    assert not [name for name in start.left if not name.startswith("model.4.")]
    by_name, _, _ = started(weights, without_row_two())
    assert_rows(by_name, weights, {2: 2, 3: 3})


def test_a_row_may_have_the_number_of_the_other_networks_head(weights: Path) -> None:
    pairs = [[2, 1], [3, 2], [4, 3], [5, 4]]
    model, start, lines = started(weights, with_a_row_more(weights_rows=pairs))
    assert_rows(model, weights, {0: 0, 2: 1, 3: 2, 4: 3, 5: 4})
    assert {name.split(".")[1] for name in start.left} == {"1"} and "model.1.conv.weight" in lines[-1]


def test_blocks_begin_as_the_layers_in_their_places(weights: Path) -> None:
    """Not as those of their numbers."""
    architecture = without_row_two(weights_rows=PAIRS)
    plain, _, _ = started(weights, architecture)
    architecture["backbone"][2] = [-1, 1, "MGIL", [16, BLOCK]]
    model, start, lines = started(weights, architecture)
    assert "1 of 1 stride-2 layers carried over" in lines[0] and set(start.carried) == {
        "model.2.flie.lie.0.conv.weight"
    }
    images = torch.rand(1, 3, 64, 96)
    for own, other in zip(model.eval().raw(images)[1:], plain.eval().raw(images)[1:], strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)


def test_weights_numbered_as_the_model_itself_go_by_number(tmp_path: Path) -> None:
    """--cfg of a model and a best.pt of the same, also in another order of the pairs."""
    path = saved(tmp_path / "own.pt", without_row_two(weights_rows=PAIRS))
    for pairs in (PAIRS, PAIRS[::-1]):
        model, start, _ = started(path, without_row_two(weights_rows=pairs))
        assert start.whole and start.head
        theirs = load_checkpoint(path).state_dict
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())


def test_weights_of_another_numbering_go_by_both(weights: Path, tmp_path: Path) -> None:
    moved = saved(tmp_path / "moved.pt", without_row_two(weights_rows=PAIRS))
    model, _, _ = started(moved, rows())
    assert_rows(model, moved, {0: 0, 1: 1, 3: 2, 4: 3})
    model, _, _ = started(moved, with_a_row_more(weights_rows=[[2, 1], [3, 2], [4, 3], [5, 4]]))
    assert_rows(model, moved, {0: 0, 2: 1, 4: 2, 5: 3})
    before = saved(tmp_path / "before.pt", without_row_two())  # the file had no pairs yet
    model, start, _ = started(before, without_row_two(weights_rows=[[2, 7], [3, 8]]))
    assert_rows(model, before, {2: 2, 3: 3})
    assert start.whole


def test_tensors_of_no_row_do_no_harm(weights: Path) -> None:
    checkpoint = load_checkpoint(weights)
    checkpoint.state_dict.update(dict.fromkeys(("foo", "ema.x", "model.x.y", "model.99.a"), torch.zeros(1)))
    model = build_model(without_row_two(weights_rows=PAIRS), names=NAMES, imgsz=96)
    start_from(model, checkpoint, True, lambda _line: None)
    assert_rows(model, weights, {2: 3})


def test_levels_of_one_stride_keep_their_order(tmp_path: Path) -> None:
    head = [[4, 1, "Conv", [32, 3, 1]], [[4, 5], 1, "Detect", ["nc", "anchors"]]]
    twice = rows() | {"head": head, "anchors": TINY["anchors"][:2]}
    path = saved(tmp_path / "twice.pt", twice)
    other = twice | {"head": [head[0], [5, 1, "Conv", [32, 1, 1]], [[4, 6], 1, "Detect", ["nc", "anchors"]]]}
    for architecture, last in ((twice, 6), (other, 7)):
        model, start, _ = started(path, architecture)
        theirs = load_checkpoint(path).state_dict
        for level in (0, 1):
            assert torch.equal(model.head.m[level].weight, theirs[f"model.6.m.{level}.weight"]), last
        assert start.head


def test_what_is_begun_from_changes_no_random_number(weights: Path) -> None:
    model = build_model(without_row_two(weights_rows=PAIRS), names=NAMES, imgsz=96)
    before = torch.get_rng_state()
    start_from(model, load_checkpoint(weights), True, lambda _line: None)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "pairs", [{2: 3}, [2, 3], [[2]], [[2, -1]], [[2, True]], [[2, 3], [2, 4]], [[2, 10**6]], [[4, 5]], [[-1, 2]], None]
)
def test_pairs_of_rows_that_make_no_sense_are_refused(pairs: Any) -> None:
    wanted = r"model: weights_rows is .*; write pairs \[row here, row of yolov5.yaml\], .* from 0 to 3"
    with pytest.raises(ValueError, match=wanted):
        build_model(without_row_two(weights_rows=pairs), names=NAMES, imgsz=96)


def test_yolov5n_fills_all_of_yolov5n_p3(tmp_path: Path) -> None:
    path = tmp_path / "yolov5n.pt"
    source = build_model("yolov5n.yaml", names=NAMES, imgsz=64)
    save_checkpoint(path, trained_like(source), {})
    model = build_model("yolov5n-p3.yaml", names=NAMES, imgsz=96)
    lines: list[str] = []
    start = start_from(model, load_checkpoint(path), True, lines.append)
    assert start.whole and start.head and not start.left and "all 189 tensors" in lines[-1]
