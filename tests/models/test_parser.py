"""Wrong model YAMLs: each ends in an error that names the file, the row and the value."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import nn

from models import build_model, load_architecture, register_layer
from models.registry import LAYERS

GOOD: dict[str, Any] = {
    "nc": 2,
    "depth_multiple": 1.0,
    "width_multiple": 0.25,
    "anchors": [[10, 13, 16, 30], [30, 61, 62, 45]],
    "backbone": [
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "MGIL", [32]],
        [-1, 1, "SPDConv", [64]],
        [-1, 1, "C3", [64]],
        [-1, 1, "Conv", [64, 3, 2]],
    ],
    "head": [[[3, 4], 1, "Detect", ["nc", "anchors"]]],
}


def test_the_good_one_builds() -> None:
    assert build_model(GOOD).stride.tolist() == [8, 16]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([-1, 1, "Convv", [32, 3, 2]], ["row 1", "Convv", "did you mean 'Conv'"]),
        ([-1, 1, "os.system", ["echo"]], ["row 1", "os.system", "unknown layer"]),
        ([-1, 1, "__import__('os')", []], ["row 1", "unknown layer"]),
        ([5, 1, "Conv", [32]], ["row 1", "`from` 5", "rows 0 to 0"]),
        ([1, 1, "Conv", [32]], ["row 1", "`from` 1"]),
        ([-3, 1, "Conv", [32]], ["row 1", "`from` -3"]),
        (["x", 1, "Conv", [32]], ["row 1", "'x'"]),
        ([True, 1, "Conv", [32]], ["row 1", "True"]),
        ([[], 1, "Concat", [1]], ["row 1", "`from`"]),
        ([-1, 0, "Conv", [32]], ["row 1", "`number` is 0"]),
        ([-1, 1.5, "Conv", [32]], ["row 1", "1.5"]),
        ([-1, 1, "Conv", 32], ["row 1", "must be a list"]),
        ([-1, 1, "Conv"], ["row 1", "[from, number, module, args]"]),
        ("Conv", ["row 1", "[from, number, module, args]"]),
        ([-1, 1, "Conv", []], ["row 1", "output channels"]),
        ([-1, 1, "Conv", ["64"]], ["row 1", "output channels"]),
        ([-1, 1, "Conv", [-64]], ["row 1", "output channels"]),
        ([-1, 1, "Conv", [32, "big"]], ["row 1", "wrong arguments for Conv"]),
        ([-1, 1, "Conv", [32, 3, 2, 1, 1, 1, 1, 1]], ["row 1", "wrong arguments for Conv"]),
        ([-1, 1, "MGIL", [32, {"fusion": "magic"}]], ["row 1", "fusion", "magic"]),
        ([-1, 1, "MGIL", [32, {"fushion": "sum"}]], ["row 1", "fushion"]),
        ([[-1, 0], 1, "Conv", [32]], ["row 1", "takes one input"]),
        ([-1, 1, "Detect", ["nc", "anchors"]], ["row 1", "last row"]),
    ],
)
def test_wrong_rows(row: Any, words: list[str]) -> None:
    bad = deepcopy(GOOD)
    bad["backbone"][1] = row
    with pytest.raises(ValueError) as caught:
        build_model({**bad, "source": "mine.yaml"})
    for word in ["mine.yaml", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"depth_multiple": "0.3; import os"}, ["depth_multiple"]),
        ({"width_multiple": 0}, ["width_multiple"]),
        ({"backbone": []}, ["backbone"]),
        ({"head": None}, ["head"]),
        ({"nc": 0}, ["nc"]),
        ({"nc": "80"}, ["nc"]),
        ({"activation": "eval"}, ["activation", "eval"]),
        ({"anchors": [[10, 13]]}, ["anchors", "row 5"]),
        ({"anchors": [[10, 13, 5], [10, 13, 5]]}, ["anchors"]),
        ({"anchors": [[10, -13], [1, 2]]}, ["anchors", "positive"]),
        ({"anchors": [["a", 1], [1, 2]]}, ["anchors"]),
        ({"head": [[[3, 4], 1, "Concat", [1]]]}, ["last row"]),
        ({"backbnoe": 1}, ["backbnoe", "did you mean 'backbone'"]),
    ],
)
def test_wrong_keys(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        build_model({**deepcopy(GOOD), **change})
    for word in words:
        assert word in str(caught.value)


def test_maps_that_do_not_fit_together() -> None:
    bad = deepcopy(GOOD)
    bad["backbone"].append([[-1, 0], 1, "Concat", [1]])
    bad["head"] = [[[3, 5], 1, "Detect", ["nc", "anchors"]]]
    with pytest.raises(ValueError, match="do not fit together"):
        build_model(bad)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("backbone: [", ["line 1", "expected the node content"]),
        ("- 1\n- 2", ["'key: value' lines"]),
        ("!!python/object/apply:os.system ['echo hacked']", ["line 1", "could not determine a constructor"]),
        ("", ["`backbone` must be a list"]),
        ("nc: 1\nnc: 2", ["line 2", "'nc' is written twice"]),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        build_model(path)
    for word in ["bad.yaml", *words]:
        assert word in str(caught.value)


def test_names() -> None:
    with pytest.raises(FileNotFoundError, match=r"did you mean yolov5n-mgil\.yaml"):
        load_architecture("yolov5n-mgll.yaml")
    with pytest.raises(ValueError, match="scales n, s, m, l, x"):
        load_architecture("yolov5.yaml")
    assert load_architecture("yolov5s-mgil.yaml")["width_multiple"] == 0.5
    assert load_architecture("models/yolov5x.yaml")["depth_multiple"] == 1.33


def test_a_users_file_with_a_scale_in_its_name(tmp_path: Path) -> None:
    content = {key: value for key, value in GOOD.items() if not key.endswith("multiple")}
    content["scales"] = {"n": [0.33, 0.25], "s": [0.33, 0.5]}
    path = tmp_path / "own5s.yaml"
    path.write_text(yaml.safe_dump(content))
    assert load_architecture(path)["width_multiple"] == 0.5
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**content, "scale": "n"}))
    assert load_architecture(path)["width_multiple"] == 0.25


def test_a_layer_of_ones_own() -> None:
    register_layer("Twice", lambda c1, c2, factor=1: nn.Conv2d(c1, c2, 3, 2, 1), "channels")
    try:
        with pytest.raises(ValueError, match="registered already"):
            register_layer("Twice", nn.Conv2d, "channels")
        own = deepcopy(GOOD)
        own["backbone"][1] = [-1, 1, "Twice", [32, {"factor": 2}]]
        assert isinstance(build_model(own).model[1], nn.Conv2d)
    finally:
        del LAYERS["Twice"]
