"""What reading a split found, kept in the user's cache folder until one of the files changes."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from data.scan import Counts, Scan

FORMAT = 1  # raise it when reading changes what it finds: older caches are then made anew
ARRAYS = ("sizes_hw", "boxes_cxcywh", "classes", "areas", "iscrowd", "offsets")


def cache_folder() -> Path:
    """Where this program keeps what it can make again: $MGIL_CACHE, else the platform's cache folder."""
    chosen = os.environ.get("MGIL_CACHE")
    if chosen:
        return Path(os.path.abspath(Path(chosen).expanduser()))
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path("~/AppData/Local").expanduser())
    elif sys.platform == "darwin":
        base = Path("~/Library/Caches").expanduser()
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return base / "mgil-yolov5"


def sign_files(paths: Sequence[str]) -> str:
    """A hash over the paths, sizes, times and permissions of files: any change to one of them changes it."""
    stats = np.empty((len(paths), 3), np.int64)
    for index, path in enumerate(paths):
        try:
            status = os.stat(path)
            stats[index] = status.st_size, status.st_mtime_ns, status.st_mode
        except OSError:
            stats[index] = -1
    digest = hashlib.sha256(stats.tobytes())
    digest.update(os.fsencode("\0".join(paths)))
    return digest.hexdigest()


class LabelCache:
    """A folder of .npz files, read without pickle and written whole or not at all.

    Args:
        folder: where they are; None is `labels/` in `cache_folder()`.
        report: takes a line for people when a cache is damaged or cannot be written; neither stops anything.
    """

    def __init__(self, folder: Path | None, report: Callable[[str], None]) -> None:
        self.folder = folder or cache_folder() / "labels"
        self.report = report

    def load(self, key: str, paths: Sequence[str] | None) -> Scan | None:
        """What was saved under `key`, if no file has changed since.

        Args:
            key: which split of which data set, read how.
            paths: the files that the split has now; None takes the ones that it had when it was saved.
        """
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as content:
                watched = _unpack(content["watched"]) if paths is None else paths
                if str(content["signature"]) != sign_files(watched):
                    return None
                return _from_arrays(content)
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, NotImplementedError) as error:
            self.report(f"label cache {path} is damaged ({type(error).__name__}); the labels are read again")
            return None

    def save(self, key: str, paths: Sequence[str], signature: str, scan: Scan) -> None:
        """Keep a scan; `signature` is `sign_files(paths)` from before the files were read."""
        arrays = {"signature": np.array(signature), "watched": _pack(paths), **_to_arrays(scan)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".part")
        except OSError as error:
            self.report(f"label cache folder {self.folder} cannot be written ({error.strerror}); going on without")
            return
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **arrays)
            os.replace(temporary, self._path(key))
        except OSError as error:
            self.report(f"label cache in {self.folder} cannot be written ({error.strerror}); going on without")
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(os.fsencode(f"{FORMAT}\0{PIL.__version__}\0{key}")).hexdigest()
        return self.folder / f"{digest[:32]}.npz"


def _pack(texts: Sequence[str]) -> np.ndarray:
    """Texts as the bytes of one NUL-separated text: file names may hold bytes that are not UTF-8, but never a NUL."""
    return np.frombuffer(b"".join(os.fsencode(text) + b"\0" for text in texts), np.uint8)


def _unpack(packed: np.ndarray) -> list[str]:
    return os.fsdecode(packed.tobytes()).split("\0")[:-1]


def _to_arrays(scan: Scan) -> dict[str, Any]:
    arrays: dict[str, Any] = {name: getattr(scan, name) for name in ARRAYS}
    arrays["image_paths"] = _pack(scan.image_paths)
    arrays["problems"] = _pack(scan.problems)
    arrays["unknown_classes"] = _pack(scan.unknown_classes)
    arrays["counts"] = np.array(astuple(scan.counts), np.int64)
    if scan.image_ids is not None:
        arrays["image_ids"] = scan.image_ids
    return arrays


def _from_arrays(content: np.lib.npyio.NpzFile) -> Scan:
    scan = Scan(
        image_paths=_unpack(content["image_paths"]),
        image_ids=content["image_ids"] if "image_ids" in content.files else None,
        problems=_unpack(content["problems"]),
        unknown_classes=_unpack(content["unknown_classes"]),
        counts=Counts(*map(int, content["counts"])),
    )
    for name in ARRAYS:
        setattr(scan, name, content[name])
    return scan
