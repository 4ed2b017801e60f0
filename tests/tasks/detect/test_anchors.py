"""AutoAnchor."""

from __future__ import annotations

import numpy as np
import pytest

from mgil.tasks.detect.anchors import fit_anchors, fit_levels, measure_fit


def test_fit_by_hand() -> None:
    sizes = np.array([[10.0, 10.0], [39.0, 10.0], [41.0, 10.0], [10.0, 100.0]])
    anchors = np.array([[10.0, 10.0], [20.0, 20.0]])
    fit = measure_fit(sizes, anchors, 4.0)
    assert fit.recall == 0.75  # 41x10 is within 4 of 20x20, 10x100 of none
    assert fit.per_box == (2 + 2 + 1 + 0) / 4
    assert measure_fit(np.zeros((0, 2)), anchors).recall == 1.0


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_fitted_anchors_find_the_clusters(scale: float) -> None:
    random = np.random.default_rng(0)
    centres = np.array([[30, 60], [100, 40], [300, 300]]) * scale
    sizes = np.concatenate([c * random.normal(1, 0.03, (200, 2)) for c in centres])
    found = fit_anchors(sizes, number=3, generations=200)
    expected = centres[np.argsort(centres.prod(1))]
    assert found == pytest.approx(expected, rel=0.05)


def test_fitting_helps_and_is_repeatable() -> None:
    random = np.random.default_rng(1)
    sizes = random.lognormal(1.5, 0.8, (3000, 2)) + 2  # a few pixels, as at 64 px
    official = np.array([10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326]).reshape(9, 2)
    found = fit_anchors(sizes, 9, generations=100, seed=3)
    assert measure_fit(sizes, found).recall > measure_fit(sizes, official.astype(float)).recall
    assert (np.diff(found.prod(1)) >= 0).all()
    assert (found == fit_anchors(sizes, 9, generations=100, seed=3)).all()


def test_odd_labels() -> None:
    same = np.full((50, 2), 12.0)
    assert fit_anchors(same, 9, generations=10).shape == (9, 2)
    dust = fit_anchors(np.full((50, 2), 0.1), 3, generations=10)
    assert (dust >= 2).all()  # never below two pixels


def test_levels_get_boxes_that_their_cells_suit() -> None:
    random = np.random.default_rng(2)
    small, medium = random.uniform(4, 14, (500, 2)), random.uniform(40, 60, (500, 2))
    own = np.arange(1, 19, dtype=float).reshape(3, 3, 2) * 10
    found = fit_levels(np.concatenate([small, medium]), own, [8, 16, 32], generations=50)
    assert found[0].max() < 16  # cells of 8 px: boxes below 32 px
    assert found[1].min() > 35 and found[1].max() < 65  # cells of 16 px: 32 to 64 px
    assert (found[2] == own[2]).all()  # no box of 64 px or more: kept
    assert (own == np.arange(1, 19).reshape(3, 3, 2) * 10).all()  # the input is left alone
    turned = fit_levels(np.concatenate([small, medium]), own[::-1], [32, 16, 8], generations=50)
    assert (turned == found[::-1]).all()
    assert (fit_levels(np.zeros((0, 2)), own, [8, 16, 32]) == own).all()
