"""Degradations against closed forms and other libraries."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mgil.datasets.batches.degradation_steps import Step, steps_of
from mgil.datasets.batches.degrade import Degradation
from tests.datasets.scenes import smooth_image


def degraded(image: np.ndarray, *words: str) -> np.ndarray:
    before = image.copy()
    found = Degradation(tuple(steps_of(word)[0] for word in words))(image)
    assert found.shape == image.shape and found.dtype == np.uint8
    assert np.array_equal(image, before)
    return found


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return smooth_image(np.random.default_rng(3), 48, 96)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_area_is_means_brought_back_bilinearly(picture: np.ndarray, factor: int) -> None:
    means = F.avg_pool2d(torch.from_numpy(picture).permute(2, 0, 1)[None].float(), factor).round()
    expected = F.interpolate(means, scale_factor=factor, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    found = degraded(picture, f"area:{factor}").astype(float)
    assert np.abs(found - expected.numpy()).max() <= 1.5  # it rounds too


def test_blur_spreads_a_point_by_its_variance() -> None:
    image = np.zeros((41, 41, 3), np.uint8)
    image[18:23, 18:23] = 255  # wide enough that rounding to grey levels hides little
    grey = degraded(image, "blur:2")[..., 1].astype(float)
    places = np.arange(41) - 20
    mass = grey.sum(axis=0)
    assert mass.sum() == pytest.approx(255 * 25, rel=0.02)
    variance = (mass * places**2).sum() / mass.sum()
    assert variance == pytest.approx(2 + 2**2, rel=0.03)  # five pixels have a variance of 2


@pytest.mark.parametrize("exponent", [0.5, 2.0, 2.2])
def test_gamma_is_a_power(exponent: float) -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    found = degraded(image, f"gamma:{exponent}")
    expected = [round(255 * (value / 255) ** exponent) for value in range(256)]
    assert found[..., 0].ravel().tolist() == expected


def test_noise_has_its_deviation_and_is_the_picture_s_own() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    found = degraded(grey, "noise:8").astype(float) - 128
    assert found.mean() == pytest.approx(0, abs=0.1) and found.std() == pytest.approx(8, rel=0.02)
    assert abs(np.corrcoef(found[..., 0].ravel(), found[..., 1].ravel())[0, 1]) < 0.02  # channels by themselves
    assert np.array_equal(degraded(grey, "noise:8"), degraded(grey, "noise:8"))
    other = degraded(np.full_like(grey, 129), "noise:8").astype(float) - 129
    assert abs(np.corrcoef(found.ravel(), other.ravel())[0, 1]) < 0.02


def test_jpeg_is_what_pillow_makes_of_it(picture: np.ndarray) -> None:
    noisy = degraded(picture, "noise:20")
    losses = []
    for quality in (90, 50, 10):
        content = io.BytesIO()
        Image.fromarray(noisy).save(content, "JPEG", quality=quality, subsampling="4:2:0")
        expected = np.asarray(Image.open(content)).astype(float)
        found = degraded(noisy, f"jpeg:{quality}").astype(float)
        assert np.abs(found - expected).mean() < 0.5
        losses.append(np.abs(found - noisy).mean())
    assert losses == sorted(losses) and losses[0] < losses[-1] * 0.7


def test_steps_follow_their_order(picture: np.ndarray) -> None:
    smooth = degraded(picture, "noise:30", "blur:2").astype(float)
    rough = degraded(picture, "blur:2", "noise:30").astype(float)
    assert np.abs(np.diff(rough, axis=1)).mean() > 4 * np.abs(np.diff(smooth, axis=1)).mean()


@pytest.mark.parametrize("word", ["area:1", "blur:0", "gamma:1", "noise:0"])
def test_some_strengths_change_nothing(picture: np.ndarray, word: str) -> None:
    assert np.array_equal(degraded(picture, word), picture)


@pytest.mark.parametrize("word", ["area:64", "blur:50", "gamma:10", "noise:255", "jpeg:1"])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (7, 2)])
def test_tiny_pictures_bear_the_worst(word: str, size_hw: tuple[int, int]) -> None:
    image = np.full((*size_hw, 3), 77, np.uint8)
    found = degraded(image[:, ::-1], word)  # a view, as sources give
    if word.startswith(("area", "blur")):
        assert np.array_equal(found, image)


def test_a_picture_that_no_jpeg_holds() -> None:
    with pytest.raises(ValueError, match="OpenCV cannot make a JPEG of 1x70000 pixels"):
        degraded(np.zeros((1, 70000, 3), np.uint8), "jpeg:50")


def test_several_strengths() -> None:
    assert steps_of("area:2,4,8.5") == (Step("area", 2), Step("area", 4), Step("area", 8.5))
    assert list(map(str, steps_of("gamma:0.5,2.0"))) == ["gamma:0.5", "gamma:2"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("area", "'area' is no degradation; write e.g. area:4"),
        ("area:", "'area:' is no degradation"),
        ("area:2,,4", "is no degradation"),
        ("area:much", "is no degradation"),
        ("blurr:2", r"no degradation is called 'blurr'; did you mean 'blur'\?"),
        ("fog:1", "no degradation is called 'fog'; known are area, blur, gamma, noise, jpeg"),
        (":1", "no degradation is called ''"),
        ("area:0.5", "area takes a number from 1 to 64, not 0.5"),
        ("area:nan", "area takes a number from 1 to 64, not nan"),
        ("noise:inf", "noise takes a number from 0 to 255, not inf"),
        ("noise:-1", "noise takes a number from 0 to 255, not -1"),
        ("jpeg:0", "jpeg takes a whole number from 1 to 100, not 0"),
        ("jpeg:30.5", "jpeg takes a whole number from 1 to 100, not 30.5"),
        ("jpeg:30,30", "names a strength twice"),
        ("blur:1.0000001,1", "names a strength twice"),
    ],
)
def test_what_is_no_degradation(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        steps_of(word)
