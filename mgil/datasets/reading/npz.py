"""Reading an .npz file that anyone may have written: no pickles, and no more memory than the file is large."""

from __future__ import annotations

import io
import math
import os
import zipfile
from pathlib import Path

import numpy as np


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an uncompressed .npz file, as `numpy.savez` writes them.

    `numpy.load` would first take the memory that an array's header asks for, or that a compressed entry grows to.

    Raises:
        OSError: it cannot be read.
        ValueError: damaged, compressed, or an entry that is no array of numbers or texts of the size that it states.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("an entry is compressed")
            if sum(entry.file_size for entry in entries) > os.path.getsize(path):
                raise ValueError("its entries claim more bytes than it has")
            return {entry.filename.removesuffix(".npy"): _read_array(archive.read(entry)) for entry in entries}
    except OSError:
        raise
    except Exception as error:  # NumPy reads headers as Python's text, and raises what Python's parsers do
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def _read_array(content: bytes) -> np.ndarray:
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array in a format of other programs")
    shape, fortran_order, kind = np.lib.format.read_array_header_1_0(file)
    if kind.hasobject or math.prod(shape) * kind.itemsize != len(content) - file.tell():
        raise ValueError(f"an array of {kind} that claims {str(shape)[:80]} elements")
    flat = np.frombuffer(bytearray(content), kind, offset=file.tell())  # a bytearray, so that it can be changed
    return flat.reshape(shape, order="F" if fortran_order else "C")
