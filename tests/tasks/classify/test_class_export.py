"""Classifiers in exported files: PyTorch's probabilities, what the files say of themselves, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.run import run_export
from mgil.engine.prediction.load import load_model
from mgil.engine.runtimes.metadata import read_metadata
from mgil.engine.runtimes.model import load_exported
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.tasks.classify.export_check import compare
from mgil.tasks.classify.exporting import cleaned, export_facts, output_problem
from mgil.tasks.classify.network import ClassNetwork, build_class_network
from tests.tasks.classify.glyph_sets import NAMES, make_set, network, picture

CPU = torch.device("cpu")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "classify.md"
PACKAGES = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "torchscript": ()}
SUFFIXES = {"onnx": ".onnx", "torchscript": ".torchscript", "openvino": "_openvino_model"}

pytestmark = [
    pytest.mark.usefixtures("private_cache"),
    pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning"),
]


def sharp(**keys: Any) -> ClassNetwork:
    """A network that is untrained, and yet sure of some pictures."""
    torch.manual_seed(0)
    model = network(**keys)
    with torch.no_grad():
        for name in model.class_layers:
            model.get_submodule(name).weight.mul_(30)
    return model


@pytest.fixture(scope="module")
def data(private_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("data"))


def export(folder: Path, form: str, model: ClassNetwork | None = None, **options: Any) -> Path:
    for package in PACKAGES[form]:
        pytest.importorskip(package)
    weights = folder / "best.pt"
    save_checkpoint(weights, model or sharp(), {}, task="classify")
    (done,) = run_export(ExportConfig(str(weights), include=(form,), **options), report=lambda _line: None)
    return done.path


@pytest.mark.parametrize("form", ["onnx", "torchscript", pytest.param("openvino", marks=pytest.mark.nightly)])
def test_a_file_gives_pytorchs_probabilities_in_every_door(form: str, data: Path, tmp_path: Path) -> None:
    """In val.py and detect.py, at another crop than the default one."""
    model = sharp(crop="squash")
    path = export(tmp_path, form, model)
    assert path.name == f"best{SUFFIXES[form]}"
    exported: Any = load_exported(path, CPU)
    assert exported.crop == "squash" and exported.names == NAMES and exported.task.name == "classify"
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(exported(images), model(images).softmax(1), atol=1e-5, rtol=0)
    scores = []
    for weights in (tmp_path / "best.pt", path):
        config = ValConfig((str(weights),), data=str(data), project=str(tmp_path), name=weights.stem, workers=0)
        (found,) = run_val(config, report=lambda _line: None).values()
        scores.append(found.scores)
    first, second = scores
    np.testing.assert_array_equal(first.guesses.classes, second.guesses.classes)
    np.testing.assert_allclose(first.guesses.scores, second.guesses.scores, atol=1e-5)
    wide = picture("lean", 3, (40, 70))
    seen = [load_model(weights, device="cpu")(wide) for weights in (tmp_path / "best.pt", path)]
    np.testing.assert_allclose(seen[0].probs, seen[1].probs, atol=1e-5)
    assert seen[0].text() == seen[1].text()


def test_a_dynamic_file_takes_other_sizes(tmp_path: Path) -> None:
    model = sharp()
    exported = load_exported(export(tmp_path, "onnx", model, dynamic=True), CPU)
    for shape in ((1, 3, 32, 32), (2, 3, 48, 48)):
        images = torch.rand(shape)
        with torch.no_grad():
            torch.testing.assert_close(exported(images), model(images).softmax(1), atol=1e-5, rtol=0)


def test_files_are_for_squares(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^--imgsz 32 64: a network for classes sees squares; give one side$"):
        export(tmp_path, "torchscript", imgsz=(32, 64))


@pytest.mark.parametrize(
    ("crop", "complaint"),
    [
        (None, "no crop, which files for classes say; export it again"),
        ("middle", "crop 'middle' is none of center, squash"),
        (["center"], "crop ['center'] is none of center, squash"),
        ("center" * 1000, "crop 'centercenter"),
        (7, "crop 7 is none of"),
    ],
)
def test_a_file_from_anyone_is_read_as_data(crop: Any, complaint: str, tmp_path: Path) -> None:
    metadata = {"stride": "4", "names": str(list(NAMES)), "task": "classify"} | ({} if crop is None else {"crop": crop})
    with pytest.raises(ValueError, match=f"^{re.escape(f'w.onnx: its metadata cannot be used: {complaint}')}") as told:
        read_metadata(metadata, Path("w.onnx"))
    assert len(str(told.value)) < 200
    assert export_facts({"crop": "squash"}) == {"crop": "squash"}


def test_an_output_is_a_row_of_classes() -> None:
    facts: Any = SimpleNamespace(names=NAMES)
    assert output_problem((None, 3), facts) == output_problem((4, 3), facts) == output_problem((1, None), facts) == ""
    assert output_problem((1, 4), facts) == "gives (1, 4); a network of 3 classes gives (batch, 3)"
    assert output_problem((None, 3, 1), facts) == "gives (?, 3, 1); a network of 3 classes gives (batch, 3)"


def test_what_is_no_probability_is_no_result() -> None:
    good = [[0.2, 0.3, 0.5], [1.0005, -0.0005, 0.0]]
    bad = [
        [0.2, 0.3, 0.9],
        [-0.5, 0.5, 1.0],
        [3.0, -1.0, -1.0],
        [float("nan"), 0.5, 0.5],
        [float("inf"), 0, 0],
        [0, 0, 0],
    ]
    found = cleaned(torch.tensor(good + bad))
    assert found.isnan().all(dim=1).tolist() == [False] * len(good) + [True] * len(bad)
    assert torch.equal(found[: len(good)], torch.tensor(good))


JOB: Any = SimpleNamespace(device=CPU, in_bfloat16=False, half=False, int8=False)


def with_gap(logits: Tensor, *gaps: tuple[int, int, float]) -> Tensor:
    """Probabilities of logits; in some rows this much has gone from the first class to the second one."""
    probabilities = logits.double().softmax(1)
    for row, place, gap in gaps:
        probabilities[row, 0] -= gap
        probabilities[row, place] += gap
    return probabilities


def test_files_are_held_against_pytorch() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [1.00001, 1.0, 0.0], [5.0, 0.0, 0.0]])
    same = compare([with_gap(logits)], [logits], JOB)
    assert (same.pictures, same.agreeing, same.unlikely) == (3, 3, 0.0) and same.probability < 1e-12
    assert str(same).endswith("same best class on 3 of 3")
    near = compare([with_gap(logits, (1, 1, 5e-5))], [logits], JOB)  # two classes were as good as alike
    assert near.agreeing == 2 and near.probability == pytest.approx(5e-5) and 0 < near.unlikely < 1e-5
    with pytest.raises(ValueError, match=r"beyond what float32 explains \(probability 0\.0001, .*probability 0\.01;"):
        compare([with_gap(logits, (2, 1, 0.01))], [logits], JOB)
    half = SimpleNamespace(**{**vars(JOB), "half": True})
    assert compare([with_gap(logits, (2, 1, 0.01))], [logits], half).agreeing == 3
    with pytest.raises(ValueError, match="float16 explains"):
        compare([with_gap(logits, (2, 1, 0.03))], [logits], half)


def test_int8_is_judged_by_means() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0]] * 10)
    job = SimpleNamespace(**{**vars(JOB), "int8": True})
    found = compare([with_gap(logits, (0, 1, 0.4))], [logits], job)
    assert found.mistaken == 0.1 and found.mean_gap == pytest.approx(0.04)
    with pytest.raises(ValueError, match=r"beyond what INT8 explains \(10% clearly another class"):
        compare([with_gap(logits, (0, 1, 0.4), (1, 1, 0.6))], [logits], job)


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (torch.full((1, 3), float("nan")), "its output holds values that are no finite numbers"),
        (torch.full((1, 4), 0.25), r"its output is \(1, 4\), PyTorch's is \(1, 3\)"),
    ],
)
def test_a_file_without_numbers_is_none(found: Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        compare([found], [torch.zeros(1, 3)], JOB)


@pytest.mark.parametrize("size_hw", [(32, 44), (90, 70), (20, 17)])
def test_the_example_of_the_page_says_what_detect_says(size_hw: tuple[int, int], tmp_path: Path) -> None:
    """Run as it stands, on pictures that are no squares."""
    export(tmp_path, "onnx", sharp())
    (code,) = re.findall(r"```python\n(import .*?onnxruntime.*?)```", PAGE.read_text(), re.DOTALL)
    image = picture("up", 5, size_hw)
    cv2.imwrite(str(tmp_path / "picture.png"), image[..., ::-1])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    result = load_model(tmp_path / "best.pt", device="cpu")(image)
    expected = [f"{result.probs[index]:.2f} {NAMES[index]}" for index in result.top5]
    assert done.stdout.splitlines() == expected


def test_several_files_answer_as_one(data: Path, tmp_path: Path) -> None:
    """The mean of their probabilities, classes matched by name."""
    torch.manual_seed(0)
    models = [sharp(), network(names=NAMES[::-1])]
    paths = [tmp_path / name for name in ("a.pt", "b.pt")]
    for path, model in zip(paths, models, strict=True):
        save_checkpoint(path, model, {}, task="classify")
    image = picture("flat", 1)
    one, two = (load_model(path, device="cpu")(image) for path in paths)
    both = load_model(paths, device="cpu")(image)
    np.testing.assert_allclose(both.probs, (one.probs + two.probs[::-1]) / 2, atol=1e-6)
    save_checkpoint(paths[1], network(crop="squash"), {}, task="classify")
    with pytest.raises(ValueError, match="has the crop squash"):
        load_model(paths, device="cpu")
    save_checkpoint(paths[1], network(names=("x", "y", "z")), {}, task="classify")
    with pytest.raises(ValueError, match="has other classes than"):
        load_model(paths, device="cpu")


def test_a_network_of_one_size_answers_with_others_at_that_size(data: Path, tmp_path: Path) -> None:
    """A checkpoint is no exported file: pictures of another --img are resized, and nobody is told to export again."""
    pytest.importorskip("timm")
    torch.manual_seed(0)
    paths = [str(tmp_path / name) for name in ("vit.pt", "small.pt")]
    fixed = build_class_network("timm:test_vit", NAMES, 32).eval()
    for path, model in zip(paths, (fixed, sharp()), strict=True):
        save_checkpoint(Path(path), model, {}, task="classify")
    config = ValConfig((*paths,), str(data), imgsz=(48,), project=str(tmp_path / "runs"), workers=0, device="cpu")
    lines: list[str] = []
    (evaluation,) = run_val(config, lines.append).values()
    assert "pictures of 48 px were resized to the network's own 32 px" in lines and evaluation.scores.images == 12
    with pytest.raises(ValueError, match=r"^--imgsz 48: the network takes 32 px alone; leave --imgsz out$"):
        load_model(paths, device="cpu", imgsz=48)
    of_file = export(tmp_path, "torchscript", fixed)
    for weights in ((str(of_file),), (str(of_file), paths[1])):
        with pytest.raises(
            ValueError, match=r"was exported for 32x32 pixels \(height x width\) only; leave --imgsz out$"
        ):
            run_val(replace(config, weights=weights), lines.append)


def test_a_difference_says_what_int8_is_judged_by() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0]])
    found = compare([with_gap(logits)], [logits], SimpleNamespace(**{**vars(JOB), "int8": True}))
    assert str(replace(found, mean_gap=0.25)).endswith("; 0.0% clearly another, mean of the largest differences 0.250")
