"""The people of a study: parts of a COCO json, copies that the peers read, and what the peers found as poses."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.study_data import held_out, link_image, made_once, part_folder
from mgil.datasets.reading.coco_json import find_image_folder
from mgil.datasets.reading.config import TRAINING_KEYS, DataConfig, load_data_config
from mgil.datasets.reading.json_file import read_json_file
from mgil.datasets.reading.load import make_generated
from mgil.files.atomic import write_text_atomic
from mgil.files.yaml_file import read_yaml_mapping
from mgil.tasks.pose.oks import Poses
from mgil.tasks.pose.people import People, joined, pictures_of
from mgil.tasks.pose.reading.load import read_people
from mgil.tasks.pose.reading.skeleton import as_key_points

NO_PART = ("test", "generate", "download", "convert", *TRAINING_KEYS)  # keys of a set that are not those of a part
BOX_COLUMNS = 6  # of a peer's row: place of the picture, left, top, width, height, score


def people_part(data_yaml: Path, name: str, holdout: float, images: int, folder: Path) -> Path:
    """The people as a cell sees them; see `benchmarks.study_data.split_yaml`, whose counterpart it is.

    Raises:
        ValueError: People that are not of a COCO json.
    """
    if not holdout and not images:
        return data_yaml
    config = load_data_config(data_yaml)
    make_generated(config)
    sources = {"train": "train", "val": "train" if holdout else "val"}
    read = {split: _read_json(config, source) for split, source in sources.items()}
    target = part_folder(folder, name, holdout, images)
    target.mkdir(parents=True, exist_ok=True)
    content = {key: value for key, value in read_yaml_mapping(data_yaml).items() if key not in NO_PART}
    content["path"] = str(config.root)
    for split, (path, whole) in read.items():
        pictures = whole["images"]
        if holdout:
            chosen = held_out(len(pictures), holdout)
            pictures = [entry for index, entry in enumerate(pictures) if (index in chosen) == (split == "val")]
        pictures = pictures[: images or None]
        found = find_image_folder(whole, str(path), str(config.root), sources[split])
        content[split] = str((target / f"{split}_{path.name}").absolute())
        write_text_atomic(Path(content[split]), json.dumps(_of_pictures(whole, pictures, found, str(config.root))))
    write_text_atomic(target / f"{name}.yaml", yaml.safe_dump(content, sort_keys=False))
    return target / f"{name}.yaml"


def _read_json(config: DataConfig, split: str) -> tuple[Path, dict[str, Any]]:
    sources = config.split(split)
    if len(sources) != 1 or not sources[0].lower().endswith(".json"):
        raise ValueError(f"{config.yaml_path}: {split} is not one COCO .json; holdout and images need that of people")
    return Path(sources[0]), read_json_file(sources[0])


def _of_pictures(whole: Mapping[str, Any], pictures: list[Any], folder: str, root: str) -> dict[str, Any]:
    """A json of some pictures, named from the root of the set, and of the people in them."""
    named = [
        {**entry, "file_name": os.path.relpath(os.path.join(folder, entry["file_name"]), root)} for entry in pictures
    ]
    ids = {entry["id"] for entry in pictures}
    people = [entry for entry in whole["annotations"] if entry["image_id"] in ids]
    return {**whole, "images": named, "annotations": people}


def load_people(data_yaml: Path, split: str) -> People:
    """The people of a split."""
    return read_people(as_key_points(load_data_config(data_yaml)), split, strict=False, report=print)


def people_copy(data_yaml: Path, folder: Path) -> Path:
    """A set as ultralytics reads it: links to the pictures, numbered by their place in the split, and label files.

    Made once for pictures and labels as they are. Left out are people whom nobody trains on, and the labels of joints
    outside the picture, whose label file ultralytics would refuse.

    Args:
        data_yaml: From `people_part`.
        folder: Where the copy goes.

    Returns:
        The copy's YAML.
    """
    splits = {split: load_people(data_yaml, split) for split in ("train", "val")}
    skeleton = splits["val"].skeleton
    content = {
        "train": "images/train",
        "val": "images/val",
        "names": {0: "person"},
        "kpt_shape": [len(skeleton), 3],
        "flip_idx": list(skeleton.flip),
    }

    def write(target: Path) -> None:
        for split, people in splits.items():
            write_people(people, target, split)

    facts = [(tuple(pictures_of(people).paths), people.content()["labels"]) for people in splits.values()]
    return made_once(data_yaml, folder, repr([content, facts]), content, write)


def write_people(people: People, folder: Path, split: str) -> None:
    """Links to a split's pictures, and a line of class, box and key points for each person."""
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    pictures = pictures_of(people)
    place_of = {number: place for place, number in enumerate(pictures.ids.tolist())}
    lines: list[list[str]] = [[] for _ in pictures.paths]
    for row in np.flatnonzero(~people.ignored & ~people.found).tolist():
        lines[place_of[int(people.image_ids[row])]].append(
            label_line(people.boxes[row], people.key_points[row], people.sizes_hw[row])
        )
    for place, path in enumerate(pictures.paths):
        link_image(path, folder / "images" / split / f"{place:06d}{Path(path).suffix}")
        (folder / "labels" / split / f"{place:06d}.txt").write_text("".join(lines[place]), encoding="utf-8")


def label_line(box: np.ndarray, key_points: np.ndarray, size_hw: np.ndarray) -> str:
    """A person in fractions of the picture: 0 cx cy w h, then x y visibility of each joint.

    Args:
        box: (4,) left, top, width, height in pixels.
        key_points: (K, 3) x, y, visibility; those outside the picture lose their label.
        size_hw: (2,) pixels.
    """
    size = size_hw[::-1]
    centre = (box[:2] + box[2:] / 2) / size
    points = np.concatenate((key_points[:, :2] / size, key_points[:, 2:]), axis=1)
    inside = ((points[:, :2] >= 0) & (points[:, :2] <= 1)).all(axis=1) & (points[:, 2] > 0)
    points = np.where(inside[:, None], points, 0.0)
    joints = " ".join(f"{x:.8f} {y:.8f} {seen:.0f}" for x, y, seen in points.tolist())
    return f"0 {' '.join(f'{value:.8f}' for value in (*centre, *(box[2:] / size)))} {joints}\n"


def read_poses(path: Path, people: People) -> tuple[People, Poses]:
    """What a peer found in whole pictures, as results in a detector's boxes are scored.

    Args:
        path: A json list of [place in the split, left, top, width, height, score, then x, y, score of each joint].
        people: The split.

    Returns:
        The people with the boxes that were found, and the poses in these.

    Raises:
        ValueError: Rows of another length, or of a picture that is not there.
    """
    count = len(people.skeleton)
    width = BOX_COLUMNS + 3 * count
    rows = json.loads(path.read_text(encoding="utf-8"))
    if any(len(row) != width for row in rows):
        raise ValueError(f"{path}: rows must have {width} numbers: place, box, score, and three for each joint")
    found = np.array(rows, np.float64).reshape(-1, width)
    pictures = pictures_of(people)
    unknown = found[(found[:, 0] < 0) | (found[:, 0] >= len(pictures.paths)), 0]
    if len(unknown):
        raise ValueError(f"{path}: people in picture {unknown[0]:.0f} of {len(pictures.paths)}")
    found = found[np.argsort(found[:, 0], kind="stable")]  # the order of `joined`
    together = joined(people, pictures, found[:, :BOX_COLUMNS])
    items = np.arange(len(people), len(together))
    return together, Poses(items, found[:, BOX_COLUMNS:].reshape(-1, count, 3), found[:, BOX_COLUMNS - 1])
