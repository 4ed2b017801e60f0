"""csv lists: a line for every picture, with its path and its class."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence

from mgil.datasets.reading.image_list import ImageFinder, is_image_name
from mgil.files.class_names import places_in
from mgil.files.names import hint_for
from mgil.files.paths import drive_hint
from mgil.files.text import printable, to_utf8
from mgil.tasks.classify.reading.gathered import Gathered

SEPARATORS = ",;\t"
# What a heading may call its columns.
PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img", "name")
CLASSES = ("class", "label", "class_name", "class_id", "target", "category", "species", "y")


def is_table(path: str) -> bool:
    """Whether an entry of a split is a csv list."""
    return path.lower().endswith(".csv")


def classes_in_tables(table_paths: Sequence[str]) -> tuple[str, ...]:
    """The classes that lists name together, sorted; whole numbers, where all are, by their value.

    Raises:
        ValueError: A list is damaged, or names no class.
    """
    labels: set[str] = set()
    for table_path in table_paths:
        own = {label for _, _, label in _rows(table_path) if label}
        if not own:
            raise ValueError(f"{printable(table_path)}: names no class; a line is: path,class")
        labels |= own
    if all(map(_is_number, labels)):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def gather_table(table_path: str, bases: Sequence[str], gathered: Gathered) -> None:
    """Take the pictures of a list.

    A path is absolute, or relative to the list's folder or to one of `bases`; a class is a name or, where no name
    of the set is a number, an index.

    Raises:
        ValueError: The list is damaged, or more of its lines than a few cannot be used.
    """
    finder = ImageFinder(list(dict.fromkeys(map(os.path.abspath, [os.path.dirname(table_path), *bases]))))
    places: dict[str, int] = {}
    before, taken = len(gathered.problems), 0
    for number, path, label in _rows(table_path):
        if label not in places:
            places[label] = _place(label, gathered.names)
        if places[label] < 0:
            near = f"; {hint}" if (hint := hint_for(label, gathered.names)) else ""
            wrong = f"{printable(label)[:100]!r} is no class of the set{near}" if label else "no class"
        elif (found := finder.find(path)) is None:
            wrong = f"no such image{drive_hint(path)}" if is_image_name(path) else "not the name of an image file"
        else:
            wrong = gathered.add(found, places[label], table_path, number)
        if wrong:
            place = f"{printable(table_path)}:{number}: {printable(path)[:200]}"
            gathered.problems.append(f"{place}: {wrong}; line dropped")
        else:
            taken += 1
    gathered.check_lines(len(gathered.problems) - before, taken)


def _place(label: str, names: Sequence[str]) -> int:
    (place,) = places_in(names, [label])
    if place >= 0 or not _is_number(label) or len(label) > 8 or any(map(_is_number, names)):
        return place  # among names that are numbers another number is a class that the set lacks, not an index
    return int(label) if int(label) < len(names) else -1


def _is_number(text: str) -> bool:
    return text.isascii() and text.strip().isdigit()


def _rows(table_path: str) -> Iterator[tuple[int, str, str]]:
    """Number, path and class of every line that is not empty, without the heading."""
    with open(table_path, "rb") as file:
        text = os.fsdecode(to_utf8(file.read()).replace(b"\0", b""))
    separator = next((each for each in SEPARATORS if each in text.partition("\n")[0]), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    columns: tuple[int, int] | None = None
    start = 1
    try:
        for row in reader:
            number, start = start, reader.line_num + 1
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if columns is None:
                columns = _columns(cells, f"{printable(table_path)}:{number}")
                if not is_image_name(cells[columns[0]]):
                    continue
            path, label = (cells[column] if column < len(cells) else "" for column in columns)
            yield number, path, label
    except csv.Error as error:
        raise ValueError(f"{printable(table_path)}:{reader.line_num}: not a line of a csv file ({error})") from error


def _columns(cells: Sequence[str], place: str) -> tuple[int, int]:
    """Which columns hold the path and the class, by the first line."""
    if len(cells) > 1 and is_image_name(cells[0]):
        return 0, 1
    lower = [cell.lower().replace(" ", "_") for cell in cells]
    path = next((lower.index(name) for name in PATHS if name in lower), -1)
    label = next((lower.index(name) for name in CLASSES if name in lower), -1)
    if path < 0 or label < 0:
        shown = printable(", ".join(cells))[:200]
        raise ValueError(f"{place}: {shown}: expected a line `path,class`, or a heading that names these columns")
    return path, label
