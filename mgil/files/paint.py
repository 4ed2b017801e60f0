"""The painter of all pictures with boxes: one palette, lines inside the edges, labels that can be read."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw

from mgil.files.fonts import LETTERS, open_font
from mgil.files.text import printable

ENOUGH_PX = 480  # a long side of at least this is shown as it is
_BESIDE_PX, _ABOVE_PX = 3, 1  # the room around the text of a label; a font's height has room above its letters
_MOST_CHARACTERS = 300  # of a label; the widest picture shows no more
_LAST_CHARACTERS = 5  # of a text that is cut: the score stands there


# Size ----------------------------------------------------------------------------------------------------------------
def enlargement(height: int, width: int) -> int:
    """The whole number of times that an image of this size is shown enlarged: the least that gives `ENOUGH_PX`."""
    return max(1, -(-ENOUGH_PX // max(height, width, 1)))


def enlarged(image: np.ndarray) -> tuple[np.ndarray, int]:
    """A copy to paint on, (H * e, W * e, 3) uint8, and e = `enlargement(H, W)`."""
    factor = enlargement(*image.shape[:2])
    if factor == 1:
        return image.copy(), 1
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), factor


def default_line_width(picture: np.ndarray) -> int:
    """Of boxes, in pixels of the drawn picture."""
    return 2 if max(picture.shape[:2]) < 1200 else 3


def label_px(picture: np.ndarray) -> int:
    """Height of the labels' font on a drawn picture."""
    return min(max(13, round(0.018 * max(picture.shape[:2]))), 28)


# The palette ---------------------------------------------------------------------------------------------------------
def class_colour(class_index: int) -> tuple[int, int, int]:
    """A bright RGB colour (0..255) for a class; neighbouring classes differ clearly (golden-ratio hue steps)."""
    hue = (class_index * 0.618034 + 0.02) % 1.0
    value = (1.0, 0.85)[class_index // 13 % 2]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return int(red * 255), int(green * 255), int(blue * 255)


def ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever stands out from a colour (luma of ITU-R BT.601)."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)


# Boxes and labels ----------------------------------------------------------------------------------------------------
def paint_boxes(
    image: np.ndarray,
    boxes_xyxy: np.ndarray,
    classes: Sequence[int] | np.ndarray,
    texts: Sequence[str] | None,
    *,
    line_width: int,
    font_px: int,
) -> None:
    """Paint boxes and their labels, in the colours of their classes.

    Lines run along the inside of a box's edge. A label is put where it covers no object, if there is such a place; one
    that is wider than the picture is cut in its middle.

    Args:
        image: (H, W, 3) uint8 RGB, painted in place.
        boxes_xyxy: (n, 4) pixels of `image`; the first box is on top.
        classes: (n,) class indices.
        texts: n labels; an empty one is not drawn. None writes none at all.
        line_width: pixels.
        font_px: height of the font in pixels.
    """
    pixels = _to_pixels(boxes_xyxy, *image.shape[:2])
    colours = [class_colour(int(index)) for index in classes]
    for box, colour in zip(pixels[::-1], colours[::-1], strict=True):
        _paint_lines(image, box, colour, line_width)
    placed = np.empty((0, 4), np.int64)
    for index, text in enumerate(texts or ()):
        if not text:
            continue
        ink = _fitting_text(printable(text[:_MOST_CHARACTERS]), image.shape[1] - 2 * _BESIDE_PX, font_px)
        size_wh = (ink.shape[1] + 2 * _BESIDE_PX, ink.shape[0] + 2 * _ABOVE_PX)
        edges = place_label(pixels, index, placed, size_wh, image.shape[:2])
        placed = np.concatenate((placed, edges[None]))
        _paint_label(image, edges, ink, colours[index])


def paint_trails(
    image: np.ndarray, trails: Sequence[np.ndarray], classes: Sequence[int] | np.ndarray, line_width: int
) -> None:
    """Paint the ways that objects came.

    Args:
        image: (H, W, 3) uint8 RGB, painted in place.
        trails: n arrays (k, 2), pixels of `image`; the first is on top.
        classes: (n,) for their colours, as for boxes.
        line_width: pixels.
    """
    pairs = list(zip(trails, classes, strict=False))
    for trail, index in pairs[::-1]:
        points = np.rint(trail).astype(np.int32).reshape(-1, 1, 2)
        if len(points) > 1:
            cv2.polylines(image, [points], False, class_colour(int(index)), line_width)


def paint_texts(image: np.ndarray, texts: Sequence[str], colours: Sequence[tuple[int, int, int]], font_px: int) -> None:
    """Paint lines of text on grounds of their colours, one below the other, from the left upper corner on.

    A line that is wider than the picture is cut in its middle; lines below the picture are left out.

    Args:
        image: (H, W, 3) uint8 RGB, painted in place.
        texts: The lines.
        colours: Of the ground of each, RGB.
        font_px: height of the font in pixels.
    """
    top = 0
    for text, colour in zip(texts, colours, strict=True):
        if top >= image.shape[0]:
            return
        ink = _fitting_text(printable(text[:_MOST_CHARACTERS]), image.shape[1] - 2 * _BESIDE_PX, font_px)
        edges = np.array([0, top, ink.shape[1] + 2 * _BESIDE_PX, top + ink.shape[0] + 2 * _ABOVE_PX])
        _paint_label(image, edges, ink, colour)
        top = int(edges[3])


def _to_pixels(boxes_xyxy: np.ndarray, height: int, width: int) -> np.ndarray:
    """First and last pixel, both included, that each box covers; at least one pixel, inside the image."""
    edges = np.rint(boxes_xyxy).astype(np.int64).reshape(-1, 4)
    edges[:, 2:] -= 1
    edges = np.clip(edges, 0, [width - 1, height - 1, width - 1, height - 1])
    edges[:, 2:] = np.maximum(edges[:, 2:], edges[:, :2])
    return edges


def _paint_lines(image: np.ndarray, box: np.ndarray, colour: tuple[int, int, int], line_width: int) -> None:
    left, top, right, bottom = box.tolist()
    region = image[top : bottom + 1, left : right + 1]
    region[:line_width] = region[-line_width:] = colour
    region[:, :line_width] = region[:, -line_width:] = colour


def _paint_label(image: np.ndarray, edges: np.ndarray, ink: np.ndarray, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = edges.tolist()
    share = np.pad(ink, ((_ABOVE_PX,) * 2, (_BESIDE_PX,) * 2))[..., None] / 255
    label = np.rint(share * ink_on(colour) + (1 - share) * colour).astype(np.uint8)
    region = image[top:bottom, left:right]  # smaller than the label where that does not fit into the picture
    region[...] = label[: region.shape[0], : region.shape[1]]


def place_label(
    boxes: np.ndarray, index: int, placed: np.ndarray, size_wh: tuple[int, int], size_hw: tuple[int, ...]
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


# Text ----------------------------------------------------------------------------------------------------------------
def _fitting_text(text: str, room_px: int, font_px: int) -> np.ndarray:
    """A line of text as `_text`, cut in its middle until it is no wider than `room_px` or nothing is left to cut."""
    ink, kept = _text(text, font_px), len(text)
    while ink.shape[1] > room_px and kept > 2 * _LAST_CHARACTERS:
        kept = min(kept - 1, max(kept * room_px // ink.shape[1], 2 * _LAST_CHARACTERS))
        ink = _text(f"{text[: kept - _LAST_CHARACTERS - 1]}…{text[-_LAST_CHARACTERS:]}", font_px)
    return ink


@lru_cache(maxsize=1024)  # the frames of a video show the same few labels again and again
def _text(text: str, font_px: int) -> np.ndarray:
    """(h, w) uint8: how much of each pixel a line of text covers; all lines of a font are equally high."""
    parts = [(run, open_font(path, font_px)) for run, path in LETTERS.runs(text)]
    starts = np.cumsum([0, *(np.ceil(font.getlength(run)) for run, font in parts)])  # where each part begins
    edges = [font.getbbox(run) for run, font in parts]
    left, right = edges[0][0], starts[-2] + edges[-1][2]
    ascent, descent = np.max([open_font(LETTERS.base, font_px).getmetrics(), *(f.getmetrics() for _, f in parts)], 0)
    mask = Image.new("L", (max(int(right - left), 1), int(ascent + descent)))
    for (run, font), start in zip(parts, starts, strict=False):
        ImageDraw.Draw(mask).text((start - left, ascent), run, fill=255, font=font, anchor="ls")
    return np.asarray(mask)
