"""A data set as a smaller camera would have taken it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.shrink import shrink
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from tests.engine.tiny import NAMES, make_data, random_squares, write_yaml


def test_pictures_shrink_and_labels_stay(tmp_path: Path) -> None:
    """Half the side is the mean of 2 x 2 pixels; boxes are fractions."""
    source = make_data(tmp_path / "data", random_squares(3), random_squares(2, seed=1))
    found = load_data_config(shrink(source, 16, tmp_path / "small"))
    assert found.names == NAMES
    for split in ("train", "val"):
        before, after = (load_samples(data, split, report=print) for data in (load_data_config(source), found))
        assert np.array_equal(before.boxes_cxcywh, after.boxes_cxcywh)
        for old, new in zip(before.image_paths, after.image_paths, strict=True):
            pixels = cv2.imread(str(old)).astype(float).reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
            assert np.abs(pixels - cv2.imread(str(new))).max() <= 0.5


def test_small_pictures_stay_and_nothing_is_overwritten(tmp_path: Path) -> None:
    source = make_data(tmp_path / "data", random_squares(1), random_squares(1))
    shrink(source, 64, tmp_path / "same")
    assert np.array_equal(*(cv2.imread(str(path)) for path in sorted(tmp_path.rglob("train/001.png"))))
    with pytest.raises(FileExistsError):
        shrink(source, 64, tmp_path / "same")
    pixels = write_yaml(tmp_path / "data" / "pixels.yaml", {"train": "images/train", "val": "a.json", "names": ["a"]})
    with pytest.raises(ValueError, match=r"a\.json: a COCO json, whose boxes are in pixels"):
        shrink(Path(pixels), 64, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_side_of_no_pixels_is_refused(tmp_path: Path) -> None:
    source = make_data(tmp_path / "data", random_squares(1), random_squares(1))
    with pytest.raises(ValueError, match="--side 0: must be 1 or more pixels"):
        shrink(source, 0, tmp_path / "none")
    assert not (tmp_path / "none").exists()
