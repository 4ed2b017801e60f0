"""What results of every task say and write of what was found in a picture: counts, tracks, folders, cut-outs."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


class Drawn(ABC):
    """What the results of one picture do with its drawing."""

    @abstractmethod
    def plot(self, line_width: int | None = None, labels: bool = True, confidences: bool = True) -> np.ndarray:
        """Draw what was found."""

    def draw(self, line_width: int | None, labels: bool, confidences: bool) -> np.ndarray:
        """See `plot`."""
        return self.plot(line_width, labels, confidences)

    def save(self, path: str | Path) -> Path:
        """Write `plot()` into a file, in the format of its suffix.

        Raises:
            ValueError: A suffix that names no format that can be written.
            OSError: The file cannot be written.
        """
        from mgil.files.image_file import save_image

        return save_image(path, self.plot())


class Found(Drawn):
    """What the results of one picture do with their boxes, whatever the task found in them.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        boxes_xyxy: (n, 4) pixels of the image.
    """

    image: np.ndarray
    boxes_xyxy: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def crop(self) -> list[np.ndarray]:
        """Cut out what was found: for each box the (h, w, 3) uint8 RGB pixels that it touches, not enlarged."""
        return cut_out(self.image, self.boxes_xyxy)


def count_text(classes: np.ndarray, names: Sequence[str], track_ids: np.ndarray | None = None) -> str:
    """How many of each class, in class order, as YOLOv5 prints it: "2 persons, 1 dog"; empty for none.

    Only names that are ASCII and end in a letter or digit take an s: "2 红色", "2 truck (red)". With the numbers of
    tracks it is "2 persons (4, 7), 1 dog (5)".
    """
    found, counts = np.unique(classes, return_counts=True)
    counted = ((names[index], count) for index, count in zip(found, counts, strict=True))
    parts = [f"{count} {name}{_plural(name) if count > 1 else ''}" for name, count in counted]
    if track_ids is not None:
        which = [", ".join(map(str, sorted(track_ids[classes == index].tolist()))) for index in found]
        parts = [f"{part} ({numbers})" for part, numbers in zip(parts, which, strict=True)]
    return ", ".join(parts)


def _plural(name: str) -> str:
    return "s" if name.isascii() and name[-1:].isalnum() else ""


def with_tracks(rows: list[list[Any]], track_ids: np.ndarray | None) -> list[list[Any]]:
    """Rows with the numbers of their tracks, if there are any, at their ends."""
    if track_ids is None:
        return rows
    return [[*row, str(track_id)] for row, track_id in zip(rows, track_ids.tolist(), strict=True)]


def label_text(columns: Sequence[Iterable[Any]], track_ids: np.ndarray | None) -> str:
    """Lines of a label file from its columns, numbers of six digits, with the numbers of tracks at their ends."""
    lines = [[f"{value:g}" for value in row] for row in zip(*columns, strict=True)]
    return "".join(" ".join(line) + "\n" for line in with_tracks(lines, track_ids))


def box_columns(boxes_xyxy: np.ndarray, size_hw: tuple[int, ...]) -> list[np.ndarray]:
    """Centre x, y, width and height of (n, 4) boxes as fractions of the picture."""
    height, width = size_hw
    x1, y1, x2, y2 = (boxes_xyxy.astype(np.float64) / (width, height, width, height)).T
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def box_table(boxes_xyxy: np.ndarray, scores: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """YOLOv5's columns of a table of n boxes: xmin, ymin, xmax, ymax, confidence, class, name."""
    corners = boxes_xyxy.T.astype(np.float64)  # which JSON and round(2) take as they are
    columns: dict[str, Any] = dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    columns |= {"confidence": scores.astype(np.float64), "class": classes}
    return columns | {"name": [names[index] for index in classes]}


def box_labels(names: Iterable[str], scores: np.ndarray, confidences: bool, track_ids: np.ndarray | None) -> list[str]:
    """What is written beside boxes: class, with `confidences` score, before them the number of what is followed."""
    one_line = [" ".join(name.split()) for name in names]  # whatever the name holds
    texts = [f"{name} {score:.2f}" if confidences else name for name, score in zip(one_line, scores, strict=True)]
    if track_ids is None:
        return texts
    return [f"#{track_id} {text}" for track_id, text in zip(track_ids, texts, strict=True)]


def cut_out(image: np.ndarray, boxes_xyxy: np.ndarray) -> list[np.ndarray]:
    """For each box the (h, w, 3) pixels of an (H, W, 3) image that it touches, at least one, not enlarged."""
    height, width = image.shape[:2]
    crops = []
    for x1, y1, x2, y2 in boxes_xyxy:
        left, top = (int(np.clip(np.floor(v), 0, n - 1)) for v, n in ((x1, width), (y1, height)))
        right, bottom = (int(np.ceil(min(v, n))) for v, n in ((x2, width), (y2, height)))
        crops.append(image[top : max(bottom, top + 1), left : max(right, left + 1)].copy())
    return crops


def folder_name(class_name: str) -> str:
    """A class name that is safe as the name of a folder: no separators, no leading dots."""
    return re.sub(r"[^\w .+-]+", "_", class_name).strip(" .") or "class"
