"""What reading a split found, kept in the user's cache folder until one of the files changes."""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from mgil.datasets.reading.faults import Faults
from mgil.datasets.reading.npz import read_npz
from mgil.datasets.reading.path_list import PathList, pack_texts, unpack_texts
from mgil.datasets.reading.samples import Counts, Findings, JsonKeys, Samples
from mgil.files.atomic import write_atomic
from mgil.files.text import Report

FORMAT = 5  # raise it when reading changes what it finds: older caches are then made anew
ARRAYS = ("sizes_hw", "boxes_cxcywh", "classes", "areas", "iscrowd", "offsets", "image_ids")
SIGNED_AT_ONCE = 4096  # files


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


def sign_files(paths: Iterable[str]) -> str:
    """A hash over the paths, sizes, times and permissions of files: any change to one of them changes it."""
    digest = hashlib.sha256()
    remaining = iter(paths)
    while block := list(itertools.islice(remaining, SIGNED_AT_ONCE)):
        stats = array("q")
        for path in block:
            try:
                status = os.stat(path)
            except OSError:
                stats.extend((-1, -1, -1))
            else:
                stats.extend((status.st_size, status.st_mtime_ns, status.st_mode))
        digest.update(stats.tobytes())
        digest.update(os.fsencode("\0".join(block)) + b"\0")
    return digest.hexdigest()


class LabelCache:
    """A folder of .npz files, read without pickle and written whole or not at all.

    Args:
        folder: where they are; None is `labels/` in `cache_folder()`.
        report: takes a line for people when a cache is damaged or cannot be written; neither stops anything.
    """

    def __init__(self, folder: Path | None, report: Report) -> None:
        self.folder = folder or cache_folder() / "labels"
        self.report = report

    def load(self, key: str, signature: str | None, num_classes: int | None = None) -> tuple[Samples, Findings] | None:
        """What was saved under `key`, if no file has changed since.

        Args:
            key: which split of which data set, read how.
            signature: `sign_files` of the files that the split has now; None signs those that were `watched` when it
                was saved.
            num_classes: class ids must be below this; None accepts every id.
        """
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            content = read_npz(path)
            if str(content["signature"]) != (signature or sign_files(unpack_texts(content["watched"]))):
                return None
            return _from_arrays(content, num_classes)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.report(f"label cache {path} is damaged ({type(error).__name__}); the labels are read again")
            return None

    def save(self, key: str, signature: str, samples: Samples, found: Findings, watched: Sequence[str] = ()) -> None:
        """Keep what was read.

        Args:
            key: as for `load`.
            signature: `sign_files` of the split's files from before they were read.
            samples: the labels.
            found: what reading them had to tell.
            watched: the files; only needed where `load` is not told the signature.
        """
        arrays = {"signature": np.array(signature), "watched": pack_texts(watched), **_to_arrays(samples, found)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.report(f"label cache folder {self.folder} cannot be written ({error.strerror}); going on without")
            return
        try:
            write_atomic(self._path(key), lambda file: np.savez(file, **arrays))
        except OSError as error:
            self.report(f"label cache in {self.folder} cannot be written ({error.strerror}); going on without")

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(os.fsencode(f"{FORMAT}\0{PIL.__version__}\0{key}")).hexdigest()
        return self.folder / f"{digest[:32]}.npz"


def _to_arrays(samples: Samples, found: Findings) -> dict[str, Any]:
    arrays: dict[str, Any] = {name: getattr(samples, name) for name in ARRAYS}
    arrays["image_paths"] = pack_texts(samples.image_paths)
    arrays["problems"] = pack_texts(found.problems)
    arrays["faults"] = pack_texts([found.faults.to_json()])
    keys = samples.json
    arrays["json"] = pack_texts([keys.path, keys.image_folder] if keys else [])
    arrays["category_ids"] = np.array(keys.category_ids if keys else (), np.int64)
    arrays["lacking"] = np.array(keys.lacking if keys else (), np.int64)
    arrays["counts"] = np.array(astuple(found.counts), np.int64)
    return arrays


def _from_arrays(content: Mapping[str, np.ndarray], num_classes: int | None) -> tuple[Samples, Findings]:
    keys = None
    if len(content["json"]):
        path, image_folder = unpack_texts(content["json"])
        ids, lacking = (tuple(map(int, content[name])) for name in ("category_ids", "lacking"))
        keys = JsonKeys(path, image_folder, ids, lacking)
    samples = Samples(PathList(content["image_paths"]), **{name: content[name] for name in ARRAYS}, json=keys)
    if not _is_consistent(samples, num_classes):
        raise ValueError("its arrays do not belong together")
    counts = Counts(*map(int, content["counts"]))
    faults = Faults.from_json("".join(unpack_texts(content["faults"])))
    return samples, Findings(counts, unpack_texts(content["problems"]), faults)


def _is_consistent(samples: Samples, num_classes: int | None) -> bool:
    """Whether arrays have the types and sizes that reading labels gives, and values that nothing trips over."""
    images, boxes = len(samples), len(samples.classes)
    wanted = {
        "sizes_hw": ((images, 2), np.int32),
        "boxes_cxcywh": ((boxes, 4), np.float32),
        "classes": ((boxes,), np.int32),
        "areas": ((boxes,), np.float32),
        "iscrowd": ((boxes,), np.bool_),
        "offsets": ((images + 1,), np.int64),
        "image_ids": ((images,), np.int64),
    }
    for name, (shape, kind) in wanted.items():
        array = getattr(samples, name)
        if array.shape != shape or array.dtype != kind:
            return False
    ends = (int(samples.offsets[0]), int(samples.offsets[-1]))
    below = samples.classes < (2**31 - 1 if num_classes is None else num_classes)
    ids = samples.json.category_ids if samples.json else ()
    if samples.json and (len(ids) != num_classes or len(set(ids)) != len(ids)):
        return False
    if samples.json and not set(samples.json.lacking) <= set(range(len(ids))):
        return False
    return bool(
        ends == (0, boxes)
        and (np.diff(samples.offsets) >= 0).all()
        and (samples.sizes_hw > 0).all()
        and ((samples.classes >= 0) & below).all()
        and (np.abs(samples.boxes_cxcywh - 0.5) <= 0.501).all()
        and (samples.areas >= 0).all()
    )
