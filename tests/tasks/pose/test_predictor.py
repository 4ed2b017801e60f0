"""Poses in pictures: boxes to crops to joints, whatever says where people are."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mgil.tasks.abilities import Followable, FollowingPredictor
from mgil.tasks.pose.boxes import people_classes
from mgil.tasks.pose.results import PoseResults, person_scores
from tests.tasks.pose.marks import PEOPLE, Marks, around, joints, picture, predictor, using


class Found(SimpleNamespace):
    """What a detector found in a picture."""

    def __len__(self) -> int:
        return len(self.boxes_xyxy)


class Finder:
    """A detector that finds the same in every picture."""

    sure_score, device, size_hw, model = 0.25, torch.device("cpu"), (64, 64), None

    def __init__(
        self, boxes: np.ndarray, scores: Sequence[float], classes: Sequence[int], names: tuple[str, ...]
    ) -> None:
        self.boxes, self.scores, self.classes, self.names = boxes, np.array(scores), np.array(classes), names

    def candidates(self, images: Sequence[np.ndarray], paths: Sequence[str]) -> list[Any]:
        each = SimpleNamespace(text=0, draw=0, label_lines=0, table_rows=0, named_crops=0, followed=0, image=0)
        return [
            Found(
                boxes_xyxy=self.boxes.astype(np.float32), scores=self.scores, box_scores=self.scores,
                classes=self.classes, names=self.names, speed={}, input_hw=(64, 64), **vars(each),
            )
            for _ in images
        ]  # fmt: skip

    def __call__(self, images: Sequence[np.ndarray], paths: Sequence[str]) -> list[Any]:
        sure = self.scores >= self.sure_score
        return [
            Found(**{**vars(found), "boxes_xyxy": found.boxes_xyxy[sure], "box_scores": self.scores[sure],
                     "scores": self.scores[sure], "classes": self.classes[sure]})
            for found in self.candidates(images, paths)
        ]  # fmt: skip


def by_place(result: PoseResults) -> np.ndarray:
    """(n, 3, 2) joints in the order of `PEOPLE`, which have a place each."""
    order = [
        int(np.abs(np.array(PEOPLE) - points[:, :2].mean(axis=0)).sum(axis=1).argmin()) for points in result.keypoints
    ]
    return result.keypoints[np.argsort(order), :, :2]


def test_joints_are_where_the_marks_are_in_the_picture() -> None:
    finder = Finder(around(PEOPLE), [0.9, 0.8, 0.7], [0, 0, 0], ("person",))
    (result,) = using(finder)([picture(PEOPLE)], ["a.png"])
    assert len(result) == 3
    assert by_place(result) == pytest.approx(joints(PEOPLE), abs=0.5)  # a bin is half a pixel of the crop
    assert result.names == ("person",)
    assert result.input_hw == (32, 32)
    assert result.text() == "3 persons"


def test_people_of_all_pictures_go_through_the_network_together() -> None:
    model = Marks()
    made = predictor(model)
    made.use(Finder(around(PEOPLE), [0.9] * 3, [0] * 3, ("person",)), "best.pt", print)
    images = [picture(PEOPLE), picture([(30, 30)]), picture(PEOPLE)]
    results = made(images, ["a", "b", "c"])
    assert [len(result) for result in results] == [3, 3, 3]
    assert model.batches == [9]
    assert by_place(results[2]) == pytest.approx(by_place(results[0]))
    for result, image in zip(results, images, strict=True):
        assert result.image is image
        assert set(result.speed) == {"preprocess", "inference", "decode", "detector"}
    many = Finder(np.tile(around(PEOPLE), (50, 1)), [0.9] * 150, [0] * 150, ("person",))
    made.use(many, "best.pt", print)
    model.batches.clear()
    assert len(made([picture(PEOPLE)], ["a"])[0]) == 150
    assert model.batches == [64, 64, 22]


def test_whole_picture_is_one_person_and_this_is_said() -> None:
    lines: list[str] = []
    made = using(None, lines)
    (result,) = made([picture([(16, 16)], 32, 32)], ["a"])
    assert result.boxes_xyxy.tolist() == [[0, 0, 32, 32]]
    assert result.keypoints[..., :2] == pytest.approx(joints([(16, 16)]), abs=0.6)
    assert set(result.speed) == {"preprocess", "inference", "decode"}
    made([picture([(16, 16)], 32, 32)], ["b"])
    assert lines == ["people: each picture is taken for one person; --detector or --boxes says where several are"]
    assert made([], []) == []


def test_score_is_the_boxs_times_the_mean_of_joints_above_the_threshold() -> None:
    assert person_scores(np.array([0.5, 1, 0.8]), np.array([[0.2, 0.4, 0.05], [0, 0, 0], [1, 1, 1]]), 0.1).tolist() == (
        pytest.approx([0.5 * 0.3, 0, 0.8])
    )
    assert person_scores(np.zeros(0), np.zeros((0, 3)), 0.1).shape == (0,)
    assert person_scores(np.ones(1), np.array([[0.1, 0.3]]), 0.1).tolist() == pytest.approx([0.3])  # not above it


def test_flip_test_is_the_mean_of_both_looks_and_unsure_joints_do_not_count() -> None:
    image = picture(PEOPLE)
    finder = Finder(around(PEOPLE), [0.9] * 3, [0] * 3, ("person",))
    model = Marks()
    made = predictor(model, flip_test=True)
    made.use(finder, "best.pt", print)
    (both,) = made([image], ["a"])
    assert model.batches == [3, 3]
    assert by_place(both) == pytest.approx(joints(PEOPLE), abs=0.5)
    (none,) = using(finder, joint_thres=1.0)([image], ["a"])
    assert none.scores.tolist() == [0, 0, 0]


def test_exported_files_give_joints_and_have_no_flip_test() -> None:
    class Exported(torch.nn.Module):
        names, imgsz, skeleton, crop = Marks.names, 32, Marks.skeleton, "area"

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return Marks().decode(Marks()(images))

    made = predictor(Exported())
    made.use(Finder(around(PEOPLE), [0.9] * 3, [0] * 3, ("person",)), "best.pt", print)
    assert by_place(made([picture(PEOPLE)], ["a"])[0]) == pytest.approx(joints(PEOPLE), abs=0.5)
    with pytest.raises(ValueError, match=r"--flip-test needs the PyTorch weights \(\.pt\)"):
        predictor(Exported(), flip_test=True)


def test_another_input_size_is_refused() -> None:
    from mgil.tasks.pose.predictor import check_size

    assert check_size(Marks(), (32, 32)) == (32, 32)
    for size in ((64, 64), (32, 64)):
        with pytest.raises(ValueError, match=rf"--imgsz {size[0]} {size[1]}: .* 32x32 pixels alone; leave --imgsz out"):
            check_size(Marks(), size)


# Detectors -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("person",), None),
        (("digit",), None),
        (("dog", "person", "cat"), (1,)),
        (("Pedestrian", "people", "car"), (0, 1)),
        (("dog", "cat"), None),
        (("man", "personal computer"), None),
    ],
)
def test_people_are_told_by_the_names_of_classes(names: tuple[str, ...], expected: tuple[int, ...] | None) -> None:
    assert people_classes(names) == expected


@pytest.mark.parametrize(
    ("names", "options", "count", "said"),
    [
        (("dog", "person"), {}, 2, "class person"),
        (
            ("dog", "cat"),
            {},
            3,
            "of all its classes (dog, cat): none is called person; --classes chooses",
        ),
        (("dog", "person"), {"classes": (0, 1)}, 3, "of the classes of --classes"),
        (("dog",), {}, 3, "class dog"),
    ],
)
def test_only_people_of_a_detector_count(names: Any, options: Any, count: int, said: str) -> None:
    lines: list[str] = []
    classes = [1, 0, 1] if len(names) > 1 else [0, 0, 0]
    made = using(Finder(around(PEOPLE), [0.9] * 3, classes, names), lines, **options)
    assert len(made([picture(PEOPLE)], ["a"])[0]) == count
    assert lines == [f"people: boxes of best.pt, {said}"]


def test_weak_boxes_are_candidates_alone_and_the_best_remain() -> None:
    finder = Finder(around(PEOPLE), [0.9, 0.15, 0.3], [0] * 3, ("person",))
    made = using(finder, max_det=2)
    assert isinstance(made, FollowingPredictor)
    (shown,), (all_of_them,) = made([picture(PEOPLE)], ["a"]), using(finder).candidates([picture(PEOPLE)], ["a"])
    assert sorted(shown.box_scores.tolist()) == pytest.approx([0.3, 0.9])
    assert sorted(all_of_them.box_scores.tolist()) == pytest.approx([0.15, 0.3, 0.9])
    assert isinstance(all_of_them, Followable)
    assert made.sure_score == 0.25
    assert len(using(finder, max_det=1)([picture(PEOPLE)], ["a"])[0]) == 1


def test_boxes_that_show_nothing_are_left_out_and_told_once() -> None:
    boxes = np.array([[10, 10, 30, 30], [200, 10, 220, 30], [5, 5, 5, 30], [np.nan, 0, 9, 9], [-50, -50, 9, 9.0]])
    lines: list[str] = []
    made = using(Finder(boxes, [0.9] * 5, [0] * 5, ("person",)), lines)
    for _ in range(2):
        (result,) = made([picture(PEOPLE)], ["a.png"])
    assert sorted(result.boxes_xyxy.tolist()) == [[0, 0, 9, 9], [10, 10, 30, 30]]
    assert lines[1:] == [
        "a.png: 3 of 5 boxes lie outside of the picture or without width or height; such boxes are left out"
    ]


def test_pictures_without_people_and_of_one_pixel() -> None:
    made = using(Finder(np.zeros((0, 4)), [], [], ("person",)))
    (result,) = made([np.zeros((1, 1, 3), np.uint8)], ["a"])
    assert len(result) == 0
    assert result.keypoints.shape == (0, 3, 3)
    assert result.text() == "(nobody)"
    assert using(None)([np.zeros((1, 1, 3), np.uint8)], ["a"])[0].keypoints.shape == (1, 3, 3)


def test_joints_that_are_no_numbers_cost_their_person_alone() -> None:
    class Damaged(Marks):
        def decode(self, logits: torch.Tensor) -> torch.Tensor:
            found = super().decode(logits)
            found[1, 0, 0] = float("nan")
            return found

    made = predictor(Damaged())
    made.use(Finder(around(PEOPLE), [0.9] * 3, [0] * 3, ("person",)), "best.pt", print)
    (result,) = made([picture(PEOPLE)], ["a"])
    assert len(result) == 2
    assert np.isfinite(result.keypoints).all()
