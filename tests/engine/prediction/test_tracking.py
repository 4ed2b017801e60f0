"""Following objects: numbers against the truth, weak detections, gaps and streams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.identity import count_identity
from benchmarks.moving import NAMES, Clip, detections, make_clip
from benchmarks.tracking import truth
from mgil.engine.prediction import trackers
from mgil.engine.prediction.config import TRACKERS
from mgil.engine.prediction.predictor import Model
from mgil.engine.prediction.tracking import Tracker, Trackers
from mgil.engine.sources.sources import Frame
from mgil.tasks.detect.options import PredictOptions
from mgil.tasks.detect.predictor import Detector
from mgil.tasks.detect.results import Results
from tests.engine.prediction.squares import Boxes, detector, found, ids, needs_trackers

pytestmark = needs_trackers


def follow(clip: Clip, tracker: Tracker) -> list[tuple[np.ndarray, np.ndarray]]:
    results: list[Any] = [
        tracker.follow(Results(boxes, scores, classes, NAMES, image))
        for image, (boxes, scores, classes) in zip(clip.images(), detections(clip), strict=True)
    ]
    return [(result.boxes_xyxy, result.track_ids) for result in results]


# Numbers against the truth -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", TRACKERS)
@pytest.mark.parametrize(("size", "side", "speed"), [(64, 10, 1), (64, 10, 3), (160, 16, 6)])
def test_objects_that_do_not_touch_keep_their_numbers(kind: str, size: int, side: float, speed: float) -> None:
    """In spite of edges that are off, misses, weak scores and things that are none."""
    clip = make_clip("apart", size, side, speed, frames=60)
    counts = count_identity(truth(clip), follow(clip, Tracker(detector(), kind)))
    assert counts.objects > 150
    assert counts.switches == 0
    assert counts.idf1 > 0.85


def test_margin_follows_what_ultralytics_own_settings_lose() -> None:
    clip = make_clip("apart", 64, 10, 5, frames=80)
    margin, original = (
        count_identity(truth(clip), follow(clip, Tracker(detector(), association=association)))
        for association in (trackers.Association(), trackers.Association(fuse=True, margin=0))
    )
    assert margin.idf1 > 0.85 > 0.5 > original.idf1
    assert margin.switches < 3


@pytest.mark.parametrize("kind", TRACKERS)
def test_objects_behind_a_wall_come_out_with_their_numbers(kind: str) -> None:
    """Hidden for 12 frames and more; without a memory of lost tracks each of the 12 would get another number."""
    clip = make_clip("hiding", 64, 10, 1.5, frames=90)
    counts = count_identity(truth(clip), follow(clip, Tracker(detector(), kind)))
    assert counts.switches <= 1
    assert counts.idf1 > 0.8


@pytest.mark.parametrize("kind", TRACKERS)
def test_detector_and_tracker_together(kind: str) -> None:
    """All of the way: letterbox, network, suppression."""
    clip = make_clip("apart", 64, 10, 2, frames=40)
    results = list(Model(detector()).track(clip.images(), kind))
    counts = count_identity(truth(clip), [(result.boxes_xyxy, result.track_ids) for result in results])
    assert counts.switches == 0
    assert counts.missed < 0.2 * counts.objects
    assert max(len(trail) for result in results for trail in result.trails) == 30


def test_counts_of_identity_are_those_of_a_clip_counted_by_hand() -> None:
    box, far = np.array([[0, 0, 10, 10]], float), np.array([[50, 50, 60, 60]], float)
    none = np.empty((0, 4)), np.empty(0, int)
    one, two = np.array([1]), np.array([2])
    counts = count_identity([(box, one)] * 6, [(box, one), (box, one), none, (box, two), (far, two), (box, two)])
    assert (counts.objects, counts.missed, counts.false, counts.switches, counts.fragments) == (6, 2, 1, 1, 2)
    assert counts.mota == pytest.approx(1 - 4 / 6)
    assert counts.idf1 == pytest.approx(2 * 2 / (6 + 5))


# One tracker ---------------------------------------------------------------------------------------------------------
def test_weak_detection_is_shown_where_it_goes_on_a_track() -> None:
    tracker = Tracker(detector(conf_thres=0.5))
    assert ids(tracker.follow(found([(20, 0.9), (50, 0.3)]))) == [1]
    weak = tracker.follow(found([(21, 0.2), (50, 0.3)]))
    assert (ids(weak), weak.scores.tolist(), weak.boxes_xyxy[0, 0]) == ([1], [np.float32(0.2)], 16)
    assert ids(tracker.follow(found([(50, 0.6)]))) == []  # seen for the first time that counts
    assert ids(tracker.follow(found([(50, 0.6)]))) == [2]


@pytest.mark.parametrize(("conf", "floor"), [(0.25, 0.1), (0.6, 0.1), (0.05, 0.05), (0.0, 0.0)])
def test_detector_gives_weak_detections_to_a_tracker_alone(conf: float, floor: float) -> None:
    network = nn.Identity()
    network.forward = lambda images: torch.tensor(  # type: ignore[method-assign]
        [[[8 + 12 * n, 9, 8, 8, score, 1] for n, score in enumerate((0.9, 0.3, 0.11, 0.07, 0.01))]]
    )
    network.names, network.max_stride = ("a",), 32  # type: ignore[assignment]
    one = Detector(network, PredictOptions(conf_thres=conf), device=torch.device("cpu"), size_hw=(64, 64))
    image = np.zeros((64, 64, 3), np.uint8)
    scores = [0.9, 0.3, 0.11, 0.07, 0.01]
    assert one([image], [""])[0].scores == pytest.approx([score for score in scores if score > conf])
    assert one.candidates([image], [""])[0].scores == pytest.approx([score for score in scores if score > floor])


@pytest.mark.parametrize(
    ("fps", "gap", "same"), [(30, 25, True), (30, 40, False), (10, 8, True), (10, 14, False), (1, 4, True)]
)
def test_track_ends_a_second_after_its_object_was_seen(fps: float, gap: int, same: bool) -> None:
    tracker = Tracker(detector(), fps=fps)
    for boxes in ([(30, 0.9)], [(30, 0.9)], *[[]] * gap, [(30, 0.9)]):
        tracker.follow(found(boxes))
    assert ids(tracker.follow(found([(30, 0.9)]))) == [1 if same else 2]


@pytest.mark.parametrize(("timed", "same"), [(True, True), (False, False)])
def test_dropped_pictures_of_a_stream_are_counted_by_the_time(timed: bool, same: bool) -> None:
    """After ten pictures in a row five are dropped, in which the object goes on by 3 px each: further than its size."""
    tracker = Tracker(detector(), fps=20)
    numbers = [*range(10), 15, 16]
    results = [tracker.follow(found([(5 + 3 * n, 0.9)]), 100 + n / 20 if timed else None) for n in numbers]
    assert (ids(results[-1]) == [1]) is same


def test_stream_that_comes_back_later_begins_anew_and_numbers_go_on() -> None:
    tracker = Tracker(detector(), fps=20)
    assert [ids(tracker.follow(found([(30, 0.9)]), at)) for at in (5.0, 5.05, 9.0, 9.05)] == [[1], [1], [2], [2]]
    assert tracker.count == 2


def test_boxes_stay_the_detectors_own_and_best_comes_first() -> None:
    tracker = Tracker(detector())
    for shift in (0, 0.7, 3):
        given = found([(40 + shift, 0.9), (12 - shift, 0.5)])
        result: Any = tracker.follow(given)
        assert np.array_equal(result.boxes_xyxy, given.boxes_xyxy)
        assert ids(result) == [1, 2]
    assert [trail[:, 0].tolist() for trail in result.trails] == [
        pytest.approx([40, 40.7, 43]),
        pytest.approx([12, 11.3, 9]),
    ]


@pytest.mark.parametrize("size", [1, 3, 64])
@pytest.mark.parametrize("kind", TRACKERS)
def test_empty_tiny_and_changing_pictures(kind: str, size: int) -> None:
    tracker = Tracker(detector(), kind)
    for side in (64, size, 64):
        assert ids(tracker.follow(found([], size=side))) == []
    assert ids(tracker.follow(found([(30, 0.9)]))) == []


def test_memory_of_ended_tracks_is_freed() -> None:
    tracker = Tracker(detector(), fps=5)
    for n in range(120):
        tracker.follow(found([(100 * (n // 2), 0.9)]))
    assert tracker.count == 60
    assert len(tracker._tracks) < 10


# Several sequences ---------------------------------------------------------------------------------------------------
class Given:
    """A predictor that takes centres and scores for pictures."""

    sure_score, model, names, device, size_hw = 0.25, None, NAMES, torch.device("cpu"), (64, 64)

    def __call__(self, images: Sequence[Any], paths: Sequence[str]) -> list[Results]:
        return self.candidates(images, paths)

    def candidates(self, images: Sequence[Any], paths: Sequence[str]) -> list[Results]:
        return [found(boxes) for boxes in images]


def moment(*places: tuple[str, Boxes], number: int | None = 1, arrived: float | None = None) -> list[Frame]:
    fps = None if number is None else 20.0
    return [Frame(boxes, name, Path(name).stem, "", number, fps, arrived) for name, boxes in places]  # type: ignore[arg-type]


def test_streams_are_followed_each_on_its_own() -> None:
    together = Trackers(Given(), "bytetrack", SimpleNamespace(endless=True))  # type: ignore[arg-type]
    one, two = ("rtsp://one", [(20, 0.9)]), ("rtsp://two", [(20, 0.9), (50, 0.8)])
    shown = [[ids(result) for result in together(moment(*some))] for some in ([one, two], [two], [one], [two, one])]
    assert shown == [[[1], [1, 2]], [[1, 2]], [[1]], [[1, 2], [1]]]
    assert together.sums() == ["rtsp://one: 1 object followed", "rtsp://two: 2 objects followed"]


def test_videos_begin_anew_and_folders_of_pictures_are_sequences() -> None:
    trackers_ = Trackers(Given(), "bytetrack", SimpleNamespace(endless=False))  # type: ignore[arg-type]
    stills = [("a/1.png", 20), ("a/2.png", 21), ("b/1.png", 20), ("a/3.png", 22)]
    assert [ids(trackers_(moment((name, [(x, 0.9)]), number=None))[0]) for name, x in stills] == [[1]] * 4
    assert [ids(trackers_(moment((name, [(20, 0.9)])))[0]) for name in ("x.avi", "x.avi", "y.avi")] == [[1]] * 3
    assert trackers_.sums() == [f"{name}: 1 object followed" for name in ("a", "b", "x.avi", "y.avi")]
