"""Files made to harm whoever opens them: built by the tests, none of them kept in the repository."""

from __future__ import annotations

import copy
import io
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from tests.engine.tiny import NAMES, TINY

BOMB_BYTES = 128 << 20  # what a file of a hundred kilobytes would unpack to
ESCAPE = "red\x1b]0;owned\x07\n<script>alert(1)</script>"
SECONDS, MEGABYTES = 12.0, 80.0  # to refuse one file, on a slow machine


class Harm:
    """Leaves a mark when it is unpickled by a program that runs what pickles say."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.mark}'",)


def laughs(depth: int = 30, width: int = 9) -> list[Any]:
    """A list that holds itself in small: a few hundred bytes that spell out 9^30 values."""
    whole: list[Any] = ["ha"]
    for _ in range(depth):
        whole = [whole] * width
    return whole


def nested(depth: int) -> list[Any]:
    """A list in a list in a list ..."""
    whole: list[Any] = []
    for _ in range(depth):
        whole = [whole]
    return whole


def whole_checkpoint(path: Path) -> dict[str, Any]:
    """Save a tiny checkpoint; returns what it holds."""
    save_checkpoint(path, build_model(TINY, names=NAMES, imgsz=64), {"epoch": 1})
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def rewrite(source: Path, target: Path, change: Callable[[str, bytes], bytes], **options: Any) -> Path:
    """Copy a zip with its entries changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", **options) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return target


def pickled_zip(path: Path, pickled: bytes) -> Path:
    """A PyTorch file with that pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3\n")
    return path


def bomb(path: Path, name: str, head: bytes = b"") -> Path:
    """A zip whose entry `name` unpacks to BOMB_BYTES zeros after `head`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open(name, "w") as entry:
        entry.write(head)
        for _ in range(BOMB_BYTES >> 20):
            entry.write(bytes(1 << 20))
    return path


def high_stack(values: int, tuples: int) -> bytes:
    """A pickle of many values, and then of tuples that are made above them and thrown away."""
    return b"\x80\x02" + b"]" * values + b"(t0" * tuples + b"."


def long_names(times: int) -> bytes:
    """A pickle that names the same function of four million letters time and again, in texts that are not the same."""
    text = b"X" + struct.pack("<I", 1 << 22) + b"a" * (1 << 22)
    return b"\x80\x04" + text + b"q\0" + text + b"q\1" + b"h\0h\0\x930" + b"h\1h\1\x930" * times + b"."


def save(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def hostile_checkpoints(folder: Path, mark: Path) -> dict[str, Path]:
    """Checkpoints by what is wrong with them; those that run code would make `mark`."""
    folder.mkdir(exist_ok=True)
    whole = folder / "whole.pt"
    own = whole_checkpoint(whole)
    harm = Harm(mark)
    files = {
        **_with_code(folder, harm, own),
        **_with_sizes(folder, whole, own),
        **{name: save(own | change, folder / f"{name}.pt") for name, change in _own_changes(own).items()},
    }
    files["named pipe"] = folder / "pipe.pt"
    os.mkfifo(files["named pipe"])
    return files


def _with_code(folder: Path, harm: Harm, own: dict[str, Any]) -> dict[str, Path]:
    plain, legacy, old_tar = folder / "plain.pt", folder / "legacy.pt", folder / "tar.pt"
    plain.write_bytes(pickle.dumps({"model": harm}))
    save({"model": harm}, legacy, _use_new_zipfile_serialization=False)
    with tarfile.open(old_tar, "w") as tarred:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            pickled = pickle.dumps(harm, 2)
            info = tarfile.TarInfo(name)
            info.size = len(pickled)
            tarred.addfile(info, io.BytesIO(pickled))
    command = pickle.dumps(f"touch '{harm.mark}'", 0)[:-1]
    return {
        "code, bare pickle": plain,
        "code, old format": legacy,
        "code, oldest format": old_tar,
        "code in the model": save({"model": harm, "ema": None}, folder / "model.pt"),
        "code in own format": save(own | {"info": {"x": harm}}, folder / "own.pt"),
        "code by INST": pickled_zip(folder / "inst.pt", b"(" + command + b"iposix\nsystem\n."),
        "code by number": pickled_zip(folder / "ext.pt", b"\x80\x02\x82\x01" + command + b"\x85R."),
        "code by joined texts": pickled_zip(
            folder / "joined.pt", b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + command + b"\x85R."
        ),
        "code in a tensor's bytes": pickled_zip(
            folder / "bytes.pt",
            b"\x80\x02ctorch.storage\n_load_from_bytes\n" + pickle.dumps(pickle.dumps(harm), 2)[2:-1] + b"\x85R.",
        ),
    }


def _with_sizes(folder: Path, whole: Path, own: dict[str, Any]) -> dict[str, Path]:
    pickled = zipfile.ZipFile(whole).read("archive/data.pkl")
    # the first bias has 24 elements: K\x18; now two billion: J\xff\xff\xff\x7f
    lying = pickled.replace(b"K\x18t", b"J\xff\xff\xff\x7ft")
    assert lying != pickled
    twice = folder / "twice.pt"
    with warnings.catch_warnings(), zipfile.ZipFile(twice, "w") as file:
        warnings.simplefilter("ignore")
        for name in ("archive/data.pkl", "archive/DATA.PKL"):
            file.writestr(name, pickled)
    overlapping = folder / "overlapping.pt"
    with zipfile.ZipFile(overlapping, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/data/0", bytes(1 << 20))
        for number in range(1, 1000):  # a gigabyte, all of it the same megabyte
            entry = copy.copy(file.infolist()[1])
            entry.filename = f"archive/data/{number}"
            file.filelist.append(entry)
    state = own["state_dict"]
    return {
        "bomb": bomb(folder / "bomb.pt", "archive/data/0"),
        "bomb of a pickle": bomb(folder / "pickle_bomb.pt", "archive/data.pkl", b"\x80\x02"),
        "overlapping entries": overlapping,
        "two entries of a name": twice,
        "tensor beyond its memory": rewrite(
            whole, folder / "lying.pt", lambda name, data: lying if name.endswith("data.pkl") else data
        ),
        "other byte order": rewrite(
            whole, folder / "big.pt", lambda name, data: b"big" if name.endswith("byteorder") else data
        ),
        "a trillion elements in four bytes": save(
            own | {"state_dict": {key: torch.zeros(1).expand(10**12) for key in state}}, folder / "expanded.pt"
        ),
        "sparse tensor": save(
            own | {"info": {"x": torch.sparse_coo_tensor([[0]], [1.0], (10**9,), check_invariants=True)}},
            folder / "sparse.pt",
        ),
        "tensor without memory": save(own | {"info": {"x": torch.empty(10**12, device="meta")}}, folder / "meta.pt"),
        "tuples in tuples": pickled_zip(folder / "tuples.pt", b"\x80\x02K\1" + b"2\x86" * 60 + b"Q."),
        "number of a tensor's elements": pickled_zip(
            folder / "number.pt",
            b"\x80\x02(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
            + b"0X\3\0\0\0cpu\x8b\0\0\1\0"
            + b"\1" * 65536
            + b"tQ.",
        ),
        "long names": pickled_zip(folder / "names.pt", long_names(40_000)),
        "tuples on a high stack": pickled_zip(folder / "stack.pt", high_stack(90_000, 30_000)),
        "pickle without end": pickled_zip(folder / "endless.pt", b"\x80\x02" + b"]" * 300_000),
    }


def _own_changes(own: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return {
        "laughs": {"architecture": own["architecture"] | {"backbone": laughs()}},
        "laughs in training": {"training": {"config": laughs()}},
        "list in itself": {"architecture": own["architecture"] | {"backbone": cycle}},
        "deep list": {"info": {"x": nested(150)}},
        "a number of a megabyte": {"imgsz": 1 << (8 << 20)},
        "endless side": {"imgsz": 10**12},
        "no number for a side": {"imgsz": float("inf")},
        "a million classes": {"names": ["x"] * 30_000},
        "name with escapes": {"names": [ESCAPE, "b", "c"]},
        "endless name": {"names": ["x" * 10_000, "b", "c"]},
        **{
            f"architecture: {name}": {"architecture": content}
            for name, content in hostile_architectures().items()
            if name != "classes"  # a checkpoint has as many as it has names
        },
    }


def hostile_architectures() -> dict[str, dict[str, Any]]:
    """Model YAMLs that ask for more than there is, by what."""
    row, head = TINY["backbone"][0], TINY["head"]

    def with_row(*extra: Any, **keys: Any) -> dict[str, Any]:
        return TINY | {"nc": 3, "backbone": [*TINY["backbone"][:-1], list(extra), TINY["backbone"][-1]]} | keys

    return {
        "classes": TINY | {"nc": 10**9},
        "channels": with_row(-1, 1, "Conv", [10**9, 3, 1]),
        "channels to the third": with_row(-1, 1, "Conv", [60_000, 63, 1]),
        "channels times width": with_row(-1, 1, "Conv", [60_000, 3, 1], width_multiple=10.0),
        "repeats": with_row(-1, 10**6, "C3", [16]),
        "repeats of wide layers": with_row(-1, 900, "C3", [8192]),
        "depth": TINY | {"nc": 3, "depth_multiple": 10**6},
        "depth without number": TINY | {"nc": 3, "depth_multiple": float("nan")},
        "rows": TINY | {"nc": 3, "backbone": [row] * 3000},
        "upsampling": with_row(-1, 1, "nn.Upsample", ["None", 100_000, "nearest"]),
        "much upsampling": TINY
        | {"nc": 3, "backbone": [*TINY["backbone"], *[[-1, 1, "nn.Upsample", ["None", 64]]] * 3]},
        "upsampling to a size": with_row(-1, 1, "nn.Upsample", [1_000_000]),
        "padding": with_row(-1, 1, "Conv", [16, 3, 1, 10**6]),
        "much padding": with_row(-1, 1, "Conv", [16, 3, 1, 4000]),
        "kernel": with_row(-1, 1, "Conv", [16, 10**6, 1]),
        "stride of nothing": with_row(-1, 1, "Conv", [16, 3, 0]),
        "no stride at all": with_row(-1, 1, "Conv", [16, False, None]),
        "negative kernel": with_row(-1, 1, "Conv", [16, -3, 1]),
        "convolutions of a block": with_row(-1, 1, "MGIL", [16, {"fine_convs": 10**6}]),
        "expansion": with_row(-1, 1, "C3", [16, True, 1e9]),
        "expansion without number": with_row(-1, 1, "C3", [16, True, float("inf")]),
        "anchors": TINY | {"nc": 3, "anchors": [[8, 8] * 20_000] * 3},
        "anchors without end": TINY | {"nc": 3, "anchors": [[1e308] * 6] * 3},
        "head": TINY | {"nc": 3, "head": [[head[0][0], 1, "Detect", [10**9, "anchors"]]]},
    }


def hostile_yamls() -> dict[str, bytes]:
    """What is no configuration for any reader of YAML here."""
    rows = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    merged = [f"m{i}: &m{i}\n  <<: [{', '.join([f'*m{i - 1}'] * 9)}]" for i in range(1, 12)]
    doubled = [f"b{i}: &b{i} {{<<: [*b{i - 1}, *b{i - 1}]}}" for i in range(1, 24)]
    names = [f"n{i}: &n{i} [{', '.join([f'*n{i - 1}'] * 10)}]" for i in range(1, 8)]
    return {
        "doubled by merging": "\n".join(["b0: &b0 {k0: 1, k1: 1}", *doubled]).encode(),
        "names spelled out": "\n".join(["n0: &n0 [x, x]", *names, "stride: 32", "names: [*n7]"]).encode(),
        "code": b"train: !!python/object/apply:os.system ['touch hacked']\n",
        "code by a class": b"train: !!python/object/new:subprocess.Popen [[touch, hacked]]\n",
        "code by a name": b"train: !!python/name:os.system\n",
        "laughs": "\n".join(["a0: &a0 [ha, ha]", *rows]).encode(),
        "laughs by merging": "\n".join(["m0: &m0 {a: 1, b: 2}", *merged]).encode(),
        "list in itself": b"train: &a [*a]\n",
        "mapping in itself": b"train: &a {b: *a}\n",
        "deep": b"train: " + b"[" * 5_000,
        "deep enough": b"train: " + b"[" * 200 + b"]" * 200,
        "doubled key": b"nc: 1\nnc: 2\n",
        "doubled key inside": b"names: {0: a, 0: b}\n",
        "number without end": b"nc: " + b"9" * 10_000,
        "number to the base of sixty": b"nc: 1" + b":59" * 10_000,
        "number without digits": b"nc: 0x_\n",
        "no truth": b"nc: !!bool perhaps\n",
        "no number": b"nc: !!int ''\n",
        "no day": b"train: 2020-99-99\n",
        "no time": b"train: !!timestamp now\n",
        "large": b"# " + b"x" * (1 << 19),
        "bytes": bytes(range(256)),
        "UTF-16, cut": "nc: 1".encode("utf-16")[:-1],
        "NUL": b"train: \x00\n",
        "list": b"- nc\n",
        "key of a list": b"? [a, b]\n: 1\n",
        "merge of a number": b"<<: 3\n",
        "unknown alias": b"train: *nothing\n",
        "two documents": b"nc: 1\n---\nnc: 2\n",
    }


def png_header(width: int, height: int) -> bytes:
    """A small PNG that says it has that many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def patched(image: bytes, old: bytes, new: bytes) -> bytes:
    """Bytes with one part replaced, which must be there."""
    assert old in image and len(old) == len(new), old
    return image.replace(old, new, 1)


def hostile_images(folder: Path, side: int = 60_000) -> dict[str, Path]:
    """Small files that say they have side x side pixels."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    contents = {"png": png_header(side, side)}
    for kind, pack in (("jpeg", ">HH"), ("tiff", ""), ("bmp", "<ii"), ("webp", "")):
        buffer = io.BytesIO()
        Image.new("RGB", (123, 217)).save(buffer, kind, **({"lossless": True} if kind == "webp" else {}))
        image = buffer.getvalue()
        if kind == "jpeg":
            image = patched(image, struct.pack(pack, 217, 123), struct.pack(pack, side, side))
        elif kind == "bmp":
            image = patched(image, struct.pack(pack, 123, 217), struct.pack(pack, side, side))
        elif kind == "tiff":
            for tag, value in ((256, 123), (257, 217)):
                old = struct.pack("<HHII", tag, 3, 1, value)
                if old not in image:
                    old = struct.pack("<HHII", tag, 4, 1, value)
                image = patched(image, old, struct.pack("<HHII", tag, 4, 1, side))
        else:
            continue  # 14 bits a side: 16,384 at most
        contents[kind] = image
    paths = {}
    for kind, image in contents.items():
        paths[kind] = folder / f"{kind}.{kind}"
        paths[kind].write_bytes(image)
    return paths
