"""Reading a COCO json directly: its images, boxes, areas, crowds and ids are used as they are."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from mgil.datasets.reading.faults import GROSS, TOLERANCE
from mgil.datasets.reading.image_probe import probe_images
from mgil.datasets.reading.json_file import read_json_file
from mgil.datasets.reading.samples import Findings, Samples
from mgil.files.class_names import name_key
from mgil.files.text import printable

FOLDER_CHECKS = 20  # images that are looked for in each folder


def read_json(json_path: str) -> dict[str, Any]:
    """Read a COCO json and check that its three lists are there.

    Raises:
        ValueError: not JSON, or not in COCO's layout; names the file.
    """
    return checked_coco(read_json_file(json_path), json_path)


def checked_coco(content: Any, json_path: str) -> dict[str, Any]:
    """As `read_json`, of what was read already."""
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"{printable(json_path)}: not a COCO json, it has no list {key!r}")
    return dict(content)


def read_categories(json_path: str) -> dict[int, str]:
    """Category id -> name, sorted by id: the order of the class indices.

    Raises:
        ValueError: no categories, one without id or name, or an id or a name used twice.
    """
    return categories_of(read_json(json_path), json_path)


def categories_of(content: dict[str, Any], json_path: str) -> dict[int, str]:
    """As `read_categories`, from content that was read already."""
    categories: dict[int, str] = {}
    ids: dict[str, int] = {}
    annotated: set[int] = set()  # looked up where it matters: there may be millions
    for entry in content["categories"]:
        number = entry.get("id") if isinstance(entry, dict) else None
        name = _name_of(entry)
        if not isinstance(number, int) or not is_id(number) or not name or not name.isprintable():
            raise ValueError(
                f"{printable(json_path)}: category {_shown(entry)} needs a name and an id, a whole number, of its own"
            )
        if number in categories:
            both = f"{categories[number]!r} and {name!r}"
            raise ValueError(f"{printable(json_path)}: id {number} is that of {both}; each needs an id of its own")
        other = ids.setdefault(name_key(name), number)
        if other != number:
            annotated = annotated or set(annotated_categories(content))
            used = annotated.intersection((number, other))
            if len(used) == 1:  # the other one is the name of the whole group
                del categories[other]
                ids[name_key(name)] = number = used.pop()
                categories[number] = name
                continue
            raise ValueError(
                f"{printable(json_path)}: the categories {ids[name_key(name)]} and {number} are both called {name!r}; "
                "they are matched by name, so each needs one of its own"
            )
        categories[number] = name
    if not categories:
        raise ValueError(f"{printable(json_path)}: has no categories")
    return dict(sorted(categories.items()))


def _name_of(entry: Any) -> str:
    """The `name` of a category, if it has one; 0 is a name."""
    name = entry.get("name") if isinstance(entry, dict) else None
    return str(name).strip() if isinstance(name, str | int | float) else ""


def annotated_categories(content: dict[str, Any]) -> list[Any]:
    """The category ids of all annotations, each once, as they come."""
    entries = (entry.get("category_id") for entry in content["annotations"] if isinstance(entry, dict))
    return list(dict.fromkeys(number for number in entries if is_id(number)))


def find_image_folder(content: dict[str, Any], json_path: str, root: str, split: str) -> str:
    """The folder that the json's file names start from.

    Looked at, for `root`, the json's folder and the folder above it: images/<set>, <set>, images/<split>, <split>,
    images, and the folder itself, where <set> is the end of the json's name (`val2017` of `instances_val2017.json`).
    The one that holds most of some images, spread over the json, is taken.

    Raises:
        FileNotFoundError: none of them holds any; names the json and an image.
    """
    images = content["images"]
    some = images[:: max(1, len(images) // FOLDER_CHECKS)]  # spread over all of them: the first may be missing
    names = [name for name in map(_file_name, some) if name]
    last = os.path.splitext(os.path.basename(json_path))[0].rsplit("_", 1)[-1]
    json_folder = os.path.dirname(json_path)
    below = (os.path.join("images", last), last, os.path.join("images", split), split, "images", "")
    folders = [os.path.join(base, sub) for base in (root, json_folder, os.path.dirname(json_folder)) for sub in below]
    found, folder = max(
        ((sum(os.path.isfile(os.path.join(folder, name)) for name in names), folder) for folder in folders),
        key=lambda pair: pair[0],
    )
    if names and not found:
        raise FileNotFoundError(
            f"{printable(json_path)}: its images, e.g. {printable(names[0])}, are not in {printable(root)} nor in "
            f"images/, {split}/, images/{split}/, {last}/ or images/{last}/ there or beside the json"
        )
    return os.path.normpath(folder)


def image_paths_of(content: dict[str, Any], folder: str) -> list[str]:
    """The paths of all images that the json names, also of those that are not there."""
    return [os.path.join(folder, name) for name in map(_file_name, content["images"]) if name]


def scan_coco(
    content: dict[str, Any], json_path: str, folder: str, class_of_category: Mapping[int, int]
) -> tuple[Samples, Findings]:
    """Read sizes of images and the annotations; entries that make no sense are reported and dropped.

    Boxes are cut at the image's edge; a missing `area` is the box's.
    """
    found = Findings()
    index_of_id, image_paths, sizes_hw = scan_images(content, json_path, folder, found)
    skipped = {entry.get("id") for entry in content["images"] if isinstance(entry, dict) and is_id(entry.get("id"))}
    skipped -= index_of_id.keys()
    rows: list[tuple[float, ...]] = []
    boxes: list[list[float]] = []  # as they are in the file
    for position, entry in enumerate(content["annotations"]):
        if isinstance(entry, dict) and is_id(entry.get("image_id")) and entry["image_id"] in skipped:
            continue  # its image was reported
        row = _read_annotation(entry, index_of_id, class_of_category, sizes_hw)
        if isinstance(row, str):
            has_id = isinstance(entry, dict) and "id" in entry
            name = printable(str(entry["id"]))[:80] if has_id else f"at position {position}"
            found.counts.dropped += 1
            found.problems.append(f"{printable(json_path)}: annotation {name}: {row}; dropped")
        else:
            rows.append(row)
            boxes.append(entry["bbox"])
    _look_for_signs(found, np.array(boxes, np.float64).reshape(-1, 4), sizes_hw, [int(row[0]) for row in rows])
    table = np.array(rows, np.float64).reshape(-1, 8)
    table = table[np.argsort(table[:, 0], kind="stable")]
    images = table[:, 0].astype(np.int64)
    found.counts.labelled = len(np.unique(images))
    found.counts.empty = len(image_paths) - found.counts.labelled
    ids = np.array(list(index_of_id), np.int64)
    columns = {"boxes_cxcywh": table[:, 2:6], "classes": table[:, 1], "areas": table[:, 6], "iscrowd": table[:, 7]}
    return Samples.from_rows(image_paths, sizes_hw, images, **columns, image_ids=ids), found


def outlines_in(
    content: dict[str, Any], image_ids: Sequence[int], sizes_hw: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The polygons of the annotations that are one polygon; those in RLE or of several parts are passed over.

    Args:
        content: of the json.
        image_ids: N ids of the images that count.
        sizes_hw: (N, 2) their pixels.

    Yields:
        Index of the image, (4,) corners of the annotation's box, and (n, 2) points, as fractions of the image, cut at
        its edge.
    """
    index_of_id = {number: index for index, number in enumerate(image_ids)}
    for entry in content["annotations"]:
        if not isinstance(entry, dict) or not is_id(entry.get("image_id")) or entry["image_id"] not in index_of_id:
            continue
        bbox, parts = entry.get("bbox"), entry.get("segmentation")
        if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], list) or len(parts[0]) < 6:
            continue
        if len(parts[0]) % 2 or not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, parts[0])):
            continue
        if all(map(is_number, bbox)):
            index = index_of_id[entry["image_id"]]
            corners = np.array([bbox[:2], [bbox[0] + bbox[2], bbox[1] + bbox[3]]])
            box, outline = (each / sizes_hw[index, ::-1] for each in (corners, np.reshape(parts[0], (-1, 2))))
            yield index, box.clip(0, 1).ravel(), outline.clip(0, 1)


def _look_for_signs(found: Findings, boxes: np.ndarray, sizes_hw: np.ndarray, images: list[int]) -> None:
    """Count the (M, 4) boxes, of so many `images`, that a mistake of the whole json would explain, as `labels` does."""
    x, y, w, h = (boxes / np.tile(sizes_hw[images][:, ::-1], 2)).T
    out = np.max([-x, -y, x + w - 1, y + h - 1], axis=0)
    left, top, edge = x - w / 2, y - h / 2, 1 + TOLERANCE
    inside = (np.minimum(x, y) >= -TOLERANCE) & (np.maximum(w, h) <= edge)
    centres = (np.minimum(left, top) >= -TOLERANCE) & (np.maximum(x + w / 2, y + h / 2) <= edge)
    signs = {
        "corners": inside & (x < w) & (y < h),
        "centres": centres,
        "at the start": centres & (np.minimum(left, top) < GROSS),
        "out": out > TOLERANCE,
        "far cut": out > GROSS,
    }
    for name, rows in signs.items():
        found.faults.add_rows(f"sign {name}", rows, np.array(images))
    found.counts.clipped = found.faults.lines["sign out"]


def is_id(value: Any) -> bool:
    """Whether a value can be the id of an image or a category."""
    return type(value) is int and abs(value) < 2**63


def _file_name(entry: Any) -> str | None:
    """The `file_name` of an image entry, if it names a file inside the image folder."""
    name = entry.get("file_name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name or "\0" in name:
        return None
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and no file name
        return None
    parts = PurePosixPath(name.replace("\\", "/"))
    return None if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0] else os.path.join(*parts.parts)


def scan_images(
    content: dict[str, Any], json_path: str, folder: str, found: Findings
) -> tuple[dict[int, int], list[str], np.ndarray]:
    """Image id -> index, the paths and the (N, 2) sizes of the images that can be used."""
    entries = content["images"]
    names = [_file_name(entry) or "" for entry in entries]
    probed = probe_images([os.path.join(folder, name) for name in names])
    index_of_id: dict[int, int] = {}
    id_of_name: dict[str, int] = {}
    paths: list[str] = []
    sizes: list[tuple[int, int]] = []
    for entry, name, size in zip(entries, names, probed, strict=True):
        number = entry.get("id") if isinstance(entry, dict) else None
        problem = ""
        if not isinstance(number, int) or not is_id(number) or number in index_of_id:
            problem = f"id {_shown(number)} is not a whole number of its own"
        elif not name:
            problem = f"file_name {_shown(entry.get('file_name'))} does not name a file inside the image folder"
        elif name in id_of_name:
            same = f"{printable(name)} is image {id_of_name[name]} already"
            problem = f"{same}; give the annotations of both one image_id, or this one's are not read"
        elif isinstance(size, str):
            problem = f"{printable(os.path.join(folder, name))}: {size}"
        elif (stated := _stated_size(entry, size)) != size:
            says = printable("x".join(str(side)[:20] for side in stated))
            real = f"{size[0]}x{size[1]} (height x width)"
            problem = f"{printable(name)}: the json says {says} pixels, the file {real}"
        else:
            index_of_id[number], id_of_name[name] = len(sizes), number
            sizes.append(size)
            paths.append(os.path.join(folder, name))
        if problem:
            found.counts.bad_images += 1
            found.problems.append(
                f"{printable(json_path)}: image {printable(str(number))[:80]}: {problem}; image skipped"
            )
    return index_of_id, paths, np.array(sizes, np.int32).reshape(-1, 2)


def _stated_size(entry: dict[str, Any], size_hw: tuple[int, int]) -> tuple[Any, Any]:
    """Height and width that the json gives for an image; the file's own where it gives none."""
    height, width = (
        int(side) if isinstance(side, str) and re.fullmatch("[0-9]{1,9}", side) else side
        for side in (entry.get("height"), entry.get("width"))
    )
    return size_hw[0] if height is None else height, size_hw[1] if width is None else width


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _read_annotation(
    entry: Any, index_of_id: dict[int, int], class_of_category: Mapping[int, int], sizes_hw: np.ndarray
) -> tuple[float, ...] | str:
    """(image index, class, cx, cy, w, h normalised, area, iscrowd), or what is wrong."""
    if not isinstance(entry, dict):
        return "is not an object"
    image_id, category, bbox = entry.get("image_id"), entry.get("category_id"), entry.get("bbox")
    if not is_id(image_id) or image_id not in index_of_id:
        return f"image_id {_shown(image_id)} is no image of this file"
    if type(category) is not int or category not in class_of_category:
        return f"category_id {_shown(category)} is no category of this file"
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(is_number(value) for value in bbox):
        return f"bbox {_shown(bbox)} is not four numbers"
    index = index_of_id[image_id]
    height, width = (int(side) for side in sizes_hw[index])
    x1, y1 = max(bbox[0], 0.0), max(bbox[1], 0.0)
    box_width, box_height = min(bbox[0] + bbox[2], width) - x1, min(bbox[1] + bbox[3], height) - y1
    if bbox[2] <= 0 or bbox[3] <= 0 or box_width <= 0 or box_height <= 0:
        return f"bbox {bbox} has no area inside the image of {height}x{width} pixels"
    area = entry.get("area")
    if area is None:
        area = box_width * box_height
    if not is_number(area) or area < 0:
        return f"area {_shown(area)} is not a number from 0"
    crowd = entry.get("iscrowd") or 0
    if crowd not in (0, 1):
        return f"iscrowd {_shown(crowd)} is neither 0 nor 1"
    centre_x, centre_y = (x1 + box_width / 2) / width, (y1 + box_height / 2) / height
    return (index, class_of_category[category], centre_x, centre_y, box_width / width, box_height / height, area, crowd)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that a coordinate or an area may be."""
    return type(value) in (int, float) and abs(value) < 1e15 and math.isfinite(value)
