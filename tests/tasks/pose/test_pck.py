"""PCKh as MPII's evaluation, PCK by torso and by box: against plain loops and hand-made cases."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mgil.tasks.pose.oks import Poses
from mgil.tasks.pose.options import ValOptions
from mgil.tasks.pose.pck import THRESHOLDS, groups_of, pck_of, torso_sizes
from mgil.tasks.pose.people import People
from mgil.tasks.pose.plots import PCK_PICTURE, plot_pck
from mgil.tasks.pose.scores import summarise
from mgil.tasks.pose.skeleton import Skeleton

MPII = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax"),
    *("upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder"),
    *("left_shoulder", "left_elbow", "left_wrist"),
)


def make_people(key_points: np.ndarray, names: tuple[str, ...], sides: float = 100.0) -> People:
    count, joints = key_points.shape[:2]
    return People(
        image_paths=[f"{number}.png" for number in range(count)],
        sizes_hw=np.full((count, 2), 300),
        boxes=np.tile([0.0, 0.0, sides / 2, sides], (count, 1)),
        key_points=key_points,
        areas=np.full(count, 3000.0),
        scores=np.ones(count),
        found=np.zeros(count, bool),
        ignored=np.zeros(count, bool),
        image_ids=np.arange(count),
        image_count=count,
        skeleton=Skeleton(names, tuple(range(joints)), (0.1,) * joints, ()),
    )


def random_mpii(seed: int) -> tuple[People, np.ndarray, np.ndarray]:
    """People with MPII's joints, what was found, and (N, 4) boxes of heads."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate((rng.uniform(0, 100, (40, 16, 2)), rng.integers(0, 2, (40, 16, 1))), axis=2)
    found = labels[..., :2] + rng.normal(0, 8, (40, 16, 2))
    corners = rng.uniform(0, 50, (40, 2))
    heads = np.concatenate((corners, corners + rng.uniform(10, 30, (40, 2))), axis=1)
    units = 0.6 * np.sqrt(np.square(heads[:, 2:] - heads[:, :2]).sum(axis=1))
    return replace(make_people(labels, MPII), head_sizes=units), found, heads


def test_pckh_is_that_of_mpii() -> None:
    """Person by person and joint by joint, labels and predictions counted from 1 as in its files."""
    people, found, heads = random_mpii(0)
    right, seen = np.zeros(16), np.zeros(16)
    for labels, places, (left, top, end, bottom) in zip(people.key_points + [1, 1, 0], found + 1, heads, strict=True):
        head = 0.6 * math.hypot(end - left, bottom - top)
        for joint in range(16):
            if labels[joint, 2]:
                seen[joint] += 1
                distance = math.hypot(*(places[joint] - labels[joint, :2]))
                right[joint] += distance / head <= 0.5
    kept = [joint for joint in range(16) if joint not in (6, 7)]
    expected = right / seen
    pck = pck_of(people, np.arange(40), found)
    np.testing.assert_allclose(pck.by_key_point[kept], expected[kept], rtol=1e-12)
    assert np.isnan(pck.by_key_point[6:8]).all() and pck.counts[6:8].tolist() == [0, 0]
    assert pck.mean == pytest.approx(right[kept].sum() / seen[kept].sum(), rel=1e-12)
    assert 0.3 < pck.mean < 0.9 and abs(pck.mean - expected[kept].mean()) > 1e-4  # labels count alike, joints do not
    groups = dict(pck.groups)
    assert groups["shoulder"] == pytest.approx((expected[12] + expected[13]) / 2)
    assert groups["ankle"] == pytest.approx((expected[0] + expected[5]) / 2)
    assert groups["head_top"] == pytest.approx(expected[9]) and "pelvis" not in groups
    assert (pck.name, pck.unit) == ("PCKh@0.5", "the head")


def test_a_head_of_unknown_size_leaves_its_person_out() -> None:
    people, found, _ = random_mpii(1)
    sizes = people.head_sizes
    assert sizes is not None
    known = np.arange(40) >= 3
    pck = pck_of(replace(people, head_sizes=np.where(known, sizes, [np.nan, 0.0] * 20)), np.arange(40), found)
    others = pck_of(people, np.flatnonzero(known), found[known])
    np.testing.assert_array_equal(pck.by_key_point, others.by_key_point)
    assert pck.mean == others.mean


def test_the_edge_of_the_threshold_is_right() -> None:
    labels = np.array([[[0.0, 0.0, 2], [0, 0, 2], [0, 0, 0]]])
    people = make_people(labels, ("nose", "left_hand", "right_hand"))
    found = np.array([[[6.0, 8.0], [6.0, 8.0001], [500, 0]]])
    pck = pck_of(people, np.array([0]), found)
    np.testing.assert_array_equal(pck.by_key_point, [1, 0, np.nan])
    assert (pck.name, pck.mean, pck.threshold) == ("PCK@0.1", 0.5, 0.1)  # by the longer side, 100 px
    assert pck.groups == (("nose", 1.0), ("hand", 0.0))
    assert pck.curves[0, 9] == 0 and pck.curves[0, 10] == 1 and THRESHOLDS[10] == 0.1


def test_the_torso_is_from_shoulder_to_hip() -> None:
    """LSP: 0.2 of the distance between left shoulder and right hip, whose labels must be there."""
    labels = np.array([[[0.0, 0, 1], [30, 40, 1]], [[0, 0, 1], [30, 40, 0]], [[5, 5, 1], [5, 5, 1]]])
    people = replace(make_people(labels, ("left_shoulder", "right_hip")), torso=(0, 1))
    np.testing.assert_array_equal(torso_sizes(labels, (0, 1)), [50, np.nan, 0])
    found = labels[..., :2] + np.array([10.0, 0])
    pck = pck_of(people, np.arange(3), found)
    assert (pck.name, pck.mean, pck.counts.tolist()) == ("PCK@0.2", 1, [1, 1])
    assert pck_of(people, np.arange(3), found + 0.01).mean == 0


def test_without_labels_there_is_no_number() -> None:
    people = make_people(np.zeros((2, 3, 3)), ("nose", "left_hand", "right_hand"))
    for items in (np.arange(2), np.zeros(0, np.int64)):
        pck = pck_of(people, items, np.zeros((len(items), 3, 2)))
        assert math.isnan(pck.mean) and np.isnan(pck.by_key_point).all() and pck.groups == ()


def test_groups_are_named_without_sides() -> None:
    names = ("r_knee", "l_knee", "left-ear", "elbow_right", "Head", "leftover", "LHip", "RHip")
    values = np.array([0.0, 1.0, 0.5, 0.25, 0.75, 0.1, 0.0, 0.5])
    expected = (("knee", 0.5), ("ear", 0.5), ("elbow", 0.25), ("Head", 0.75), ("leftover", 0.1), ("hip", 0.25))
    assert groups_of(names, values) == expected


def test_the_report_says_what_it_could_not_measure(tmp_path: Path) -> None:
    people = replace(make_people(np.zeros((1, 3, 3)), ("a", "b", "c")), ignored=np.array([True]))
    found = Poses(np.array([0]), np.ones((1, 3, 3)), np.ones(1))
    scores = summarise(people, found, (), ValOptions())
    lines = scores.lines(64, verbose=False)
    assert lines[0] == "PCK@0.1 (distances by the box's longer side): no joint that it could be taken of"
    assert lines[-1].split() == ["ground-truth", "boxes", "1", "0", "nan", "nan", "nan", "nan", "nan", "nan"]
    scores.write(tmp_path, pictures=True)
    assert (tmp_path / PCK_PICTURE).stat().st_size > 1000


@pytest.mark.parametrize("count", [16, 30])
def test_the_plot_names_joints_where_there_is_room(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.concatenate((np.zeros((2, count, 2)), np.full((2, count, 1), 2.0)), axis=2)
    names = MPII if count == 16 else tuple(f"joint ${index}$" for index in range(count))
    figures = []
    monkeypatch.setattr("mgil.tasks.pose.plots.save_figure", lambda figure, path: figures.append(figure))
    plot_pck(pck_of(make_people(labels, names), np.arange(2), labels[..., :2]), names, tmp_path)
    texts = [text.get_text() for text in figures[0].axes[0].get_legend().get_texts()]
    assert len(texts) == (17 if count == 16 else 1) and texts[-1] == "all labels 1.000"
    assert len(figures[0].axes[0].get_lines()) == count + 2  # the mean and the threshold
