"""What exporting costs in AP, as val.py measures it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.run import run_export

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SIZE, IMAGES, CALIBRATED_ON = 160, 128, 48
CPU_INFO = Path("/proc/cpuinfo")
HAS_VNNI = not CPU_INFO.exists() or "vnni" in CPU_INFO.read_text()


@pytest.fixture
def data(shared_data: Path, tmp_path: Path) -> Path:
    """coco128, of which a part serves for calibration, so that this does not take long."""
    source = (shared_data / "coco128" / "coco128.yaml").read_text()
    images = sorted((shared_data / "coco128" / "images" / "train2017").iterdir())
    for split, count in (("train", CALIBRATED_ON), ("val", IMAGES)):
        (tmp_path / f"{split}.txt").write_text("".join(f"{path}\n" for path in images[-count:]))
    head, names = source.split("names:")
    assert "train2017" in head
    path = tmp_path / "part.yaml"
    path.write_text(f"train: train.txt\nval: val.txt\nnames:{names}")
    return path


@pytest.mark.nightly
def test_ap_of_onnx_files_through_val(
    data: Path, official_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Float32 gives the AP of the weights, INT8 one within 0.01 of it."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("mgil.tasks.detect.plots.plot_result", lambda *_: None)  # most of a short run
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights = shutil.copyfile(official_weights, tmp_path / "yolov5n.pt")
    files = {"pt": weights}
    for int8 in (False, True):
        options = {"dynamic": True, "int8": int8}
        config = ExportConfig(str(weights), data=str(data), imgsz=(SIZE,), include=("onnx",), **options)
        files["int8" if int8 else "onnx"] = run_export(config, lambda _: None)[0].path
    found = {}
    for name, path in files.items():
        config = ValConfig((str(path),), str(data), 16, (SIZE,), device="cpu", workers=0, project=str(tmp_path / "out"))
        (result,) = run_val(config, lambda _: None).values()
        found[name] = result.scores.map50_95
    assert found["pt"] > 0.1
    assert found["onnx"] == pytest.approx(found["pt"], abs=1e-4)
    assert found["int8"] != found["onnx"]
    if not HAS_VNNI:
        pytest.skip("INT8 sums of this CPU saturate, which costs AP")
    assert found["int8"] == pytest.approx(found["pt"], abs=0.01)
