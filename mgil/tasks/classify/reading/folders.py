"""A folder per class, as YOLOv5 and torchvision have it; and TinyImageNet, whose validation pictures have a list."""

from __future__ import annotations

import os
from collections import Counter

from mgil.datasets.reading.image_list import OTHER_PICTURE_SUFFIXES, is_image_name, not_read, walk
from mgil.datasets.reading.samples import NoImages
from mgil.files.class_names import places_in
from mgil.files.names import hint_for
from mgil.files.paths import suffix_of
from mgil.files.text import printable, to_utf8
from mgil.tasks.classify.reading.gathered import EXPECTED, Gathered

OF_DETECTION = frozenset({"images", "labels", "annotations"})
TINY_LIST = "val_annotations.txt"  # TinyImageNet's, beside images/


def class_folders(folder: str) -> list[str]:
    """The names of the class folders of a split, sorted; hidden ones and links to a folder above are none.

    Raises:
        NoImages: There are none; says what was expected.
        ValueError: They are those of a detection set.
        OSError: The folder cannot be read.
    """
    shown, above = printable(folder), os.path.realpath(folder)
    names, images = [], 0
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.startswith("."):
            continue
        if os.path.isdir(path):
            real = os.path.join(os.path.realpath(path), "")
            if not os.path.join(above, "").startswith(real):
                names.append(name)
        else:
            images += is_image_name(name)
    if names and OF_DETECTION.issuperset(names):
        raise ValueError(f"{shown}: has {' and '.join(names)}, as sets with boxes do; expected a folder per class")
    if not names:
        found = "images but no class folders" if images else "no class folders"
        raise NoImages(f"{shown}: has {found}; expected a folder per class, that is {EXPECTED}")
    return names


def gather_folders(folder: str, split: str, gathered: Gathered) -> None:
    """Take the images of all class folders, sorted by class and path, those of folders in them too.

    Raises:
        ValueError: A folder is not called like any of the classes.
    """
    found = class_folders(folder)
    others: Counter[str] = Counter()
    beside = [name for name in os.listdir(folder) if is_image_name(name) and not name.startswith(".")]
    gathered.notes["images beside the class folders"] += len(beside)
    for name, place in zip(found, places_in(gathered.names, found), strict=True):
        if place < 0:
            hint = (
                hint_for(name, gathered.names) or f"its {len(gathered.names)} are train's folders, or the YAML's names"
            )
            shown = printable(os.path.join(folder, name))
            raise ValueError(f"{shown}: a class folder of {split}, but the set has no such class; {hint}")
        own = os.path.join(folder, name)
        for path in sorted(_images_in(own, gathered.notes, others)):
            if wrong := gathered.add(path, place, own):
                gathered.problems.append(f"{printable(path)}: {wrong}; image skipped")
    gathered.problems += not_read(folder, others)


def _images_in(folder: str, notes: Counter[str], others: Counter[str]) -> list[str]:
    paths = []
    for parent, folders, files in walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]  # .ipynb_checkpoints has copies
        for name in files:
            if name.startswith("."):
                notes["hidden files"] += 1
            elif is_image_name(name):
                paths.append(os.path.join(parent, name))
            elif (suffix := suffix_of(name)) in OTHER_PICTURE_SUFFIXES:
                others[suffix] += 1
            else:
                notes["files that are no images"] += 1
    return paths


def is_tiny_val(folder: str) -> bool:
    """Whether a folder is TinyImageNet's val: images/ and a list of their classes."""
    return os.path.isfile(os.path.join(folder, TINY_LIST)) and os.path.isdir(os.path.join(folder, "images"))


def gather_tiny_val(folder: str, gathered: Gathered) -> None:
    """Take the images of TinyImageNet's val: a line of its list is name, class and a box, with tabs between them."""
    list_path = os.path.join(folder, TINY_LIST)
    with open(list_path, "rb") as file:
        lines = os.fsdecode(to_utf8(file.read())).splitlines()
    places = {name: place for place, name in enumerate(gathered.names)}
    images = {entry.name for entry in os.scandir(os.path.join(folder, "images")) if is_image_name(entry.name)}
    seen: set[str] = set()
    before, taken = len(gathered.problems), 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *rest = line.split("\t") if "\t" in line else line.split()
        wrong = ""
        if name not in images:
            wrong = "no such image in images/"
        elif not rest or rest[0] not in places:
            wrong = "a class that the set does not have" if rest else "no class"
        else:
            seen.add(name)
            wrong = gathered.add(os.path.join(folder, "images", name), places[rest[0]], list_path, number)
        if wrong:
            gathered.problems.append(f"{printable(list_path)}:{number}: {printable(line)[:200]}: {wrong}; line dropped")
        else:
            taken += 1
    gathered.check_lines(len(gathered.problems) - before, taken)
    gathered.notes["images that the list does not name"] += len(images) - len(seen)
