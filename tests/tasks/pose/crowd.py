"""People for tests: pictures of bright dots at the key points."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mgil.tasks.pose.people import People
from mgil.tasks.pose.skeleton import COCO_NAMES, Skeleton

FLIP = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
COCO = Skeleton(COCO_NAMES, FLIP, (0.05,) * 17, ((5, 7), (7, 9), (6, 8), (8, 10)))


def write_people(
    folder: Path, boxes: np.ndarray, key_points: np.ndarray, size_hw: tuple[int, int], skeleton: Skeleton = COCO
) -> People:
    """One picture for each (4,) box; its (K, 3) key points are discs around the middles of their pixels."""
    paths = []
    for number, points in enumerate(key_points):
        picture = np.full((*size_hw, 3), 40, np.uint8)
        for x, y, seen in points:
            if seen:
                cv2.circle(picture, (round(x * 16), round(y * 16)), 3 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
        paths.append(str(folder / f"{number}.png"))
        cv2.imwrite(paths[-1], picture)
    count = len(boxes)
    return People(
        paths,
        np.tile(size_hw, (count, 1)),
        np.asarray(boxes, float),
        np.asarray(key_points, float),
        areas=boxes[:, 2] * boxes[:, 3] * 0.5,
        scores=np.ones(count),
        found=np.zeros(count, bool),
        ignored=np.zeros(count, bool),
        image_ids=np.arange(count),
        image_count=count,
        skeleton=skeleton,
    )
