"""Fuzz: damaged checkpoints, images, caches and archives, and no crash, no hang, no traceback."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mgil.datasets.batches.decode import decode_image, decode_resized
from mgil.datasets.reading.download import unpack
from mgil.datasets.reading.image_probe import probe_image
from mgil.datasets.reading.label_cache import LabelCache
from mgil.datasets.reading.samples import Findings, Samples
from mgil.engine.runtimes.model import load_exported
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint
from tests.engine.export.exported import METADATA
from tests.trust.hostile import whole_checkpoint
from tests.trust.mutations import Edit, edits, examples, mutated, mutated_zip, survives, values

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's and PyTorch's, which the doors keep off the console too


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@dataclass(frozen=True)
class Whole:
    """A checkpoint, not printed when an example fails."""

    data: bytes = field(repr=False)
    content: dict[str, Any] = field(repr=False)


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Whole:
    content = whole_checkpoint(folder / "whole.pt")
    return Whole((folder / "whole.pt").read_bytes(), content)


@examples(100)
@given(changes=edits)
def test_checkpoint_bytes(folder: Path, checkpoint: Whole, changes: list[Edit]) -> None:
    (folder / "a.pt").write_bytes(mutated(checkpoint.data, changes))
    survives(lambda: model_from_checkpoint(folder / "a.pt"))


@examples(150)
@given(which=st.sampled_from([0, 0, 0, 1, 2, 3, 4, 99]), changes=edits)
def test_checkpoint_entries(folder: Path, checkpoint: Whole, which: int, changes: list[Edit]) -> None:
    """Mostly the pickle, inside a zip that is whole."""
    (folder / "a.pt").write_bytes(mutated_zip(checkpoint.data, which, changes))
    survives(lambda: model_from_checkpoint(folder / "a.pt"))


@examples(75)
@given(
    key=st.sampled_from(["version", "architecture", "names", "imgsz", "state_dict", "info", "training"]), value=values
)
def test_checkpoint_values(folder: Path, checkpoint: Whole, key: str, value: Any) -> None:
    torch.save(checkpoint.content | {key: value}, folder / "a.pt")
    survives(lambda: model_from_checkpoint(load_checkpoint(folder / "a.pt")))


def official(value: Any, where: str) -> dict[str, Any]:
    """What YOLOv5 saves has a module under `model`; here with something else in it."""
    module = torch.nn.Module()
    module.yaml = {"nc": 1, "anchors": 3, "backbone": [], "head": []}
    module.names, module.stride = ["a"], torch.tensor([8.0, 16.0, 32.0])
    setattr(module, where, value)
    return {"model": module, "ema": None}


@examples(50)
@given(value=values, where=st.sampled_from(["yaml", "names", "stride", "_modules", "_buffers", "_parameters"]))
def test_official_checkpoint_values(folder: Path, value: Any, where: str) -> None:
    torch.save(official(value, where), folder / "b.pt")
    assert survives(lambda: load_checkpoint(folder / "b.pt"))


def images() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 17, 3), dtype=np.uint8)
    found = []
    kinds = (
        "png RGB, png P, png LA, jpeg RGB, jpeg CMYK, bmp RGB, tiff RGB, tiff L, webp RGBA, gif P, ppm RGB, png I;16"
    )
    for kind, mode in (pair.split() for pair in kinds.split(", ")):
        picture = Image.fromarray(pixels)
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 250) if mode == "I;16" else picture.convert(mode)
        content = io.BytesIO()
        options: dict[str, Any] = {"compression": "tiff_lzw"} if kind == "tiff" and mode == "RGB" else {}
        if kind == "jpeg":
            exif = Image.Exif()
            exif[274] = 6
            options["exif"] = exif
        picture.save(content, kind, **options)
        found.append(content.getvalue())
    return found


IMAGES = images()


@examples(250)
@given(which=st.integers(0, len(IMAGES) - 1), changes=edits)
def test_images(folder: Path, which: int, changes: list[Edit]) -> None:
    path = str(folder / "a.img")
    Path(path).write_bytes(mutated(IMAGES[which], changes))
    survives(lambda: probe_image(path))
    survives(lambda: decode_image(path))
    survives(lambda: decode_resized(path, 8))


@examples(75)
@given(which=st.integers(0, 11), changes=edits, whole=st.booleans())
def test_label_caches(folder: Path, which: int, changes: list[Edit], whole: bool) -> None:
    """A damaged cache is told, and never believed."""
    cache = folder / "cache"
    said: list[str] = []
    labels = LabelCache(cache, said.append)
    path = cache / "seed.npz"
    if not path.exists():
        sizes, two, boxes = np.full((2, 2), 9, np.int32), np.array([0, 1]), np.full((2, 4), 0.5)
        samples = Samples.from_rows(["a", "b"], sizes, two, boxes, two, np.array([4.0, 4.0]))
        labels.save("key", "signature", samples, Findings(), ["a"])
        labels._path("key").rename(path)
    change = mutated_zip(path.read_bytes(), which, changes) if whole else mutated(path.read_bytes(), changes)
    labels._path("key").write_bytes(change)
    found: list[tuple[Samples, Findings] | None] = []
    assert not survives(lambda: found.append(labels.load("key", "signature", 2)))
    assert all(line.isprintable() for line in said)
    if found[0] is not None:
        samples = found[0][0]
        assert samples.offsets[-1] == len(samples.classes) and (samples.classes < 2).all()
        assert all(isinstance(path, str) for path in samples.image_paths)


def archives() -> list[bytes]:
    zipped, found = io.BytesIO(), []
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("set/images/a.png", IMAGES[0])
        file.writestr("set/labels/a.txt", LABEL)
    found.append(zipped.getvalue())
    for kind in ("", "gz", "xz"):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode=f"w:{kind}", format=tarfile.PAX_FORMAT) as tarred:
            info = tarfile.TarInfo("set/labels/ä.txt")
            info.size = len(LABEL)
            tarred.addfile(info, io.BytesIO(LABEL))
        found.append(packed.getvalue())
    return found


LABEL = b"0 0.5 0.5 0.1 0.1\n" * 9
ARCHIVES = archives()


@examples(100)
@given(which=st.integers(0, len(ARCHIVES) - 1), changes=edits)
def test_archives_of_data_sets(folder: Path, which: int, changes: list[Edit]) -> None:
    archive, into = folder / "set.archive", folder / "deep" / "into"
    archive.write_bytes(mutated(ARCHIVES[which], changes))
    survives(lambda: unpack(archive, into))
    assert set((folder / "deep").glob("*")) <= {into} and not list(folder.glob("deep/**/*.tmp"))


@pytest.fixture(scope="module")
def program(folder: Path) -> bytes:
    content = io.BytesIO()
    extra = {"config.txt": json.dumps(METADATA | {"shape": [1, 3, 64, 64]})}
    torch.jit.save(torch.jit.trace(torch.nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 8, 8)), content, _extra_files=extra)
    return content.getvalue()


@examples(50)
@given(which=st.integers(0, 9), changes=edits, whole=st.booleans())
def test_torchscript_programs(folder: Path, program: bytes, which: int, changes: list[Edit], whole: bool) -> None:
    path = folder / "a.torchscript"
    path.write_bytes(mutated_zip(program, which, changes) if whole else mutated(program, changes))
    survives(lambda: load_exported(path, torch.device("cpu")))


def test_torchscript_code_that_cannot_be_unpacked(folder: Path, program: bytes) -> None:
    """Each byte of a compressed entry in turn: PyTorch's reader takes some that Python's does not."""
    path = folder / "b.torchscript"
    path.write_bytes(program)
    assert not survives(lambda: load_exported(path, torch.device("cpu")))
    entries = zipfile.ZipFile(io.BytesIO(program)).infolist()
    code = next(entry for entry in entries if entry.compress_type == zipfile.ZIP_DEFLATED)
    names_length, extra_length = struct.unpack_from("<HH", program, code.header_offset + 26)
    start = code.header_offset + 30 + names_length + extra_length
    for place in range(start, start + code.compress_size - 1):  # the last has bits that mean nothing
        path.write_bytes(program[:place] + bytes([program[place] ^ 255]) + program[place + 1 :])
        said = survives(lambda: load_exported(path, torch.device("cpu")))
        assert "PyTorch cannot open it as TorchScript" in said, place
