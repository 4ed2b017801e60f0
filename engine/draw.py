"""Pictures of detections, enlarged where they are small, so that a person can see boxes and labels on 64 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engine.ultralytics_edge import class_colour, make_annotator
from files.atomic import write_bytes_atomic

ENOUGH_PX = 480  # a long side of at least this is shown as it is
_PADDING_PX = 3  # around the text of a label


def enlargement(height: int, width: int) -> int:
    """The whole number of times that an image of this size is shown enlarged: the least that gives `ENOUGH_PX`."""
    return max(1, -(-ENOUGH_PX // max(height, width, 1)))


def draw_detections(
    image: np.ndarray,
    boxes_xyxy: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    names: Sequence[str],
    *,
    line_width: int | None = None,
    labels: bool = True,
    confidences: bool = True,
) -> np.ndarray:
    """Draw boxes with their class names and scores; a small image is enlarged first.

    Lines run along the inside of a box's edge. A label is put where it covers no object, if there is such a place.

    Args:
        image: (H, W, 3) uint8 RGB; it is left as it is.
        boxes_xyxy: (n, 4) pixels of `image`.
        classes: (n,) class indices.
        scores: (n,) 0..1, best first.
        names: class names by index.
        line_width: in pixels of the drawn picture; None chooses by its size.
        labels: write class names.
        confidences: write scores after them.

    Returns:
        (H * e, W * e, 3) uint8 RGB with e = `enlargement(H, W)`.
    """
    factor = enlargement(*image.shape[:2])
    if factor > 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    height, width = image.shape[:2]
    if not len(boxes_xyxy):
        return image.copy()
    line_width = line_width or (2 if max(height, width) < 1200 else 3)
    font_size = min(max(13, round(0.018 * max(height, width))), 28)
    annotator = make_annotator(image, line_width, font_size)
    pixels = _to_pixels(boxes_xyxy * factor, height, width)
    for box, class_index in zip(pixels[::-1], classes[::-1], strict=True):  # the surest on top
        annotator.box_label(box.tolist(), "", class_colour(int(class_index)))
    if labels:
        texts = [
            _label(names[int(class_index)], float(score), confidences)
            for class_index, score in zip(classes, scores, strict=True)
        ]
        _write_labels(annotator, pixels, classes, texts, (height, width))
    return annotator.result().copy()


def _label(name: str, score: float, confidences: bool) -> str:
    name = " ".join(name.split())  # one line, whatever the name holds
    return f"{name} {score:.2f}" if confidences else name


def _to_pixels(boxes_xyxy: np.ndarray, height: int, width: int) -> np.ndarray:
    """First and last pixel, both included, that each box covers; at least one pixel, inside the image."""
    edges = np.rint(boxes_xyxy).astype(np.int64)
    edges[:, 2:] -= 1
    edges = np.clip(edges, 0, [width - 1, height - 1, width - 1, height - 1])
    edges[:, 2:] = np.maximum(edges[:, 2:], edges[:, :2])
    return edges


def _write_labels(
    annotator: Any, boxes: np.ndarray, classes: np.ndarray, texts: Sequence[str], size_hw: tuple[int, int]
) -> None:
    placed = np.empty((0, 4))
    for index, (text, class_index) in enumerate(zip(texts, classes, strict=True)):
        text_width, text_height = annotator.font.getsize(text)
        size_wh = (text_width + 2 * _PADDING_PX, text_height + 2 * _PADDING_PX)
        label = place_label(boxes, index, placed, size_wh, size_hw)
        placed = np.concatenate((placed, label[None]))
        colour = class_colour(int(class_index))
        left, top, right, bottom = label.tolist()
        annotator.rectangle((left, top, right - 1, bottom - 1), fill=colour)
        annotator.text([left + _PADDING_PX, top + _PADDING_PX - 1], text, _ink_on(colour))


def _ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever stands out (luma of ITU-R BT.601)."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)


def place_label(
    boxes: np.ndarray, index: int, placed: np.ndarray, size_wh: tuple[int, int], size_hw: tuple[int, int]
) -> np.ndarray:
    """Choose where the label of box `index` goes: around the box, where it covers least.

    Args:
        boxes: (n, 4) all boxes: first and last pixel, both included.
        index: which of them the label belongs to.
        placed: (m, 4) edges of the labels that are there already.
        size_wh: of the label.
        size_hw: of the picture.

    Returns:
        (4,) left, top, right, bottom in whole pixels, inside the picture where the label fits into it.
    """
    boxes = boxes + (0, 0, 1, 1)  # from last pixels to edges
    x1, y1, x2, y2 = boxes[index]
    width, height = size_wh
    corners = np.array(
        [
            (x1, y1 - height),  # above, the usual place
            (x2 - width, y1 - height),
            (x1, y2),  # below
            (x2 - width, y2),
            (x2, y1),  # beside
            (x2, y2 - height),
            (x1 - width, y1),
            (x1 - width, y2 - height),
            (x1, y1),  # inside, when there is no other way
        ]
    )
    corners = np.clip(corners, 0, np.maximum((size_hw[1] - width, size_hw[0] - height), 0))
    candidates = np.concatenate((corners, corners + size_wh), axis=1)
    # One label over another makes both unreadable, so that weighs most; then its own object, then the others'.
    cost = 16 * _overlap(candidates, placed).sum(1) + _overlap(candidates, boxes).sum(1)
    cost = cost + _overlap(candidates, boxes[index : index + 1]).sum(1) + 1e-3 * np.arange(len(candidates))
    return candidates[int(np.argmin(cost))].astype(np.int64)


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, m) shared area in pixels."""
    lower = np.maximum(boxes[:, None, :2], others[None, :, :2])
    upper = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(upper - lower, 0, None).prod(axis=2)


def save_image(path: str | Path, image: np.ndarray) -> Path:
    """Write an (H, W, 3) uint8 RGB image in the format of the file's suffix.

    Raises:
        ValueError: a suffix that names no format that can be written.
        OSError: the file cannot be written.
    """
    path = Path(path)
    # full colour resolution: the default halves it, which smears what is a few pixels wide
    options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    try:
        is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
        done, data = cv2.imencode(path.suffix, image[..., ::-1], options if is_jpeg else [])
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f"{path}: pictures cannot be written as '{path.suffix}'; use .png or .jpg")
    write_bytes_atomic(path, data.tobytes(), durable=False)
    return path
