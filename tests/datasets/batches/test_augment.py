from __future__ import annotations

import cv2
import numpy as np

from mgil.datasets.batches.augment import AugmentConfig, colour_matrices, draw_colours, hue_matrices


def random_colours(seed: int = 0) -> np.ndarray:
    """(n, 3) RGB colours in 0..1 that gains do not push out of range, and that have a clear hue."""
    colours = np.random.default_rng(seed).uniform(0.15, 0.85, (4000, 3))
    return colours[np.ptp(colours, axis=1) > 0.2]


def hsv_of(colours: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(colours[None].astype(np.float32), cv2.COLOR_RGB2HSV)[0]


def apply(colours: np.ndarray, hue: float, saturation: float, value: float) -> np.ndarray:
    matrix = colour_matrices(np.array([hue]), np.array([saturation]), np.array([value]))[0]
    return colours @ matrix.T


def test_unit_gains_change_nothing() -> None:
    np.testing.assert_allclose(
        colour_matrices(np.zeros(2), np.ones(2), np.ones(2)), np.tile(np.eye(3), (2, 1, 1)), atol=1e-12
    )


def test_value_gain_against_hsv() -> None:
    colours = random_colours()
    expected = hsv_of(colours) * [1, 1, 1.1]
    np.testing.assert_allclose(hsv_of(apply(colours, 0, 1, 1.1)), expected, rtol=1e-4, atol=1e-3)


def test_saturation_gain_against_hsv() -> None:
    colours = random_colours()
    before, after = hsv_of(colours), hsv_of(apply(colours, 0, 1.05, 1))
    np.testing.assert_allclose(after[:, 0], before[:, 0], atol=0.1)  # hue in degrees: exactly kept
    expected = cv2.cvtColor((before * [1, 1.05, 1])[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0]
    assert np.abs(apply(colours, 0, 1.05, 1) - expected).mean() < 4 / 255
    assert (after[:, 1] > before[:, 1]).all()
    assert (hsv_of(apply(colours, 0, 0, 1))[:, 1] < 1e-3).all()  # no saturation: grey


def test_hue_gain_turns_hues_by_half_a_circle_times_the_gain() -> None:
    colours = random_colours()
    for gain in (-0.015, 0.015, 0.05):
        turned = hsv_of(apply(colours, gain, 1, 1))[:, 0] - hsv_of(colours)[:, 0]
        turned = (turned + 180) % 360 - 180
        assert abs(turned.mean() - gain * 180) < 0.1 * abs(gain) * 180
        assert np.abs(turned - gain * 180).max() < 0.35 * abs(gain) * 180


def test_hue_rotation_keeps_grey_and_cycles_the_primaries() -> None:
    third = hue_matrices(np.array([2 * np.pi / 3]))[0]
    np.testing.assert_allclose(third @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(hue_matrices(np.array([0.3]))[0] @ [0.5, 0.5, 0.5], [0.5] * 3, atol=1e-12)


def test_drawn_colours_stay_within_the_gains() -> None:
    rng = np.random.default_rng(0)
    matrices = draw_colours(rng, AugmentConfig(hsv_h=0.0, hsv_s=0.0, hsv_v=0.4), 1000)
    assert matrices is not None
    gains = matrices[:, 0, 0]
    np.testing.assert_allclose(matrices, gains[:, None, None] * np.eye(3), atol=1e-12)
    assert 0.6 <= gains.min() < 0.62 and 1.38 < gains.max() <= 1.4


def test_no_gains_no_matrices() -> None:
    assert draw_colours(np.random.default_rng(0), AugmentConfig(hsv_h=0, hsv_s=0, hsv_v=0), 4) is None
    assert not AugmentConfig.none().changes_colour
