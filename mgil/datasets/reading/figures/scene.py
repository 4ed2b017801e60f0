"""A picture with one to three drawn people, objects behind and before them, and where their key points are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mgil.datasets.reading.figures.body import body_of, draw_stance
from mgil.datasets.reading.figures.person import (
    HEAD_PARTS,
    NUMBERS,
    PARTS,
    SEEN_ON,
    Placed,
    draw_person,
    is_seen,
    looks_away,
)
from mgil.datasets.reading.figures.raster import FINE, PIXEL, Canvas
from mgil.datasets.reading.generated import Draws, resize_bilinear

SIDES = (96, 144)  # pixels of a picture, either side
HEIGHTS = (40, 100)  # pixels of a person of full height
MOST_PEOPLE = 3
FIRST_PERSON = 64  # shapes with smaller numbers are behind people, with numbers from FIRST_OBJECT before them
FIRST_OBJECT = FIRST_PERSON + MOST_PEOPLE * NUMBERS
NUMBERS_OF_ALL = FIRST_OBJECT + 8
MOST_SHARED = 25  # per cent of the smaller of two boxes that they may share
KEY_POINTS = tuple(SEEN_ON)
SKINS = ((236, 196, 168), (214, 164, 130), (180, 128, 96), (134, 92, 68), (92, 62, 46))
HAIRS = ((24, 20, 18), (58, 40, 28), (104, 72, 44), (176, 144, 92), (150, 150, 148))


@dataclass(frozen=True)
class Figure:
    """A person in a picture.

    Attributes:
        box: Left, top, width, height in pixels, around all of it that lies in the picture, covered parts too.
        key_points: 17 of x, y, visibility in the order of `KEY_POINTS`: hundredths of a pixel, from the middle of the
            first one; 0 outside the picture, 1 covered, 2 seen.
        area: Pixels.
    """

    box: tuple[int, int, int, int]
    key_points: tuple[tuple[int, int, int], ...]
    area: int


def compose(draws: Draws) -> tuple[np.ndarray, list[Figure]]:
    """A picture (H, W, 3) uint8 RGB, and the people in it."""
    height, width = draws.between(*SIDES), draws.between(*SIDES)
    canvas = Canvas(height, width)
    base = draws.between(60, 195) + draws.array(61, (3,)) - 30
    colours = np.broadcast_to(base, (NUMBERS_OF_ALL, 3)).copy()
    colours[1:FIRST_PERSON] += draws.array(81, (FIRST_PERSON - 1, 3)) // 2 + draws.array(41, (FIRST_PERSON - 1, 1)) - 40
    colours[FIRST_OBJECT:] += draws.array(161, (NUMBERS_OF_ALL - FIRST_OBJECT, 3)) - 80
    for number in range(1, draws.between(3, 9)):
        _draw_object(canvas, number, draws)
    wanted = (1, 1, 1, 2, 2, 3)[draws.below(6)]
    people: list[tuple[Placed, tuple[int, int, int, int], int]] = []
    heights = sorted(max(draws.between(*HEIGHTS), draws.between(*HEIGHTS)) for _ in range(wanted))  # the nearest last
    for index, tall in enumerate(heights):
        first = FIRST_PERSON + index * NUMBERS
        person = _place(draws, tall, first, (height, width), [box for _, box, _ in people])
        if person is None:
            continue
        draw_person(canvas, person, long_hair=draws.below(3) == 0, bald=draws.below(10) == 0)
        _dress(colours, first, base, draws)
        own = canvas.shown >= first
        people.append((person, _box_around(own), int(own.sum()) // FINE**2))
    if draws.below(5) == 0:
        _draw_before(canvas, FIRST_OBJECT + draws.below(8), people[draws.below(len(people))][1], draws)
    figures = [Figure(box, _key_points(canvas, person, (height, width)), area) for person, box, area in people]
    return _render(canvas, colours, draws), figures


def _place(
    draws: Draws, tall: int, first: int, size_hw: tuple[int, int], boxes: list[tuple[int, int, int, int]]
) -> Placed | None:
    """A person somewhere in the picture, not hiding others much; None: there is no room. The first always has some."""
    height, width = size_hw
    for _ in range(12):
        body = body_of(draw_stance(draws))
        person = Placed(body, (0, 0), tall * PIXEL, draws.between(85, 125), first)
        xs, ys = zip(*(person.at(joint) for joint in body.joints), strict=True)
        margin = person.width(60)
        left, top, right, bottom = min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin
        beyond = draws.between(0, 25) if draws.below(4) == 0 else 0  # per cent that may lie outside
        spare = [(right - left) * beyond // 100, (bottom - top) * beyond // 100]
        origin = []
        for low, high, pixels, more in ((left, right, width, spare[0]), (top, bottom, height, spare[1])):
            room = pixels * PIXEL - (high - low) + 2 * more
            origin.append(-low - more + (draws.below(room) if room > 0 else room // 2))
        x0, y0 = max((left + origin[0]) // PIXEL, 0), max((top + origin[1]) // PIXEL, 0)
        x1, y1 = min((right + origin[0]) // PIXEL, width), min((bottom + origin[1]) // PIXEL, height)
        if all(_shared((x0, y0, x1 - x0, y1 - y0), box) <= MOST_SHARED for box in boxes):
            return Placed(body, (origin[0], origin[1]), person.height, person.build, first)
    return None


def _shared(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> int:
    """Per cent of the smaller box that two share."""
    across = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    down = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    smaller = min(first[2] * first[3], second[2] * second[3])
    return 100 * max(across, 0) * max(down, 0) // max(smaller, 1)


def _box_around(own: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width and height in whole pixels around the points that are True."""
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    left, top = int(columns[0]) // FINE, int(rows[0]) // FINE
    return left, top, int(columns[-1]) // FINE + 1 - left, int(rows[-1]) // FINE + 1 - top


def _key_points(canvas: Canvas, person: Placed, size_hw: tuple[int, int]) -> tuple[tuple[int, int, int], ...]:
    """As people label COCO: what is covered is guessed, but nobody guesses a face that looks away."""
    height, width = size_hw
    points = []
    for joint in KEY_POINTS:
        x, y = person.at(joint)
        if 0 <= x < width * PIXEL and 0 <= y < height * PIXEL and not looks_away(person, joint):
            visibility = 2 if is_seen(canvas, person, joint) else 1
            points.append((x * 100 // PIXEL - 50, y * 100 // PIXEL - 50, visibility))
        else:
            points.append((0, 0, 0))
    return tuple(points)


def _draw_object(canvas: Canvas, number: int, draws: Draws) -> None:
    """Something behind the people: a bar, a box or a blob."""
    height, width = (side * PIXEL // FINE for side in canvas.shown.shape)
    kind = draws.below(3)
    x, y = draws.below(width), draws.below(height)
    if kind == 0:
        end = (draws.below(width), draws.below(height))
        radius = draws.between(PIXEL, 5 * PIXEL)
        canvas.capsule(number, (x, y), end, (radius, draws.between(PIXEL, 5 * PIXEL)))
    elif kind == 1:
        right, bottom = x + draws.between(8, 50) * PIXEL, y + draws.between(8, 60) * PIXEL
        slant = draws.between(-4, 4) * PIXEL
        canvas.polygon(number, [(x, y), (right, y + slant), (right, bottom), (x, bottom)])
    else:
        canvas.ellipsoid(number, (x, y), (draws.between(4, 25) * PIXEL, draws.between(4, 25) * PIXEL))


def _draw_before(canvas: Canvas, number: int, box: tuple[int, int, int, int], draws: Draws) -> None:
    """Something that covers a part of a person, at most about half: a table, a post or a ball."""
    left, top, width, height = (side * PIXEL for side in box)
    kind = draws.below(3)
    if kind == 0:
        y = top + height * draws.between(50, 85) // 100
        x0, x1 = left - draws.between(2, 20) * PIXEL, left + width + draws.between(2, 20) * PIXEL
        y1 = y + draws.between(6, 60) * PIXEL
        canvas.polygon(number, [(x0, y), (x1, y), (x1, y1), (x0, y1)])
    elif kind == 1:
        x = left + width * draws.between(10, 90) // 100
        radius = max(width * draws.between(5, 12) // 100, PIXEL)
        canvas.capsule(number, (x, top - 10 * PIXEL), (x, top + height + 10 * PIXEL), (radius, radius))
    else:
        middle = left + width * draws.between(10, 90) // 100, top + height * draws.between(20, 95) // 100
        canvas.ellipsoid(number, middle, (height * draws.between(8, 16) // 100, height * draws.between(8, 16) // 100))


def _dress(colours: np.ndarray, first: int, base: np.ndarray, draws: Draws) -> None:
    """Skin, hair and clothes; some clothes are nearly of the background's colour. Both sides wear the same."""
    skin = np.array(SKINS[draws.below(len(SKINS))]) + draws.array(17, (3,)) - 8
    hair = np.array(HAIRS[draws.below(len(HAIRS))]) + draws.array(17, (3,)) - 8
    shirt, trousers, shoes = (draws.array(236, (3,)) + 10 for _ in range(3))
    if draws.below(6) == 0:
        shirt = base + draws.array(61, (3,)) - 30
    if draws.below(6) == 0:
        trousers = base + draws.array(61, (3,)) - 30
    long_sleeves, shorts = draws.below(2), draws.below(4) == 0
    worn = {"torso": shirt, "pelvis": trousers, "neck": skin * 7 // 8, "skin": skin, "hair": hair}
    worn |= {"eye": skin // 4, "mouth": skin * 5 // 8, "edge": (shirt + trousers) * 3 // 8}
    for side in ("left", "right"):
        worn |= {f"{side}_upper_arm": shirt, f"{side}_forearm": shirt if long_sleeves else skin, f"{side}_hand": skin}
        worn |= {f"{side}_thigh": trousers, f"{side}_shin": skin if shorts else trousers, f"{side}_foot": shoes}
    for index, part in enumerate(PARTS):
        shade = 0 if part in HEAD_PARTS else draws.between(-10, 10)  # how the light falls
        colours[first + index] = worn[part] + shade


def _render(canvas: Canvas, colours: np.ndarray, draws: Draws) -> np.ndarray:
    """(H, W, 3) uint8: means of the points of each pixel, with texture, less contrast and grain."""
    height, width = (points // FINE for points in canvas.shown.shape)
    table = np.clip(colours, 0, 255).astype(np.int32)
    sums = np.zeros((height, width, 3), np.int32)
    for row, column in np.ndindex(FINE, FINE):
        sums += table.take(canvas.shown[row::FINE, column::FINE], axis=0)
    texture = resize_bilinear(draws.array(61, (6, 6)) - 30, height, width)
    texture += resize_bilinear(draws.array(41, (28, 28)) - 20, height, width)
    contrast, brightness = draws.between(65, 100), draws.between(-25, 25)  # per cent; grey levels
    values = sums * contrast // (100 * FINE**2) + 128 * (100 - contrast) // 100 + brightness
    grain = draws.array(13, (height, width, 1)) - 6
    return np.clip(values + texture[:, :, None] * contrast // 100 + grain, 0, 255).astype(np.uint8)
