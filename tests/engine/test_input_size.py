"""One rule for input sizes, whichever way they come in: the same rounding, said in the same words, the same limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mgil.datasets.reading.config import load_data_config
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.formats import check_formats
from mgil.engine.export.run import prepare
from mgil.engine.input_size import check_input_size, input_size_hw
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.load import load_model
from mgil.engine.prediction.run import run_detect
from mgil.engine.training.config import TrainConfig
from mgil.engine.training.setup import make_model, resolved
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from mgil.tasks.registry import task_named
from tests.engine.tiny import NAMES, TINY, Playground, write_yaml

# A sixth halving: stride 64.
DEEPER = {
    **TINY,
    "backbone": [*TINY["backbone"], [-1, 1, "Conv", [16, 3, 2]]],
    "head": [[[3, 4, 5], 1, "Detect", ["nc", "anchors"]]],
}


@pytest.mark.parametrize(
    ("sides", "stride", "size_hw", "line"),
    [
        ((64,), 32, (64, 64), None),
        ((640, 320), 32, (640, 320), None),
        ((33,), 32, (64, 64), "warning: input size 33 is not a multiple of the stride 32; 64 is used"),
        ((96,), 64, (128, 128), "warning: input size 96 is not a multiple of the stride 64; 128 is used"),
        ((70, 96), 32, (96, 96), "warning: input size 70x96 is not a multiple of the stride 32; 96x96 is used"),
        ((70, 70), 32, (96, 96), "warning: input size 70 is not a multiple of the stride 32; 96 is used"),
        ((40,), 8, (40, 40), None),
    ],
)
def test_sides_are_rounded_up_to_the_stride(
    sides: tuple[int, ...], stride: int, size_hw: tuple[int, int], line: str | None
) -> None:
    lines: list[str] = []
    assert input_size_hw(sides, stride, lines.append) == size_hw
    assert lines == ([line] if line else [])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "deeper.pt"
    save_checkpoint(path, build_model(DEEPER, names=NAMES, imgsz=64), {})
    return str(path)


def sizes_used(weights: str, ground: Playground, tmp_path: Path, sides: tuple[int, ...]) -> dict[str, tuple[Any, list]]:
    """What each way in makes of the sides, and what it says."""
    found: dict[str, tuple[Any, list]] = {}
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((64, 64, 3), np.uint8))

    def said(name: str, call: Callable[[list[str]], Any]) -> None:
        lines: list[str] = []
        result = call(lines)
        found[name] = result, [line for line in lines if "multiple" in line]

    common: dict[str, Any] = {"device": "cpu", "imgsz": sides}
    detect = DetectConfig(weights, str(picture), nosave=True, **common)
    said("detect", lambda lines: run_detect(detect, lines.append))
    export = ExportConfig(weights, **common)
    formats = check_formats(("torchscript",))
    said("export", lambda lines: prepare(export, formats, lines.append)[0].size_hw)
    said("load_model", lambda lines: load_model(weights, "cpu", sides[0], report=lines.append).size_hw)
    val = ValConfig((weights,), ground.data, workers=0, task="speed", project=str(tmp_path / "val"), **common)
    said("val", lambda lines: [*run_val(val, lines.append)])
    train = TrainConfig(cfg=write_yaml(tmp_path / "deeper.yaml", DEEPER), imgsz=sides[0])
    data, task = load_data_config(ground.data), task_named("detect")
    said("train", lambda lines: make_model(resolved(train, data, task), task, data.names, None, lines.append)[0].imgsz)
    return found


def test_every_door_rounds_alike_and_says_so(weights: str, ground: Playground, tmp_path: Path) -> None:
    found = sizes_used(weights, ground, tmp_path, (90,))
    line = "warning: input size 90 is not a multiple of the stride 64; 128 is used"
    assert {name: lines for name, (_, lines) in found.items()} == dict.fromkeys(found, [line])
    assert found["val"][0] == [128] and found["train"][0] == 128
    assert found["export"][0] == found["load_model"][0] == (128, 128)


def test_a_size_that_fits_is_not_mentioned(weights: str, ground: Playground, tmp_path: Path) -> None:
    found = sizes_used(weights, ground, tmp_path, (64,))
    assert [lines for _, lines in found.values()] == [[]] * 5
    assert found["val"][0] == [64] and found["train"][0] == 64 and found["export"][0] == (64, 64)


@pytest.mark.parametrize("size", [1, 31])
def test_too_small_a_size_is_refused_alike(size: int, weights: str) -> None:
    ways: list[Callable[[], object]] = [
        lambda: check_input_size((size,)),
        lambda: TrainConfig(imgsz=size),
        lambda: ValConfig(("w.pt",), imgsz=(size,)),
        lambda: DetectConfig("w.pt", imgsz=(size,)),
        lambda: ExportConfig("w.pt", imgsz=(size,)),
        lambda: load_model(weights, "cpu", size),
    ]
    for way in ways:
        with pytest.raises(ValueError, match=f"^--imgsz {size}: the smallest size is 32$"):
            way()
    with pytest.raises(ValueError, match=f"^--imgsz 64 {size}: the smallest size is 32$"):
        DetectConfig("w.pt", imgsz=(64, size))
    with pytest.raises(ValueError, match=f"^--imgsz 64 {size}: the smallest size is 32$"):
        load_model(weights, "cpu", (64, size))


def test_too_large_a_size_is_refused_alike(weights: str) -> None:
    """A size that no weights file may state; the picture of 853 PiB is not asked for."""
    for config in (TrainConfig, ValConfig, DetectConfig):
        sides = 16385 if config is TrainConfig else (16385,)
        first = {} if config is TrainConfig else {"weights": ("w.pt",) if config is ValConfig else "w.pt"}
        with pytest.raises(ValueError, match="^--imgsz 16385: the largest size is 16384$"):
            config(imgsz=sides, **first)
    with pytest.raises(ValueError, match="^--imgsz 64 16385: the largest size is 16384$"):
        load_model(weights, "cpu", (64, 16385))
    assert input_size_hw((16384,), 64, pytest.fail) == (16384, 16384)


def test_python_users_get_a_warning(weights: str) -> None:
    with pytest.warns(UserWarning, match="^input size 70 is not a multiple of the stride 64; 128 is used$"):
        assert load_model(weights, "cpu", 70).size_hw == (128, 128)
