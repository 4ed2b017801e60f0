"""Which images a split has: folders are walked, text lists are read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

from mgil.datasets.reading.image_probe import IMAGE_SUFFIXES
from mgil.files.text import printable

# Pictures of these kinds are not read, and people should not miss them without a word.
OTHER_PICTURE_SUFFIXES = frozenset({".avif", ".dng", ".gif", ".heic", ".heif", ".jxl", ".pfm"})


def is_image_name(path: str) -> bool:
    """Whether the suffix is one of `IMAGE_SUFFIXES`, in any case."""
    return _suffix(path) in IMAGE_SUFFIXES


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def list_images(sources: Sequence[str], root: str) -> tuple[list[str], list[str]]:
    """List the images of folders (with sub-folders, sorted) and of .txt lists (in their order).

    A line of a list is an absolute path, or relative to the list's folder or, failing that, to `root`.

    Returns:
        The paths, each once, and a line of text for each problem: a line that names no image, images that a list names
        again, files of a folder that are pictures of a kind that is not read.

    Raises:
        FileNotFoundError: a source does not exist.
        ValueError: a source is neither a folder nor a .txt list.
    """
    paths: dict[str, None] = {}  # an ordered set: a file named twice is one image
    problems: list[str] = []
    for source in sources:
        if os.path.isdir(source):
            others: Counter[str] = Counter()
            paths.update(dict.fromkeys(sorted(_walk(source, others))))
            problems.extend(
                f"{printable(source)}: {count} {suffix} {'file is' if count == 1 else 'files are'} not read; "
                "convert to JPEG or PNG"
                for suffix, count in sorted(others.items())
            )
        elif os.path.isfile(source) and source.lower().endswith(".txt"):
            listed, bad_lines = _read_list(source, root)
            paths.update(dict.fromkeys(listed))
            problems.extend(bad_lines)
        elif os.path.exists(source):
            raise ValueError(f"{printable(source)}: a split is a folder of images, a .txt list or a COCO .json file")
        else:
            raise FileNotFoundError(f"{printable(source)}: no such file or folder")
    return list(paths), problems


def _walk(folder: str, others: Counter[str]) -> Iterator[str]:
    """Images of a folder and its sub-folders; counts pictures of other kinds by suffix."""
    seen: set[str] = set()  # real folders, so that a symbolic link to a parent does not loop
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        start = os.path.join(parent, "")
        yield from (start + name for name in files if is_image_name(name) and not name.startswith("._"))
        others.update(suffix for name in files if (suffix := _suffix(name)) in OTHER_PICTURE_SUFFIXES)


def _read_list(list_path: str, root: str) -> tuple[list[str], list[str]]:
    with open(list_path, "rb") as file:
        lines = file.read().removeprefix(b"\xef\xbb\xbf").splitlines()
    bases = [os.path.dirname(list_path), root]
    paths: list[str] = []
    problems: list[str] = []
    for number, raw in enumerate(lines, start=1):
        line = os.fsdecode(raw.replace(b"\0", b"")).strip()
        if not line:
            continue
        named = is_image_name(line)
        found = _find(line, bases) if named else None
        if found is not None:
            paths.append(found)
            continue
        reason = "no such image" if named else "not the name of an image file"
        problems.append(f"{printable(list_path)}:{number}: {printable(line)}: {reason}; line dropped")
    again = len(paths) - len(set(paths))
    if again:
        problems.append(f"{printable(list_path)}: {again} lines name an image again; each image is used once")
    return paths, problems


def _find(line: str, bases: list[str]) -> str | None:
    """The image that a line names; the base where it is found is brought to the front, for the next line."""
    folder, name = os.path.split(line)
    for base in bases:
        path = os.path.join(_normal_folder(base, folder), name)
        if os.path.isfile(path):
            if base != bases[0]:
                bases.reverse()
            return path
    return None


@lru_cache(maxsize=1024)
def _normal_folder(base: str, folder: str) -> str:
    return os.path.normpath(os.path.join(base, folder))
