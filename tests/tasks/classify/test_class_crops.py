"""Crops of pictures, held against slices, torchvision's draws and resizes written out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mgil.tasks.classify.crops import cut_regions, eval_crop, moved, padded_maps, random_boxes
from mgil.tasks.classify.recipe import ClassRecipe
from mgil.tasks.classify.tiles import tile_sizes


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("how", ["center", "squash"])
def test_a_square_of_the_inputs_size_stays_as_it_is(how: str) -> None:
    image = noise(32, 32)
    assert np.array_equal(eval_crop(image, 32, how), image)


def test_the_largest_centred_square() -> None:
    image = noise(64, 101)
    assert np.array_equal(eval_crop(image, 64, "center"), image[:, 18:82])
    assert np.array_equal(eval_crop(image.transpose(1, 0, 2), 64, "center"), image.transpose(1, 0, 2)[18:82])
    halves = image[:, 18:82].reshape(32, 2, 32, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(eval_crop(image, 32, "center") - halves).max() <= 0.5


def test_squash_averages_where_it_shrinks_and_interpolates_where_it_grows() -> None:
    image = noise(16, 128)
    columns = image.reshape(16, 32, 4, 3).astype(float).mean(axis=2).round().astype(np.uint8)
    expected = cv2.resize(columns, (32, 32), interpolation=cv2.INTER_LINEAR)
    assert np.abs(eval_crop(image, 32, "squash").astype(int) - expected).max() <= 1


@pytest.mark.parametrize("how", ["center", "squash"])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_odd_pictures(size_hw: tuple[int, int], how: str) -> None:
    crop = eval_crop(np.full((*size_hw, 3), 77, np.uint8), 32, how)
    assert crop.shape == (32, 32, 3) and (crop == 77).all()


def test_unknown_crop() -> None:
    with pytest.raises(ValueError, match="'middle'.*center, squash"):
        eval_crop(noise(4, 4), 4, "middle")


@pytest.mark.parametrize(("size_hw", "least"), [((300, 400), 0.08), ((300, 300), 0.35), ((100, 400), 0.5)])
def test_random_crops_are_distributed_as_torchvisions(size_hw: tuple[int, int], least: float) -> None:
    recipe, count = ClassRecipe(scale_min=least), 4000
    boxes = random_boxes(np.random.default_rng(0), np.tile(size_hw, (count, 1)), recipe, 1000)  # nothing is halved
    expected = reference_boxes(size_hw, least, count)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= size_hw[::-1]).all()
    for found, wanted in zip(moments(boxes, size_hw), moments(expected, size_hw), strict=True):
        error = 4 * np.sqrt((found.var() + wanted.var()) / count) + 1e-9
        assert abs(found.mean() - wanted.mean()) <= error
        assert found.std() == pytest.approx(wanted.std(), rel=0.1, abs=1e-9)


def reference_boxes(size_hw: tuple[int, int], least: float, count: int) -> np.ndarray:
    """(count, 4) left, top, width, height as torchvision's RandomResizedCrop.get_params draws them, written out."""
    rng, (height, width) = np.random.default_rng(1), size_hw
    found = []
    for _ in range(count):
        for _ in range(10):
            area = height * width * rng.uniform(least, 1)
            ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
            w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                found.append((rng.integers(0, width - w + 1), rng.integers(0, height - h + 1), w, h))
                break
        else:
            w, h = width, height
            if width / height < 3 / 4:
                h = round(w / (3 / 4))
            elif width / height > 4 / 3:
                w = round(h * 4 / 3)
            found.append(((width - w) // 2, (height - h) // 2, w, h))
    return np.array(found)


def moments(boxes: np.ndarray, size_hw: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Share of the area, log of the shape, and the middle's place, (n,) each."""
    left, top, width, height = boxes.T.astype(float)
    area = width * height / np.prod(size_hw)
    return area, np.log(width / height), (left + width / 2) / size_hw[1], (top + height / 2) / size_hw[0]


def test_sides_of_crops_halve_without_a_rest() -> None:
    boxes = random_boxes(np.random.default_rng(0), np.tile((500, 375), (500, 1)), ClassRecipe(scale_min=0.08), 96)
    sides = boxes[:, 2:]
    steps = 2 ** np.ceil(np.log2(0.6 * np.sqrt(sides.prod(axis=1)) / 96) - 1e-9).clip(0)
    assert (sides % steps[:, None] == 0).all() and set(steps.tolist()) == {1, 2, 4}


def test_pads_shift_by_whole_pixels_evenly() -> None:
    maps = padded_maps(np.random.default_rng(0), np.tile((64, 64), (4000, 1)), 4, 64)
    assert np.array_equal(maps[:, :2, :2], np.tile(np.eye(2), (4000, 1, 1)))
    shifts, counts = np.unique(maps[:, 0, 2], return_counts=True)
    assert shifts.tolist() == list(range(-4, 5)) and counts.min() > 350  # 444 each
    wide = padded_maps(np.random.default_rng(0), np.tile((32, 48), (500, 1)), 0, 64)
    assert (wide[:, [0, 1], [0, 1]] == 2).all() and not wide[:, 1, 2].any()
    assert set(wide[:, 0, 2].tolist()) == set(range(-32, 1))  # of 96 px, 64 are seen


def test_moves_keep_the_middle_and_turn_as_much_as_they_may() -> None:
    maps = moved(np.random.default_rng(0), np.tile(np.eye(3), (1000, 1, 1)), ClassRecipe(degrees=20, flipud=0.5), 48)
    assert np.allclose(maps @ [24, 24, 1], [24, 24, 1])
    determinants = np.linalg.det(maps[:, :2, :2])
    assert np.allclose(np.abs(determinants), 1) and 0.4 < (determinants < 0).mean() < 0.6
    angles = np.rad2deg(np.arccos(np.clip(np.abs(maps[:, 0, 0]), 0, 1)))
    assert 19 < angles.max() <= 20 + 1e-6 and angles.mean() == pytest.approx(10, abs=0.7)
    still = moved(np.random.default_rng(0), np.tile(np.eye(3), (9, 1, 1)), ClassRecipe(fliplr=0), 48)
    assert np.array_equal(still, np.tile(np.eye(3), (9, 1, 1)))


def test_cut_regions_have_the_areas_of_the_beta_distribution() -> None:
    regions = cut_regions(np.random.default_rng(0), 1.0, 4000, 64)
    sides = regions[:, 2:] - regions[:, :2]
    assert regions.min() == 0 and regions.max() == 64 and (sides >= 0).all()
    inside = ((regions > 0) & (regions < 64)).all(axis=1)
    assert (sides[inside, 0] == sides[inside, 1]).all()
    assert inside.mean() == pytest.approx(1 / 6, abs=0.03)  # the mean of (1 - sqrt(area))**2 over even areas
    narrow = cut_regions(np.random.default_rng(0), 1000.0, 500, 64)  # almost half of the area: a side of 45 px
    assert np.abs((narrow[:, 2:] - narrow[:, :2]).max(axis=0) - 45).max() <= 2


@pytest.mark.parametrize(
    ("size_hw", "size", "values", "how", "side"),
    [
        ((64, 64), 64, {}, "center", 64),  # as it is
        ((28, 28), 64, {}, "center", 28),  # and not enlarged: the crop does that
        ((375, 500), 224, {"scale_min": 0.08}, "center", 500),  # ImageNet
        ((1200, 1600), 224, {"scale_min": 0.08}, "center", 504),  # no more than 2.25 sides
        ((300, 300), 64, {"scale_min": 0.25}, "center", 128),  # the smallest crop has the input's pixels
        ((300, 600), 64, {"scale_min": 0.9}, "center", 128),  # and the shorter side those of evaluation
        ((144, 144), 64, {"scale_min": 0.25}, "center", 144),  # small pictures stay whole
        ((300, 400), 60, {"scale_min": 1}, "center", 60),  # the square that evaluation shows
        ((300, 400), 60, {"scale_min": 1, "pad": 4}, "center", 80),  # the shorter side is the input's
        ((32, 32), 32, {"scale_min": 1, "pad": 4}, "center", 32),
        ((100, 1000), 32, {}, "center", 72),  # the middle of long pictures
        ((40, 100), 32, {"scale_min": 1, "pad": 4}, "center", 72),
        ((1, 500), 64, {}, "center", 2),
        ((300, 400), 60, {"scale_min": 1}, "squash", 60),
        ((20, 30), 60, {"scale_min": 1}, "squash", 60),
        ((20, 20), 60, {"scale_min": 1}, "squash", 20),
        ((100, 1000), 32, {"scale_min": 0.25}, "squash", 64),
    ],
)
def test_tiles_have_the_pixels_that_crops_need(
    size_hw: tuple[int, int], size: int, values: dict[str, float], how: str, side: int
) -> None:
    ((height, width),) = tile_sizes(np.array([size_hw]), ClassRecipe(**values), size, how).tolist()
    assert max(height, width) == side
    assert min(height, width) >= min(*size_hw, size) and (how == "center" or height == width)
