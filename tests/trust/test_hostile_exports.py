"""Exported files made to harm: refused in one line, and nothing outside of their folder is read."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mgil.engine.runtimes.model import load_exported
from mgil.engine.weights.checkpoints import model_from_checkpoint
from mgil.engine.weights.torchscript_program import check_program
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
    refusal(bomb(other, "best/data.pkl", b"\x80\x02"))
    torch.save({"model": Harm(tmp_path / "mark")}, other)
    refusal(other)
    buffer = io.BytesIO()
    module = torch.jit.trace(torch.nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 8, 8))
    torch.jit.save(module, buffer, _extra_files={"config.txt": json.dumps(METADATA | {"names": "[" * 100_000})})
    other.write_bytes(buffer.getvalue())
    refusal(other)
    assert not (tmp_path / "mark").exists()


LINES = {
    "plain": 'torch.save(x, "mark")',
    "method": 'x.save("mark")',
    "method in a variable": 'f = x.save\n    f("mark")',
    "by getattr": 'getattr(torch, "save")(x, "mark")',
    "by getattr of a tensor": 'getattr(x, "save")("mark")',
    "escaped": 'getattr(torch, "s\\141ve")(x, "mark")',
    "escaped, of a tensor": 'getattr(x, "s\\141ve")("mark")',
    "texts in a row": 'getattr(x, "sa" "ve")("mark")',
    "texts in rows": 'getattr(x, "sa"\n      "ve")("mark")',
    "three quotes": 'getattr(x, """save""")("mark")',
    "other quotes": "getattr(x, 'save')('mark')",
    "other name": 't = torch\n    getattr(t, "save")(x, "mark")',
    "other name of ops": "o = ops\n    b = o.prim.device(x)",
    "ops by getattr": 'b = getattr(ops, "prim").device(x)',
    "library by getattr": 'b = getattr(ops.prim, "device")(x)',
    "other name of a library": "o = ops.prim\n    b = o.device(x)",
    "in two lines": 'torch.\\\n    save(x, "mark")',
    "spaces": 'torch . save ( x , "mark" )',
    "tab": 'torch\t.\tsave(x, "mark")',
    "comment between": 'torch.(  # here\n    save)(x, "mark")',
    "by aten": 'ops.aten.save(x, "mark")',
    "read": 'y = torch.from_file("/etc/passwd", False, 9)',
    "unlisted operator": "y = torch.set_num_threads(1)",
    "unlisted method": "y = x.set_data(x)",
    "other library": "y = ops.c10d.barrier(x)",
    "library's object": "y : __torch__.torch.classes.dist_c10d.Work = annotate(Any, x)",
    "call of another machine": 'y = rpc_sync("a", x)',
    "foreign letters": 'torch.save(x, "m\u00e4rk")',
    "much code": "y = x\n    " * 300_000 + "y = x",
}


class Detector(torch.nn.Module):
    """As small as one can be."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 252, 8) + x.sum()


def scripted(path: Path, line: str = "y = x") -> Path:
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


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_programs_with_other_operators(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal(scripted(tmp_path / "best.torchscript", line))
    assert "refused, its program" in message or "'ascii' codec" in message
    assert not (tmp_path / "mark").exists()


def test_programs_with_the_operators_of_detectors(tmp_path: Path) -> None:
    line = 'y = getattr(self, "0")\n    z = ops.prim.device(torch.add_(x, -1.5e-05))'
    check_program(scripted(tmp_path / "a.torchscript", line))
    load_exported(scripted(tmp_path / "b.torchscript"), torch.device("cpu"))


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
    first, second = scripted(tmp_path / "one", LINES["plain"]), scripted(tmp_path / "two", "y = x" + " + x" * 20)
    path = tmp_path / "best.torchscript"
    for merge in (two_lists, two_large_lists):
        path.write_bytes(merge(first.read_bytes(), second.read_bytes()))
        reader = torch._C.PyTorchFileReader(str(path))
        codes = [reader.get_record(name) for name in reader.get_all_records() if name.endswith(".py")]
        assert any(b"torch.save" in code for code in codes)
        assert "its list of entries" in refusal(path) or "its second end record" in refusal(path)
    whole = second.read_bytes()
    for content in (b"#!/bin/sh\n" + whole, whole + b"\0", whole[:-2] + b"\4\0note"):
        path.write_bytes(content)
        refusal(path)


@pytest.mark.parametrize("name", ["model.json", "code/a.txt", "bytecode.pkl", "code/a.py\0b", "tensors/0"])
def test_programs_with_other_entries(name: str, tmp_path: Path) -> None:
    """An old format keeps its code under any name that its model.json gives."""
    path = scripted(tmp_path / "best.torchscript")
    with zipfile.ZipFile(path, "a") as file:
        folder = file.namelist()[0].partition("/")[0]
        entry = zipfile.ZipInfo(f"{folder}/x")
        entry.filename = f"{folder}/{name}"
        file.writestr(entry, "{}")
    refusal(path)


def test_an_entry_that_is_renamed_for_python(tmp_path: Path) -> None:
    """Python 3.12 and newer follow a field of Unicode names, PyTorch does not."""
    path, other = scripted(tmp_path / "plain.torchscript"), tmp_path / "best.torchscript"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for entry in old.infolist():
            copied = zipfile.ZipInfo(entry.filename)
            if entry.filename.endswith(".py"):
                renamed = b"x/extra/note"
                facts = struct.pack("<BL", 1, zlib.crc32(entry.filename.encode())) + renamed
                copied.extra = struct.pack("<HH", 0x7075, len(facts)) + facts
            new.writestr(copied, old.read(entry))
    with zipfile.ZipFile(other) as file:
        differs = not any(name.endswith(".py") for name in file.namelist())
    if differs:
        refusal(other)
    else:
        load_exported(other, torch.device("cpu"))


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
