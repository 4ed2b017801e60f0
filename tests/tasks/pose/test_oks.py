"""OKS AP against pycocotools and hand-made cases; suppression and scores of people against written-out formulas."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest

from mgil.tasks.pose.oks import Poses, as_coco, evaluated, indexed, labels_of, oks_averages, size_bins
from mgil.tasks.pose.oks_nms import oks_nms, person_scores, similarities
from mgil.tasks.pose.people import People
from mgil.tasks.pose.skeleton import COCO_NAMES, Skeleton

COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
    *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)

PERFECT = pytest.approx(1, abs=1e-12)  # COCOeval divides by a little more than the number of results


def make_skeleton(count: int, sigmas: tuple[float, ...] | None = None) -> Skeleton:
    names = COCO_NAMES if count == 17 else tuple(f"joint{index}" for index in range(count))
    own = sigmas or (COCO_SIGMAS if count == 17 else tuple(np.linspace(0.02, 0.1, count).tolist()))
    return Skeleton(names, tuple(range(count)), own, ())


def make_people(
    key_points: Any, image_ids: Any = None, skeleton: Skeleton | None = None, boxes: Any = None, **changes: Any
) -> People:
    """Labelled people from (N, K, 3); boxes lie around all their key points."""
    points = np.asarray(key_points, np.float64)
    count, joints = points.shape[:2]
    if boxes is None:
        low, high = points[..., :2].min(axis=1), points[..., :2].max(axis=1)
        boxes = np.concatenate((low, high - low + 1), axis=1)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    ids = np.asarray(np.arange(count) if image_ids is None else image_ids, np.int64)
    people = People(
        image_paths=[f"{number}.png" for number in ids],
        sizes_hw=np.full((count, 2), 300),
        boxes=boxes,
        key_points=points,
        areas=boxes[:, 2:].prod(axis=1) * 0.6,
        scores=np.ones(count),
        found=np.zeros(count, bool),
        ignored=~(points[..., 2] > 0).any(axis=1),
        image_ids=ids,
        image_count=len(set(ids.tolist())),
        skeleton=skeleton or make_skeleton(joints),
    )
    return replace(people, **changes)


def joined(first: People, second: People) -> People:
    """Both, with the skeleton of the first."""
    names = ("sizes_hw", "boxes", "key_points", "areas", "scores", "found", "ignored", "image_ids")
    both = {name: np.concatenate((getattr(first, name), getattr(second, name))) for name in names}
    crowds = [np.zeros(len(part), bool) if part.crowds is None else part.crowds for part in (first, second)]
    paths = [*first.image_paths, *second.image_paths]
    return replace(first, image_paths=paths, crowds=np.concatenate(crowds), **both)


def random_case(seed: int, joints: int, images: int = 12) -> tuple[People, Poses]:
    """Labels with crowds and people without key points; boxes of a detector, up to 40 a picture, and their poses."""
    rng = np.random.default_rng(seed)
    labels, ids, found, found_ids, poses = [], [], [], [], []
    for image in rng.permutation(images) * 3 + 5:
        for _ in range(rng.integers(0, 5)):
            side = rng.uniform(5, 250, 2)
            corner = rng.uniform(0, 200, 2)
            points = np.column_stack((corner + rng.random((joints, 2)) * side, rng.integers(0, 3, joints)))
            points *= rng.random() > 0.15
            labels.append(points)
            ids.append(image)
            for _ in range(rng.integers(0, 16)):
                pose = points + rng.normal(0, rng.uniform(0.5, 15), (joints, 3))
                poses.append(pose)
                found_ids.append(image)
                found.append([*np.clip(corner + rng.normal(0, 5, 2), 0, 299), *(side * rng.uniform(0.7, 1.4))])
    truth = make_people(labels, ids)
    crowds = (rng.random(len(truth)) < 0.15) | (np.arange(len(truth)) == 1)
    truth = replace(truth, crowds=crowds, ignored=truth.ignored | crowds)
    empty = np.zeros((len(found), joints, 3))
    detected = make_people(empty, found_ids, boxes=found, found=np.ones(len(found), bool))
    people = joined(truth, replace(detected, ignored=np.zeros(len(found), bool)))
    scores = rng.random(len(poses)).round(1)  # with ties
    return people, Poses(len(truth) + np.arange(len(poses)), np.array(poses), scores)


def of_pycocotools(people: People, poses: Poses) -> list[float]:
    """Its ten numbers by its own way: results through loadRes, summarize with its own ranges."""
    from pycocotools.cocoeval import COCOeval

    rows = zip(people.image_ids[poses.items].tolist(), poses.flat().tolist(), poses.scores.tolist(), strict=True)
    names = ("image_id", "keypoints", "score")
    entries = [{"category_id": 1, **dict(zip(names, row, strict=True))} for row in rows]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = indexed(as_coco(people, labels_of(people)))
        evaluator = COCOeval(truth, truth.loadRes(entries), "keypoints")
        evaluator.params.kpt_oks_sigmas = np.array(people.skeleton.sigmas)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats.tolist()


@pytest.mark.parametrize(("seed", "joints"), [(0, 17), (1, 14), (2, 16), (3, 17), (4, 14), (5, 16)])
def test_ten_numbers_are_those_of_pycocotools_to_the_last_bit(seed: int, joints: int) -> None:
    people, poses = random_case(seed, joints)
    assert people.ignored.any() and people.crowds is not None and people.crowds.any()
    assert np.bincount(people.image_ids[poses.items]).max() > 20  # more than count
    expected = of_pycocotools(people, poses)
    assert 0.05 < expected[0] < 0.95
    assert list(astuple(oks_averages(people, poses))) == expected
    assert list(astuple(oks_averages(people, poses, backend="official"))) == expected


@pytest.mark.parametrize("seed", range(3))
def test_ap_by_size_is_the_same_with_pycocotools(seed: int) -> None:
    people, poses = random_case(seed, 17, images=20)
    fast = size_bins(people, poses)
    assert fast == size_bins(people, poses, backend="official")
    assert sum(part.people for part in fast) == (~people.found & ~people.ignored).sum()
    assert [part.label for part in fast] == ["<32 px", "32-64 px", "64-128 px", ">128 px"]


def square_people(*sides: float, image_ids: Any = None) -> People:
    """People whose 17 visible key points lie on the diagonal of a square of some pixels."""
    steps = np.linspace(0, 1, 17)[:, None]
    points = np.stack([np.concatenate((steps * side, steps * side, np.full((17, 1), 2)), axis=1) for side in sides])
    return make_people(points, image_ids, boxes=[[0, 0, side, side] for side in sides])


def test_oks_is_its_formula() -> None:
    """One person, one result: AP is the share of the ten thresholds below the OKS."""
    people = square_people(100.0)
    shift, area = 9.0, people.areas[0]
    oks = np.mean([math.exp(-(shift**2) / (2 * area * (2 * sigma) ** 2)) for sigma in COCO_SIGMAS])
    moved = people.key_points + np.array([shift, 0, 0])
    averages = oks_averages(people, Poses(np.array([0]), moved, np.array([0.3])))
    assert 0.5 < oks < 0.95
    assert averages.ap == pytest.approx(sum(oks >= limit for limit in np.linspace(0.5, 0.95, 10)) / 10)
    assert averages.ar == averages.ar_medium == pytest.approx(averages.ap)
    assert math.isnan(averages.ap_large) and averages.ap_medium == averages.ap  # 6000 square pixels
    assert (
        averages.ap50 == PERFECT and averages.ar50 == PERFECT and averages.ap75 == averages.ar75 == float(oks >= 0.75)
    )
    own = replace(people, skeleton=make_skeleton(17, (0.5,) * 17))
    assert oks_averages(own, Poses(np.array([0]), moved, np.array([0.3]))).ap == PERFECT


def test_a_joint_without_label_does_not_count() -> None:
    people = square_people(100.0)
    people.key_points[0, 3:, 2] = 0
    found = people.key_points + np.where(people.key_points[..., 2:] > 0, 0.0, 500.0)
    assert oks_averages(people, Poses(np.array([0]), found, np.array([1.0]))).ap == PERFECT


def test_ignored_people_are_not_missed_and_what_fits_them_is_no_mistake() -> None:
    people = square_people(100.0, 100.0, image_ids=[0, 0])
    people.key_points[1] += np.array([150, 150, 0])
    only_second = Poses(np.array([1]), people.key_points[1:], np.array([0.9]))
    assert oks_averages(people, only_second).ar == 0.5
    ignoring = replace(people, ignored=np.array([False, True]))
    both = Poses(np.arange(2), people.key_points, np.array([0.5, 0.9]))
    assert oks_averages(ignoring, only_second).ap == 0
    assert oks_averages(ignoring, both).ap == PERFECT
    twice = Poses(np.array([0, 1, 1]), people.key_points[[0, 1, 1]], np.array([0.5, 0.9, 0.8]))
    assert oks_averages(ignoring, twice).ap == pytest.approx(0.5)  # the second of a person fits nobody
    assert oks_averages(replace(ignoring, crowds=np.array([False, True])), twice).ap == PERFECT  # of a crowd many may


def test_nobody_gives_nan_and_nothing_found_gives_zero() -> None:
    people = square_people(100.0)
    nothing = Poses(np.zeros(0, np.int64), np.zeros((0, 17, 3)), np.zeros(0))
    averages = oks_averages(people, nothing)
    assert (averages.ap, averages.ar, averages.ap_medium) == (0, 0, 0) and math.isnan(averages.ap_large)
    nobody = people.rows(np.zeros(0, np.int64))
    assert all(map(math.isnan, astuple(oks_averages(nobody, nothing))))
    assert all(math.isnan(part.ap) and part.people == 0 for part in size_bins(nobody, nothing))
    all_ignored = replace(people, ignored=np.array([True]))
    found = Poses(np.array([0]), people.key_points, np.array([1.0]))
    assert all(map(math.isnan, astuple(oks_averages(all_ignored, found))))


def test_a_size_bin_holds_its_people_alone() -> None:
    """The small one is found, the large one is missed, and a wrong result in a large box is no small one's mistake."""
    people = square_people(30.0, 100.0, image_ids=[0, 0])
    wrong = people.key_points[1] + np.array([400, 0, 0])
    poses = Poses(np.array([1, 0]), np.stack((wrong, people.key_points[0])), np.array([0.9, 0.5]))
    bins = size_bins(people, poses)
    assert [part.people for part in bins] == [1, 0, 1, 0]
    assert bins[0].ap == PERFECT and bins[2].ap == 0 and math.isnan(bins[1].ap)
    assert oks_averages(people, poses).ap == pytest.approx(51 / 101 / 2, abs=1e-9)


def test_a_bin_with_everybody_has_the_ap_of_all() -> None:
    """Pictures without people of a size are left out of its bin; that changes nothing."""
    people, poses = random_case(2, 17)
    sides = np.where(np.arange(len(people)) % 2, 70.0, 127.9)
    alike = replace(people, boxes=np.stack((sides, sides, sides, sides), axis=1))
    bins = size_bins(alike, poses)
    assert bins[2].ap == oks_averages(alike, poses).ap and [part.people for part in bins if part.people] == [
        np.count_nonzero(~people.found & ~people.ignored)
    ]


def test_the_score_of_a_person() -> None:
    joints = np.array([[0.5, 0.3, 0.02], [0.01, 0.02, 0.0], [0.9, 0.9, 0.9]])
    np.testing.assert_allclose(person_scores(np.array([0.5, 1.0, 1.0]), joints), [0.5 * 0.4, 0, 0.9], rtol=1e-15)
    np.testing.assert_allclose(person_scores(np.ones(1), joints[:1], 0.0), [0.82 / 3], rtol=1e-15)


def test_similarity_of_results_is_its_formula() -> None:
    first, second = np.array([[0.0, 0, 1], [10, 10, 1]]), np.array([[3.0, 4, 1], [10, 10, 1]])
    expected = (math.exp(-25 / (2 * 150 * 0.2**2)) + 1) / 2  # the areas' mean is 150
    found = similarities(first, 100.0, second[None], np.array([200.0]), (0.1, 0.05))
    np.testing.assert_allclose(found, [expected], rtol=1e-12)


def test_of_results_that_are_alike_the_best_stays() -> None:
    pose = np.array([[0.0, 0], [10, 10]])
    near, far = pose + 0.5, pose + 30
    key_points = np.stack((pose, near, far, near))
    scores, areas, sigmas = np.array([0.5, 0.9, 0.1, 0.4]), np.full(4, 400.0), (0.1, 0.1)
    assert oks_nms(np.array([1, 1, 1, 7]), key_points, scores, areas, sigmas).tolist() == [1, 2, 3]
    assert oks_nms(np.array([1, 1, 1, 1]), key_points, scores, areas, sigmas).tolist() == [1, 2]
    assert oks_nms(np.array([1, 1, 1, 1]), key_points, scores, areas, sigmas, 1.0).tolist() == [0, 1, 2, 3]
    nothing = np.zeros(0, np.int64)
    assert oks_nms(nothing, np.zeros((0, 2, 2)), np.zeros(0), np.zeros(0), sigmas).tolist() == []


def test_suppression_is_greedy() -> None:
    """The middle one is suppressed by the best, so that it suppresses nobody."""
    line = np.array([[[0.0, 0.0]], [[1.2, 0.0]], [[2.4, 0.0]]])
    kept = oks_nms(np.zeros(3, np.int64), line, np.array([0.9, 0.8, 0.7]), np.full(3, 100.0), (0.15,), 0.9)
    assert math.exp(-(1.2**2) / (2 * 100 * 0.09)) > 0.9 > math.exp(-(2.4**2) / (2 * 100 * 0.09))
    assert kept.tolist() == [0, 2]


def test_evaluated_is_of_one_class_and_three_areas() -> None:
    people, poses = random_case(0, 14, images=3)
    truth = as_coco(people, labels_of(people))
    precision, recall = evaluated(truth, as_coco(people, []), people.skeleton.sigmas, "fast")
    assert precision.shape == (10, 101, 1, 3) and recall.shape == (10, 1, 3)
    assert len(poses) and precision.max() <= 0
