"""Pose networks in exported files: the joints of PyTorch, what the files say of themselves, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mgil.datasets.reading.config import load_data_config
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.images import data_inputs
from mgil.engine.export.run import run_export
from mgil.engine.prediction.load import load_model
from mgil.engine.runtimes.metadata import read_metadata
from mgil.engine.runtimes.model import ExportedModel, load_exported
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.tasks.pose.crops import crop_people
from mgil.tasks.pose.exporting import cleaned, export_facts, export_notes, output_problem
from mgil.tasks.pose.options import PredictOptions
from mgil.tasks.pose.predictor import PosePredictor
from mgil.tasks.registry import task_named
from tests.browser.models import change_metadata, write_constant
from tests.tasks.pose.mark_network import MarkNetwork, export_marks
from tests.tasks.pose.marks import STICK, joints, picture
from tests.tasks.pose.peaked import SIZE, crops, make_set, peaked, scenes

CPU = torch.device("cpu")
PACKAGES = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "torchscript": ()}
PAGE = Path(__file__).resolve().parents[3] / "docs" / "pose.md"

pytestmark = [
    pytest.mark.usefixtures("private_cache"),
    pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:people. each picture is taken for one person"),
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "best.pt"
    save_checkpoint(path, peaked(), {}, task="pose")
    return path


@pytest.fixture(scope="module")
def dynamic_onnx(weights: Path, private_cache: None, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return export(tmp_path_factory.mktemp("dynamic"), "onnx", dynamic=True)


def export(folder: Path, kind: str, **options: Any) -> ExportedModel:
    """What run_export makes of `peaked`."""
    for package in PACKAGES[kind]:
        pytest.importorskip(package)
    save_checkpoint(folder / "best.pt", peaked(), {}, task="pose")
    (done,) = run_export(ExportConfig(weights=str(folder / "best.pt"), include=(kind,), **options), lambda _line: None)
    return load_exported(done.path, CPU)


def decoded(logits: Tensor, split: int) -> np.ndarray:
    """(B, K, 3) of (B, 2, K, n), written out: the middle of the best bin, and the larger probability."""
    values = logits.double().numpy()
    chances = np.exp(values - values.max(-1, keepdims=True))
    chances /= chances.sum(-1, keepdims=True)
    places = (values.argmax(-1) + 0.5) / split
    return np.stack((places[:, 0], places[:, 1], chances.max(-1).max(1)), axis=-1)


def test_joints_are_pytorchs_and_the_number_of_crops_is_free(dynamic_onnx: ExportedModel) -> None:
    assert_pytorchs(dynamic_onnx)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["openvino", "torchscript"])
def test_joints_of_other_formats_are_pytorchs(kind: str, tmp_path: Path) -> None:
    assert_pytorchs(export(tmp_path, kind, dynamic=True))


def assert_pytorchs(exported: ExportedModel) -> None:
    model = peaked()
    assert (exported.size_hw, exported.batch_size, exported.imgsz) == ((SIZE, SIZE), None, SIZE)
    expected = decoded(model(crops()), 3)
    assert len(np.unique(expected[..., :2])) > 20
    for count in (1, 3, len(crops())):
        assert exported(crops()[:count]).numpy() == pytest.approx(expected[:count], abs=1e-4)
    with pytest.raises(ValueError, match=f"takes inputs of {SIZE}x{SIZE} pixels"):
        exported(torch.zeros(1, 3, 2 * SIZE, 2 * SIZE))
    assert (exported.skeleton, exported.crop, exported.split) == (model.skeleton, "area", 3)
    assert exported.names == model.names and exported.task.name == "pose"


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
@pytest.mark.parametrize("numbers", [{"half": True}, {"opset": 11}, {"opset": 20}, {"simplify": True}])
def test_other_numbers_and_opsets(kind: str, numbers: dict[str, Any], tmp_path: Path) -> None:
    exported, expected = export(tmp_path, kind, batch_size=2, **numbers), decoded(peaked()(crops()), 3)
    found = exported(crops()).numpy()
    assert (np.abs(found - expected)[..., :2].max(-1) < 1e-3).mean() > 0.95  # a tie may fall otherwise in float16
    assert found[..., 2] == pytest.approx(expected[..., 2], abs=0.05 if "half" in numbers else 1e-4)


def test_files_are_compared_on_crops(tmp_path: Path) -> None:
    data = task_named("pose").adapted(load_data_config(make_set(tmp_path / "set")), None)
    inputs = data_inputs(task_named("pose"), peaked(), data, ("val",), (SIZE, SIZE), 4, lambda _line: None)
    boxes = [(pixels, np.array([one["bbox"] for one in own])) for pixels, own in scenes()]
    cut = np.concatenate([crop_people(pixels, own, SIZE, "area")[0] for pixels, own in boxes])  # as it was trained
    spread = np.linspace(0, len(cut) - 1, 4).round().astype(int)
    assert (inputs.numpy() * 255).round().astype(np.uint8).tolist() == cut[spread].tolist()


def test_flags_that_cannot_be(weights: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.yaml"
    boxes.write_text("train: images\nval: images\nnames: [person]\n")
    for options, words in (
        ({"imgsz": (32, 64)}, rf"^--imgsz 32 64: .*best\.pt takes {SIZE} px alone; leave --imgsz out$"),
        ({"int8": True, "data": str(boxes)}, r"boxes\.yaml: does not say what the key points are"),
    ):
        with pytest.raises(ValueError, match=words):
            run_export(ExportConfig(weights=str(weights), include=("onnx",), **options), print)  # type: ignore[arg-type]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_int8(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("nncf" if kind == "openvino" else "onnxruntime")
    weights = tmp_path / "best.pt"
    save_checkpoint(weights, peaked("simcc-small.yaml", spread=0.5), {}, task="pose")
    config = ExportConfig(weights=str(weights), include=(kind,), int8=True, data=str(make_set(tmp_path / "set")))
    (done,) = run_export(config, print)
    assert done.difference.misplaced < 0.1 and done.difference.mean_score_gap < 0.02  # type: ignore[union-attr]
    assert done.path.name.startswith("best_int8")


def test_detect_runs_files(dynamic_onnx: ExportedModel) -> None:
    pixels = scenes()[0][0]
    own = load_model(dynamic_onnx.path, device="cpu")(pixels)
    (expected,) = PosePredictor(peaked(), PredictOptions(), device=CPU, size_hw=(SIZE, SIZE))([pixels], [""])
    assert own.keypoints == pytest.approx(expected.keypoints, abs=1e-3)
    assert own.skeleton == peaked().skeleton
    with pytest.raises(ValueError, match=r"--flip-test needs the PyTorch weights"):
        load_model(dynamic_onnx.path, device="cpu", flip_test=True)


@pytest.mark.nightly
def test_val_runs_files_and_says_that_there_is_no_flip_test(
    dynamic_onnx: ExportedModel, weights: Path, tmp_path: Path
) -> None:
    data = make_set(tmp_path / "set")
    figures: list[dict[str, float]] = []
    lines: list[str] = []
    for path, flags in ((dynamic_onnx.path, {}), (weights, {"no_flip_test": True})):
        config = ValConfig((str(path),), str(data), device="cpu", workers=0, project=str(tmp_path / "val"), **flags)
        (result,) = run_val(config, lines.append).values()
        figures.append(result.scores.columns())
    assert figures[0] == pytest.approx(figures[1], abs=1e-6)
    assert any("best.onnx gives joints, not logits: it is scored without the flip test" in line for line in lines)


@pytest.mark.parametrize("crop", ["linear", "area"])
def test_a_file_finds_marks_whose_place_is_known(crop: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = load_model(export_marks(tmp_path / "best.onnx", crop), device="cpu")
    large = cv2.resize(picture([(20, 16)], 32, 40), None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    found = model(large)
    wanted = (joints([(20, 16)])[0] + 0.5) * 4 - 0.5
    assert found.keypoints[0, :, :2] == pytest.approx(wanted, abs=0.6 * 200 / 32)  # of a pixel of the crop


def test_the_example_of_the_docs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    scripts = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (script,) = (text for text in scripts if "onnxruntime" in text)
    assert 15 <= len(script.splitlines()) <= 19
    export_marks(tmp_path / "best.onnx")
    image = picture([(20, 16)], 32, 40)
    cv2.imwrite(str(tmp_path / "person.png"), image[..., ::-1])
    script += "numpy.save('points.npy', points)\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "points.npy") == pytest.approx(joints([(20, 16)])[0], abs=0.6 * 50 / 32)
    drawn = cv2.imread(str(tmp_path / "drawn.png"))
    assert ((drawn == (0, 255, 0)).all(axis=-1)).sum() > 10


GOOD = export_notes(MarkNetwork())  # type: ignore[arg-type]
WRONG: list[dict[str, Any]] = [
    {"skeleton": None},
    {"skeleton": "[]"},
    {"skeleton": "__import__('os').system('touch pwned')"},
    {"skeleton": "{" * 5000},
    {"skeleton": json.dumps({"flip": [0, 2, 1], "sigmas": [0.1] * 3})},
    {"crop": "whatever"},
    {"crop": ["linear"]},
    {"crop": "linear\x1b[2J"},
    {"split": "0"},
    {"split": "1e9"},
    {"split": "nan"},
    {"flip": [0, 1]},
    {"flip": [0, 2, "1"]},
    {"flip": [0, 2, True]},
    {"flip": [0, 2, 10**30]},
    {"flip": [1, 2, 0]},
    {"flip": "021"},
    {"sigmas": [0.1, 0.1]},
    {"sigmas": [0.1, 0.1, float("inf")]},
    {"sigmas": [0.1, 0.1, -1]},
    {"sigmas": [[0.1]] * 3},
    {"limbs": [[0, 3]]},
    {"limbs": [[-1, 0]]},
    {"limbs": [[0, 1, 2]]},
    {"limbs": [["0", "1"]]},
    {"limbs": [[0, 0.5]]},
    {"limbs": {"0": 1}},
    {"limbs": [[0, 1]] * 10_001},
]


@pytest.mark.parametrize("changes", WRONG, ids=lambda changes: str(changes)[:40])
def test_hostile_metadata_is_refused(changes: dict[str, Any]) -> None:
    skeleton = json.loads(GOOD["skeleton"]) | {key: value for key, value in changes.items() if key not in GOOD}
    facts = {"stride": "32", "names": str(list(STICK.names)), "task": "pose", **GOOD, "skeleton": json.dumps(skeleton)}
    facts["skeleton"] = facts["skeleton"].replace("Infinity", "1e999")
    facts |= {key: value for key, value in changes.items() if key in GOOD}
    with pytest.raises(ValueError, match=r"^x\.onnx: its metadata cannot be used: ") as refusal:
        read_metadata(facts, Path("x.onnx"))
    assert len(str(refusal.value)) < 300 and str(refusal.value).isprintable()


@pytest.mark.parametrize("key", ["skeleton", "crop", "split"])
def test_metadata_that_are_missing(key: str) -> None:
    with pytest.raises(ValueError, match=f"^no {key}, which files for key points say; export it again$"):
        export_facts({name: value for name, value in GOOD.items() if name != key}, STICK.names)


def test_metadata_are_read_as_they_were_written() -> None:
    facts = export_facts(GOOD, STICK.names)
    assert facts == {"skeleton": STICK, "crop": "linear", "split": 2}
    values = {**GOOD, "skeleton": json.loads(GOOD["skeleton"]), "split": 2}  # formats that keep numbers and mappings
    assert export_facts(values, STICK.names) == facts


def test_outputs_that_are_none() -> None:
    facts: Any = type("Facts", (), {"names": STICK.names})
    assert output_problem((None, 3, 3), facts) == output_problem((4, None, None), facts) == ""
    for shape in ((1, 3), (1, 252, 3), (1, 3, 4), (1, 3, 3, 3), ()):
        assert "a network of 3 key points gives (batch, 3, 3)" in output_problem(shape, facts)
    found = torch.tensor([[[1.0, 2, 0.5], [1, 2, 1.5], [1, 2, -1]], [[1, 2, float("nan")], [1, 2, 1], [1, 2, 0]]])
    assert cleaned(found).isfinite().all(dim=-1).tolist() == [[True, False, False], [False, True, True]]


def test_a_detector_in_the_place_of_key_points(tmp_path: Path) -> None:
    """Its metadata say pose, its output is that of boxes."""
    pytest.importorskip("onnxruntime")
    path = write_constant(tmp_path / "plain.onnx", np.ones((1, 252, 8)))
    facts = {"stride": "32", "names": str(list(STICK.names)), "task": "pose", **GOOD}
    path = change_metadata(path, tmp_path / "best.onnx", **facts)
    words = r"best\.onnx: gives \(1, 252, 8\); a network of 3 key points gives \(batch, 3, 3\)"
    with pytest.raises(ValueError, match=words):
        load_exported(path, CPU)
