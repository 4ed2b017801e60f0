"""A split of pictures with classes, from files and from memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mgil.datasets.reading.value_range import ValueRange
from mgil.tasks.classify.split import ClassSplit
from tests.tasks.classify.reading.sets import pictures, read, write_folders, write_picture

pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.fixture
def split(tmp_path: Path) -> ClassSplit:
    write_folders(tmp_path, train={"a": 1, "b": 1})
    pixels = pictures(1)[0, :20]
    Image.fromarray(pixels).save(tmp_path / "train" / "a" / "1.png")
    return read(tmp_path, "train")[0]


def test_pictures_are_decoded_at_their_own_size(split: ClassSplit) -> None:
    assert split.sizes_hw.tolist() == [[9, 12], [20, 32], [9, 12]]
    assert np.array_equal(split.picture(1), pictures(1)[0, :20])
    assert split.picture(0).shape == (9, 12, 3) and (split.picture(0) == (90, 120, 60)).all()
    write_picture(Path(split.image_paths[0]), 13, 9)
    with pytest.raises(ValueError, match=r"0\.png: image is 9x13, but was 9x12"):
        split.picture(0)


def test_pictures_are_upright_and_of_the_values_that_are_meant(tmp_path: Path) -> None:
    write_folders(tmp_path, train={"a": 1, "b": 0})
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (8, 4), (255, 0, 0)).save(tmp_path / "train" / "b" / "0.jpg", exif=exif)
    Image.fromarray(np.full((4, 4), 1023, np.uint16)).save(tmp_path / "train" / "b" / "1.png")
    split = read(tmp_path, "train")[0]
    assert split.sizes_hw.tolist() == [[9, 12], [8, 4], [4, 4]] and split.picture(1).shape == (8, 4, 3)
    seen: list[tuple[int, int]] = []
    bright = split.picture(2, values=ValueRange.of_bits(10), seen=lambda low, high: seen.append((low, high)))
    assert (bright == 255).all() and (split.picture(2) == 3).all() and seen == [(1023, 1023)]


def test_rows(split: ClassSplit) -> None:
    for chosen in (np.array([2, 1]), np.array([False, True, True])):
        rows = split.rows(chosen)
        order = [2, 1] if chosen.dtype != bool else [1, 2]
        assert list(rows.image_paths) == [split.image_paths[row] for row in order]
        assert rows.classes.tolist() == split.classes[order].tolist() and rows.names == split.names
        assert np.array_equal(rows.sizes_hw, split.sizes_hw[order]) and len(rows) == 2


def test_rows_of_pixels() -> None:
    pixels = pictures(3)
    split = ClassSplit(["f:0", "f:1", "f:2"], np.full((3, 2), 32), np.array([0, 1, 0]), ("a", "b"), pixels)
    assert np.array_equal(split.rows(np.array([2])).picture(0), pixels[2])


def test_content_is_equal_where_labels_are(split: ClassSplit) -> None:
    same = ClassSplit(["x", "y", "z"], split.sizes_hw.copy(), split.classes.copy(), ("c", "d"))
    assert same.content() == split.content() and split.content()["images"] == 3
    other = ClassSplit(["x", "y", "z"], split.sizes_hw, 1 - split.classes, ("c", "d"))
    assert other.content() != split.content() != split.rows(np.array([0, 1])).content()
