from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mgil.datasets.batches.decode import decode_image
from mgil.datasets.batches.letterbox import (
    FILL,
    fitted_size_hw,
    frame_image,
    letterbox_image,
    longer_side_within,
    place_planar,
    rect_shape_hw,
)
from mgil.tasks.detect.batches import detect_eval_loader
from tests.datasets.scenes import make_samples, smooth_image, write_image, write_split


@pytest.mark.parametrize(
    ("size_hw", "size", "fitted"),
    [
        ((480, 640), 640, (480, 640)),
        ((480, 640), 320, (240, 320)),
        ((427, 640), 160, (107, 160)),  # 106.75, rounded up
        ((640, 427), 64, (64, 43)),
        ((1, 1), 32, (32, 32)),
        ((1, 5000), 32, (1, 32)),
    ],
)
def test_fitted_sizes(size_hw: tuple[int, int], size: int, fitted: tuple[int, int]) -> None:
    assert tuple(fitted_size_hw(size_hw, size)) == fitted


def test_the_longer_side_is_exact_for_every_size() -> None:
    sizes = np.random.default_rng(0).integers(1, 5000, (2000, 2))
    for size in (32, 100, 640):
        fitted = fitted_size_hw(sizes, size)
        assert (fitted.max(axis=1) == size).all() and (fitted >= 1).all()


@pytest.mark.parametrize("shape_hw", [(64, 64), (64, 160), (320, 32)])
def test_longer_side_is_the_largest_that_fits(shape_hw: tuple[int, int]) -> None:
    sizes = np.random.default_rng(0).integers(1, 3000, (2000, 2))
    sides = longer_side_within(sizes, shape_hw)
    for size_hw, side in zip(sizes, sides.tolist(), strict=True):
        assert (fitted_size_hw(size_hw, side) <= shape_hw).all()
        assert (fitted_size_hw(size_hw, side + 1) > shape_hw).any()


@pytest.mark.parametrize("shape_hw", [(64, 96), (96, 32)])
def test_batches_of_one_given_shape(shape_hw: tuple[int, int], tmp_path: Path) -> None:
    samples = write_split(tmp_path, 7)
    loader = detect_eval_loader(samples, 999, 3, shape_hw=shape_hw)
    batches = list(loader)
    assert [len(batch.images) for batch in batches] == [3, 3, 1]
    for batch in batches:
        assert batch.images.shape[2:] == shape_hw
        sizes_wh = samples.sizes_hw[batch.indices][:, ::-1]
        corner = sizes_wh * batch.gains + batch.pads  # where the last pixel ends
        assert (batch.pads >= 0).all() and (corner <= np.array(shape_hw[::-1]) + 1e-9).all()
        assert (np.abs(batch.gains[:, 0] / batch.gains[:, 1] - 1) < 0.1).all()  # not stretched


@pytest.mark.parametrize("auto", [False, True])
def test_letterbox_maps_a_bright_square(auto: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(40, 300, 2)
        image = np.zeros((height, width, 3), np.uint8)
        x, y = rng.integers(0, width - 20), rng.integers(0, height - 20)
        image[y : y + 20, x : x + 20] = 255
        framed, gain, pad = letterbox_image(image, (160, 192), auto=auto)
        assert framed.shape[0] <= 160 and framed.shape[1] <= 192
        assert (framed.shape[0] % 32, framed.shape[1] % 32) == (0, 0)
        rows, columns = np.nonzero(framed[..., 0] > 127)  # halfway between black and white; the frame is darker
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        expected = np.array([x, y, x + 20, y + 20]) * np.tile(gain, 2) + np.tile(pad, 2)
        assert np.abs(seen - expected).max() <= 1


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (7, 1), (2, 3), (31, 32), (32, 32)])
@pytest.mark.parametrize("margin_hw", [(0, 0), (1, 0), (0, 1), (3, 4)])
def test_planar_placing_equals_framing(size_hw: tuple[int, int], margin_hw: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    shape_hw = (size_hw[0] + margin_hw[0], size_hw[1] + margin_hw[1])
    batch = np.full((3, 3, *shape_hw), FILL, np.uint8)
    pad = place_planar(image, batch[1])
    framed, expected_pad = frame_image(image, shape_hw)
    np.testing.assert_array_equal(batch[1], framed.transpose(2, 0, 1))
    np.testing.assert_array_equal(pad, expected_pad)
    assert (batch[[0, 2]] == FILL).all()


def test_letterbox_of_an_image_that_fits_copies_it() -> None:
    image = smooth_image(np.random.default_rng(0), 63, 64)
    framed, gain, pad = letterbox_image(image, (64, 64))
    np.testing.assert_array_equal(framed[:63], image)
    assert (framed[63] == FILL).all()
    assert gain.tolist() == [1, 1] and pad.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("sizes_hw", "size", "pad", "shape"),
    [
        ([(640, 640)], 640, 0.5, (672, 672)),  # YOLOv5: a square batch at 640 px is 672 px
        ([(480, 640), (320, 640)], 640, 0.5, (512, 672)),
        ([(480, 640), (960, 640)], 640, 0.5, (672, 672)),
        ([(200, 100), (300, 100)], 64, 0.0, (64, 32)),
        ([(10, 1000)], 64, 0.0, (32, 64)),
        ([(550, 1000)], 640, 0.0, (352, 640)),  # 550 / 1000 * 640 is 352.00000000000006 in floating point
        ([(65, 640)], 640, 0.0, (96, 640)),
    ],
)
def test_rectangles(sizes_hw: list[tuple[int, int]], size: int, pad: float, shape: tuple[int, int]) -> None:
    assert rect_shape_hw(fitted_size_hw(np.array(sizes_hw), size), 32, pad) == shape


@pytest.mark.parametrize("rect", [False, True])
@pytest.mark.parametrize(("workers", "ahead"), [(0, True), (3, True), (0, False), (3, False)])
def test_every_image_once_and_boxes_return_to_the_original(
    tmp_path: Path, rect: bool, workers: int, ahead: bool
) -> None:
    samples = write_split(tmp_path, 11)
    loader = detect_eval_loader(samples, 64, 4, rect=rect, workers=workers, ahead=ahead)
    batches = list(loader)
    assert len(loader) == len(batches)
    assert len(batches) == 3 or rect
    assert sorted(np.concatenate([batch.indices for batch in batches]).tolist()) == list(range(11))
    for batch in batches:
        assert batch.images.shape[2:] == (64, 64) or rect
        for row, index in enumerate(batch.indices):
            targets = batch.targets[batch.targets[:, 0] == row].numpy()
            original = (targets[:, 2:] - np.r_[batch.pads[row], 0, 0]) / np.tile(batch.gains[row], 2)
            height, width = samples.sizes_hw[index]
            labels = slice(samples.offsets[index], samples.offsets[index + 1])
            expected = samples.boxes_cxcywh[labels] * [width, height, width, height]
            np.testing.assert_allclose(original, expected, atol=1e-3)
            assert targets[:, 1].tolist() == samples.classes[labels].tolist()
            # The image lies where the pad says, and grey around it.
            left, top = batch.pads[row].astype(int)
            fitted_h, fitted_w = np.rint(batch.gains[row][::-1] * samples.sizes_hw[index]).astype(int)
            picture = batch.images[row].numpy().transpose(1, 2, 0).copy()
            inner = picture[top : top + fitted_h, left : left + fitted_w]
            if max(height, width) == 64:
                np.testing.assert_array_equal(inner, decode_image(samples.image_paths[index]))
            inner[:] = FILL
            assert (picture == FILL).all()


def test_what_is_seen_of_an_image_does_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    samples = write_split(tmp_path, 11)
    alone = {int(batch.indices[0]): batch.images[0] for batch in detect_eval_loader(samples, 64, 1)}
    for batch in detect_eval_loader(samples, 64, 4):
        assert len(batch.indices) <= 4
        for index, image in zip(batch.indices, batch.images, strict=True):
            assert torch.equal(image, alone[int(index)])


def test_an_image_of_the_right_size_is_not_resampled(tmp_path: Path) -> None:
    image = smooth_image(np.random.default_rng(0), 48, 64)
    samples = make_samples([write_image(tmp_path / "a.png", image)], [(48, 64)])
    (batch,) = detect_eval_loader(samples, 64, 8)
    assert batch.images.shape == (1, 3, 64, 64)  # ceil(0.75 * 2) and 2 strides
    assert batch.pads.tolist() == [[0, 8]] and batch.gains.tolist() == [[1, 1]]
    np.testing.assert_array_equal(batch.images[0, :, 8:56].numpy(), image.transpose(2, 0, 1))
    (batch,) = detect_eval_loader(samples, 64, 8, pad=0.5)  # YOLOv5's
    assert batch.images.shape == (1, 3, 64, 96)  # ceil(0.75 * 2 + 0.5) and ceil(2 + 0.5) strides
    assert batch.pads.tolist() == [[16, 8]] and batch.gains.tolist() == [[1, 1]]
    np.testing.assert_array_equal(batch.images[0, :, 8:56, 16:80].numpy(), image.transpose(2, 0, 1))


def test_crowds_are_left_out_and_empty_splits_give_nothing(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", smooth_image(np.random.default_rng(0), 64, 64))
    boxes = [[[0, 0.5, 0.5, 0.2, 0.2], [1, 0.5, 0.5, 1.0, 1.0]]]
    (batch,) = detect_eval_loader(make_samples([path], [(64, 64)], boxes, [False, True]), 64, 8)
    assert batch.targets[:, 1].tolist() == [0]
    assert list(detect_eval_loader(make_samples([], []), 64, 8)) == []


def test_images_are_kept_when_they_fit(tmp_path: Path) -> None:
    samples = write_split(tmp_path, 5)
    loader = detect_eval_loader(samples, 32, 2, memory_budget=1 << 20)
    first = [batch.images for batch in loader]
    for path in samples.image_paths:
        Path(path).unlink()
    for before, batch in zip(first, loader, strict=True):
        assert (before == batch.images).all()
    with pytest.raises(ValueError, match="png: image not found"):
        list(detect_eval_loader(samples, 32, 2, memory_budget=100))
