"""Drawn people: where lines and joints are, whose side has which colour, what is left out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mgil.files.paint import class_colour
from mgil.tasks.pose.draw import LEFT, MIDDLE, RIGHT, draw_people, limb_side, sides
from mgil.tasks.pose.skeleton import Skeleton, checked

LIME, CYAN, MAGENTA = (class_colour(index) for index in (2, 4, 3))
STICK = checked(["head", "left hand", "right hand"], [0, 2, 1], [0.05] * 3, [(0, 1), (0, 2), (1, 2)])
PERSON = np.array([[[30.0, 10, 1], [50, 40, 1], [10, 40, 1]]])


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(axis=2).any())


def test_joints_lie_on_the_middles_of_enlarged_pixels() -> None:
    alone = Skeleton(STICK.names, STICK.flip, STICK.sigmas, ())
    for joint, colour in enumerate((LIME, CYAN, MAGENTA)):
        person = PERSON * (1, 1, 0)
        person[0, joint, 2] = 1
        picture = draw_people(np.full((64, 64, 3), 77, np.uint8), person, alone)
        assert picture.shape == (512, 512, 3)
        painted = np.nonzero((picture != 77).any(axis=2))[::-1]
        x, y = (person[0, joint, :2] + 0.5) * 8 - 0.5  # pixel 30 is 240 to 247, its middle 243.5
        assert [axis.mean() for axis in painted] == pytest.approx([x, y], abs=0.1)
        assert tuple(picture[int(y), int(x)]) == colour


def test_limbs_have_the_colour_of_their_side() -> None:
    picture = draw_people(np.zeros((480, 480, 3), np.uint8), PERSON * (8, 8, 1), STICK, line_width=3)
    assert tuple(picture[200, 320]) == CYAN  # half-way from the head at 240, 80 to the left hand at 400, 320
    assert tuple(picture[200, 160]) == MAGENTA
    assert tuple(picture[320, 240]) == LIME  # between the hands


def test_what_is_not_above_the_threshold_is_left_out_with_its_limbs() -> None:
    person = np.array([[[30.0, 10, 0.5], [50, 40, 0.2], [10, 40, np.nan]]])
    picture = draw_people(np.zeros((64, 64, 3), np.uint8), person, STICK, threshold=0.2)
    assert has(picture, LIME)
    assert not has(picture, CYAN)
    assert not has(picture, MAGENTA)


def test_nothing_to_draw_gives_the_enlarged_image_and_leaves_the_given_one() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 64, 3), np.uint8)
    before = image.copy()
    expected = cv2.resize(image, (512, 480), interpolation=cv2.INTER_CUBIC)
    for people in (np.empty((0, 3, 3)), PERSON * (1, 1, 0), PERSON * np.nan):
        assert np.array_equal(draw_people(image, people, STICK), expected)
    draw_people(image, PERSON, STICK, boxes=np.array([[0, 0, 60, 60.0]]), labels=["person"])
    assert np.array_equal(image, before)
    large = np.zeros((480, 480, 3), np.uint8)
    assert not np.shares_memory(draw_people(large, np.empty((0, 3, 3)), STICK), large)


def test_points_far_outside_are_no_trouble() -> None:
    people = np.array([[[1e300, -1e300, 1], [-1e9, 40, 1], [10, 1e18, 1]]])
    assert draw_people(np.zeros((64, 64, 3), np.uint8), people, STICK).shape == (512, 512, 3)


def test_lines_of_small_people_are_thin() -> None:
    image = np.zeros((480, 480, 3), np.uint8)
    widths = []  # 40 and 320 pixels
    for scale in (1, 8):
        picture = draw_people(image, PERSON * (scale, scale, 1), STICK, line_width=3)
        column = picture[40 * scale - 8 : 40 * scale + 9, 30 * scale]  # across the line between the hands
        widths.append(int((column.max(axis=1) > 128).sum()))
    assert widths[0] == 1
    assert widths[1] in (3, 4, 5)  # OpenCV makes smooth lines wider


def test_boxes_and_labels_are_those_of_detection() -> None:
    box = np.array([[5, 5, 55, 55.0]])
    image = np.zeros((64, 64, 3), np.uint8)
    plain = draw_people(image, PERSON, STICK, 1, 0.0, box)
    assert (plain[40, 40:440] == class_colour(0)).all()
    assert tuple(plain[41, 41]) == (0, 0, 0)
    followed = draw_people(image, PERSON, STICK, 1, 0.0, box, ["#7"], colours=np.array([7]))
    assert has(followed, class_colour(7))
    assert not has(followed, class_colour(0))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("nose", "left_eye", "right_eye"), (MIDDLE, LEFT, RIGHT)),
        (("r_ankle", "neck", "l_ankle"), (RIGHT, MIDDLE, LEFT)),
        (("Right hip", "Left hip"), (RIGHT, LEFT)),
        (("RHip", "LHip"), (RIGHT, LEFT)),
        (("a", "b"), (LEFT, RIGHT)),  # whose names do not say
        (("shoulder", "elbow"), (LEFT, RIGHT)),  # an r or an l inside a word means nothing
        (("left",), (MIDDLE,)),  # it becomes itself in a mirrored picture
    ],
)
def test_sides_go_by_names(names: tuple[str, ...], expected: tuple[int, ...]) -> None:
    count = len(names)
    pair = [index for index, name in enumerate(names) if name not in ("nose", "neck")]
    flip = list(range(count))
    if len(pair) == 2:
        flip[pair[0]], flip[pair[1]] = pair[1], pair[0]
    assert sides(Skeleton(names, tuple(flip), (0.1,) * count, ())) == expected


def test_a_limb_between_the_sides_is_in_the_middle() -> None:
    assert limb_side(LEFT, RIGHT) == limb_side(RIGHT, LEFT) == limb_side(MIDDLE, MIDDLE) == MIDDLE
    assert limb_side(LEFT, MIDDLE) == limb_side(MIDDLE, LEFT) == limb_side(LEFT, LEFT) == LEFT
    assert limb_side(RIGHT, MIDDLE) == limb_side(RIGHT, RIGHT) == RIGHT
