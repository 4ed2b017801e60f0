"""PASCAL VOC's XML annotations, rewritten once as COCO json; the images stay where they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mgil.files.atomic import write_text_atomic
from mgil.files.text import printable

# File name -> the (year, image set) pairs in it: the usual "07+12" training set, and the test set with public labels.
SETS = {
    "voc_train.json": (("2007", "train"), ("2007", "val"), ("2012", "train"), ("2012", "val")),
    "voc_test.json": (("2007", "test"),),
}


def convert_voc(root: Path, names: Sequence[str]) -> None:
    """Write annotations/voc_train.json and annotations/voc_test.json from root/VOCdevkit.

    Objects marked difficult become crowds, which are neither trained on nor counted as missed, as VOC's rules have it.
    `names` may be some of the names in the files; objects of the others are left out.

    Raises:
        FileNotFoundError: a part of VOCdevkit is not there.
        ValueError: an XML file is damaged, or no object has one of `names`, perhaps for another spelling.
    """
    (root / "annotations").mkdir(exist_ok=True)
    categories = [{"id": index, "name": name} for index, name in enumerate(names, start=1)]
    category_of_name = {name: index for index, name in enumerate(names, start=1)}
    found: set[str] = set()
    contents: dict[str, str] = {}
    for file_name, parts in SETS.items():
        content: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": categories}
        for year, image_set in parts:
            folder = root / "VOCdevkit" / f"VOC{year}"
            for stem in (folder / "ImageSets" / "Main" / f"{image_set}.txt").read_text(encoding="utf-8-sig").split():
                xml_path = folder / "Annotations" / f"{stem}.xml"
                found |= _add_image(content, xml_path, f"VOCdevkit/VOC{year}", category_of_name)
        contents[file_name] = json.dumps(content)
    absent = sorted(set(names) - found)
    if absent and found - set(names):
        others = ", ".join(map(printable, sorted(found - set(names))[:20]))
        raise ValueError(f"{root / 'VOCdevkit'}: no object is called {absent[0]!r}; names that are not used: {others}")
    for file_name, text in contents.items():
        write_text_atomic(root / "annotations" / file_name, text)


def _add_image(
    content: dict[str, list[Any]], xml_path: Path, folder: str, category_of_name: dict[str, int]
) -> set[str]:
    """Add an image and its objects of the wanted names; returns the names of all its objects."""
    try:
        tree = ElementTree.parse(xml_path).getroot()
        width, height = (int(tree.findtext(f"size/{side}", "")) for side in ("width", "height"))
        objects = [_read_object(node) for node in tree.iter("object")]
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{xml_path}: not a VOC annotation ({error})") from error
    image_id = len(content["images"]) + 1
    image_name = f"{folder}/JPEGImages/{xml_path.stem}.jpg"
    content["images"].append({"id": image_id, "file_name": image_name, "width": width, "height": height})
    for name, difficult, (x1, y1, x2, y2) in objects:
        if name in category_of_name:
            # VOC counts pixels from 1 and includes the last one.
            box = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": category_of_name[name],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(difficult),
                }
            )
    return {name for name, _, _ in objects}


def _read_object(node: ElementTree.Element) -> tuple[str, bool, list[float]]:
    box = [float(node.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")]
    return node.findtext("name", "").strip(), node.findtext("difficult", "0").strip() == "1", box
