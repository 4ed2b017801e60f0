"""The painter: the palette, lines and labels in closed form, texts that nobody expected."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mgil.files.paint import class_colour, ink_on, paint_boxes, place_label

FONT_PX = 13


def paint(
    size_hw: tuple[int, int], boxes: list[list[float]], texts: list[str] | None, line_width: int = 2
) -> np.ndarray:
    """Boxes of the classes 0, 1, ... on black."""
    image = np.zeros((*size_hw, 3), np.uint8)
    paint_boxes(image, np.array(boxes, float), np.arange(len(boxes)), texts, line_width=line_width, font_px=FONT_PX)
    return image


def label_alone(text: str) -> np.ndarray:
    """The pixels of the label of class 0, found beside a box of one pixel in a picture with room for everything."""
    image = paint((200, 2000), [[1000, 100, 1001, 101]], [text], line_width=1)
    image[100, 1000] = 0
    rows, columns = np.nonzero(image.any(axis=2))
    return image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


# The palette ---------------------------------------------------------------------------------------------------------
def test_palette() -> None:
    # by hand: hues 0.02 and 0.638034, saturation 0.85, value 1
    assert class_colour(0) == (255, 64, 38)
    assert class_colour(1) == (38, 75, 255)
    assert len({class_colour(index) for index in range(80)}) == 80
    for index in range(1000):
        assert np.abs(np.subtract(class_colour(index), class_colour(index + 1))).max() > 100, "neighbours differ"


def test_ink_stands_out_from_every_colour() -> None:
    weights = (0.299, 0.587, 0.114)
    for index in range(200):
        colour = class_colour(index)
        assert abs(np.dot(weights, colour) - np.dot(weights, ink_on(colour))) > 100


# Boxes ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("line_width", [1, 2, 5, 1000])
def test_lines_lie_inside_the_edges(line_width: int) -> None:
    image = paint((60, 80), [[10, 20, 50, 40]], None, line_width)
    expected = np.zeros((60, 80, 3), np.uint8)
    expected[20:40, 10:50] = class_colour(0)
    expected[20 + line_width : max(40 - line_width, 20), 10 + line_width : max(50 - line_width, 10)] = 0
    assert np.array_equal(image, expected)


def test_first_box_is_on_top_and_nothing_is_painted_without_boxes() -> None:
    image = paint((50, 50), [[0, 0, 20, 20], [0, 0, 20, 20]], None)
    assert tuple(image[0, 5]) == class_colour(0)
    assert not paint((50, 50), [], []).any()


# Labels --------------------------------------------------------------------------------------------------------------
def test_label_is_ink_on_the_colour_of_the_class() -> None:
    label = label_alone("digit 0.90")
    colour, ink = np.array(class_colour(0)), np.array(ink_on(class_colour(0)))
    assert 15 <= label.shape[0] <= 24 and 50 <= label.shape[1] <= 100
    share = ((label - colour) @ (ink - colour)) / ((ink - colour) @ (ink - colour))  # of ink, in each pixel
    assert np.abs(colour + share[..., None] * (ink - colour) - label).max() <= 1, "nothing but ink and colour"
    assert 0.05 < share.mean() < 0.4, "there are letters"
    assert share.max() > 0.95, "their lines are full"
    assert share[:2].max() == share[-2:].max() == share[:, :2].max() == share[:, -2:].max() == 0, "nothing is cut off"


def test_labels_say_what_they_should() -> None:
    different = ["0", "1", "8", "0 0.90", "é", "я", "m", "mm"]
    labels = [label_alone(text) for text in different]
    assert len({label.tobytes() for label in labels}) == len(different)
    assert len({label.shape[0] for label in labels}) == 1, "one height, whatever the letters"
    assert np.array_equal(label_alone("mm"), label_alone("mm"))


@pytest.mark.parametrize("left", [0, 3, 140, 277, 297])
@pytest.mark.parametrize("top", [0, 2, 90, 177, 198])
@pytest.mark.parametrize("side", [3, 23])
def test_label_is_whole_at_every_border(left: int, top: int, side: int) -> None:
    image = paint((200, 300), [[left, top, left + side, top + side]], ["digit 0.90"])
    label = label_alone("digit 0.90")
    left, top = cv2.minMaxLoc(cv2.matchTemplate(image, label, cv2.TM_SQDIFF))[2]
    assert np.array_equal(image[top : top + label.shape[0], left : left + label.shape[1]], label)


def test_label_wider_than_the_picture_is_cut_in_its_middle() -> None:
    one, other = (paint((60, 200), [[0, 30, 200, 60]], ["x" * 200 + score])[:30] for score in (" 0.90", " 0.11"))
    assert not np.array_equal(one[:, 165:], other[:, 165:]), "the score is there"
    assert np.array_equal(one[:, :150], other[:, :150])
    rows, columns = np.nonzero(one.any(axis=2))
    assert columns.min() == 0 and 185 <= columns.max() <= 199
    last_columns = one[rows.min() :, columns.max() - 2 : columns.max() + 1]
    assert (last_columns == class_colour(0)).all(), "room behind the last letter"


def test_an_empty_text_has_no_label() -> None:
    assert np.array_equal(paint((60, 60), [[10, 30, 20, 40]], [""]), paint((60, 60), [[10, 30, 20, 40]], None))


ODD_TEXTS = [
    "数字",
    "خوذة",
    "มนุษย์",
    "\U0001f477\U0001f3fd\u200d\u2640",
    "e\u0301" * 50,
    "\u200b",
    "\udcff",
    "\u202eabc",
]
ODD_TEXTS += ["\u202eabc", "a\0b", "a\nb\tc", " ", "x" * 100_000]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
@pytest.mark.parametrize("size_hw", [(64, 64), (3, 2)])
def test_any_text_can_be_painted(text: str, size_hw: tuple[int, int]) -> None:
    image = paint(size_hw, [[0, 0, 1, 1]], [text], line_width=1)
    assert image.shape == (*size_hw, 3)
    assert (image == class_colour(0)).all(axis=2).any()


# Places --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("boxes", "placed", "expected_left_top"),
    [
        ([[100, 100, 149, 149]], [], (100, 80)),  # above
        ([[100, 5, 149, 149]], [], (100, 150)),  # no room above: below
        ([[100, 100, 149, 149], [100, 60, 149, 99]], [], (100, 150)),  # another object above
        ([[100, 100, 149, 149], [100, 60, 149, 99], [60, 150, 189, 199]], [], (150, 100)),  # and one below
        ([[100, 100, 149, 149]], [[100, 80, 140, 100]], (100, 150)),  # another label above
        ([[280, 100, 299, 149]], [], (260, 80)),  # moved in from the right edge
        ([[0, 0, 299, 299]], [], (0, 0)),  # the whole picture is the object
    ],
)
def test_label_goes_where_it_covers_least(
    boxes: list[list[int]], placed: list[list[int]], expected_left_top: tuple[int, int]
) -> None:
    label = place_label(np.array(boxes), 0, np.array(placed).reshape(-1, 4), (40, 20), (300, 300))
    assert tuple(label[:2]) == expected_left_top
    assert tuple(label[2:] - label[:2]) == (40, 20)


def test_labels_of_a_crowd_do_not_cover_each_other() -> None:
    boxes = np.array([[x, y, x + 29, y + 29] for y in range(60, 240, 60) for x in range(10, 260, 60)])
    placed = np.empty((0, 4), int)
    for index in range(len(boxes)):
        placed = np.concatenate((placed, place_label(boxes, index, placed, (50, 18), (300, 320))[None]))
    canvas = np.zeros((300, 320), int)
    for left, top, right, bottom in placed:
        canvas[top:bottom, left:right] += 1
    assert canvas.max() == 1
