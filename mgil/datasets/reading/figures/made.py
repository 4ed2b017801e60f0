"""The embedded key point set on disk: pictures of drawn people, and COCO's json of their key points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from mgil.datasets.reading.figures.scene import KEY_POINTS, Figure, compose
from mgil.datasets.reading.generated import Draws, GeneratedSet

SCENES = {"train": 1800, "val": 300}  # pictures
SEED = 20250
NAMES = ("person",)
LIMBS = (
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11)),
    *((2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
)  # as in COCO's json: from 1


def _write_all(folder: Path) -> None:
    """Write `images/` and `annotations/person_keypoints_*.json` (COCO)."""
    (folder / "annotations").mkdir()
    for split, count in SCENES.items():
        images = folder / "images" / split
        images.mkdir(parents=True)
        entries: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number in range(1, count + 1):
            pixels, figures = scene(split, number - 1)
            name = f"{number:06d}.png"
            Image.fromarray(pixels).save(images / name, compress_level=1)
            height, width = pixels.shape[:2]
            entries.append({"id": number, "file_name": name, "width": width, "height": height})
            annotations += [annotation(figure, number, len(annotations) + 1 + i) for i, figure in enumerate(figures)]
        category = {"id": 1, "name": "person", "keypoints": KEY_POINTS, "skeleton": LIMBS}
        content = {"images": entries, "annotations": annotations, "categories": [category]}
        path = folder / "annotations" / f"person_keypoints_{split}.json"
        path.write_text(json.dumps(content), encoding="utf-8", newline="\n")


FIGURES = GeneratedSet("figures", "drawn figures, version 7\n", NAMES, _write_all)


def scene(split: str, index: int) -> tuple[Any, list[Figure]]:
    """The picture `index` of a split and the people in it, see `compose`."""
    return compose(Draws(SEED, 1 if split == "val" else 0, index))


def annotation(figure: Figure, image_id: int, number: int) -> dict[str, Any]:
    """A person as COCO's json has it."""
    points = [value for x, y, seen in figure.key_points for value in ((x / 100, y / 100, seen) if seen else (0, 0, 0))]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "bbox": list(figure.box),
        "area": figure.area,
        "iscrowd": 0,
        "num_keypoints": sum(point[2] > 0 for point in figure.key_points),
        "keypoints": points,
    }
