"""Matching, curves, confusion matrix and COCO AP, against closed forms, a plain loop and pycocotools."""

from __future__ import annotations

import json
import math
import time
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from mgil.datasets.reading.samples import Samples
from mgil.tasks.detect.coco import CocoAverages, coco_averages, detections_as_json, score_json
from mgil.tasks.detect.confusion import confusion_matrix
from mgil.tasks.detect.curves import confidence_curves, smooth
from mgil.tasks.detect.matching import Detections, Pairs, match_one_to_one, overlapping_pairs, pairwise_iou


def make_samples(
    boxes_per_image: list[list[tuple[int, float, float, float, float]]],
    size_hw: tuple[int, int] = (100, 200),
    **changes: Any,
) -> Samples:
    """Samples from (class, x1, y1, x2, y2) in pixels, image by image."""
    rows = np.array([box for boxes in boxes_per_image for box in boxes], np.float64).reshape(-1, 5)
    height, width = size_hw
    scale = np.array([width, height, width, height])
    boxes = np.concatenate(((rows[:, 1:3] + rows[:, 3:]) / 2, rows[:, 3:] - rows[:, 1:3]), axis=1) / scale
    count = len(boxes_per_image)
    samples = Samples.from_rows(
        tuple(f"image{i}.png" for i in range(count)),
        np.tile(np.array([size_hw], np.int32), (count, 1)).reshape(-1, 2),
        np.repeat(np.arange(count), [len(boxes) for boxes in boxes_per_image]),
        boxes,
        classes=rows[:, 0],
        areas=(rows[:, 3:] - rows[:, 1:3]).prod(axis=1),
    )
    return replace(samples, **changes)


def make_detections(rows: list[tuple[int, int, float, float, float, float, float]]) -> Detections:
    """From (image, class, x1, y1, x2, y2, score)."""
    table = np.array(rows, np.float64).reshape(-1, 7)
    return Detections(table[:, 0].astype(np.int64), table[:, 2:6], table[:, 6], table[:, 1].astype(np.int64))


def random_case(seed: int, images: int = 20, num_classes: int = 5, crowds: bool = False) -> tuple[Any, Detections]:
    """Labels of 3 to 120 px, and detections that jitter them, double them, mistake their class, or are noise."""
    rng = np.random.default_rng(seed)
    labels, found = [], []
    for image in range(images):
        rows = []
        for _ in range(rng.integers(0, 9)):
            width, height = rng.uniform(3, 120, 2).clip(max=[190, 95])
            x, y = rng.uniform(0, 200 - width), rng.uniform(0, 100 - height)
            label = int(rng.integers(num_classes))
            rows.append((label, x, y, x + width, y + height))
            for _ in range(rng.integers(0, 4)):
                jitter = rng.normal(0, 0.12, 4) * np.array([width, height, width, height])
                low = np.minimum(np.array([x, y]) + jitter[:2], [199, 99])
                high = np.maximum(np.array([x + width, y + height]) + jitter[2:], low + 0.5)
                guess = label if rng.random() < 0.8 else int(rng.integers(num_classes))
                found.append((image, guess, *low, *high, float(rng.random())))
        for _ in range(rng.integers(0, 4)):
            x, y = rng.uniform(0, 150), rng.uniform(0, 60)
            found.append((image, int(rng.integers(num_classes)), x, y, x + 30, y + 30, float(rng.random())))
        labels.append(rows)
    samples = make_samples(labels)
    if crowds:
        samples = replace(samples, iscrowd=rng.random(len(samples.classes)) < 0.2)
    return samples, make_detections(found)


CATEGORIES = (7, 3, 90, 1, 12)  # not in order: class 0 is not the lowest id


def assert_same_averages(first: CocoAverages, second: CocoAverages) -> None:
    """To the last bit."""
    for field in fields(CocoAverages):
        left, right = getattr(first, field.name), getattr(second, field.name)
        if field.name == "size_bins":
            left, right = ([(row.low_px, row.high_px, row.instances, row.ap) for row in rows] for rows in (left, right))
        np.testing.assert_array_equal(left, right, err_msg=field.name)


def hard_case(seed: int) -> tuple[Any, Detections]:
    """A random case with crowds, equal scores, more than 100 detections of a class in an image, unsorted image ids,
    detections in no order, an image and a class with nothing at all, and areas that are not the boxes'."""
    rng = np.random.default_rng(seed)
    samples, found = random_case(seed, images=12, num_classes=4, crowds=True)
    samples = replace(samples, image_ids=rng.permutation(1000)[:12])
    samples = replace(samples, areas=(samples.areas * rng.choice([0.3, 1.0], len(samples.areas))).astype(np.float32))
    samples.areas[:4] = [32**2, 96**2, 16**2, 8**2]  # on the ranges' very edges
    low = rng.uniform(0, 60, (150, 2))
    crowded = Detections(
        np.full(150, 3),
        np.concatenate((low, low + rng.uniform(2, 40, (150, 2))), axis=1),
        rng.random(150),
        np.ones(150),
    )
    found = Detections.concatenate([found, crowded])
    order = rng.permutation(np.flatnonzero((found.image_index != 5) & (found.classes != 2)))
    return samples, Detections(
        found.image_index[order],
        found.boxes_xyxy[order],
        found.scores[order].round(1),
        found.classes[order].astype(np.int64),
    )


@pytest.mark.parametrize("seed", range(4))
def test_fast_ap_equals_official(seed: int) -> None:
    samples, detections = random_case(seed, crowds=seed % 2 == 1)
    fast = coco_averages(samples, CATEGORIES, detections)
    assert_same_averages(fast, coco_averages(samples, CATEGORIES, detections, backend="official"))
    assert 0.05 < fast.ap < 0.95


@pytest.mark.parametrize("seed", range(8))
def test_fast_ap_equals_official_on_hard_cases(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, detections = hard_case(seed)
    assert max(np.bincount(detections.image_index[detections.classes == 1])) > 100
    official = coco_averages(samples, CATEGORIES, detections, backend="official")
    assert_same_averages(coco_averages(samples, CATEGORIES, detections), official)
    monkeypatch.setattr("mgil.tasks.detect.coco._IMAGES_AT_ONCE", 5)
    assert_same_averages(coco_averages(samples, CATEGORIES, detections), official)


def test_only_the_best_hundred_of_an_image_and_class_count() -> None:
    """The hit is 101st of its class by score, and is not seen; a class with 100 sees it."""
    samples = make_samples([[(0, 10, 10, 40, 40), (1, 10, 10, 40, 40)]])
    rows = [(0, 0, 150.0, 50.0, 160.0, 60.0, 0.9)] * 100 + [(0, 1, 150.0, 50.0, 160.0, 60.0, 0.9)] * 99
    hits = [(0, label, 10.0, 10.0, 40.0, 40.0, 0.1) for label in (0, 1)]
    for backend in ("fast", "official"):
        averages = coco_averages(samples, (1, 2), make_detections(rows + hits), backend=backend)  # type: ignore[arg-type]
        assert averages.class_ap.tolist() == pytest.approx([0, 0.01])


def test_json_is_what_json_would_write() -> None:
    samples, detections = random_case(3)
    rows = json.loads(detections_as_json(samples, CATEGORIES, detections))
    assert len(rows) == len(detections)
    for index in (0, 7, len(rows) - 1):
        left, top, right, bottom = detections.boxes_xyxy[index].tolist()
        assert rows[index] == {
            "image_id": int(samples.image_ids[detections.image_index[index]]),
            "file_name": samples.image_paths[detections.image_index[index]],
            "category_id": CATEGORIES[detections.classes[index]],
            "bbox": pytest.approx([left, top, right - left, bottom - top], abs=5.1e-4),
            "score": pytest.approx(detections.scores[index], abs=5.1e-7),
        }
    assert json.loads(detections_as_json(samples, CATEGORIES, Detections.concatenate([]))) == []


def test_ap_equals_pycocotools_from_json(tmp_path: Any, capsys: pytest.CaptureFixture) -> None:
    samples, detections = random_case(9)
    samples = replace(samples, image_ids=np.arange(20)[::-1] * 11 + 5)
    path = tmp_path / "best_predictions.json"
    path.write_text(detections_as_json(samples, CATEGORIES, detections))
    stats = score_json(path, samples, CATEGORIES)
    fast = coco_averages(samples, CATEGORIES, detections)
    expected = [fast.ap, fast.ap50, fast.ap75, fast.ap_small, fast.ap_medium, fast.ap_large]
    assert stats[:6] == pytest.approx(expected, abs=1e-3, nan_ok=True)
    assert "Average Precision" in capsys.readouterr().out
    entries = json.loads(path.read_text())
    assert {entry["category_id"] for entry in entries} <= set(CATEGORIES)
    assert {entry["image_id"] for entry in entries} <= set(samples.image_ids.tolist())


def test_class_order_follows_index_not_category_id() -> None:
    samples = make_samples([[(0, 10, 10, 40, 40), (1, 60, 10, 90, 40)]])
    detections = make_detections([(0, 0, 10, 10, 40, 40, 0.9)])
    averages = coco_averages(samples, (50, 2), detections)
    assert averages.class_ap.tolist() == pytest.approx([1.0, 0.0])


def test_ap_closed_form() -> None:
    """One of two objects found: precision 1 up to recall 0.5, which is 51 of COCO's 101 points."""
    samples = make_samples([[(0, 10, 10, 40, 40), (0, 60, 10, 90, 40)]])
    detections = make_detections([(0, 0, 10, 10, 40, 40, 0.9)])
    averages = coco_averages(samples, (1,), detections)
    assert averages.ap == pytest.approx(51 / 101)
    # A shift of 4.2 px at width 30 is IoU (30 - 4.2) / (30 + 4.2) = 0.754, above 6 of the 10 thresholds.
    shifted = make_detections([(0, 0, 10 + 4.2, 10, 40 + 4.2, 40, 0.9)])
    averages = coco_averages(samples, (1,), shifted)
    assert averages.ap50 == averages.ap75 == pytest.approx(51 / 101)
    assert averages.ap == pytest.approx(6 / 10 * 51 / 101)


def test_size_bins_count_and_score() -> None:
    samples = make_samples([[(0, 0, 0, 5, 5), (0, 20, 20, 32, 32), (0, 50, 10, 150, 90)]])
    detections = make_detections([(0, 0, 20, 20, 32, 32, 0.9), (0, 0, 50, 10, 150, 90, 0.8)])
    bins = {row.label: row for row in coco_averages(samples, (1,), detections).size_bins}
    assert bins["<8 px"].instances == bins["8-16 px"].instances == bins["64-128 px"].instances == 1
    assert bins["<8 px"].ap == 0
    assert bins["8-16 px"].ap == bins["64-128 px"].ap == pytest.approx(1.0)
    assert math.isnan(bins[">128 px"].ap)


@pytest.mark.parametrize("backend", ["fast", "official"])
def test_nothing_found_and_nothing_to_find(backend: Any) -> None:
    labelled = make_samples([[(0, 10, 10, 40, 40)], []])
    bare = make_samples([[], []])
    nothing = Detections.concatenate([])
    something = make_detections([(0, 0, 10, 10, 40, 40, 0.9)])
    assert coco_averages(labelled, (1, 2), nothing, backend=backend).ap == 0
    for detections in (nothing, something):
        averages = coco_averages(bare, (1, 2), detections, backend=backend)
        assert math.isnan(averages.ap)
        assert np.isnan(averages.class_ap).all()
        curves = confidence_curves(detections, bare, 2)
        assert curves.f1.shape == (0, 1000)
        assert confusion_matrix(detections, bare, 2).sum() == len(detections)


def test_empty_json(tmp_path: Any) -> None:
    path = tmp_path / "none_predictions.json"
    path.write_text("[]")
    assert score_json(path, make_samples([[(0, 10, 10, 40, 40)]]), (1,))[0] == 0


def test_double_category_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct"):
        coco_averages(make_samples([[]]), (1, 1), Detections.concatenate([]))


@pytest.mark.parametrize(
    ("first", "second", "crowd", "expected"),
    [
        ((0, 0, 2, 2), (1, 1, 3, 3), False, 1 / 7),
        ((0, 0, 2, 2), (0, 0, 2, 2), False, 1.0),
        ((0, 0, 2, 2), (2, 0, 4, 2), False, 0.0),
        ((0, 0, 2, 2), (0, 0, 20, 20), True, 1.0),
        ((0, 0, 0, 0), (0, 0, 0, 0), False, 0.0),
    ],
)
def test_pairwise_iou(first: tuple, second: tuple, crowd: bool, expected: float) -> None:
    value = pairwise_iou(np.array([first], float), np.array([second], float), np.array([crowd]))
    assert value == pytest.approx([expected])


def plain_matches(samples: Any, detections: Detections, iou: float) -> set[int]:
    """YOLOv5's matching, image by image and class by class: indices of the detections that hit."""
    hits = set()
    for image in range(len(samples.image_paths)):
        for label in np.unique(samples.classes):
            ours = np.flatnonzero((detections.image_index == image) & (detections.classes == label))
            theirs = np.flatnonzero((samples.image_index == image) & (samples.classes == label) & ~samples.iscrowd)
            takers: dict[int, list[int]] = {}
            for d in ours:
                box = np.repeat(detections.boxes_xyxy[d : d + 1], len(theirs), axis=0)
                overlaps = pairwise_iou(box, samples.boxes_xyxy_px()[theirs], np.zeros(len(theirs), bool))
                if len(theirs) and overlaps.max() >= iou:
                    takers.setdefault(int(theirs[overlaps.argmax()]), []).append(int(d))
            hits |= {max(candidates, key=lambda d: detections.scores[d]) for candidates in takers.values()}
    return hits


@pytest.mark.parametrize("same_class", [False, True])
def test_pairs_equal_plain_loop(same_class: bool) -> None:
    samples, detections = random_case(4, images=6, crowds=True)
    expected = {}
    for d in range(len(detections)):
        for t in range(len(samples.classes)):
            alike = detections.classes[d] == samples.classes[t] or not same_class
            if alike and detections.image_index[d] == samples.image_index[t]:
                box, other = detections.boxes_xyxy[d : d + 1], samples.boxes_xyxy_px()[t : t + 1]
                iou = float(pairwise_iou(box, other, samples.iscrowd[t : t + 1])[0])
                if iou >= 0.3:
                    expected[d, t] = iou
    pairs = overlapping_pairs(detections, samples, 0.3, same_class=same_class)
    found = zip(pairs.detection.tolist(), pairs.truth.tolist(), strict=True)
    assert dict(zip(found, pairs.iou.tolist(), strict=True)) == expected
    assert (np.diff(pairs.detection) >= 0).all()


def test_matching_of_equals_takes_the_first() -> None:
    """Detection 0 overlaps objects 4 and 2 alike; 0 and 1 want object 4 with one score."""
    pairs = Pairs(np.array([0, 0, 1, 3]), np.array([4, 2, 4, 9]), np.array([0.7, 0.7, 0.8, 0.6]))
    hit, target = match_one_to_one(pairs, np.array([0.5, 0.5, 0.5, 0.1]))
    assert (hit.tolist(), target.tolist()) == ([0, 3], [4, 9])


@pytest.mark.parametrize("seed", range(3))
def test_matching_equals_plain_loop(seed: int) -> None:
    samples, detections = random_case(seed)
    pairs = overlapping_pairs(detections, samples, 0.5, same_class=True)
    hit, target = match_one_to_one(pairs, detections.scores[pairs.detection])
    assert set(hit.tolist()) == plain_matches(samples, detections, 0.5)
    assert len(set(target.tolist())) == len(target)


def test_pairs_do_not_depend_on_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, detections = random_case(5)
    whole = overlapping_pairs(detections, samples, 0.3, same_class=False)
    monkeypatch.setattr("mgil.tasks.detect.matching._DETECTIONS_PER_STEP", 7)
    parts = overlapping_pairs(detections, samples, 0.3, same_class=False)
    np.testing.assert_array_equal(whole.detection, parts.detection)
    np.testing.assert_array_equal(whole.truth, parts.truth)


def test_curves_closed_form() -> None:
    """Two objects; hits at .9 and .5, a miss at .7: recall and precision step at these confidences."""
    samples = make_samples([[(0, 10, 10, 40, 40), (0, 60, 10, 90, 40)]])
    detections = make_detections(
        [(0, 0, 10, 10, 40, 40, 0.9), (0, 0, 120, 10, 150, 40, 0.7), (0, 0, 60, 10, 90, 40, 0.5)]
    )
    curves = confidence_curves(detections, samples, 1)
    at = [int(np.argmin(abs(curves.confidence - value))) for value in (0.95, 0.9, 0.7, 0.5, 0.2)]
    np.testing.assert_allclose(curves.recall[0][at], [0, 0.5, 0.5, 1, 1], atol=5e-3)
    np.testing.assert_allclose(curves.precision[0][at], [1, 1, 0.5, 2 / 3, 2 / 3], atol=5e-3)
    assert curves.f1[0][at[-1]] == pytest.approx(0.8, abs=5e-3)
    assert curves.best_confidence < 0.5  # F1 0.8 holds below 0.5


def test_curves_leave_out_crowds() -> None:
    samples = make_samples([[(0, 10, 10, 40, 40), (0, 100, 0, 200, 100)]], iscrowd=np.array([False, True]))
    detections = make_detections(
        [(0, 0, 10, 10, 40, 40, 0.9), (0, 0, 120, 20, 140, 40, 0.8), (0, 0, 150, 20, 170, 40, 0.7)]
    )
    curves = confidence_curves(detections, samples, 1)
    assert curves.precision[0][0] == curves.recall[0][0] == 1
    assert confusion_matrix(detections, samples, 1).tolist() == [[1, 0], [0, 0]]


def test_confusion_closed_form() -> None:
    samples = make_samples([[(0, 10, 10, 40, 40), (1, 60, 10, 90, 40), (1, 120, 10, 150, 40)], []])
    detections = make_detections(
        [
            (0, 0, 10, 10, 40, 40, 0.9),  # right
            (0, 0, 60, 10, 90, 40, 0.9),  # wrong class
            (0, 1, 160, 50, 190, 90, 0.9),  # nothing there
            (0, 1, 10, 10, 40, 36, 0.9),  # second on a taken object
            (0, 1, 120, 10, 150, 40, 0.2),  # too low a score: its object is missed
            (1, 0, 10, 10, 40, 40, 0.9),  # on an image without labels
        ]
    )
    matrix = confusion_matrix(detections, samples, 2)
    assert matrix.tolist() == [[1, 1, 1], [0, 0, 2], [0, 1, 0]]


def test_smooth_keeps_length_and_constants() -> None:
    for length in (1, 7, 1000):
        np.testing.assert_allclose(smooth(np.full(length, 0.3), 0.1), 0.3)
        assert len(smooth(np.zeros(length), 0.1)) == length


def test_large_split_takes_seconds() -> None:
    rng = np.random.default_rng(0)
    images, per_image = 1000, 300
    labels = [[(int(rng.integers(80)), x, 10.0, x + 20, 50.0) for x in (10.0, 50.0, 90.0)] for _ in range(images)]
    low = rng.uniform(0, 90, (images * per_image, 2))
    detections = Detections(
        np.repeat(np.arange(images), per_image),
        np.concatenate((low, low + rng.uniform(1, 60, low.shape)), axis=1),
        rng.random(len(low)),
        rng.integers(0, 80, len(low)),
    )
    samples = make_samples(labels)
    start = time.process_time()
    coco_averages(samples, range(80), detections)
    confidence_curves(detections, samples, 80)
    confusion_matrix(detections, samples, 80)
    assert time.process_time() - start < 10
