"""Pictures of people with their key points, enlarged where they are small.

Limbs are coloured by side, so that a left leg that was taken for the right one is seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mgil.files.paint import class_colour, default_line_width, enlarged, label_px, paint_boxes, paint_trails
from mgil.tasks.pose.reading.known_points import side_and_part
from mgil.tasks.pose.skeleton import Skeleton

MIDDLE, LEFT, RIGHT = range(3)
_COLOURS = tuple(class_colour(index) for index in (2, 4, 3))  # by side: lime, cyan, magenta; boxes of people are red
_SIDES = {"left": LEFT, "right": RIGHT}
_THIN_PX = 120  # a person of this many pixels in the drawn picture is drawn with lines of one pixel
_BITS = 4  # of a pixel's fraction, for OpenCV
_FAR_PX = 1 << 14  # nobody sees what is farther from the picture


def draw_people(
    image: np.ndarray,
    key_points: np.ndarray,
    skeleton: Skeleton,
    line_width: int | None = None,
    threshold: float = 0.0,
    boxes: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    *,
    colours: np.ndarray | None = None,
    trails: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Draw people; a small image is enlarged first.

    Args:
        image: (H, W, 3) uint8 RGB; it is left as it is.
        key_points: (n, K, 3) x, y, score or visibility, pixels of `image`: the middle of the first one is 0.
        skeleton: Of the K key points.
        line_width: Of boxes and limbs in pixels of the drawn picture; None chooses by its size. Limbs of small people
            are thinner.
        threshold: A key point whose score is not above this is not drawn, and no limb that it ends.
        boxes: (n, 4) left, top, right, bottom in pixels of `image`, edges; None draws none.
        labels: n lines of text beside the boxes; None writes none.
        colours: (n,) class indices or numbers of tracks that colour boxes and trails; None: all are people.
        trails: n arrays (k, 2), where they were, pixels of `image`, edges.

    Returns:
        (H * e, W * e, 3) uint8 RGB with e = `mgil.files.paint.enlargement(H, W)`.
    """
    picture, factor = enlarged(image)
    line_width = line_width or default_line_width(picture)
    colours = np.zeros(len(key_points), np.int64) if colours is None else colours
    paint_trails(picture, [trail * factor for trail in trails], colours, line_width)
    middles = (key_points[..., :2] + 0.5) * factor - 0.5
    shown = (key_points[..., 2] > threshold) & np.isfinite(middles).all(axis=-1)
    for points, is_shown in zip(middles[::-1], shown[::-1], strict=True):  # the best person is on top
        paint_person(picture, points, is_shown, skeleton, line_width)
    if boxes is not None:
        paint_boxes(picture, boxes * factor, colours, labels, line_width=line_width, font_px=label_px(picture))
    return picture


def sides(skeleton: Skeleton) -> tuple[int, ...]:
    """The side of each of the K key points, by its name; of a pair whose names do not say, the first one is left."""
    found = []
    for index, (name, other) in enumerate(zip(skeleton.names, skeleton.flip, strict=True)):
        word = _SIDES.get(side_and_part(name)[0], MIDDLE)
        if other == index:
            found.append(MIDDLE)
        elif word != MIDDLE:
            found.append(word)
        else:
            found.append(LEFT if index < other else RIGHT)
    return tuple(found)


def limb_side(first: int, second: int) -> int:
    """The side of a limb between key points of two sides: that of an arm at a neck is the arm's, of hips the middle."""
    if MIDDLE in (first, second) or first == second:
        return max(first, second)
    return MIDDLE


def paint_person(
    picture: np.ndarray, points: np.ndarray, shown: np.ndarray, skeleton: Skeleton, line_width: int
) -> None:
    """Paint one person: limbs, then joints.

    Args:
        picture: (H, W, 3) uint8 RGB, painted in place.
        points: (K, 2) pixels of `picture`, the middle of the first one is 0.
        shown: (K,) bool.
        skeleton: Of these.
        line_width: The most.
    """
    if not shown.any():
        return
    extent = float(np.ptp(points[shown], axis=0).max())
    width = max(1, min(line_width, round(extent / _THIN_PX)))
    ends = np.rint(np.clip(np.where(shown[:, None], points, 0), -_FAR_PX, _FAR_PX) * (1 << _BITS)).astype(int).tolist()
    by_joint = sides(skeleton)
    for first, second in skeleton.limbs:
        if shown[first] and shown[second]:
            colour = _COLOURS[limb_side(by_joint[first], by_joint[second])]
            cv2.line(picture, ends[first], ends[second], colour, width, cv2.LINE_AA, _BITS)
    radius = round((width + 0.5) * (1 << _BITS))
    for joint in np.flatnonzero(shown).tolist():
        cv2.circle(picture, ends[joint], radius + (1 << _BITS), (0, 0, 0), cv2.FILLED, cv2.LINE_AA, _BITS)
        cv2.circle(picture, ends[joint], radius, _COLOURS[by_joint[joint]], cv2.FILLED, cv2.LINE_AA, _BITS)
