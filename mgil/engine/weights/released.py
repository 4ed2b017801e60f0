"""YOLOv5's released weights: where they are, and fetching them when the user asks."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

from mgil.files.atomic import folder_aside, remove_leftovers, sync_folder
from mgil.files.fetch import fetch
from mgil.files.text import Report, printable

RELEASE = "https://github.com/ultralytics/yolov5/releases/download/v7.0"
HERE = re.compile(r"yolov5[nsmlx](6|-cls)?\.pt")
URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a path keeps one slash of the two
OTHERS = re.compile(r"yolov5[nsmlx]-seg\.pt")
# Of the files that this project was tested with. Of the others it is not known before they are fetched.
SHA256 = {"yolov5n.pt": "4f180cf23ba0717ada0badd6c685026d73d48f184d00fc159c2641284b2ac0a3"}


def absent(path: Path) -> str:
    """What to do about weights that are not there: official ones can be fetched, of others the path is wrong."""
    name, start = path.name, f"weights {printable(str(path))} do not exist"
    if URL.match(str(path)):
        return f"{start}: no URL is read; fetch the file and give its path (YOLOv5's by name, with --download)"
    if HERE.fullmatch(f"{name}.pt"):
        return f"{start}; did you mean {name}.pt?"
    if HERE.fullmatch(name):
        digest = SHA256.get(name, "not known before it is fetched")
        return (
            f"{start}; they are at {RELEASE}/{name} (sha256: {digest}): --download (in Python download=True) fetches "
            "them, or give the path of a .pt file"
        )
    if OTHERS.fullmatch(name):
        return f"{start}; YOLOv5 has them, but only detectors and classifiers load here: yolov5n.pt, yolov5n-cls.pt"
    if name == "best.pt" and (last := path.with_name("last.pt")).is_file():
        return f"{start}: that run has no best epoch yet; take {printable(str(last))}"
    return f"{start}; nothing is downloaded, give the path of a .pt file"


def fetch_weights(weights: str | os.PathLike[str], report: Report) -> None:
    """Fetch official weights that are not there, to the path that names them; other paths are left as they are.

    The file appears whole or not at all, and nothing is overwritten.

    Args:
        weights: Where they should be; the name says which are meant.
        report: Gets the URL before anything is sent, and the sha256 of what came.

    Raises:
        ValueError: What came is not what was published, or no PyTorch checkpoint.
        OSError: The network failed, or nothing can be written there.
    """
    path = Path(weights)
    if not HERE.fullmatch(path.name) or URL.match(str(path)) or os.path.lexists(path):
        return
    url = f"{RELEASE}/{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        with folder_aside(path) as aside:
            made = aside / path.name
            digest = fetch(url, made, report, sha256=SHA256.get(path.name, ""), otherwise="nothing was written")
            if not zipfile.is_zipfile(made):
                raise ValueError(f"{url}: what came is no PyTorch checkpoint; nothing was written")
            size = made.stat().st_size
            if not os.path.lexists(path):  # another process may have been faster
                os.rename(made, path)
                sync_folder(path.parent)
    except OSError as error:
        if error.errno is not None:  # of the disk: it names the file aside
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    report(f"{path}: {size:,} bytes, sha256 {digest}")
