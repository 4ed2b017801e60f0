"""MATLAB's files: arrays and structures, nothing that is executed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mgil.datasets.reading.image_probe import READER_ERRORS
from mgil.files.regular import open_regular
from mgil.files.text import printable

MOST_BYTES = 1 << 30


def is_mat(path: str) -> bool:
    """Whether an entry of a split is a MATLAB file."""
    return path.lower().endswith(".mat")


def read_mat(path: str, names: Sequence[str]) -> dict[str, Any]:
    """The variables of a MATLAB file.

    Args:
        path: the file.
        names: of those that must be there.

    Returns:
        Arrays; structures are objects whose fields are attributes, and a side of one element is left out.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no such file, or lacks a variable.
    """
    from scipy.io import loadmat, matlab  # here, since it takes a while and few data sets need it

    with open_regular(path) as file:
        head = file.read(128)
        if head[:8] == b"\x89HDF\r\n\x1a\n" or b"MATLAB 7.3" in head:
            raise ValueError(
                f"{printable(path)}: a MATLAB 7.3 (HDF5) file, which is not read; in MATLAB, save it with -v7"
            )
        file.seek(0, 2)
        if file.tell() > MOST_BYTES:
            raise ValueError(f"{printable(path)}: too large for the labels of a data set")
        file.seek(0)
        try:
            content = loadmat(file, squeeze_me=True, struct_as_record=False, variable_names=list(names))
        except (matlab.MatReadError, NotImplementedError, *READER_ERRORS) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{printable(path)}: not a MATLAB file that can be read ({reason})") from error
    for name in names:
        if name not in content:
            raise ValueError(f"{printable(path)}: has no variable {name!r}")
    return {name: content[name] for name in names}
