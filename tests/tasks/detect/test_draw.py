"""Drawing: enlargement, box lines and labels in closed form."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mgil.files.image_file import save_image
from mgil.files.paint import class_colour, enlargement, paint_trails
from mgil.tasks.detect.draw import draw_detections

NO_BOXES = np.empty((0, 4), np.float32)


def draw(image: np.ndarray, boxes: list[list[float]], **options: object) -> np.ndarray:
    count = len(boxes)
    return draw_detections(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.arange(count),
        np.linspace(0.9, 0.3, count),
        [f"class {index}" for index in range(max(count, 1))],
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("size_hw", "factor"),
    [((64, 64), 8), ((64, 32), 8), ((320, 240), 2), ((479, 10), 2), ((480, 640), 1), ((1, 1), 480), ((2000, 9), 1)],
)
def test_enlargement_is_the_least_that_is_enough(size_hw: tuple[int, int], factor: int) -> None:
    assert enlargement(*size_hw) == factor
    assert enlargement(*size_hw[::-1]) == factor


def test_no_boxes_gives_the_enlarged_image_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 64, 3), np.uint8)
    picture = draw_detections(image, NO_BOXES, np.empty(0, int), np.empty(0), ["a"])
    assert picture.shape == (480, 512, 3)
    assert np.array_equal(picture, cv2.resize(image, (512, 480), interpolation=cv2.INTER_CUBIC))


def test_box_lines_lie_on_the_inside_of_the_scaled_edges() -> None:
    image = np.full((64, 64, 3), 77, np.uint8)
    picture = draw(image, [[10, 20, 30.5, 40]], labels=False, line_width=3)
    expected = np.full((512, 512, 3), 77, np.uint8)
    expected[160:320, 80:244] = class_colour(0)
    expected[163:317, 83:241] = 77
    assert np.array_equal(picture, expected)
    assert (image == 77).all()


def test_surest_box_is_on_top_and_boxes_outside_are_clipped() -> None:
    picture = draw(np.zeros((480, 480, 3), np.uint8), [[-50, -50, 1000, 1000], [0, 0, 100, 100]], labels=False)
    assert tuple(picture[0, 50]) == class_colour(0)
    assert tuple(picture[479, 479]) == class_colour(0)
    assert tuple(picture[99, 50]) == class_colour(1)


def test_box_without_area_is_a_dot() -> None:
    picture = draw(np.zeros((480, 480, 3), np.uint8), [[100, 100, 100, 100]], labels=False, line_width=1)
    assert picture[100, 100].any()
    assert picture.any(axis=2).sum() <= 2


def test_label_stands_above_the_box_and_leaves_the_inside_free() -> None:
    picture = draw(np.zeros((64, 64, 3), np.uint8), [[10, 20, 30, 40]], line_width=2)
    colour = class_colour(0)
    assert (picture[162:318, 82:238] == 0).all()
    above = (picture[:160] == colour).all(axis=2)
    rows, columns = np.nonzero(above)
    assert rows.max() == 159
    assert columns.min() == 80
    assert 10 <= rows.max() - rows.min() <= 40
    ink = picture[rows.min() : 160, 80 : columns.max()].reshape(-1, 3)
    assert np.abs(ink.astype(int) - colour).sum(axis=1).max() > 300, "text stands out from its background"


def test_hidden_scores_make_a_shorter_label() -> None:
    def label_width(**options: object) -> int:
        picture = draw(np.zeros((480, 480, 3), np.uint8), [[100, 100, 120, 120]], **options)
        return int(np.nonzero(picture[:100].any(axis=(0, 2)))[0].size)

    assert 0 == label_width(labels=False) < label_width(confidences=False) < label_width()


@pytest.mark.parametrize("name", ["zéro", "один", "数", "two\nlines", "", "x" * 300])
def test_any_class_name_can_be_drawn(name: str) -> None:
    picture = draw_detections(
        np.zeros((64, 64, 3), np.uint8), np.array([[1, 1, 9, 9.0]]), np.zeros(1, int), np.ones(1), [name]
    )
    assert picture.shape == (512, 512, 3)


def test_saved_picture_is_rgb_and_png_is_exact(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    path = save_image(tmp_path / "ü.png", image)
    stored = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(stored[..., ::-1], image)


def test_small_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, ::2] = (255, 0, 0)
    image[:, 1::2] = (0, 0, 255)  # single columns of colour, which halved chroma would mix to violet
    path = save_image(tmp_path / "a.jpg", image)
    stored = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(stored.astype(int) - image).mean() < 12


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.mp4"])
def test_unwritable_format_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be written as"):
        save_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))


def test_trail_is_a_line_through_the_scaled_points_in_the_objects_colour() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    trail = np.array([[10, 32], [20, 32], [40, 32]], np.float32)
    picture = draw(image, [[36, 28, 44, 36]], labels=False, line_width=1, track_ids=np.array([7]), trails=(trail,))
    assert (picture[256, 81:280] == class_colour(7)).all()  # 8 times as large
    assert not picture[256, :79].any()
    assert tuple(picture[224, 300]) == class_colour(7)  # the box has the number's colour too, not the class's
    assert not picture[:224].any()


def test_numbers_are_written_before_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[object] = []
    monkeypatch.setattr("mgil.tasks.detect.draw.paint_boxes", lambda *values, **_: written.append(values[3]))
    image = np.zeros((480, 480, 3), np.uint8)
    draw(image, [[0, 0, 9, 9], [9, 9, 20, 20]], track_ids=np.array([12, 3]))
    draw(image, [[0, 0, 9, 9]], track_ids=np.array([12]), confidences=False)
    draw(image, [[0, 0, 9, 9]], track_ids=np.array([12]), labels=False)
    assert written == [["#12 class 0 0.90", "#3 class 1 0.30"], ["#12 class 0"], None]


@pytest.mark.parametrize("trail", [np.empty((0, 2)), np.array([[5.0, 5.0]]), np.array([[-9.0, -9.0], [900.0, 900.0]])])
def test_trails_of_any_length_and_beyond_the_edge(trail: np.ndarray) -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    paint_trails(image, [trail], [0], 1)
    assert (image[5, 5] > 0).any() == (len(trail) > 1)
