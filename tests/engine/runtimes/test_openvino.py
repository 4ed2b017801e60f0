"""In which numbers OpenVINO computes: what it is asked for on CPUs with bfloat16 and without, and what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mgil.engine.export import run
from mgil.engine.export.formats import FORMATS
from mgil.engine.export.job import ExportJob
from mgil.engine.runtimes import load
from mgil.engine.runtimes.model import load_exported
from mgil.networks.detector import DetectionModel
from mgil.tasks.detect.export_check import compare
from tests.engine.tiny import NAMES

openvino = pytest.importorskip("openvino")

CPU = torch.device("cpu")
NOTE = "computes in float32, since this CPU has no bfloat16"
FACTOR, VALUE = 1.015625, 1 / 3  # bfloat16 has the first, and neither the second nor their product


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A "detector" of one convolution: 64 rows of 8 values, each the picture's first channel times a factor."""
    import openvino.opset13 as op

    images = op.parameter([1, 3, 8, 8], np.float32)
    kernel = np.zeros((8, 3, 1, 1), np.float32)
    kernel[:, 0] = FACTOR
    maps = op.convolution(images, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    rows = op.transpose(op.reshape(maps, np.array([1, 8, 64]), False), np.array([0, 2, 1]))
    path = tmp_path / "best_openvino_model"
    openvino.save_model(openvino.Model([rows], [images]), str(path / "best.xml"))
    return path


def describe(folder: Path, half: str) -> Path:
    facts = {"stride": "8", "names": str(dict(enumerate(NAMES))), "half": half}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(facts))
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A CPU with other capabilities; it does what it is asked for, as far as one can tell from outside."""
    hints: list[str] = []

    def with_capabilities(*capabilities: str) -> list[str]:
        class Compiled:
            def __init__(self, compiled: Any, hint: str) -> None:
                self.compiled, self.hint = compiled, hint

            def get_property(self, name: str) -> Any:
                assert name == "INFERENCE_PRECISION_HINT"
                return getattr(openvino.Type, self.hint)

            def __call__(self, *arguments: Any, **options: Any) -> Any:
                return self.compiled(*arguments, **options)

        class Core(type(openvino.Core())):  # type: ignore[misc]
            def get_property(self, device: str, name: str) -> Any:
                assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
                return list(capabilities)

            def compile_model(self, graph: Any, device: str, settings: dict[str, Any]) -> Any:
                hints.append(settings["INFERENCE_PRECISION_HINT"])
                return Compiled(super().compile_model(graph, device, {}), hints[-1])

        monkeypatch.setattr(openvino, "Core", Core)
        return hints

    return with_capabilities


@pytest.mark.parametrize(
    ("half", "capabilities", "hint", "note"),
    [
        ("true", ("FP32", "INT8", "BF16"), "bf16", ""),
        ("true", ("FP32", "INT8"), "f32", NOTE),
        ("false", ("FP32", "BF16"), "f32", ""),
        ("false", ("FP32",), "f32", ""),
    ],
)
def test_bfloat16_where_it_was_asked_for_and_is_there(
    half: str, capabilities: tuple[str, ...], hint: str, note: str, folder: Path, asked: Any
) -> None:
    hints = asked(*capabilities)
    model = load_exported(describe(folder, half), CPU)
    assert hints == [hint] and (model.in_bfloat16, model.note) == (hint == "bf16", note)
    lines: list[str] = []
    load.load_networks([folder], CPU, report=lines.append)
    assert lines == ([f"{folder}: {NOTE}"] if note else [])


def test_what_its_library_is_forbidden_is_not_claimed(
    folder: Path, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")
    hints = asked("FP32", "BF16")
    assert load_exported(describe(folder, "true"), CPU).note == NOTE and hints == ["f32"]


def test_this_cpu(folder: Path) -> None:
    """Whatever it has: what is said is what is computed."""
    model = load_exported(describe(folder, "true"), CPU)
    assert bool(model.note) != model.in_bfloat16
    exact = np.float32(VALUE) * np.float32(FACTOR)
    found = model(torch.full((1, 3, 8, 8), VALUE))
    assert found.dtype == torch.float32
    assert (found == exact).all() if model.note else 0 < abs(float(found[0, 0, 4]) - exact) < VALUE * 2**-7


# The check of an export -----------------------------------------------------------------------------------------------
def test_what_is_compared_and_said(
    model: DetectionModel, tmp_path: Path, asked: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's numbers reach the comparison, and the line."""
    compared: list[bool] = []

    def check(job: ExportJob, _run: Any, _inputs: Any) -> str:
        compared.append(job.in_bfloat16)
        return "ok"

    monkeypatch.setattr(run, "check_file", check)
    monkeypatch.setitem(run.WRITERS, "openvino", lambda _job, made: describe(folder, "true").rename(made))
    job = ExportJob(model=model, stem="best", size_hw=(64, 64), half=True)
    (tmp_path / "aside").mkdir()
    asked("BF16")
    done = run.export_one(job, FORMATS["openvino"], tmp_path / "aside", [])
    assert compared == [True] and run._summary(done).endswith("; ok")
    assert run._summary(replace(done, note=NOTE)).endswith(f"; ok; {NOTE}")


@pytest.mark.parametrize(
    ("share", "score", "bfloat16", "fits"),
    [
        (0.01, 0.04, False, True),
        (0.1, 0.04, False, False),
        (0.1, 0.15, True, True),
        (0.2, 0.0, True, False),
        (0.0, 0.3, True, False),
        (float("nan"), 0.0, True, False),
    ],
)
def test_what_bfloat16_explains(share: float, score: float, bfloat16: bool, fits: bool, model: DetectionModel) -> None:
    job = ExportJob(model=model, stem="best", size_hw=(64, 64), half=True, in_bfloat16=bfloat16)
    true = torch.full((1, 4, 8), 0.5)
    found = true.clone()
    found[0, 0, 2] += 64 * share
    found[0, 0, 6] += score
    if fits:
        assert str(compare([found], [true], job)).startswith("largest difference on 1 images")
    else:
        with pytest.raises(ValueError, match="no finite numbers" if share != share else "beyond what b?float16"):
            compare([found], [true], job)
