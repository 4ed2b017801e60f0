"""The embedded digits: the same everywhere, true to their labels, and made once."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from mgil.datasets.reading import digits
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.digits import (
    DIGIT_SIDE,
    DIGITS,
    INK_THRESHOLD,
    NAMES,
    SCENES,
    SIZE,
)
from mgil.datasets.reading.generated import STAMP_NAME, Draws, resize_bilinear
from mgil.datasets.reading.load import load_samples

# sha256 over the pixels and boxes of the first 40 scenes of each split: another value means another data set, which
# needs a new STAMP, too.
PINNED = "b47930d9a49a877a30f4262f437a2becb7eeb1669696363af58f5f0603d36a84"


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[tuple[np.ndarray, list[list[int]]]]]:
    glyphs, classes = digits.load_glyphs()
    made = {}
    for split in SCENES:
        chosen = digits.split_glyphs(split, len(glyphs))
        inks, kinds = [glyphs[index] for index in chosen], [classes[index] for index in chosen]
        made[split] = [digits.compose_scene(inks, kinds, split, index) for index in range(40)]
    return made


@pytest.fixture
def few_scenes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(digits, "SCENES", {"train": 8, "val": 4})
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "cache"))
    yield


def test_the_pixels_and_labels_are_the_same_everywhere(
    scenes: dict[str, list[tuple[np.ndarray, list[list[int]]]]],
) -> None:
    digest = hashlib.sha256()
    for split in ("train", "val"):
        for pixels, boxes in scenes[split]:
            digest.update(pixels.tobytes())
            digest.update(str(boxes).encode())
    assert digest.hexdigest() == PINNED


def test_scenes_hold_what_is_promised(scenes: dict[str, list[tuple[np.ndarray, list[list[int]]]]]) -> None:
    for split in scenes:
        for pixels, boxes in scenes[split]:
            assert pixels.shape == (SIZE, SIZE, 3) and pixels.dtype == np.uint8
            assert 2 <= len(boxes) <= 8
            for _, x1, y1, x2, y2 in boxes:
                assert 0 <= x1 < x2 <= SIZE and 0 <= y1 < y2 <= SIZE
                assert DIGIT_SIDE[0] <= max(x2 - x1, y2 - y1) <= DIGIT_SIDE[1]
                assert min(x2 - x1, y2 - y1) >= 3
            for index, first in enumerate(boxes):
                for second in boxes[:index]:
                    assert intersection_over_union(first[1:], second[1:]) <= 0.125
    every_class = {box[0] for split in scenes for _, boxes in scenes[split] for box in boxes}
    assert every_class == set(range(10))


def intersection_over_union(first: list[int], second: list[int]) -> float:
    width = max(0, min(first[2], second[2]) - max(first[0], second[0]))
    height = max(0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


def test_boxes_are_tight_around_the_visible_ink() -> None:
    glyphs, _ = digits.load_glyphs()
    draws = Draws(1)
    for index in range(0, len(glyphs), 7):
        ink, (x1, y1, x2, y2) = digits._draw_glyph(glyphs[index], draws)
        visible = ink >= INK_THRESHOLD
        inside = visible[y1:y2, x1:x2]
        assert inside.sum() == visible.sum()
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_train_and_val_use_different_real_digits() -> None:
    bunch = load_digits()
    count = len(bunch.images)
    train, val = (set(digits.split_glyphs(split, count)) for split in ("train", "val"))
    assert not train & val and len(train | val) == count == 1797
    images = [bunch.images[index].tobytes() for index in range(count)]
    assert not {images[index] for index in train} & {images[index] for index in val}
    assert {int(bunch.target[index]) for index in val} == set(range(10))
    glyphs, classes = digits.load_glyphs()
    assert classes == bunch.target.tolist()
    for glyph, image in zip(glyphs, bunch.images, strict=True):
        assert glyph.max() == image.max() and glyph[0].max() == glyph[:, 0].max() == 0


def test_draws_are_pcg64_and_even() -> None:
    reference = np.random.PCG64(np.random.SeedSequence((5, 6))).random_raw(4)
    draws = Draws(5, 6)
    numbers = [draws.below(1000), *draws.array(1000, (3,)).tolist()]
    assert numbers == [int(value) * 1000 >> 64 for value in reference]
    many = Draws(1).array(7, (70_000,))
    assert np.abs(np.bincount(many, minlength=7) - 10_000).max() < 400
    assert {Draws(2, index).between(3, 5) for index in range(40)} == {3, 4, 5}


@pytest.mark.parametrize(("height", "width"), [(3, 17), (8, 8), (20, 5), (64, 64)])
def test_resize_equals_floating_point_bilinear(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(-300, 5000, (8, 6))
    expected = image.astype(float)
    for axis, target in ((0, height), (1, width)):
        source = image.shape[axis]
        position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        lines = np.moveaxis(expected, axis, 1)
        lines = np.array([np.interp(position, np.arange(source), line) for line in lines])
        expected = np.moveaxis(lines, 1, axis)
    resized = resize_bilinear(image, height, width)
    assert resized.dtype == np.int64
    assert np.all((resized <= expected + 1e-6) & (resized > expected - 1 - 1e-6))


def test_the_folder_holds_images_labels_and_json_that_agree(few_scenes: None, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    DIGITS.make(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]  # no temporary folder is left
    assert stat.S_IMODE(folder.stat().st_mode) & 0o055 == 0o055
    text = "path: digits\ntrain: images/train\nval: {val}\nnames: ['0','1','2','3','4','5','6','7','8','9']\n"
    loaded = []
    for index, val in enumerate(("images/val", "annotations/instances_val.json")):
        yaml_path = tmp_path / f"{index}.yaml"
        yaml_path.write_text(text.format(val=val))
        config = load_data_config(yaml_path)
        assert config.category_ids == tuple(range(1, 11))
        loaded.append(load_samples(config, "val", strict=True, report=lambda line: None))
    labels, coco = loaded
    assert labels.image_paths == coco.image_paths and len(labels) == 4
    np.testing.assert_array_equal(labels.boxes_cxcywh, coco.boxes_cxcywh)
    np.testing.assert_array_equal(labels.classes, coco.classes)
    np.testing.assert_array_equal(labels.areas, coco.areas)
    np.testing.assert_array_equal(labels.image_ids, coco.image_ids)
    content = json.loads((folder / "annotations" / "instances_train.json").read_text())
    assert [entry["name"] for entry in content["categories"]] == list("0123456789")
    assert len(content["images"]) == 8
    with Image.open(folder / "images" / "val" / "000001.png") as image:
        assert image.mode == "RGB" and image.size == (SIZE, SIZE)


@pytest.mark.parametrize("val", ["images/val", "annotations/instances_val.json"])
@pytest.mark.parametrize("names", [f"names: [{', '.join(map(repr, NAMES))}]\n", ""])
def test_reading_the_yaml_writes_nothing_and_reading_a_split_makes_the_set(
    few_scenes: None, tmp_path: Path, scenes: dict[str, list[tuple[np.ndarray, list[list[int]]]]], val: str, names: str
) -> None:
    path = tmp_path / "yaml" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(f"path: ../sets/digits\ngenerate: digits\ntrain: images/train\nval: {val}\n{names}")
    config = load_data_config(path)
    assert list(tmp_path.rglob("*")) == [path.parent, path]
    assert (config.generate, config.root) == ("digits", tmp_path / "sets" / "digits")
    assert (config.names, config.category_ids) == (tuple("0123456789"), tuple(range(1, 11)))
    for split in ("val", "train"):
        samples = load_samples(config, split, strict=True, report=lambda line: None)
        expected = [boxes for _, boxes in scenes[split][: digits.SCENES[split]]]
        assert [len(boxes) for boxes in expected] == np.diff(samples.offsets).tolist()
        rows = np.array([box for boxes in expected for box in boxes])
        np.testing.assert_array_equal(samples.classes, rows[:, 0])
        corners = np.concatenate([samples.boxes_cxcywh[:, :2] - samples.boxes_cxcywh[:, 2:] / 2] * 2, axis=1)
        corners[:, 2:] += samples.boxes_cxcywh[:, 2:]
        np.testing.assert_allclose(corners * SIZE, rows[:, 1:], atol=1e-4)
    assert load_data_config(path) == config  # of the set that is made now


def test_it_is_made_once_and_again_for_a_new_version(few_scenes: None, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    DIGITS.make(folder)
    first = folder / "images" / "train" / "000001.png"
    made = first.stat().st_mtime_ns
    assert DIGITS.folder(folder) == folder
    DIGITS.make(folder)
    assert first.stat().st_mtime_ns == made
    (folder / STAMP_NAME).write_text("digits scenes, version 0\n")
    assert DIGITS.folder(folder) == folder
    DIGITS.make(folder)
    assert first.stat().st_mtime_ns != made
    assert (folder / STAMP_NAME).read_text() == DIGITS.stamp


def test_files_of_others_are_never_replaced(few_scenes: None, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "thesis.tex").write_text("mine")
    for action in (DIGITS.folder, DIGITS.make):
        with pytest.raises(ValueError, match="digits holds files that this program did not make"):
            action(tmp_path / "digits")
    assert (tmp_path / "digits" / "thesis.tex").read_text() == "mine"


def test_where_the_checkout_cannot_be_written_the_cache_folder_is_used(few_scenes: None, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    folder = DIGITS.folder(blocked / "digits")
    assert folder == tmp_path / "cache" / "digits"
    assert os.listdir(tmp_path) == ["file"]
    DIGITS.make(folder)
    assert DIGITS.folder(blocked / "digits") == folder
    assert DIGITS.folder(tmp_path / "digits") == folder  # one is enough


def test_where_nothing_can_be_written_the_error_says_what_to_do(
    few_scenes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("MGIL_CACHE", str(blocked / "cache"))
    with pytest.raises(PermissionError, match="set MGIL_CACHE to a folder"):
        DIGITS.folder(blocked / "digits")


def test_a_folder_that_can_no_longer_be_written_is_named(few_scenes: None, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(OSError, match="copy its YAML to a folder that can be written.*file/digits"):
        DIGITS.make(blocked / "digits")


def test_two_at_the_same_time_get_one_complete_set(few_scenes: None, tmp_path: Path) -> None:
    results: list[None] = []
    threads = [threading.Thread(target=lambda: results.append(DIGITS.make(tmp_path / "digits"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [None] * 4  # none of them failed
    assert os.listdir(tmp_path) == ["digits"]
    assert len(list((tmp_path / "digits" / "images" / "train").iterdir())) == 8


def test_a_failure_half_way_leaves_nothing(few_scenes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(boxes: list[list[int]]) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(digits, "_yolo_text", fail)
    with pytest.raises(OSError, match="No space left"):
        DIGITS.make(tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []
