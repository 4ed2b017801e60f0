"""The embedded digits in a folder per class: the same everywhere, true to scikit-learn's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.generated import STAMP_NAME
from mgil.datasets.reading.glyphs import GLYPHS, SIDE, load_pictures, split_pictures

# sha256 over the pixels and classes of both splits: another value means another data set, which needs a new STAMP, too.
PINNED = "670b25e186d140847593c02ef7f4c94a52de73844b1fcbdcd312e1a9ccdcb7f9"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "digits-cls"
    GLYPHS.make(folder)
    return folder


def test_the_pictures_are_the_same_everywhere(folder: Path) -> None:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.png")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(np.asarray(Image.open(path)).tobytes())
    assert digest.hexdigest() == PINNED


def test_every_digit_is_in_one_split(folder: Path) -> None:
    bunch = load_digits()
    found = sorted(folder.rglob("*.png"))
    assert sorted(int(path.stem) for path in found) == list(range(1797))
    assert all(int(path.parent.name) == bunch.target[int(path.stem)] for path in found)
    assert sorted(path.name for path in folder.iterdir()) == sorted([STAMP_NAME, "train", "val"])
    for digit in range(10):
        counts = {split: len(list((folder / split / str(digit)).iterdir())) for split in ("train", "val")}
        assert sum(counts.values()) == (bunch.target == digit).sum()
        assert counts["val"] == round(sum(counts.values()) / 5)


def test_digits_are_enlarged_without_losing_any() -> None:
    """The mean of four by four pixels is near a cell's own ink, and a bilinear enlargement goes nowhere beyond it."""
    pictures, classes = load_pictures()
    bunch = load_digits()
    assert pictures.shape == (1797, SIDE, SIDE) and pictures.dtype == np.uint8 and classes == bunch.target.tolist()
    ink = bunch.images * 255 / 16
    assert (pictures.reshape(1797, -1).max(1) <= np.ceil(ink.reshape(1797, -1).max(1))).all()
    # scipy's linear interpolation at the pixels' middles, cut off at the outermost cells' middles
    position = np.clip((np.arange(SIDE) + 0.5) / 4 - 0.5, 0, 7)
    for index in (0, 1000, 1796):
        rows = np.array([np.interp(position, np.arange(8), line) for line in ink[index]])
        expected = np.array([np.interp(position, np.arange(8), line) for line in rows.T]).T
        assert np.abs(pictures[index] - (expected - 0.5)).max() <= 1.6


def test_the_split_is_drawn_at_random_and_fixed() -> None:
    classes = load_pictures()[1]
    first, second = split_pictures(classes), split_pictures(classes)
    assert first == second and len(first["val"]) == 359 and len(first["train"]) == 1438
    steps = np.diff(first["val"])
    assert steps.min() == 1 and steps.max() > 12  # no regular pick


def test_the_shipped_yaml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path))
    data = load_data_config("digits-cls")
    assert (data.generate, data.imgsz, data.hyp) == ("glyphs", 32, {"fliplr": 0.0, "scale_min": 0.6})
    assert data.names == tuple("0123456789")
