"""Exported files made to harm: refused in one line, and nothing outside of their folder is read."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mgil.engine.runtimes.model import load_exported
from mgil.engine.weights.checkpoints import model_from_checkpoint
from mgil.networks.detector import DetectionModel
from tests.engine.export.exported import METADATA, export, save_tiny_detector
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
    for name in ("best/data.pkl", "best/code/__torch__.py"):
        assert f"its entry '{name}' has more than 64 MiB" in refusal(bomb(other, name, b"\x80\x02"))
    rewrite(path, other, lambda name, data: data.replace(b"  training : bool", b"  braining : bool"))
    assert "PyTorch cannot open it as TorchScript" in refusal(other)
    torch.save({"model": Harm(tmp_path / "mark")}, other)
    refusal(other)
    buffer = io.BytesIO()
    module = torch.jit.trace(torch.nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 8, 8))
    torch.jit.save(module, buffer, _extra_files={"config.txt": json.dumps(METADATA | {"names": "[" * 100_000})})
    other.write_bytes(buffer.getvalue())
    refusal(other)
    assert not (tmp_path / "mark").exists()


class Detector(torch.nn.Module):
    """As small as one can be."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 252, 8) + x.sum()


def scripted(path: Path, line: str) -> Path:
    """A detector with a line put before the others."""
    extra = {"config.txt": json.dumps(METADATA | {"shape": [1, 3, 64, 64]})}
    plain = path.with_suffix(".plain")
    torch.jit.save(torch.jit.script(Detector()), str(plain), _extra_files=extra)
    head = b"x: Tensor) -> Tensor:\n"

    changed = []

    def insert(name: str, data: bytes) -> bytes:
        if not name.endswith(".py") or head not in data:
            return data
        changed.append(name)
        return data.replace(head, head + f"    {line}\n".encode())

    rewrite(plain, path, insert)
    assert changed
    return path


def end_record(data: bytes) -> tuple[int, int, int]:
    """Number of entries, length and place of their list, in a zip without a comment."""
    entries, length, offset = struct.unpack("<10xHLL2x", data[-22:])
    return entries, length, offset


def two_lists(first: bytes, second: bytes) -> bytes:
    """A zip that is the first for who believes the end record, and the second for who counts from the end."""
    (entries, length, place), (_, _, last) = end_record(first), end_record(second)
    moved = first[:place] + bytes(last - place) + first[place:-22]
    return moved + second[:-22] + struct.pack("<4s4x2H2LH", b"PK\5\6", entries, entries, length, last, 0)


def two_large_lists(first: bytes, second: bytes) -> bytes:
    """The same with end records of 64 bits, the first's in the middle of the file."""

    def record(entries: int, length: int, place: int) -> bytes:
        return struct.pack("<4sQHH8x4Q", b"PK\6\6", 44, 45, 45, entries, entries, length, place)

    (entries, length, place), (_, _, last) = end_record(first), end_record(second)
    head = first[:-22] + record(entries, length, place)
    tail = second[:-22] + record(entries, length, last)
    locator = struct.pack("<4s4xQL", b"PK\6\7", len(first) - 22, 1)
    return head + tail + locator + struct.pack("<4s4x2H2LH", b"PK\5\6", entries, entries, length, 0xFFFFFFFF, 0)


def test_zips_that_two_readers_take_for_different_ones(tmp_path: Path) -> None:
    first, second = scripted(tmp_path / "one", "first = x"), scripted(tmp_path / "two", "y = x" + " + x" * 20)
    path = tmp_path / "best.torchscript"
    for merge in (two_lists, two_large_lists):
        path.write_bytes(merge(first.read_bytes(), second.read_bytes()))
        reader = torch._C.PyTorchFileReader(str(path))
        codes = [reader.get_record(name) for name in reader.get_all_records() if name.endswith(".py")]
        assert any(b"first = x" in code for code in codes)
        assert "its list of entries" in refusal(path) or "its second end record" in refusal(path)
    whole = second.read_bytes()
    path.write_bytes(whole)
    assert load_exported(path, torch.device("cpu")).names == ("red", "green", "blue")
    for content in (b"#!/bin/sh\n" + whole, whole + b"\0", whole[:-2] + b"\4\0note"):
        path.write_bytes(content)
        refusal(path)


@pytest.mark.nightly
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
