"""People of ultralytics' label files: class, box and key points on a line, in fractions of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mgil.datasets.reading.image_ids import ids_of
from mgil.datasets.reading.image_probe import probe_images
from mgil.datasets.reading.label_text import numbers_of_line
from mgil.datasets.reading.labels import label_path_of, read_label_file
from mgil.datasets.reading.samples import Findings
from mgil.files.text import printable, to_utf8
from mgil.tasks.pose.reading.gathered import Gathered

PERSON = 0  # the class


def read_yolo(paths: Sequence[str], count: int, numbers: int | None) -> Gathered:
    """People of the class 0; a line that makes no sense costs that person, a bad picture its people.

    A point is x y, where 0 0 and negative ones have no label, or x y visibility. A line of five numbers is a person
    whose key points nobody labelled.

    Args:
        paths: of the pictures.
        count: K.
        numbers: of a point, 2 or 3; None: as the lines are.

    Raises:
        ValueError: all lines have another number of columns.
    """
    probed = probe_images(paths)
    usable = [path for path, size in zip(paths, probed, strict=True) if not isinstance(size, str)]
    sizes = [size for size in probed if not isinstance(size, str)]
    gathered = Gathered(count, usable, sizes, ids_of(paths, usable).tolist())
    for path, size in zip(paths, probed, strict=True):
        if isinstance(size, str):
            gathered.skip_picture(path, size)
    found, others, lines = Findings(), [], 0
    for image, path in enumerate(usable):
        label_path = label_path_of(path)
        for number, text in enumerate(to_utf8(read_label_file(label_path, found)).splitlines(), start=1):
            if not text.strip():
                continue
            lines += 1
            problem = _add(gathered, image, numbers_of_line(text), numbers)
            if problem:
                gathered.drop_person(f"{printable(label_path)}:{number}", problem)
                others += [f"{printable(label_path)}:{number}"] if "columns" in problem else []
    gathered.problems += found.problems
    gathered.notes["images without a label file"] = found.counts.missing
    if lines and len(others) == lines:
        raise ValueError(
            f"{others[0]}: no line has {count} key points (class cx cy w h, then {count} times x y or x y visibility)"
        )
    return gathered


def _add(gathered: Gathered, image: int, values: tuple[float, ...] | None, numbers: int | None) -> str:
    """Take the person of a line; what is wrong with it, or nothing."""
    if values is None:
        return "has a text in the place of a number"
    expected = {5 + gathered.count * each: each for each in ([numbers] if numbers else (2, 3))}
    if len(values) not in (5, *expected):
        wanted = " or ".join(map(str, expected))
        return f"expected {wanted} columns (class cx cy w h and {gathered.count} key points), found {len(values)}"
    if values[0] != PERSON:
        gathered.notes["boxes of other classes"] += 1
        return ""
    height, width = gathered.sizes_hw[image]
    centre_x, centre_y, box_width, box_height = np.array(values[1:5]) * (width, height, width, height)
    box = (centre_x - box_width / 2, centre_y - box_height / 2, box_width, box_height)
    points = np.zeros((gathered.count, 3))
    if len(values) > 5:
        written = np.array(values[5:]).reshape(gathered.count, -1)
        points[:, :2] = written[:, :2] * (width, height)
        unlabelled = (written[:, :2] == 0).all(1) | (written[:, :2] < 0).any(1)
        points[:, 2] = written[:, 2] if written.shape[1] == 3 else np.where(unlabelled, 0, 2)
    return gathered.add(image, box, points)
