"""Studies where ONNX Runtime, which only the timing needs, is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import study_latency
from mgil.files.packages import MissingPackage

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
