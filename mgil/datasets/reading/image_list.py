"""Which images a split has: folders are walked, text lists are read."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from mgil.datasets.reading.image_probe import IMAGE_SUFFIXES
from mgil.files.paths import drive_hint, glob_paths, path_hint, spellings, suffix_of
from mgil.files.text import printable, to_utf8

# What more lines of a list name no image than this share, and than this number, is no stray mistake.
STRAY_SHARE, STRAY_LINES = 0.05, 2

# Pictures of these kinds are not read, and people should not miss them without a word.
OTHER_PICTURE_SUFFIXES = frozenset({".avif", ".dng", ".gif", ".heic", ".heif", ".jxl", ".pfm"})


def is_image_name(path: str) -> bool:
    """Whether the suffix is one of `IMAGE_SUFFIXES`, in any case."""
    return suffix_of(path) in IMAGE_SUFFIXES


def list_images(sources: Sequence[str], bases: Sequence[str]) -> tuple[list[str], list[str]]:
    """List the images of folders (with sub-folders, sorted) and of .txt lists (in their order).

    A line of a list is an absolute path, or relative to the list's folder or, failing that, to one of `bases`, in their
    order. `mgil.files.paths.spellings` says how else it is read where the name as written is not there.

    Args:
        sources: folders, lists and images, or patterns that match such.
        bases: folders; "" is the working folder.

    Returns:
        The paths, each once, and a line of text for each problem: a line that names no image, images that a list names
        again, files of a folder that are pictures of a kind that is not read.

    Raises:
        FileNotFoundError: a source does not exist, or too many lines of a list name no image.
        ValueError: a source is neither a folder nor a .txt list.
    """
    paths: dict[str, None] = {}  # an ordered set: a file named twice is one image
    problems: list[str] = []
    for source in (path for given in sources for path in _matched(given)):
        if os.path.isdir(source):
            others: Counter[str] = Counter()
            paths.update(dict.fromkeys(sorted(_walk(source, others))))
            problems.extend(not_read(source, others))
        elif os.path.isfile(source) and source.lower().endswith(".txt"):
            listed, bad_lines = _read_list(source, bases)
            paths.update(dict.fromkeys(listed))
            problems.extend(bad_lines)
        elif os.path.isfile(source) and is_image_name(source):
            paths[source] = None
        elif os.path.exists(source):
            raise ValueError(f"{printable(source)}: a split is a folder of images, a .txt list or a COCO .json file")
        else:
            raise FileNotFoundError(f"{printable(source)}: no such file or folder{path_hint(source)}")
    return list(paths), problems


def _matched(source: str) -> list[str]:
    """A source as it is or, where it is a pattern, the images, lists and folders that it matches."""
    matches = [] if os.path.exists(source) else glob_paths(source)
    fitting = [path for path in matches if os.path.isdir(path) or is_image_name(path) or suffix_of(path) == ".txt"]
    return fitting or [source]


def walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, through symbolic links, and into each real folder once: a link to a parent does not loop."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield parent, folders, files


def not_read(source: str, others: Counter[str]) -> list[str]:
    """A line for people on each kind of picture that a folder has and that is not read, of their counts by suffix."""
    return [
        f"{printable(source)}: {count} {suffix} {'file is' if count == 1 else 'files are'} not read; "
        "convert to JPEG or PNG"
        for suffix, count in sorted(others.items())
    ]


def _walk(folder: str, others: Counter[str]) -> Iterator[str]:
    """Images of a folder and its sub-folders; counts pictures of other kinds by suffix."""
    for parent, _, files in walk(folder):
        start = os.path.join(parent, "")
        yield from (start + name for name in files if is_image_name(name) and not name.startswith("._"))
        others.update(suffix for name in files if (suffix := suffix_of(name)) in OTHER_PICTURE_SUFFIXES)


def _read_list(list_path: str, bases: Sequence[str]) -> tuple[list[str], list[str]]:
    with open(list_path, "rb") as file:
        lines = to_utf8(file.read()).splitlines()
    folders = list(dict.fromkeys(map(os.path.abspath, [os.path.dirname(list_path), *bases])))
    finder = ImageFinder(folders)
    paths: list[str] = []
    problems: list[str] = []
    hint = ""
    for number, raw in enumerate(lines, start=1):
        line = os.fsdecode(raw.replace(b"\0", b"")).strip()
        if not line:
            continue
        found = finder.find_all(line)
        if found:
            paths.extend(found)
            continue
        hint = hint or drive_hint(line)
        reason = "no such image" if is_image_name(line) else "not the name of an image file"
        problems.append(f"{printable(list_path)}:{number}: {printable(line)}: {reason}; line dropped")
    count = len(problems) + len(paths)
    if len(problems) > max(STRAY_LINES, STRAY_SHARE * count):
        looked_in = ", ".join(map(printable, folders))
        raise FileNotFoundError(
            f"{len(problems)} of {count} lines name no image; looked in {looked_in}; the first: {problems[0]}{hint}"
        )
    again = len(paths) - len(set(paths))
    if again:
        problems.append(f"{printable(list_path)}: {again} lines name an image again; each image is used once")
    return paths, problems


class ImageFinder:
    """Finds the images that the lines of a list name; folders are looked for once and not for every line.

    Args:
        folders: what a relative path may be relative to.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = folders
        self._known: dict[tuple[str, str], str | None] = {}

    def find_all(self, line: str) -> list[str]:
        """The image that a line names, or the images between commas, semicolons and tabs where all are there."""
        found = [self.find(line)]
        if found[0] is None:
            parts = (part.strip().strip("\"'") for part in re.split("[,;\t]", line))
            found = [self.find(part) for part in parts if part]
        return [path for path in found if path is not None] if None not in found else []

    def find(self, line: str) -> str | None:
        """The image that a line names, None where it is not there or the name is not an image's."""
        if not is_image_name(line):
            return None
        # darknet, which CVAT writes lists for, is started in the folder above data/
        below_data = [line[5:].replace("\\", "/")] if line.startswith(("data/", "data\\")) else []
        for spelling in (*spellings(line), *below_data):
            parent, name = os.path.split(spelling)
            for folder in self.folders:
                below = self._folder(folder, parent)
                if below is not None and os.path.isfile(path := os.path.join(below, name)):
                    return path
        return None

    def _folder(self, folder: str, parent: str) -> str | None:
        key = (folder, parent)
        if key not in self._known:
            path = os.path.abspath(os.path.join(folder, parent))
            self._known[key] = path if os.path.isdir(path) else None
        return self._known[key]
