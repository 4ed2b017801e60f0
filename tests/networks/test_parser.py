"""Wrong model YAMLs: each ends in an error that names the file, the row and the value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from mgil.networks.config import load_architecture
from mgil.networks.detector import build_model
from mgil.networks.head import Detect
from mgil.networks.registry import LAYERS, register_layer
from mgil.tasks.detect.criterion import make_loss
from mgil.tasks.detect.loss import LossGains

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


def test_a_row_names_the_activation_of_what_begins_as_zero() -> None:
    """In a network whose own would keep it at zero; a checkpoint keeps the word."""
    given = deepcopy(GOOD) | {"activation": "ReLU"}
    options = {"residual": True, "coarse_shortcut": True, "later_act": "nn.GELU()"}
    given["backbone"][1] = [-1, 1, "MGIL", [32, options]]
    model = build_model(given)
    found = [type(module) for module in model.model[1].modules() if isinstance(module, nn.ReLU | nn.GELU)]
    assert found == [nn.ReLU, *[nn.GELU] * 6]
    assert model.architecture["backbone"][1][3][1]["later_act"] == "nn.GELU()"
    given["backbone"][1][3][1]["later_act"] = None
    with pytest.raises(ValueError, match="row 1 .*gradient at 0 is 0"):
        build_model(given)


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
        ([-1, 1, "MGIL", [32, {"later_act": "Silu"}]], ["row 1", "unknown activation 'Silu'", "SiLU, ReLU"]),
        ([-1, 1, "MGIL", [32, {"later_act": 5}]], ["row 1", "unknown activation 5"]),
        ([-1, 1, "MGIL", [32, {"later_act": ["SiLU"]}]], ["row 1", "unknown activation ['SiLU']"]),
        ([-1, 1, "MGIL", [32, {"coarse_shortcut": True, "later_act": "ReLU"}]], ["row 1", "ReLU, whose gradient"]),
        ([-1, 1, "SPDConv", [32, {"later_act": "SiLU"}]], ["row 1", "wrong arguments for SPDConv"]),
        ([[-1, 0], 1, "Conv", [32]], ["row 1", "takes one input"]),
        ([-1, 1, "Detect", ["nc", "anchors"]], ["row 1", "last row"]),
        ([0, 1, "Concat", [1]], ["row 1", "Concat joins several inputs"]),
        ([[0], 1, "Concat", [1]], ["row 1", "Concat joins several inputs"]),
        ([-1, 1, "Conv", [32, 3, 0]], ["row 1", "8x128x128", "stride"]),
        ([-1, 1, "nn.Upsample", [None, 0, "nearest"]], ["row 1", "8x128x128", "scale_factor"]),
        ([-1, 1, "nn.Upsample", [None, 3, "nearest"]], ["level 0", "192 rows at 256 px", "powers of two"]),
        (
            [-1, 1, "nn.Upsample", [64, None, "nearest"]],
            ["level 0", "32 rows at 256 px and 32 at 128", "powers of two"],
        ),
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
        ({"anchors": [[True, 1], [1, 2]]}, ["anchors", "positive"]),
        ({"anchors": [[float("inf"), 1], [1, 2]]}, ["anchors", "positive"]),
        ({"anchors": [[], []]}, ["anchors", "w,h pairs"]),
        ({"anchors": [[[10, 13]], [[30, 61]]]}, ["anchors", "w,h pairs"]),
        ({"anchors": [10, 13, 16, 30]}, ["row 5", "anchors [10, 13, 16, 30]", "e.g. 3, or one row"]),
        ({"anchors": [[10, 13], None]}, ["row 5", "e.g. 3, or one row"]),
        ({"anchors": "3"}, ["row 5", "anchors '3'", "e.g. 3, or one row"]),
        ({"anchors": 3.0}, ["row 5", "anchors 3.0", "e.g. 3, or one row"]),
        ({"anchors": True}, ["row 5", "anchors True"]),
        ({"anchors": None}, ["row 5", "anchors None"]),
        ({"anchors": {"P3": [10, 13]}}, ["row 5", "anchors {'P3'"]),
        ({"anchors": 0}, ["row 5", "anchors 0", "from 1 to 100"]),
        ({"anchors": -3}, ["row 5", "anchors -3", "from 1 to 100"]),
        ({"anchors": 10**30}, ["row 5", "from 1 to 100"]),
        ({"head": [[[3, 4], 1, "Detect", ["nc", 0]]]}, ["row 5", "anchors 0"]),
        ({"head": [[[3, 4], 1, "Detect", ["nc"]]]}, ["row 5", "args of Detect are [nc, anchors]"]),
        ({"head": [[[3, 4], 1, "Detect", ["two", "anchors"]]]}, ["row 5", "'two' does not count classes"]),
        ({"head": [[[3, 4], 1, "Detect", [5, "anchors"]]]}, ["row 5", "5 classes where there are 2; write nc"]),
        ({"ch": 1}, ["ch is 1", "3 channels"]),
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
    with pytest.raises(
        ValueError,
        match=r"row 5 .*Concat.*: the rows do not fit together: this one gets 16x16x16 and "
        r"8x128x128 \(channels x height x width\) at 256 px; Concat joins maps of",
    ):
        build_model(bad)


@pytest.mark.parametrize(("number", "sides"), [(1, [2]), (2, [1, 4]), (3, [1, 2, 4]), (5, [1, 2**0.5, 2, 2**1.5, 4])])
def test_a_number_of_anchors(number: int, sides: list[float]) -> None:
    """Squares of one to four cells; in the row of the head, too, and what is built from the result has the same."""
    by_key = build_model({**deepcopy(GOOD), "anchors": number})
    by_row = build_model({**deepcopy(GOOD), "head": [[[3, 4], 1, "Detect", ["nc", number]]]})
    for model in (by_key, by_row):
        squares = torch.tensor(sides, dtype=torch.float32)[:, None].repeat(1, 2)
        torch.testing.assert_close(model.head.anchors_px, torch.stack((squares * 8, squares * 16)))
        assert model.head.start_only and model.head.m[0].out_channels == number * 7
        again = build_model(model.architecture)
        assert not again.head.start_only and torch.equal(again.head.anchors_px, model.head.anchors_px)


def test_levels_in_another_order() -> None:
    model = build_model({**deepcopy(GOOD), "head": [[[4, 3], 1, "Detect", ["nc", "anchors"]]]})
    assert model.stride.tolist() == [16, 8] and model.head.finest_first == [1, 0]


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


class Offset(Detect):
    """A head of one's own: the boxes lie one pixel further to the right."""

    def decode(self, raws: Sequence[Tensor]) -> Tensor:
        return super().decode(raws) + torch.tensor([1.0, 0, 0, 0, *[0] * (self.num_outputs - 4)])


class NoDetect(nn.Module):
    """What has a head's signature and is none."""

    def __init__(self, num_classes: int, anchors: Any, channels: Any) -> None:
        super().__init__()


@pytest.fixture
def own_head() -> Iterator[dict[str, Any]]:
    """A model YAML with a head of one's own, which the test registers."""
    yield {**deepcopy(GOOD), "head": [[[3, 4], 1, "Own", ["nc", "anchors"]]]}
    LAYERS.pop("Own", None)


def test_a_head_of_ones_own_trains_and_detects(own_head: dict[str, Any]) -> None:
    register_layer("Own", Offset, "head")
    torch.manual_seed(0)
    own, images = build_model(own_head, imgsz=64), torch.rand(2, 3, 64, 64)
    plain = build_model(GOOD, imgsz=64)
    plain.load_state_dict(own.state_dict())
    own.eval(), plain.eval()
    with torch.no_grad():
        gaps = own(images) - plain(images)
    assert torch.allclose(gaps[..., 0], torch.ones(())) and not gaps[..., 1:].any()
    own.train()
    targets = torch.tensor([[0, 1, 32, 32, 20, 20], [1, 0, 12.5, 40, 12, 26]])
    make_loss(own.head, LossGains())(own(images), targets)[0].backward()
    assert all(layer.weight.grad.any() for layer in own.head.m)
    assert isinstance(build_model(own.architecture).head, Offset)  # as a checkpoint does


def test_a_head_that_is_no_detect_is_refused(own_head: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"^Own: a head must be a subclass of mgil\.networks\.head\.Detect, NoDetect is not$"
    ):
        register_layer("Own", NoDetect, "head")
    register_layer("Own", lambda *arguments: NoDetect(*arguments), "head")
    with pytest.raises(
        ValueError, match=r"model, row 5 .*: Own: a head must be a subclass of mgil\.networks\.head\.Detect"
    ):
        build_model(own_head)


def test_a_kind_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="no kind 'tail'; choose one of channels, repeat, keep, concat, head"):
        register_layer("Own", nn.Conv2d, "tail")  # type: ignore[arg-type]
