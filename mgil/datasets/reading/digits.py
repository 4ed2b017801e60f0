"""The embedded data set: scenes of real handwritten digits, made on first use.

The digits are the UCI "optical recognition of handwritten digits" set, 8x8 pixels with 17 grey levels, which
scikit-learn carries in its package. Scenes are composed with whole-number arithmetic from a bit generator whose stream
never changes, so every machine makes the same pixels.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from mgil.datasets.reading.generated import Draws, GeneratedSet, resize_bilinear

SCENES = {"train": 3000, "val": 500}
SIZE = 64  # pixels, both sides of a scene
DIGITS_PER_SCENE = (2, 8)
DIGIT_SIDE = (7, 20)  # pixels, the longer side of a digit's ink
THINNEST = 3  # pixels, the least shorter side
CONTRAST = (100, 127)  # grey levels between a digit and its background, of 255
INK_THRESHOLD = 96  # of 255: the box of a digit holds every pixel with at least this much ink
SEED = 20240
NAMES = tuple(str(digit) for digit in range(10))


def _write_all(folder: Path) -> None:
    """Write `images/`, `labels/` (YOLO), `annotations/instances_*.json` (COCO)."""
    glyphs, classes = load_glyphs()
    for split, count in SCENES.items():
        chosen = split_glyphs(split, len(glyphs))
        split_inks, split_classes = [glyphs[which] for which in chosen], [classes[which] for which in chosen]
        images = folder / "images" / split
        labels = folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        boxes_by_scene = []
        for index in range(count):
            pixels, boxes = compose_scene(split_inks, split_classes, split, index)
            Image.fromarray(pixels).save(images / f"{index + 1:06d}.png", compress_level=1)
            (labels / f"{index + 1:06d}.txt").write_text(_yolo_text(boxes), encoding="utf-8", newline="\n")
            boxes_by_scene.append(boxes)
        (folder / "annotations").mkdir(exist_ok=True)
        text = json.dumps(_coco_content(boxes_by_scene))
        (folder / "annotations" / f"instances_{split}.json").write_text(text, encoding="utf-8", newline="\n")


DIGITS = GeneratedSet("digits", "digits scenes, version 4\n", NAMES, _write_all)


def load_glyphs() -> tuple[list[np.ndarray], list[int]]:
    """The 1,797 handwritten digits, each cut to its ink with one empty cell around it, so that strokes end softly.

    Returns:
        Arrays of up to (10, 10) int64, ink of 0..16; and which digit each is.
    """
    from sklearn.datasets import load_digits  # here, since it takes a second and only making the set needs it

    bunch = load_digits()
    glyphs = []
    for image in bunch.images.astype(np.int64):
        rows, columns = np.flatnonzero(image.max(1) >= 4), np.flatnonzero(image.max(0) >= 4)
        glyphs.append(np.pad(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1))
    return glyphs, [int(digit) for digit in bunch.target]


def split_glyphs(split: str, count: int) -> list[int]:
    """Indices of the glyphs that a split draws from: every fifth belongs to val, the others to train."""
    return [index for index in range(count) if (index % 5 == 0) == (split == "val")]


def compose_scene(
    glyphs: list[np.ndarray], classes: list[int], split: str, index: int
) -> tuple[np.ndarray, list[list[int]]]:
    """Compose scene `index` of a split from that split's glyphs.

    Returns:
        (64, 64, 3) uint8 RGB, and for each digit [class, x1, y1, x2, y2] in pixels, tight around its visible ink.
    """
    draws = Draws(SEED, 1 if split == "val" else 0, index)
    # Values are kept in 1/256 of a grey level, so that every blend rounds down once, at the end.
    canvas = _background(draws)
    boxes: list[list[int]] = []
    wanted = draws.between(*DIGITS_PER_SCENE)
    for _ in range(60 * wanted):  # a full scene may have no room for the last digits, but there is always room for two
        if len(boxes) == wanted:
            break
        which = draws.below(len(glyphs))
        ink, (x1, y1, x2, y2) = _draw_glyph(glyphs[which], draws)
        sides = sorted((x2 - x1, y2 - y1))
        if sides[0] < THINNEST or not DIGIT_SIDE[0] <= sides[1] <= DIGIT_SIDE[1]:
            continue  # rounding made the ink a pixel more or less than was asked for
        height, width = ink.shape
        left, top = draws.below(SIZE - width + 1), draws.below(SIZE - height + 1)
        box = [left + x1, top + y1, left + x2, top + y2]
        if all(_overlap_is_small(box, other[1:]) for other in boxes):
            _blend(canvas[top : top + height, left : left + width], ink, draws)
            boxes.append([classes[which], *box])
    grain = draws.array(2 * 6 * 256 + 1, (SIZE, SIZE, 1)) - 6 * 256
    pixels = np.clip((canvas + grain) >> 8, 0, 255).astype(np.uint8)
    return pixels, boxes


def _background(draws: Draws) -> np.ndarray:
    """A tinted base with a coarse and a finer texture, (64, 64, 3) int64 in 1/256 grey levels."""
    base = draws.between(70, 185) * 256 + draws.array(2 * 24 * 256, (3,)) - 24 * 256
    coarse = resize_bilinear(draws.array(2 * 22 * 256, (5, 5)) - 22 * 256, SIZE, SIZE)
    fine = resize_bilinear(draws.array(2 * 10 * 256, (16, 16)) - 10 * 256, SIZE, SIZE)
    return base[None, None, :] + (coarse + fine)[:, :, None]


def _draw_glyph(glyph: np.ndarray, draws: Draws) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A glyph at a random size as (h, w) ink of 0..255, and the (x1, y1, x2, y2) of its visible ink in that."""
    ink = glyph[1:-1, 1:-1]
    shorter, longer = sorted(ink.shape)
    # the largest of three draws: most digits can be read, some hardly
    longer_target = max(draws.between(*DIGIT_SIDE) for _ in range(3))
    stretch = draws.between(85, 115)  # per cent, of the shorter side
    shorter_target = min(longer_target, max(3, (shorter * longer_target * stretch + 50 * longer) // (100 * longer)))
    targets = (longer_target, shorter_target) if ink.shape[0] >= ink.shape[1] else (shorter_target, longer_target)
    # The empty cells around grow with the ink; rounded to the nearest pixel.
    height, width = ((pixels * (n + 2) + n // 2) // n for pixels, n in zip(targets, ink.shape, strict=True))
    drawn = np.minimum(resize_bilinear(glyph * 20, height, width), 255)
    rows, columns = np.flatnonzero(drawn.max(1) >= INK_THRESHOLD), np.flatnonzero(drawn.max(0) >= INK_THRESHOLD)
    return drawn, (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _overlap_is_small(box: list[int], other: list[int]) -> bool:
    """Whether two boxes share at most an eighth of the smaller one."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return True
    smaller = min((side[2] - side[0]) * (side[3] - side[1]) for side in (box, other))
    return 8 * width * height <= smaller


def _blend(region: np.ndarray, ink: np.ndarray, draws: Draws) -> None:
    """Move the region (h, w, 3) towards lighter or darker by the ink, in place."""
    level = int(region.sum()) // region.size
    contrast = draws.between(*CONTRAST) * 256
    # Away from the nearer end of the scale, so that the contrast is really there.
    sign = 1 if level < 100 * 256 else -1 if level > 156 * 256 else 2 * draws.below(2) - 1
    tint = draws.array(2 * 16 * 256, (3,)) - 16 * 256
    target = level + sign * contrast + tint
    region += (target[None, None, :] - region) * ink[:, :, None] // 255


def _yolo_text(boxes: list[list[int]]) -> str:
    """YOLO label lines; all numbers are multiples of 1/128, so seven decimals are exact."""
    lines = []
    for digit, x1, y1, x2, y2 in boxes:
        values = ((x1 + x2) / (2 * SIZE), (y1 + y2) / (2 * SIZE), (x2 - x1) / SIZE, (y2 - y1) / SIZE)
        lines.append(" ".join([str(digit), *(f"{value:.7f}" for value in values)]) + "\n")
    return "".join(lines)


def _coco_content(boxes_by_scene: list[list[list[int]]]) -> dict[str, list[dict[str, object]]]:
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for image_id, boxes in enumerate(boxes_by_scene, start=1):
        images.append({"id": image_id, "file_name": f"{image_id:06d}.png", "width": SIZE, "height": SIZE})
        for digit, x1, y1, x2, y2 in boxes:
            width, height = x2 - x1, y2 - y1
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": digit + 1,
                    "bbox": [x1, y1, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    categories: list[dict[str, object]] = [{"id": index + 1, "name": name} for index, name in enumerate(NAMES)]
    return {"images": images, "annotations": annotations, "categories": categories}
