"""PyTorch's files, zips of a pickle and raw tensors: looked over before PyTorch opens them, without running anything.

What is looked for: entries that are compressed or overlap, which a few megabytes can blow up to all memory there is; a
tensor that claims more memory than its entry has, which older versions of PyTorch read past the end; two entries of one
name, of which two readers may take different ones; a list of entries that two readers may find in different places.
"""

from __future__ import annotations

import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mgil.engine.weights.pickle_names import Global, References, references_in
from mgil.files.plain import check_bounded, parts_of

MOST_VALUES = 2_000_000
MOST_BITS = 512  # of a whole number
MOST_SHARED = 1 << 24  # elements of a tensor that nothing uses, in less memory than they would need
OLD_FORMAT = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."  # how PyTorch's files began before 1.6
SCALARS = (str, int, float, bytes, type(None), torch.dtype, torch.device)
MOST_PICKLE_BYTES = 64 << 20
MOST_ENTRIES = 100_000
ELEMENT_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
    "UntypedStorage": 1,
}
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError)  # of damaged zips
PRINTED = (".py", ".pkl", ".debug_pkl")  # the entries of TorchScript that PyTorch compresses


def check_archive(path: Path, pickles: tuple[str, ...] = ("data",), compressed: tuple[str, ...] = ()) -> set[Global]:
    """Look over a PyTorch file.

    Args:
        path: The file.
        pickles: Its pickles without their suffix; the tensors of `data.pkl` are the entries `data/...`.
        compressed: Endings of entries that may be compressed. These are unpacked, which compares their checksums;
            PyTorch does not.

    Returns:
        The classes and functions that its pickles refer to.

    Raises:
        ValueError: Damaged, of another kind, or made to harm; one line without the path.
    """
    try:
        _check_end(path)
        with zipfile.ZipFile(path) as archive:
            sizes = _entry_sizes(archive, path.stat().st_size, compressed)
            names: set[Global] = set()
            for pickle in pickles:
                entries = [name for name in sizes if name.endswith(f"/{pickle}.pkl") and name.count("/") == 1]
                if len(entries) != 1:
                    raise ValueError("it holds no model")
                found = references_in(archive.read(entries[0]))
                _check_memory(found, sizes, entries[0].removesuffix(".pkl"))
                names |= found.names
            for entry in sizes:
                if entry.endswith(compressed):
                    archive.read(entry)
    except (*ZIP_ERRORS, UnicodeDecodeError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    return names


def is_old_format(path: Path) -> bool:
    """Whether a file is one of PyTorch's before version 1.6, which are no zips."""
    with open(path, "rb") as file:
        return file.read(len(OLD_FORMAT)) == OLD_FORMAT


def load_plain(path: Path) -> Any:
    """What a file that was looked over holds, without a word on the console; PyTorch raises many kinds of errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def check_values(content: Any, stand_in: type = nn.Identity, most_shared: int = 0) -> None:
    """Raise ValueError for values that are not what they seem, or more than any checkpoint holds.

    A tensor can have a trillion elements that all lie in the same four bytes, until something copies it; other kinds of
    tensors have no memory at all. Lists can hold one another many times over (see `check_bounded`).

    Args:
        content: What PyTorch made of a file.
        stand_in: Objects of this class are allowed, and looked into.
        most_shared: As for `check_tensor`.
    """

    def parts(value: Any) -> Iterable[Any]:
        if isinstance(value, Tensor):
            check_tensor(value, most_shared)
            return ()
        if isinstance(value, stand_in):
            return vars(value).values()
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise ValueError(f"a number of {value.bit_length()} bits")
        if not isinstance(value, (*SCALARS, dict, list, tuple, set)):
            raise ValueError(f"a {type(value).__name__}")
        return parts_of(value)

    check_bounded(content, MOST_VALUES, parts)


def check_tensor(tensor: Tensor, most_shared: int = 0) -> None:
    """Raise ValueError unless a tensor is a plain one with memory for each element.

    Args:
        tensor: From a file.
        most_shared: Elements that a tensor may have without memory for each, as expanded ones do.
    """
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided and not tensor.is_quantized
    if not plain or tensor.device.type != "cpu":
        raise ValueError("a tensor of an unusual kind")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes() and tensor.numel() > most_shared:
        raise ValueError(f"a tensor that claims {tensor.numel():,} elements and has fewer")


def _check_end(path: Path) -> None:
    """Raise ValueError unless the list of entries lies right before the end, which is where its record says it does.

    Where the two differ, Python follows the end and PyTorch the record. Large files have a second record, of 64 bits,
    and a third that says where the second lies.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - 98))
        tail = file.read().rjust(98, b"\0")
    large, locator, end = tail[:56], tail[56:76], tail[76:]
    signature, length, offset, comment = struct.unpack("<4s8xLLH", end)
    position = size - 22
    if locator.startswith(b"PK\6\7"):
        position = size - 98
        length, offset = struct.unpack("<40xQQ", large)
        if not large.startswith(b"PK\6\6") or struct.unpack("<8xQ4x", locator)[0] != position:
            raise ValueError("its second end record is not where it should be")
    if signature != b"PK\5\6" or comment or offset + length != position:
        raise ValueError("its list of entries is not at its end: cut off, or more than one file")


def _entry_sizes(archive: zipfile.ZipFile, file_size: int, compressed: tuple[str, ...]) -> dict[str, int]:
    """Bytes of each entry, checked to fit into the file."""
    entries = archive.infolist()
    sizes = {entry.filename: entry.file_size for entry in entries}
    if len(entries) > MOST_ENTRIES or len({name.lower() for name in sizes}) != len(entries):
        raise ValueError("it holds two entries of one name, or too many")
    for entry in entries:
        kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[: 1 + entry.filename.endswith(compressed)]
        if entry.compress_type not in kinds:
            raise ValueError(f"its entry {entry.filename[:80]!r} is compressed, as PyTorch never does")
        if entry.filename.endswith(PRINTED) and entry.file_size > MOST_PICKLE_BYTES:
            raise ValueError(f"its entry {entry.filename[:80]!r} has more than {MOST_PICKLE_BYTES >> 20} MiB")
        if entry.filename.endswith("/byteorder") and archive.read(entry) != b"little":
            raise ValueError("it was written on a big-endian machine")
    stored = sum(entry.file_size for entry in entries if entry.compress_type == zipfile.ZIP_STORED)
    printed = sum(entry.file_size for entry in entries if entry.compress_type != zipfile.ZIP_STORED)
    if stored > file_size or printed > MOST_PICKLE_BYTES:
        raise ValueError("its entries claim more bytes than the file has")
    return sizes


def _check_memory(found: References, sizes: dict[str, int], folder: str) -> None:
    for reference in found.persistent:
        kind, storage, key, _, count = reference if len(reference) == 5 else (None,) * 5
        width = ELEMENT_BYTES.get(storage.name) if isinstance(storage, Global) else None
        if kind != "storage" or width is None or not isinstance(key, str) or type(count) is not int:
            raise ValueError("it refers to memory of a kind that is not known")
        if not 0 <= count * width <= sizes.get(f"{folder}/{key}", -1):
            raise ValueError(f"its tensor {key[:80]!r} claims more elements than the file has")
