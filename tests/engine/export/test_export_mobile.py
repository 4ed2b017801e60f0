"""What files for phones say about themselves, read as their readers do it."""

from __future__ import annotations

import ast
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mgil.engine.export.job import ExportJob
from mgil.engine.export.mobile import write_tflite
from mgil.engine.runtimes.metadata import read_metadata
from tests.engine.export.export_tiny import NAMES, small_model

FLATBUFFER = b"\x1c\0\0\0TFL3" + bytes(range(256)) * 400


class Converted:
    """What Google's converter returns, which is not installed everywhere."""

    def export(self, path: str) -> None:
        Path(path).write_bytes(FLATBUFFER)


def test_tflite_holds_its_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converter = ModuleType("litert_torch")
    converter.convert = lambda _network, _inputs: Converted()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "litert_torch", converter)
    path = tmp_path / "best.tflite"
    write_tflite(ExportJob(small_model(), "best", (64, 96)), path)
    assert path.read_bytes().startswith(FLATBUFFER)  # runtimes map the file from its start
    with zipfile.ZipFile(path) as archive:  # YOLOv5 takes the first entry and evaluates it as a literal
        values: dict[str, Any] = ast.literal_eval(archive.read(archive.namelist()[0]).decode())
    assert (int(values["stride"]), values["names"]) == (32, dict(enumerate(NAMES)))
    info = read_metadata(values, path)
    assert (info.names, info.stride, info.imgsz_hw, info.batch) == (NAMES, 32, (64, 96), 1)
