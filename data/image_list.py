"""Which images a split has: folders are walked, text lists are read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from data.image_probe import IMAGE_SUFFIXES


def printable(path: str) -> str:
    """A path as one line that can be printed and written as UTF-8, whatever bytes its name has."""
    return path if path.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in path)


def is_image_name(path: str) -> bool:
    """Whether the suffix is one of `IMAGE_SUFFIXES`, in any case."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def list_images(sources: Sequence[str], root: str) -> tuple[list[str], list[str]]:
    """List the images of folders (with sub-folders, sorted) and of .txt lists (in their order).

    A line of a list is an absolute path, or relative to the list's folder or, failing that, to `root`.

    Returns:
        The paths, each once, and a line of text for each problem (a line that names no image).

    Raises:
        FileNotFoundError: a source does not exist.
        ValueError: a source is neither a folder nor a .txt list.
    """
    paths: dict[str, None] = {}  # an ordered set: a file named twice is one image
    problems: list[str] = []
    for source in sources:
        if os.path.isdir(source):
            paths.update(dict.fromkeys(sorted(_walk(source))))
        elif os.path.isfile(source) and source.lower().endswith(".txt"):
            listed, bad_lines = _read_list(source, root)
            paths.update(dict.fromkeys(listed))
            problems.extend(bad_lines)
        elif os.path.exists(source):
            raise ValueError(f"{printable(source)}: a split is a folder of images, a .txt list or a COCO .json file")
        else:
            raise FileNotFoundError(f"{printable(source)}: no such file or folder")
    return list(paths), problems


def _walk(folder: str) -> Iterator[str]:
    seen: set[str] = set()  # real folders, so that a symbolic link to a parent does not loop
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (os.path.join(parent, name) for name in files if is_image_name(name) and not name.startswith("._"))


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
        where = f"{printable(list_path)}:{number}: {printable(line)}"
        if not is_image_name(line):
            problems.append(f"{where}: not the name of an image file; line dropped")
            continue
        found = next((path for path in (os.path.join(base, line) for base in bases) if os.path.isfile(path)), None)
        if found is None:
            problems.append(f"{where}: no such image; line dropped")
            continue
        if len(bases) > 1 and not os.path.isabs(line) and found == os.path.join(bases[1], line):
            bases.reverse()  # the next line is most likely found in the same place
        paths.append(os.path.normpath(found))
    return paths, problems
