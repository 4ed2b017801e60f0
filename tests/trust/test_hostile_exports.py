"""Exported files made to harm: refused in one line, and nothing outside of their folder is read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.checkpoints import model_from_checkpoint
from engine.runtimes import load_exported
from models import DetectionModel
from tests.engine.exported import METADATA, export, save_tiny_detector
from tests.trust.hostile import Harm, bomb, hostile_yamls, rewrite
from tests.trust.limits import bounded

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's, of the formats that it likes less


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DetectionModel:
    return model_from_checkpoint(save_tiny_detector(tmp_path_factory.mktemp("weights") / "best.pt"))


def refusal(path: Path) -> str:
    with bounded(12, 100), pytest.raises((ValueError, OSError)) as caught:
        load_exported(path, torch.device("cpu"))
    message = str(caught.value)
    assert message.isprintable() and str(path) in message, message
    return message


def point_outside(tensor: Any, location: str, **fields: str) -> None:
    """Let a tensor of an ONNX graph lie in another file."""
    values = {"location": location, "offset": "0", "length": str(len(tensor.raw_data))} | fields
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in values.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def huge_shape(tensor: Any) -> None:
    tensor.dims[:] = [10**6, 10**6]


OUTSIDE: dict[str, Callable[[Any, Path], None]] = {
    "above": lambda tensor, folder: point_outside(tensor, "../secret.bin"),
    "around": lambda tensor, folder: point_outside(tensor, "sub/../../secret.bin"),
    "absolute": lambda tensor, folder: point_outside(tensor, str(folder.parent / "secret.bin")),
    "link": lambda tensor, folder: point_outside(tensor, "link.bin"),
    "system": lambda tensor, folder: point_outside(tensor, "/etc/passwd", length="100"),
    "beyond the end": lambda tensor, folder: point_outside(tensor, "inside.bin", offset="99999999999"),
    "negative": lambda tensor, folder: point_outside(tensor, "inside.bin", offset="-8"),
    "trillion elements": lambda tensor, folder: huge_shape(tensor),
}


def test_onnx_weights_that_lie_outside(model: DetectionModel, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for path in (tmp_path / "secret.bin", folder / "inside.bin"):
        path.write_bytes(bytes(100_000))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = export(model, "onnx", folder)
    whole = path.read_bytes()
    assert load_exported(path, torch.device("cpu")).names == model.names
    for change in OUTSIDE.values():
        graph = onnx.load_from_string(whole)
        change(graph.graph.initializer[0], folder)
        path.write_bytes(graph.SerializeToString())
        refusal(path)


def test_torchscript_files(model: DetectionModel, tmp_path: Path) -> None:
    path = export(model, "torchscript", tmp_path)
    assert load_exported(path, torch.device("cpu")).names == model.names
    other = tmp_path / "other.torchscript"

    def zeros(name: str, data: bytes) -> bytes:
        return bytes(1 << 20) if name.endswith("/data/0") else data

    rewrite(path, other, zeros, compression=8)
    assert "is compressed" in refusal(other)
    assert "is compressed" in refusal(bomb(other, "best/data/0"))
    refusal(bomb(other, "best/data.pkl", b"\x80\x02"))
    torch.save({"model": Harm(tmp_path / "mark")}, other)
    refusal(other)
    buffer = io.BytesIO()
    module = torch.jit.trace(torch.nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 8, 8))
    torch.jit.save(module, buffer, _extra_files={"config.txt": json.dumps(METADATA | {"names": "[" * 100_000})})
    other.write_bytes(buffer.getvalue())
    refusal(other)
    assert not (tmp_path / "mark").exists()


def test_openvino_folders(model: DetectionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = export(model, "openvino", tmp_path)
    assert load_exported(folder, torch.device("cpu")).names == model.names
    metadata = folder / "metadata.yaml"
    whole = metadata.read_bytes()
    for content in hostile_yamls().values():
        metadata.write_bytes(content)
        with bounded(12, 100), pytest.raises(ValueError) as caught:
            load_exported(folder, torch.device("cpu"))
        assert str(folder) in str(caught.value) and str(caught.value).isprintable()
    metadata.write_bytes(whole)
    xml, weights = folder / "best.xml", folder / "best.bin"
    text, numbers = xml.read_text(), weights.read_bytes()
    beyond, longer = text.replace('offset="0"', 'offset="99999999999"'), text.replace('size="', 'size="9999999')
    for changed in (beyond, longer, "<a>" * 9999):
        xml.write_text(changed)
        refusal(folder)
    xml.write_text(text)
    weights.write_bytes(numbers[:100])
    refusal(folder)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("length", [0, 1, 5, 1 << 20, (1 << 31) + 5, (1 << 32) - 1])
def test_tensorrt_headers(tmp_path: Path, length: int) -> None:
    """A length that lies, and one beyond the end of the file."""
    path = tmp_path / "best.engine"
    path.write_bytes(length.to_bytes(4, "little") + json.dumps(METADATA).encode())
    assert "no metadata found" in refusal(path)
