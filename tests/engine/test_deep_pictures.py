"""A set of 16-bit pictures, with what its values mean, is trained, evaluated, run and exported as its 8-bit twin."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.value_range import ValueRange
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.export.job import ExportJob
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.load import load_model
from mgil.engine.prediction.run import run_detect
from mgil.engine.runtimes.metadata import read_metadata
from mgil.engine.training.config import TrainConfig
from mgil.engine.training.run import run_train
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint, save_checkpoint
from tests.engine.tiny import Playground, same_tensors

KELVIN = ValueRange(29000, 29255)
Deepen = Callable[[np.ndarray], np.ndarray]


def deep_copy(data: str, folder: Path, deepen: Deepen, setting: str = "") -> str:
    """The set with other values in 16 bits; returns its YAML."""
    shutil.copytree(Path(data).parent, folder)
    for path in folder.glob("images/*/*.png"):
        cv2.imwrite(str(path), deepen(cv2.imread(str(path)).astype(np.uint16)))
    yaml_path = folder / Path(data).name
    yaml_path.write_text(f"{yaml_path.read_text()}{setting}\n")
    return str(yaml_path)


@pytest.fixture(scope="module")
def sets(ground: Playground) -> dict[str, str]:
    """YAMLs of the set of squares: as it is, and as deeper pictures, with and without what their values mean."""
    folder = ground.folder
    return {
        "shallow": ground.data,
        "kelvin": deep_copy(ground.data, folder / "kelvin", lambda values: values + 29000, str(KELVIN)),
        "kelvin-unsaid": deep_copy(ground.data, folder / "unsaid", lambda values: values + 29000),
        "8 of 16": deep_copy(ground.data, folder / "eight", lambda values: values, "bits: 8"),
        "12 of 16": deep_copy(ground.data, folder / "twelve", lambda values: values * 16),
    }


@pytest.fixture(scope="module")
def runs(ground: Playground, sets: dict[str, str]) -> dict[str, tuple[Path, list[str]]]:
    """An epoch on two of the sets, and what was said."""
    found = {}
    for name in ("shallow", "kelvin"):
        lines: list[str] = []
        config = ground.config(ground.folder / f"{name}-run", data=sets[name], epochs=1)
        found[name] = (run_train(config, lines.append), lines)
    return found


def best(runs: dict[str, tuple[Path, list[str]]], name: str) -> Path:
    return runs[name][0] / "weights" / "best.pt"


def test_training_sees_the_same_pixels_and_remembers_the_range(runs: dict[str, tuple[Path, list[str]]]) -> None:
    shallow = load_checkpoint(best(runs, "shallow"))
    assert shallow.values is None and "range" not in shallow.info
    kelvin = load_checkpoint(best(runs, "kelvin"))
    assert same_tensors(kelvin.state_dict, shallow.state_dict)
    assert kelvin.values == KELVIN
    assert not any("warning" in line for name in ("shallow", "kelvin") for line in runs[name][1])


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mgil.tasks.detect.plots.plot_result", lambda *_: None)
    monkeypatch.setattr("mgil.tasks.detect.plots.BatchPictures.write", lambda _: None)
    monkeypatch.setattr("mgil.engine.evaluation.run.plot_input_sizes", lambda *_: None)


@pytest.mark.usefixtures("no_plots")
def test_evaluation_takes_the_range_of_the_set_else_that_of_the_weights(
    runs: dict[str, Any], sets: dict[str, str], tmp_path: Path
) -> None:
    fitness = {}
    cases = [("shallow", "shallow"), ("shallow", "kelvin"), ("kelvin", "kelvin-unsaid"), ("kelvin", "shallow")]
    for weights, name in cases:
        lines: list[str] = []
        options: dict[str, Any] = {"imgsz": (32,), "device": "cpu", "workers": 0, "project": str(tmp_path)}
        found = run_val(ValConfig((str(best(runs, weights)),), sets[name], **options), lines.append)
        fitness[weights, name] = found[32].scores.row()
        assert not any("warning" in line for line in lines)
    assert all(repr(row) == repr(fitness[cases[0]]) for row in fitness.values())


@pytest.mark.usefixtures("no_plots")
def test_evaluation_tells_once_over_all_sizes(runs: dict[str, Any], sets: dict[str, str], tmp_path: Path) -> None:
    lines: list[str] = []
    options: dict[str, Any] = {"imgsz": (32, 64), "device": "cpu", "workers": 0, "project": str(tmp_path)}
    run_val(ValConfig((str(best(runs, "shallow")),), sets["12 of 16"], **options), lines.append)
    (line,) = [line for line in lines if line.startswith("warning: ")]
    assert "4 of 4 pictures of more than 8 bits use only 12 of their 16 bits" in line


def tables(config: dict[str, Any], folder: Path) -> tuple[list[list[str]], list[str]]:
    """predictions.csv of a run of detect.py, and its warnings."""
    lines: list[str] = []
    run_detect(DetectConfig(**config, nosave=True, save_csv=True, conf_thres=0.0, max_det=5, device="cpu",
                            project=str(folder)), lines.append)  # fmt: skip
    (table,) = folder.rglob("predictions.csv")
    columns = [row.split(",")[:8] for row in table.read_text().splitlines()]  # without the path
    return columns, [line for line in lines if "warning" in line]


def test_detection_takes_the_weights_range_and_others(
    runs: dict[str, Any], sets: dict[str, str], tmp_path: Path
) -> None:
    shallow, kelvin = str(best(runs, "shallow")), str(best(runs, "kelvin"))

    def found(weights: str, name: str, **options: Any) -> tuple[list[list[str]], list[str]]:
        source = str(Path(sets[name]).parent / "images" / "val")
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return tables({"weights": weights, "source": source, **options}, folder)

    expected = found(shallow, "shallow")
    assert len(expected[0]) > 4 and expected[1] == []
    assert found(kelvin, "kelvin") == expected
    assert found(kelvin, "shallow") == expected
    assert found(shallow, "kelvin", range=(29000, 29255)) == expected
    assert found(shallow, "kelvin", data=sets["kelvin"]) == expected
    assert found(kelvin, "8 of 16", bits=8) == expected
    _, (line,) = found(shallow, "shallow", bits=12)
    assert line == "warning: `bits: 12` changed nothing: no picture has more than 8 bits"
    other, (line,) = found(shallow, "12 of 16")
    assert other != expected[0]
    assert re.search(r"4 of 4 pictures .* use only 12 of their 16 bits .*; give --bits 12, unless the weights", line)
    other, (line,) = found(kelvin, "12 of 16")
    assert "4 of 4 pictures of more than 8 bits have values outside `range: [29000, 29255]`" in line


def test_a_loaded_model_scales_and_warns_once(runs: dict[str, Any], sets: dict[str, str]) -> None:
    path = next(Path(sets["shallow"]).parent.glob("images/val/*.png"))
    rgb = cv2.imread(str(path))[..., ::-1].copy()
    options: dict[str, Any] = {"conf": 0.0, "max_det": 5, "device": "cpu"}
    model = load_model(best(runs, "kelvin"), **options)
    expected = model(rgb)
    assert len(expected) == 5
    deep = rgb.astype(np.uint16) + 29000
    bits = load_model(best(runs, "kelvin"), bits=8, **options)
    ends = load_model(best(runs, "shallow"), range=[29000, 29255], **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for results in (model(deep), bits(rgb.astype(np.uint16)), ends(deep), *model([deep, rgb])):
            np.testing.assert_array_equal(results.image, rgb)
            np.testing.assert_allclose(results.boxes_xyxy, expected.boxes_xyxy, atol=1e-4)
            np.testing.assert_allclose(results.scores, expected.scores, atol=1e-6)  # a batch of two rounds otherwise
    plain = load_model(best(runs, "shallow"), **options)
    twelve = rgb.astype(np.uint16) * 16
    with pytest.warns(
        UserWarning, match="1 of 1 pictures .* use only 12 of their 16 bits .* give bits=12 to load_model"
    ):
        plain(twelve)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain(twelve)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"bits": 7}, "bits is 7"), ({"range": (5,)}, r"range is \(5,\)"), ({"bits": 12, "range": (0, 9)}, "both say")],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str, runs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        load_model(best(runs, "shallow"), **options)
    with pytest.raises(ValueError, match="--bits|--range"):
        DetectConfig(**options)


@pytest.mark.parametrize("line", ["bits: 7", "bits: 17", "bits: twelve", "range: [5]", "bits: 8\nrange: [0, 9]"])
def test_a_key_that_makes_no_sense_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(f"train: images\nnames: [a]\n{line}\n")
    with pytest.raises(ValueError, match=r"set.yaml: (bits|range) (is|and)"):
        load_data_config(path)


def test_an_exported_file_says_the_range(runs: dict[str, Any]) -> None:
    checkpoint = load_checkpoint(best(runs, "kelvin"))
    job = ExportJob(model_from_checkpoint(checkpoint), "best", (32, 32), values=checkpoint.values)
    assert read_metadata(job.metadata(), Path("best.onnx")).values == KELVIN
    assert read_metadata(job.metadata_values(), Path("best.onnx")).values == KELVIN
    plain = ExportJob(model_from_checkpoint(checkpoint), "best", (32, 32)).metadata()
    assert "range" not in plain and read_metadata(plain, Path("best.onnx")).values is None
    with pytest.raises(ValueError, match=r"best.onnx: its metadata cannot be used: range is \[9, 3\]"):
        read_metadata({**plain, "range": "[9, 3]"}, Path("best.onnx"))


def test_weights_that_say_nonsense_are_refused(runs: dict[str, Any], tmp_path: Path) -> None:
    model = model_from_checkpoint(best(runs, "shallow"), fuse=False)
    save_checkpoint(tmp_path / "odd.pt", model, {"range": ["x"] * 1000})
    with pytest.raises(ValueError, match=r"odd.pt: range is \['x', 'x'") as caught:
        load_model(tmp_path / "odd.pt", device="cpu")
    assert len(str(caught.value)) < 400


def test_a_run_that_goes_on_without_the_range_says_so_and_counts_pictures(
    runs: dict[str, Any], sets: dict[str, str], tmp_path: Path
) -> None:
    run, data = tmp_path / "run", Path(sets["kelvin"])
    shutil.copytree(runs["kelvin"][0], run)
    content, lines = data.read_text(), list[str]()
    data.write_text(content.replace(str(KELVIN), ""))
    try:
        run_train(TrainConfig(resume=str(run / "weights" / "last.pt"), epochs=2), lines.append, {"epochs"})
    finally:
        data.write_text(content)
    other = "has neither bits nor range, the run had range: [29000, 29255]: from here on it is another run"
    assert f"{data} {other}" in lines
    told = [line for line in lines if line.startswith("warning: ")]
    assert len(told) == 2  # training, validation
    for line, count in zip(told, (16, 4), strict=True):
        few = f"{count} of {count} pictures of more than 8 bits use a small part of the values of their 16 bits"
        assert line.startswith(f"warning: {few} (values 29040 to 29240)")
        assert line.endswith("; set `range: [29040, 29240]` in the data set's YAML")
    assert load_checkpoint(run / "weights" / "last.pt").values is None
