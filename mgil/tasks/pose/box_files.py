"""Boxes of people from files: COCO's results json, or YOLO's label files; pictures are known by their names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mgil.datasets.reading.coco_json import is_number
from mgil.datasets.reading.image_ids import number_of
from mgil.datasets.reading.image_list import is_image_name
from mgil.datasets.reading.json_file import read_json_file
from mgil.files.paths import find
from mgil.files.text import Report, printable, to_utf8
from mgil.tasks.pose.boxes import Boxes
from mgil.tasks.pose.skeleton import COCO_PERSON

WEAK = 0.1  # lowest score of a box that may go on a track, as for detectors
NOBODY = Boxes(np.zeros((0, 4)), np.zeros(0))


class FiledBoxes:
    """See `mgil.tasks.pose.boxes.BoxSource`.

    Args:
        path: A .json file, a .txt file or a folder of these.
        joints: K, as lines of YOLO's label files may also hold key points.
        lowest: Score of a box that counts.
        classes: Category ids of the json, class indices of label files; None: COCO's person, or class 0.
        report: Told of pictures that the file says nothing of.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of no kind that can be read, or no such file.
    """

    def __init__(self, path: str, joints: int, lowest: float, classes: Sequence[int] | None, report: Report) -> None:
        self._path, self._joints, self._lowest, self._report = path, joints, lowest, report
        self._classes = classes
        found = find(path)
        if found is None:
            raise FileNotFoundError(f"--boxes {printable(path)}: no such file or folder")
        self._json: Mapping[str | int, list[Sequence[float]]] = {}
        self._by_stem: dict[str, list[str]] = {}
        self._taken: dict[str | int, str] = {}  # what the file has, and the picture that it was for
        self._folder, self._is_folder = found, os.path.isdir(found)
        if not self._is_folder and found.lower().endswith(".json"):
            self._json = read_results(found, classes)
            for name in self._json:
                if isinstance(name, str):
                    self._by_stem.setdefault(os.path.basename(name), []).append(name)
        elif not self._is_folder and not found.lower().endswith(".txt"):
            raise ValueError(
                f"--boxes {printable(path)}: give a .json with COCO results, a YOLO label .txt or a folder of these"
            )
        self._is_json = found.lower().endswith(".json") and not self._is_folder
        self._told = False

    def __call__(self, images: Sequence[np.ndarray], paths: Sequence[str], weak: bool) -> list[Boxes]:
        """See `mgil.tasks.pose.boxes.BoxSource`."""
        lowest = min(self._lowest, WEAK) if weak else self._lowest
        found = []
        for image, path in zip(images, paths, strict=True):
            boxes = self._boxes(path, image.shape[0], image.shape[1])
            if boxes is None:
                self._tell(path)
                boxes = NOBODY
            found.append(boxes.rows(boxes.scores >= lowest))
        return found

    def _boxes(self, path: str, height: int, width: int) -> Boxes | None:
        """Those of a picture; None where the file does not know it."""
        if os.path.exists(path) and not is_image_name(path):
            raise ValueError(
                f"--boxes {printable(self._path)}: boxes go by the names of pictures, {printable(path)} is none; "
                "--detector finds people in videos"
            )
        if self._is_json:
            name = self._name_of(path)
            if name is None:
                return None
            self._take(name, path)
            table = np.array(self._json[name], np.float64).reshape(-1, 5)
            corners = np.concatenate((table[:, :2], table[:, :2] + table[:, 2:4]), axis=1)
            return Boxes(corners, table[:, 4])
        stem = os.path.splitext(os.path.basename(path))[0]
        label = os.path.join(self._folder, f"{stem}.txt") if self._is_folder else self._folder
        if not os.path.isfile(label) or os.path.splitext(os.path.basename(label))[0] != stem:
            return None
        self._take(label, path)
        return read_labels(label, self._joints, self._classes, height, width)

    def _name_of(self, path: str) -> str | int | None:
        """What the json calls a picture: of several with its name, the one that most of its folders fit."""
        folders = os.path.abspath(path).split(os.sep)[-2::-1]
        names = self._by_stem.get(os.path.splitext(os.path.basename(path))[0], [])
        fitting = {name: len(os.path.commonprefix([name.split("/")[-2::-1], folders])) for name in names}
        most = max(fitting.values(), default=0)
        best = [name for name, fits in fitting.items() if fits == most]
        if len(best) > 1:
            raise ValueError(
                f"--boxes {printable(self._path)}: {printable(best[0])} and {printable(best[1])} fit "
                f"{printable(path)} equally well; put pictures of one name into folders named as in the file"
            )
        number = number_of(path)
        return best[0] if best else number if number in self._json else None

    def _take(self, name: str | int, path: str) -> None:
        """Boxes are of one picture: another of that name, in another folder, is none of theirs."""
        before = self._taken.setdefault(name, path)
        if before != path:
            raise ValueError(
                f"--boxes {printable(self._path)}: {printable(before)} and {printable(path)} would both have the boxes "
                f"of {printable(str(name))}; run them apart, or name pictures with their folders in a json's file_name"
            )

    def _tell(self, path: str) -> None:
        if not self._told:
            self._report(
                f"--boxes {printable(self._path)} says nothing of {printable(path)}: nobody is looked for there, and "
                "so in other pictures that it does not name"
            )
        self._told = True


def read_results(path: str, categories: Sequence[int] | None) -> dict[str | int, list[Sequence[float]]]:
    """Read a detector's results as COCO has them.

    Args:
        path: A json: a list of entries with image_id (or file_name), category_id, bbox and score; or a data set's,
            whose labels all score 1.
        categories: Ids that count; None: 1, or the only one that the file has.

    Returns:
        Left, top, width, height and score of each box by the picture's name without its ending, folders parted by /,
        or by its number.

    Raises:
        ValueError: It is no such file; names it and the entry.
    """
    shown = f"--boxes {printable(path)}"
    try:
        content = read_json_file(path)
    except ValueError as error:
        raise ValueError(f"--boxes {error}") from error
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        content = _labels_of_set(content)
    if not isinstance(content, list):
        raise ValueError(f"{shown}: give COCO results, a list of image_id, category_id, bbox and score; this is none")
    entries = [_entry(entry, f"{shown}, entry {index}") for index, entry in enumerate(content)]
    present = {category for _, category, _ in entries}
    kept = set(categories) if categories is not None else {COCO_PERSON} if len(present) > 1 else present
    if entries and not kept & present:
        has = ", ".join(map(str, sorted(present)[:10]))
        raise ValueError(f"{shown}: its categories are {has}, none is {' or '.join(map(str, sorted(kept)))}; --classes")
    found: dict[str | int, list[Sequence[float]]] = {}
    for picture, category, row in entries:
        rows = found.setdefault(picture, [])
        if category in kept:
            rows.append(row)
    return found


def _labels_of_set(content: Mapping[str, Any]) -> list[Any]:
    """The labels of a data set's json as results; their pictures go by their names, not by their numbers."""
    images = content.get("images")
    entries = [entry for entry in images if isinstance(entry, dict)] if isinstance(images, list) else []
    names = {entry.get("id"): entry.get("file_name") for entry in entries if isinstance(entry.get("id"), int | str)}
    return [
        {**label, "file_name": names.get(label["image_id"])}
        if isinstance(label, dict) and isinstance(label.get("image_id"), int | str)
        else label
        for label in content["annotations"]
        if not (isinstance(label, dict) and label.get("iscrowd"))
    ]


def _entry(entry: Any, where: str) -> tuple[str | int, int, Sequence[float]]:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: no mapping of image_id, category_id, bbox and score")
    name, number = entry.get("file_name"), entry.get("image_id")
    picture = name if isinstance(name, str) else number
    if isinstance(picture, str):
        number = None if isinstance(name, str) else number_of(picture)
        picture = os.path.splitext(picture.replace("\\", "/"))[0] if number is None else number
    elif type(picture) is not int:
        raise ValueError(f"{where}: no image_id and no file_name")
    category, box, score = entry.get("category_id", COCO_PERSON), entry.get("bbox"), entry.get("score", 1.0)
    if type(category) is not int:
        raise ValueError(f"{where}: category_id {category!r:.60} is no whole number")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise ValueError(f"{where}: bbox {box!r:.60} is not left, top, width and height")
    if not is_number(score) or not 0 <= score <= 1:
        raise ValueError(f"{where}: score {score!r:.60} is no number from 0 to 1")
    return picture, category, (*map(float, box), float(score))


def read_labels(path: str, joints: int, classes: Sequence[int] | None, height: int, width: int) -> Boxes:
    """Read a YOLO label file.

    Its lines are class, centre x, y, width, height in 0..1, then key points or none, then a score or none, which the
    number of a track may follow.

    Args:
        path: The file.
        joints: K, so that columns of key points (2 or 3 each) are told from a score.
        classes: That count; None: 0.
        height: Of the picture in pixels.
        width: Of the picture in pixels.

    Raises:
        ValueError: A line that is none; names the file and the line.
    """
    kept = {0} if classes is None else set(classes)
    counts = {5 + each * joints: each * joints for each in (0, 2, 3)}  # columns without a score, and of key points
    rows = []
    text = to_utf8(Path(path).read_bytes()).decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"--boxes {printable(path)}, line {number}"
        try:
            values = [float(word) for word in line.split()]
        except ValueError as error:
            raise ValueError(f"{where}: {printable(line[:60])!r} are no numbers") from error
        if not values:
            continue
        if not np.isfinite(values).all():
            raise ValueError(f"{where}: {printable(line[:60])!r} are no numbers")
        behind = next((behind for behind in range(3) if len(values) - behind in counts), None)
        if behind is None:
            raise ValueError(
                f"{where}: {len(values)} columns; a line is class x y w h, then {joints} key points or none, then a "
                "score or none, and a track's number after a score"
            )
        score = values[-behind] if behind else 1.0
        if not 0 <= score <= 1:
            raise ValueError(
                f"{where}: score {score:g} is not from 0 to 1; where it is the number of a track, write the labels "
                "with --save-conf, or without --track"
            )
        if values[0] in kept:
            rows.append([*values[1:5], score])
    table = np.array(rows, np.float64).reshape(-1, 5)
    middles, halves = table[:, :2] * (width, height), table[:, 2:4] * (width, height) / 2
    return Boxes(np.concatenate((middles - halves, middles + halves), axis=1), table[:, 4])
