"""The runtimes that a study times its models in, and what it says where one is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import study_latency
from benchmarks.study_openvino import F32, INT8, openvino_forwards
from benchmarks.study_table import COLUMNS
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.run import run_export
from mgil.engine.runtimes.onnx import OnnxBackend
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.files.packages import MissingPackage
from mgil.networks.detector import build_model
from tests.engine.tiny import NAMES, TINY

REPOSITORY = Path(__file__).resolve().parents[2]
CELL: Any = SimpleNamespace(size=64, definition={"classes": ["a"], "model": {"cfg": "yolov5n.yaml"}})


@pytest.mark.nightly
def test_the_command_starts_without_it() -> None:
    program = "import sys; sys.modules['onnxruntime'] = None; from benchmarks.study import main; main(['--help'])"
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert "--no-latency" in process.stdout


def test_timing_names_what_to_install_and_a_table_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    path, cpu = tmp_path / "latency.json", torch.device("cpu")
    with pytest.raises(MissingPackage, match="^onnxruntime is not installed: pip install onnxruntime$"):
        study_latency.measure_study([CELL], path, 1, cpu, tmp_path)
    path.write_text('{"another machine": {"ONNX ms": 1}}')
    assert study_latency.read_latency(path, CELL, 1, cpu) == {}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openvino")
    weights = tmp_path_factory.mktemp("tiny") / "tiny.pt"
    torch.manual_seed(0)
    save_checkpoint(weights, build_model(TINY, names=NAMES, imgsz=64), {})
    config = ExportConfig(weights=str(weights), imgsz=(64,), include=("onnx",))
    return run_export(config, report=lambda _line: None)[0].path


def test_openvino_computes_what_onnx_runtime_does(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    found = openvino_forwards(exported, 64)
    assert INT8 not in found
    images = torch.rand(1, 3, 64, 64)
    theirs = OnnxBackend(exported, torch.device("cpu")).run(images)
    torch.testing.assert_close(torch.from_numpy(found[F32](images)[0]), theirs, rtol=1e-3, atol=1e-2)


@pytest.mark.nightly
def test_int8_is_timed_where_nncf_is_installed(exported: Path) -> None:
    pytest.importorskip("nncf")
    found = openvino_forwards(exported, 64)
    images = torch.rand(1, 3, 64, 64)
    exact, rounded = (torch.from_numpy(found[column](images)[0]) for column in (F32, INT8))
    assert exact.shape == rounded.shape and not torch.equal(exact, rounded)


def test_what_cannot_be_quantised_is_timed_all_the_same(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def quantize(*_arguments: Any, **_options: Any) -> None:
        raise RuntimeError("no such layer")

    monkeypatch.setitem(sys.modules, "nncf", SimpleNamespace(quantize=quantize, Dataset=list, __version__="0"))
    found = openvino_forwards(exported, 64)
    assert F32 in found and INT8 not in found
    assert capsys.readouterr().out == f"{exported}: not timed in INT8: no such layer\n"


def test_a_latency_is_of_all_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    cpu = torch.device("cpu")
    monkeypatch.setitem(sys.modules, "nncf", None)
    without = study_latency.latency_key(CELL, 1, cpu)
    monkeypatch.setitem(sys.modules, "nncf", SimpleNamespace(__version__="1.2"))
    assert "openvino" in without and "nncf" not in without
    assert "nncf 1.2" in study_latency.latency_key(CELL, 1, cpu)


def test_every_column_has_its_place_in_the_csv() -> None:
    assert set(study_latency.COLUMNS) <= set(COLUMNS)


def test_without_openvino_it_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert openvino_forwards(tmp_path / "any.onnx", 64) == {}
