"""Which pictures and videos a file, a folder, a pattern or a list of these names."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from mgil.datasets.reading.image_probe import IMAGE_SUFFIXES
from mgil.engine.sources.names import shown_name
from mgil.files.paths import find_or_match, glob_paths, path_hint, suffix_of
from mgil.files.text import printable, to_utf8

VIDEO_SUFFIXES = frozenset(
    {".asf", ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)


def find_files(source: str) -> tuple[list[str], list[str]]:
    """List the pictures, then the videos, that a file, folder, glob or .txt list names.

    Returns:
        Paths, and a line for each entry of a list that names no usable file.
    """
    problems: list[str] = []
    if os.path.isdir(source):
        paths = _in_folder(source)
    elif os.path.isfile(source):
        paths = [source]
        if suffix_of(source) == ".txt":
            paths, problems = _read_list(source)
        elif suffix_of(source) not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            raise ValueError(f"{printable(source)}: {_unknown_suffix(source)}")
    elif glob.has_magic(source):
        paths = _matched(source)
    else:
        raise FileNotFoundError(f"{shown_name(source)}: no such file or folder{path_hint(source)}")
    return sorted(paths, key=is_video), problems


def _in_folder(folder: str) -> list[str]:
    found = [entry.path for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith(".")]
    paths = sorted(path for path in found if suffix_of(path) in IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    if not paths:
        has = ", ".join(sorted({suffix_of(path) or "none" for path in found})) or "no file at all"
        raise FileNotFoundError(
            f"{printable(folder)}: no picture or video in this folder (it has: {has}; sub-folders are not searched)"
        )
    return paths


def _matched(pattern: str) -> list[str]:
    found = [path for path in glob_paths(pattern) if os.path.isfile(path)]
    paths = [path for path in found if suffix_of(path) in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
    if not paths:
        others = f"({len(found)} other files)"
        raise FileNotFoundError(f"{shown_name(pattern)}: matches no picture or video {others}{path_hint(pattern)}")
    return paths


def is_video(path: str) -> bool:
    """Whether a file's name is a video's."""
    return suffix_of(path) in VIDEO_SUFFIXES


def _unknown_suffix(path: str) -> str:
    known = " ".join(sorted(IMAGE_SUFFIXES)), " ".join(sorted(VIDEO_SUFFIXES))
    return f"'{suffix_of(path)}' is neither a picture ({known[0]}) nor a video ({known[1]})"


def _read_list(list_path: str) -> tuple[list[str], list[str]]:
    """Read a list: a file, folder or pattern a line, relative to the list's folder or else to the working folder."""
    folders = (os.path.dirname(list_path), "")
    paths, problems = [], []
    for number, line in enumerate(to_utf8(Path(list_path).read_bytes()).splitlines(), start=1):
        entry = os.fsdecode(line.replace(b"\0", b"")).strip()
        if not entry:
            continue
        found = find_or_match(entry, folders)
        try:
            if found is None:
                raise FileNotFoundError("no such file" + path_hint(entry))
            if suffix_of(found) == ".txt":
                raise ValueError(_unknown_suffix(found))  # a list of lists could hold itself
            paths.extend(find_files(found)[0])
        except (OSError, ValueError) as error:
            reason = str(error).removeprefix(f"{printable(str(found))}: ")
            problems.append(f"{printable(list_path)}:{number}: {printable(entry)}: {reason}")
    if not paths:
        looked_in = " and ".join(dict.fromkeys(printable(os.path.abspath(folder)) for folder in folders))
        empty = f"{printable(list_path)}: the list is empty"
        raise FileNotFoundError(f"{problems[0]}; looked in {looked_in}" if problems else empty)
    return paths, problems
