"""Boxes that a detector finds: in a split beside the labels, and the same joints by val.py and detect.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mgil.datasets.batches.decode import decode_image
from mgil.engine.evaluation.evaluate import evaluate
from mgil.engine.evaluation.found_boxes import find_boxes, with_found_boxes
from mgil.tasks.abilities import BoxTask
from mgil.tasks.base import Loading
from mgil.tasks.pose.finding import finder_of, paths_of, with_found
from mgil.tasks.pose.network import build_pose
from mgil.tasks.pose.oks import Poses
from mgil.tasks.pose.options import PredictOptions, ValOptions
from mgil.tasks.pose.people import People, Pictures
from mgil.tasks.pose.predictor import PosePredictor
from mgil.tasks.pose.scores import summarise
from mgil.tasks.pose.task import TASK
from tests.tasks.pose.crowd import COCO, write_people

SIZE_HW = (60, 80)
BOXES = np.array([[5.0, 5, 30, 40], [30, 10, 40, 45]])


@pytest.fixture
def people(tmp_path: Path) -> People:
    random = np.random.default_rng(0)
    points = np.concatenate((random.uniform((10, 10), (70, 50), (2, 17, 2)), np.full((2, 17, 1), 2)), axis=2)
    return write_people(tmp_path, BOXES, points, SIZE_HW)


def result(boxes: list[list[float]], classes: list[int], names: tuple[str, ...] = ("dog", "person")) -> Any:
    scores = np.linspace(0.9, 0.5, len(boxes)).astype(np.float32)
    return SimpleNamespace(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4), box_scores=scores, classes=np.array(classes, int),
        names=names, image=np.zeros((*SIZE_HW, 3), np.uint8),
    )  # fmt: skip


def test_found_boxes_of_people_come_behind_the_labels(people: People) -> None:
    lines: list[str] = []
    first, second = paths_of(people)
    found = [(second, result([[1, 2, 11, 22], [0, 0, 9, 9], [-5, 50, 90, 70]], [1, 0, 1])), (first, result([], []))]
    both = with_found(people, found, "best.pt", lines.append)
    assert len(both) == 4
    assert both.found.tolist() == [False, False, True, True]
    assert both.boxes[2:].tolist() == [[1, 2, 10, 20], [0, 50, 80, 10]]  # within the picture
    assert both.scores.tolist() == pytest.approx([1, 1, 0.9, 0.5])
    assert both.areas[2:].tolist() == [200, 800]
    assert list(both.image_paths[2:]) == [second, second]
    assert both.image_ids[2:].tolist() == [people.image_ids[1]] * 2
    assert both.sizes_hw[2:].tolist() == [list(SIZE_HW)] * 2
    assert not both.key_points[2:].any()
    assert not both.ignored[2:].any()
    assert (both.image_count, both.skeleton) == (people.image_count, people.skeleton)
    assert lines == ["people: boxes of best.pt, class person: 2 boxes in 2 images"]
    everywhere = replace(
        people, pictures=Pictures([first, "empty.png", second], np.tile(SIZE_HW, (3, 1)), np.arange(3))
    )
    empty = with_found(everywhere, [("empty.png", result([[1, 2, 11, 22]], [1]))], "best.pt", lambda line: None)
    assert list(paths_of(everywhere)) == [first, "empty.png", second]  # nobody is labelled there
    assert (empty.image_paths[2], empty.image_ids[2]) == ("empty.png", 1)
    again = with_found(both, [(first, result([[0, 0, 9, 9]], [0], ("digit",)))], "other.pt", lines.append)
    assert again.found.tolist() == [False, False, True]  # in their place
    assert with_found(people, [], "best.pt", lines.append).content() == people.content()


def test_optional_columns_grow_too(people: People) -> None:
    more = replace(people, head_sizes=np.array([3.0, 4]), crowds=np.array([False, True]))
    both = with_found(more, [(paths_of(people)[0], result([[1, 2, 11, 22]], [1]))], "best.pt", lambda line: None)
    assert both.head_sizes is not None and both.crowds is not None
    assert both.head_sizes[:2].tolist() == [3, 4] and np.isnan(both.head_sizes[2])
    assert both.crowds.tolist() == [False, True, False]


def test_pictures_without_anybody_are_looked_at(people: People) -> None:
    """What a detector takes for a person there is a mistake that counts."""
    every = Pictures(["7.png", *people.image_paths], np.tile(SIZE_HW, (3, 1)), np.array([7, *people.image_ids]))
    whole = replace(people, pictures=every, image_count=3)
    assert list(paths_of(whole)) == ["7.png", *people.image_paths]
    both = with_found(whole, [("7.png", result([[1, 2, 11, 22]], [1]))], "best.pt", lambda line: None)
    assert both.image_ids.tolist() == [*people.image_ids, 7] and both.image_paths[2] == "7.png"
    joints = np.concatenate((people.key_points, people.key_points[:1]))
    joints[..., 2] = 1
    poses = Poses(np.arange(3), joints, np.ones(3))
    options = ValOptions()
    found = summarise(both, poses, (), options).detected
    assert found is not None and (found.oks.ap, found.oks.ar) == (0, 0)
    own = replace(both, image_ids=np.array([*people.image_ids, people.image_ids[0]]))
    found = summarise(own, poses, (), options).detected
    assert found is not None and found.oks.ar == 0.5


def test_detector_gets_the_flags_that_are_meant_for_it() -> None:
    assert finder_of(PredictOptions()) is None
    found = finder_of(PredictOptions(detector="best.pt", conf_thres=0.4, iou_thres=0.5, max_det=7, classes=(2,)))
    assert found is not None
    assert (found.weights, found.flag) == ("best.pt", "--detector")
    assert found.options == {"conf_thres": 0.4, "iou_thres": 0.5, "max_det": 7, "classes": (2,)}
    in_val = finder_of(ValOptions(detector="best.pt"))
    assert in_val is not None
    assert in_val.options == {"conf_thres": 0.001, "iou_thres": 0.6, "max_det": 300}  # as detection is evaluated


def test_pictures_that_cannot_be_read_have_no_boxes(people: People) -> None:
    first, second = paths_of(people)
    Path(first).write_bytes(b"")

    class Whole(PosePredictor):
        def __init__(self) -> None: ...

        def __call__(self, images: Any, paths: Any) -> Any:
            return [PosePredictorResult for _ in images]

    from mgil.tasks.detect.results import Results

    image = decode_image(second)
    PosePredictorResult = Results(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), ("person",), image)
    assert [path for path, _ in find_boxes(Whole(), [first, second], None)] == [second]


def test_boxes_of_a_file_come_behind_the_labels(people: People, tmp_path: Path) -> None:
    entries = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 20], "score": 0.5}]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    config: Any = ValOptions(boxes=str(tmp_path / "boxes.json"))
    lines: list[str] = []
    both = with_found_boxes(TASK, people, config, None, None, lines.append)
    assert isinstance(both, People) and both.found.tolist() == [False, False, True]
    assert both.boxes[2].tolist() == [1, 2, 10, 20] and both.image_ids[2] == 1 and "1 boxes of people" in lines[0]
    config = ValOptions(boxes=str(tmp_path / "absent.json"))
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        with_found_boxes(TASK, people, config, None, None, print)


def test_without_a_detector_the_split_stays(people: People) -> None:
    assert isinstance(TASK, BoxTask)
    config: Any = ValOptions()
    assert with_found_boxes(TASK, people, config, None, None, print) is people


@pytest.mark.parametrize("flip_test", [False, True])
def test_same_joints_as_in_evaluation(people: People, flip_test: bool, tmp_path: Path) -> None:
    """A network with random weights sees the same crops and means the same places, by either way."""
    model: Any = build_pose("simcc-small.yaml", names=COCO.names, imgsz=32).eval()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=0.1)
    model.skeleton = COCO
    options = ValOptions(no_flip_test=not flip_test, oks_nms=1.0, joint_thres=0.0)
    data: Any = SimpleNamespace(names=COCO.names)
    judge = TASK.judge(model, people, data, options)
    evaluate(model, TASK.eval_loader(people, 32, model, options, Loading(2, report=print)), judge)
    expected = judge.parts[0].key_points  # type: ignore[attr-defined]
    entries = [
        {"file_name": f"{number}.png", "category_id": 1, "bbox": box, "score": 0.5}
        for number, box in enumerate(BOXES.tolist())
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    own = PredictOptions(boxes=str(tmp_path / "boxes.json"), flip_test=flip_test, joint_thres=0.0)
    predictor = PosePredictor(model, own, device=torch.device("cpu"), size_hw=(32, 32))
    predictor.use(None, "", print)
    paths = paths_of(people)
    found = predictor([decode_image(path) for path in paths], paths)
    assert np.stack([one.keypoints[0] for one in found]) == pytest.approx(expected, abs=1e-4)
    assert [one.scores[0] for one in found] == pytest.approx(0.5 * expected[..., 2].mean(axis=1), rel=1e-4)


def test_flags_of_a_detector_need_one() -> None:
    assert finder_of(PredictOptions(boxes="found.json", conf_thres=0.5, max_det=3, classes=(1,))) is None
    refused: list[Any] = [
        PredictOptions(classes=(0,)),
        PredictOptions(conf_thres=0.5),
        PredictOptions(boxes="found.json", iou_thres=0.5),
        ValOptions(max_det=3),
        ValOptions(boxes="found.json", conf_thres=0.5),
    ]
    for options in refused:
        with pytest.raises(ValueError, match="is for a detector's boxes; give --detector"):
            finder_of(options)
