"""Results of one picture: text, label lines, table, drawing, pandas; and batches in pictures."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mgil.files.paint import class_colour
from mgil.files.picture_grid import BATCH_PICTURES
from mgil.tasks.classify.plots import BatchPictures, draw_classes
from mgil.tasks.classify.results import NOTHING, TABLE_COLUMNS, ClassResults
from mgil.tasks.classify.scores import Guesses
from tests.tasks.classify.glyph_sets import split_of
from tests.tasks.classify.test_class_judge import batch_of

NAMES = ("zero", "one", "two", "three", "four", "five/6")
PROBS = np.array([0.05, 0.1, 0.02, 0.6, 0.1, 0.13], np.float32)
IMAGE = np.full((20, 30, 3), 77, np.uint8)


def make(probs: np.ndarray = PROBS) -> ClassResults:
    return ClassResults(probs, IMAGE, NAMES, "a/b.jpg", {"inference": 1.0}, (32, 32))


NONE = make(np.full(6, np.nan, np.float32))


def test_the_five_likeliest_best_first_and_of_equal_ones_the_first() -> None:
    found = make()
    assert found.top5 == [3, 5, 1, 4, 0] and found.top1 == 3 and len(found) == 1
    assert found.top5conf.tolist() == pytest.approx([0.6, 0.13, 0.1, 0.1, 0.05])
    assert found.top1conf == pytest.approx(0.6)
    assert found.text() == "three 0.60, five/6 0.13, one 0.10, four 0.10, zero 0.05"
    assert str(found) == f"a/b.jpg: 20x30 pixels, seen at 32x32: {found.text()}"
    for same in (copy.copy(found), pickle.loads(pickle.dumps(found))):
        assert same.top5 == found.top5


def test_what_is_written_of_it() -> None:
    found = make()
    assert found.label_lines(False).splitlines()[:2] == ["0.60 three", "0.13 five/6"]
    assert found.label_lines(True) == found.label_lines(False)  # YOLOv5's lines always have it
    (row,) = found.table_rows()
    assert row == ["three", "0.60", found.text()] and len(row) == len(TABLE_COLUMNS)
    ((folder, crop),) = make(PROBS[[0, 1, 2, 4, 5, 3]]).named_crops()
    assert folder == "five_6" and np.array_equal(crop, IMAGE)
    table = found.to_pandas()
    assert list(table.columns) == ["class", "name", "confidence"] and table["class"].tolist() == [3, 5, 1, 4, 0, 2]


def test_a_damaged_network_says_nothing() -> None:
    assert len(NONE) == 0 and NONE.text() == NOTHING and NONE.top5 == [] and NONE.top5conf.shape == (0,)
    assert NONE.label_lines(True) == "" and NONE.table_rows() == [] and NONE.named_crops() == []
    assert len(NONE.to_pandas()) == 0
    with pytest.raises(ValueError, match=r"^a/b\.jpg: \(no class"):
        _ = NONE.top1
    np.testing.assert_array_equal(NONE.plot(), make().plot(labels=False))


def test_the_drawing_has_a_line_for_each_of_the_five(tmp_path: Path) -> None:
    plain, drawn = make().plot(labels=False), make().plot()
    assert drawn.shape == plain.shape == (320, 480, 3)  # enlarged 16 times
    assert set(np.unique(plain)) == {77}
    changed = np.flatnonzero((drawn != plain).any(axis=(1, 2)))
    height = len(changed) / 5
    assert changed.tolist() == list(range(len(changed))) and height == round(height)  # from the upper edge on
    for place, index in enumerate(make().top5):
        line = drawn[round(place * height) : round((place + 1) * height)].reshape(-1, 3)
        assert (line == class_colour(index)).all(axis=1).sum() > 100, place  # the ground in the class's colour
    without = make().plot(confidences=False)
    assert (without != plain).any(axis=(0, 2)).sum() < (drawn != plain).any(axis=(0, 2)).sum()  # narrower
    assert make().save(tmp_path / "x.png").is_file()
    with pytest.raises(ValueError, match="there are no lines"):
        make().plot(line_width=3)


def test_names_of_others_results_say_what_takes_their_place() -> None:
    with pytest.raises(AttributeError, match="results have no boxes: a picture as a whole has a class: probs"):
        _ = make().boxes
    with pytest.raises(AttributeError, match="results have no nonsense$"):
        _ = make().nonsense


def test_wrong_answers_stand_out_in_pictures_of_batches(tmp_path: Path) -> None:
    split = split_of([0, 1, 2], ("x", "y", "z"))
    pictures = BatchPictures(tmp_path, split)
    scores = np.array([[0.9], [0.8], [np.nan]])
    guesses = Guesses(np.arange(3), np.array([[0], [2], [-1]]), scores, np.zeros(3))
    pictures.add(batch_of([0, 1, 2]), guesses)
    pictures.write()
    assert {path.name for path in tmp_path.iterdir()} == set(BATCH_PICTURES[:2])
    labels, found = (cv2.imread(str(tmp_path / name))[..., ::-1].astype(int) for name in BATCH_PICTURES[:2])
    half = labels.shape[0] // 2
    for picture, colours in (
        (labels, map(class_colour, range(3))),
        (found, (class_colour(0), (150, 0, 0), (150, 0, 0))),
    ):
        cells = (picture[:half, :half], picture[:half, half:], picture[half:, :half])
        for cell, colour in zip(cells, colours, strict=True):
            near = np.abs(cell[:40, :120] - np.array(colour)).max(axis=-1) < 60  # a JPEG
            assert near.sum() > 40, colour


def test_mixed_pictures_show_both_classes(tmp_path: Path) -> None:
    targets = torch.tensor([[0, 0, 1.0], [1, 0, 0.3], [1, 2, 0.7]])
    draw_classes(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), targets, ("x", "y", "z"), tmp_path / "batch.png")
    picture = cv2.imread(str(tmp_path / "batch.png"))[..., ::-1]
    left, right = picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]
    seen = [[(cell == class_colour(index)).all(axis=-1).any() for index in (0, 2)] for cell in (left, right)]
    assert seen == [[True, False], [True, True]]
