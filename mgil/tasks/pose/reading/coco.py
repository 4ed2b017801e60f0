"""People of a COCO json with key points."""

from __future__ import annotations

from typing import Any

import numpy as np

from mgil.datasets.reading.coco_json import find_image_folder, is_id, is_number, scan_images
from mgil.datasets.reading.samples import Findings
from mgil.files.text import printable
from mgil.tasks.pose.reading.gathered import Gathered
from mgil.tasks.pose.reading.skeleton import category_with_points


def read_coco(content: dict[str, Any], json_path: str, root: str, split: str, count: int) -> Gathered:
    """People, crowds among them; an entry that makes no sense costs that person.

    Args:
        content: of the json.
        json_path: the file.
        root: the data set's folder.
        split: its name, for the folder of the pictures.
        count: K.

    Raises:
        FileNotFoundError: its pictures are not found.
        ValueError: no category has key points, or all people have another number of them.
    """
    category = category_with_points(content, json_path)
    if category is not None and len(category.names) != count:
        raise ValueError(f"{printable(json_path)}: people have {len(category.names)} key points, the data set {count}")
    found = Findings()
    folder = find_image_folder(content, json_path, root, split)
    index_of_id, paths, sizes_hw = scan_images(content, json_path, folder, found)
    gathered = Gathered(count, paths, [(int(h), int(w)) for h, w in sizes_hw], list(index_of_id), found.problems)
    gathered.notes["pictures skipped"] = found.counts.bad_images
    listed = {entry.get("id") for entry in content["images"] if isinstance(entry, dict) and is_id(entry.get("id"))}
    people = _category_of_people(content, json_path) if category is None else category.number
    with_points = 0
    for position, entry in enumerate(content["annotations"]):
        if isinstance(entry, dict) and entry.get("category_id") != people:
            gathered.notes["boxes of other categories"] += 1
            continue
        image_id = entry.get("image_id") if isinstance(entry, dict) else None
        if is_id(image_id) and image_id in listed and image_id not in index_of_id:
            continue  # its picture was told
        with_points += isinstance(entry, dict) and "keypoints" in entry
        problem = _add(gathered, entry, index_of_id)
        if problem:
            has_id = isinstance(entry, dict) and "id" in entry
            name = printable(str(entry["id"]))[:80] if has_id else f"at position {position}"
            gathered.drop_person(f"{printable(json_path)}: annotation {name}", problem)
    if not with_points and content["annotations"]:
        raise ValueError(
            f"{printable(json_path)}: no annotation has key points; COCO's files of people with key points are called "
            "person_keypoints_*.json"
        )
    return gathered


def _category_of_people(content: dict[str, Any], json_path: str) -> int:
    """The id of the category `person`, or of the only one: some programs do not name the points there."""
    categories = [entry for entry in content["categories"] if isinstance(entry, dict)]
    people = [entry for entry in categories if str(entry.get("name")).strip().casefold() == "person"]
    chosen = people or categories
    if len(chosen) != 1 or type(chosen[0].get("id")) is not int:
        raise ValueError(f"{printable(json_path)}: no category has key points, and none is 'person'")
    number: int = chosen[0]["id"]
    return number


def _add(gathered: Gathered, entry: Any, index_of_id: dict[int, int]) -> str:
    """Take the person of an annotation; what is wrong with it, or nothing."""
    if not isinstance(entry, dict):
        return "is not an object"
    image_id, bbox, area = entry.get("image_id"), entry.get("bbox"), entry.get("area")
    values, crowd = entry.get("keypoints"), entry.get("iscrowd") or 0
    if not is_id(image_id) or image_id not in index_of_id:
        return f"image_id {_shown(image_id)} is no image of this file"
    if crowd not in (0, 1):
        return f"iscrowd {_shown(crowd)} is neither 0 nor 1"
    if bbox is not None and (not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox))):
        return f"bbox {_shown(bbox)} is not four numbers"
    if area is not None and not is_number(area):
        return f"area {_shown(area)} is not a number from 0"
    points = np.zeros((gathered.count, 3))
    if values:  # none: nobody looked for them
        if not isinstance(values, list) or len(values) != points.size:
            has = f"{len(values)} numbers" if isinstance(values, list) else _shown(values)
            return f"keypoints has {has}, {gathered.count} key points have {points.size}"
        if not all(map(is_number, values)):
            return "keypoints has a value that is not a number"
        points = np.array(values, np.float64).reshape(-1, 3)
    return gathered.add(index_of_id[image_id], bbox, points, area, crowd=bool(crowd))


def _shown(value: Any) -> str:
    return repr(value)[:80]
