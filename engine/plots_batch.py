"""Pictures of batches: a grid of images, enlarged where they are small, with their boxes and class names."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from files.atomic import write_bytes_atomic

_CELL_PX = 384  # what a person needs to read a label in one image of the grid
_GRID_PX = 1920  # the picture's longest side
_GAP_PX = 4
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def literal(names: Sequence[str]) -> tuple[str, ...]:
    """Class names for matplotlib, which would take what stands between two dollar signs for a formula."""
    return tuple(name.replace("$", r"\$") for name in names)


def class_colour(class_index: int) -> tuple[int, int, int]:
    """A bright RGB colour (0..255) for a class; neighbouring classes differ clearly (golden-ratio hue steps)."""
    hue = (class_index * 0.618034 + 0.02) % 1.0
    value = (1.0, 0.85)[class_index // 13 % 2]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return int(red * 255), int(green * 255), int(blue * 255)


def draw_labelled_box(
    image: np.ndarray, box_xyxy: Sequence[float], text: str, color: tuple[int, int, int], *, thickness: int = 2
) -> None:
    """Draw one box and its label into ``image`` (H, W, 3) uint8 RGB, in place; box in pixels of that image."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (round(float(value)) for value in box_xyxy)
    cv2.rectangle(image, (x1, y1), (x2, y2), color, thickness, cv2.LINE_AA)
    if not text:
        return
    scale = 0.35 + 0.1 * thickness
    (text_width, text_height), baseline = cv2.getTextSize(text, _FONT, scale, 1)
    left = max(0, min(x1, width - text_width - 2))
    bottom = y1 if y1 - text_height - baseline >= 0 else min(y1 + text_height + baseline, height)
    top = bottom - text_height - baseline
    cv2.rectangle(image, (left, top), (left + text_width + 2, bottom), color, -1)
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    ink = (0, 0, 0) if luminance > 128 else (255, 255, 255)
    cv2.putText(image, text, (left + 1, bottom - baseline + 1), _FONT, scale, ink, 1, cv2.LINE_AA)


def draw_batch_grid(
    images: torch.Tensor,
    targets: torch.Tensor,
    names: Sequence[str],
    path: str | Path,
    max_images: int = 16,
) -> None:
    """Save a square grid of a batch's first images with their boxes. Small images are enlarged in whole steps.

    Args:
        images: (B, 3, H, W) uint8 RGB.
        targets: (T, 6): image index, class, centre x, centre y, width, height in pixels of ``images``; or (T, 7) with a
            score last, which is then printed.
        names: class names.
        path: .jpg or .png to write.
        max_images: images drawn at most.

    Raises:
        OSError: the picture cannot be written.
    """
    count = min(len(images), max_images)
    columns = max(1, math.ceil(math.sqrt(count)))
    rows = max(1, math.ceil(count / columns))
    scale = _cell_scale(images.shape[-2:], columns)
    cell_h, cell_w = round(images.shape[-2] * scale), round(images.shape[-1] * scale)
    canvas = np.full((rows * (cell_h + _GAP_PX) - _GAP_PX, columns * (cell_w + _GAP_PX) - _GAP_PX, 3), 255, np.uint8)
    targets_by_image = targets.detach().float().cpu().numpy()
    for index in range(count):
        image = np.ascontiguousarray(images[index].detach().cpu().numpy().transpose(1, 2, 0))
        image = cv2.resize(image, (cell_w, cell_h), interpolation=cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA)
        _draw_targets(image, targets_by_image[targets_by_image[:, 0] == index], names, scale)
        top, left = index // columns * (cell_h + _GAP_PX), index % columns * (cell_w + _GAP_PX)
        canvas[top : top + cell_h, left : left + cell_w] = image
    done, data = cv2.imencode(Path(path).suffix, cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))
    assert done, path
    write_bytes_atomic(path, data.tobytes(), durable=False)


def _cell_scale(size_hw: Sequence[int], columns: int) -> float:
    """Whole-number enlargement for small images, a reduction only where the grid would not fit."""
    longest = max(size_hw)
    enlarge = max(1, _CELL_PX // longest)
    return min(float(enlarge), max(_GRID_PX / (columns * longest), 1e-3))


def _draw_targets(image: np.ndarray, targets: np.ndarray, names: Sequence[str], scale: float) -> None:
    ascending = targets[np.argsort(targets[:, 6])] if targets.shape[1] > 6 else targets  # best score drawn on top
    for row in ascending:
        class_index = int(row[1])
        text = names[class_index] if 0 <= class_index < len(names) else str(class_index)
        if len(row) > 6:
            text = f"{text} {row[6]:.2f}"
        centre, half = row[2:4] * scale, row[4:6] * scale / 2
        draw_labelled_box(image, (*(centre - half), *(centre + half)), text, class_colour(class_index))
