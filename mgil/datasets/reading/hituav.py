"""HIT-UAV's own json files, rewritten once as COCO json; the images stay where they are.

Its files are COCO's but for the names of two keys, `annotation` and `filename`, and name images without their folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mgil.datasets.reading.coco_json import checked_coco
from mgil.datasets.reading.json_file import read_json_file
from mgil.files.atomic import write_text_atomic
from mgil.files.text import printable

SPLITS = ("train", "val", "test")


def convert_hituav(root: Path, names: Sequence[str]) -> None:
    """Write annotations/hituav_train.json, hituav_val.json and hituav_test.json from normal_json/ somewhere in `root`.

    Boxes of categories that are none of `names` are left out, as DontCare is: what nobody could tell.

    Raises:
        FileNotFoundError: A part of normal_json is not there.
        ValueError: A json of another layout, or none of its categories is one of `names`.
    """
    folders = sorted(path.parent for path in root.rglob("normal_json/annotations") if path.is_dir())
    if not folders:
        raise FileNotFoundError(f"{root}: there is no folder normal_json/annotations in it, as in HIT-UAV's archive")
    contents = {split: _as_coco(_json_of(folders[0], split), root, folders[0] / split, names) for split in SPLITS}
    (root / "annotations").mkdir(exist_ok=True)
    for split, content in contents.items():
        write_text_atomic(root / "annotations" / f"hituav_{split}.json", json.dumps(content))


def _json_of(folder: Path, split: str) -> Path:
    """A split's json: versions of the set call that of val by two names."""
    for name in (f"{split}.json", f"instances_{split}.json"):
        path = folder / "annotations" / name
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder / 'annotations'}: there is no {split}.json and no instances_{split}.json")


def _has(entry: dict[str, Any], keys: Sequence[str]) -> bool:
    """Whether one of these keys stands for a name or a number."""
    return any(isinstance(entry.get(key), str | int) for key in keys)


def _as_coco(path: Path, root: Path, images: Path, names: Sequence[str]) -> dict[str, Any]:
    content = read_json_file(str(path))
    if not isinstance(content, dict) or "annotation" not in content:
        content = checked_coco(content, str(path))  # a later version may have COCO's own keys
    entries = content.get("annotation", content.get("annotations"))
    for key, each, keys in (
        ("images", content.get("images"), ("filename", "file_name")),
        ("categories", content.get("categories"), ("id",)),
        ("annotation", entries, ("category_id",)),
    ):
        if not isinstance(each, list) or not all(isinstance(entry, dict) and _has(entry, keys) for entry in each):
            raise ValueError(f"{printable(str(path))}: not HIT-UAV's json: {key} is no list of entries with {keys[0]}")
    categories = [entry for entry in content["categories"] if entry.get("name") in names]
    if not categories:
        found = ", ".join(str(entry.get("name")) for entry in content["categories"])
        raise ValueError(f"{printable(str(path))}: has the categories {found[:80]}, none of {', '.join(names)}")
    wanted = {entry.get("id") for entry in categories}
    prefix = images.relative_to(root).as_posix()
    return {
        "images": [
            {**entry, "file_name": f"{prefix}/{entry.get('filename', entry.get('file_name'))}"}
            for entry in content["images"]
        ],
        "categories": categories,
        "annotations": [entry for entry in entries if entry.get("category_id") in wanted],  # type: ignore[union-attr]
    }
