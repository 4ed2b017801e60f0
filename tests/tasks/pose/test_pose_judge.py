"""The judge and the scores of pose: a network of known answers on hand-made people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mgil.datasets.batches.batch import EvalBatch
from mgil.engine.evaluation.evaluate import evaluate
from mgil.tasks.base import Loading
from mgil.tasks.pose.batches import PersonLoader
from mgil.tasks.pose.crops import crop_maps
from mgil.tasks.pose.judge import PoseJudge, notes_on_flip_test
from mgil.tasks.pose.network import build_pose
from mgil.tasks.pose.oks import Poses
from mgil.tasks.pose.options import ValOptions
from mgil.tasks.pose.people import People
from mgil.tasks.pose.scores import DETECTED, LABELLED, METRICS, PoseScores, summarise
from mgil.tasks.pose.simcc import SimCCLoss
from mgil.tasks.pose.skeleton import Skeleton
from tests.tasks.pose.crowd import write_people

NAMES = ("nose", "left_hand", "right_hand")
SKELETON = Skeleton(NAMES, (0, 2, 1), (0.1, 0.2, 0.3), ((0, 1), (0, 2)))
SIZE, SPLIT = 32, 3
DATA: Any = SimpleNamespace(names=NAMES)


def people_of(boxes: Any, image_ids: Any, key_points: Any = None, **changes: Any) -> People:
    """People whose joints lie at fixed shares of their boxes."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    shares = np.array([[0.5, 0.1], [0.9, 0.5], [0.2, 0.6]])
    if key_points is None:
        places = boxes[:, None, :2] + shares * boxes[:, None, 2:]
        key_points = np.concatenate((places, np.full((len(boxes), 3, 1), 2.0)), axis=2)
    ids = np.asarray(image_ids, np.int64)
    people = People(
        image_paths=[f"folder/{number}.png" for number in ids],
        sizes_hw=np.full((len(boxes), 2), 200),
        boxes=boxes,
        key_points=key_points,
        areas=boxes[:, 2:].prod(axis=1),
        scores=np.ones(len(boxes)),
        found=np.zeros(len(boxes), bool),
        ignored=np.zeros(len(boxes), bool),
        image_ids=ids,
        image_count=len(set(ids.tolist())),
        skeleton=SKELETON,
    )
    return replace(people, **changes)


class Reader(nn.Module):
    """An exported file that says what it is told of each picture, which is known by the value of its first pixel.

    Mirrored pictures are known by their last pixel.

    Args:
        joints: (N, K, 2) edge coordinates of pixels by item.
        wrong_mirror: Pixels that it is off in mirrored pictures, to the right there.
    """

    def __init__(self, joints: np.ndarray, wrong_mirror: float = 0.0) -> None:
        super().__init__()
        self.joints, self.wrong_mirror = torch.from_numpy(joints), wrong_mirror
        self.calls: list[tuple[int, ...]] = []
        self.names, self.imgsz = NAMES, SIZE

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls.append(tuple(images.shape))
        left, right = images[:, 0, 0, 0], images[:, 0, 0, -1]
        mirrored = right > left
        items = (torch.where(mirrored, right, left) * 255).round().long() - 1
        places = self.joints[items].clone()
        other = places[:, list(SKELETON.flip)]
        other[..., 0] = SIZE - other[..., 0] + self.wrong_mirror
        places = torch.where(mirrored[:, None, None], other, places)
        return torch.cat((places, torch.ones(*places.shape[:2], 1)), dim=-1)


class Knowing(Reader):
    """The same as a network: logits over bins of a third of a pixel, highest in that of each joint."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        wanted = (super().forward(images)[..., :2] * SPLIT).floor().transpose(1, 2)[..., None]
        return -0.4 * (torch.arange(SIZE * SPLIT) - wanted).square().double()

    def with_mirrored(self, logits: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
        turned = mirrored[:, :, list(SKELETON.flip)].clone()
        turned[:, 0] = turned[:, 0].flip(-1)
        return ((logits.softmax(-1) + turned.softmax(-1)) / 2).log()

    def decode(self, logits: torch.Tensor) -> torch.Tensor:
        best, bins = logits.softmax(-1).max(-1)
        places = (bins.transpose(1, 2) + 0.5) / SPLIT
        return torch.cat((places, best.amax(dim=1)[..., None]), dim=-1)


def batch_of(people: People, items: list[int], size: int = SIZE) -> EvalBatch:
    maps = crop_maps(people.boxes[items], size)
    images = torch.zeros((len(items), 3, size, size), dtype=torch.uint8)
    half = size // 2
    images[:, :, :, :half] = (torch.tensor(items) + 1)[:, None, None, None].to(torch.uint8)
    gains = np.repeat(maps.gains[:, None], 2, axis=1)
    return EvalBatch(images, torch.zeros(0, 10), np.array(items), gains, maps.pads)


def true_joints(people: People) -> np.ndarray:
    """(N, K, 2) where labels are in crops of `SIZE` px."""
    return crop_maps(people.boxes, SIZE).to_input(people.key_points[..., :2])


def judged(judge: PoseJudge, batches: list[EvalBatch], skipped: tuple[int, ...] = ()) -> PoseScores:
    for batch in batches:
        predictions, _ = judge.forward(batch.images.float() / 255, False)
        judge.add(batch, judge.finish(predictions))
    return judge.scores(skipped)


BOXES = [[10, 20, 60, 100], [90, 5, 30, 50], [0, 0, 150, 90]]


@pytest.mark.parametrize("flip_test", [True, False])
def test_joints_come_back_to_the_picture(flip_test: bool) -> None:
    """Half a bin of the crop is the most that is lost, in whatever order people come."""
    people = people_of(BOXES, [4, 4, 9])
    model = Knowing(true_joints(people))
    judge = PoseJudge(model, people, DATA, ValOptions(no_flip_test=not flip_test))
    scores = judged(judge, [batch_of(people, [2]), batch_of(people, [1, 0])])
    assert len(model.calls) == (4 if flip_test else 2)
    poses = scores.labelled.poses
    assert poses.items.tolist() == [0, 1, 2]
    pixels = 1.25 * people.boxes[:, 2:].max(axis=1) / SIZE
    off = np.abs(poses.key_points[..., :2] - people.key_points[..., :2]).max(axis=(1, 2))
    assert (off <= pixels * (0.5 / SPLIT + 1e-6)).all() and off.max() > 0
    assert scores.labelled.oks.ap > 0.99 and scores.detected is None
    assert (scores.images, scores.instances) == (2, 3)


def test_the_flip_test_takes_the_mean_of_both_looks() -> None:
    """Mirrored pictures are answered two bins further right, so further left in the picture itself: the mean is one."""
    people = people_of(BOXES[:1], [1])
    plain, mean = (
        PoseJudge(Knowing(true_joints(people), 2 / SPLIT), people, DATA, ValOptions(no_flip_test=off))
        for off in (True, False)
    )
    batch = batch_of(people, [0])
    alone, both = (judge.finish(judge.forward(batch.images / 255, False)[0])[0] for judge in (plain, mean))
    np.testing.assert_allclose(both[:, 0] - alone[:, 0], -1 / SPLIT, atol=1e-4)
    np.testing.assert_allclose(both[:, 1], alone[:, 1])


def test_the_loss_gets_the_plain_logits() -> None:
    people = people_of(BOXES[:1], [1])
    model = Knowing(true_joints(people), 2.0)
    judge = PoseJudge(model, people, DATA, ValOptions())
    images = batch_of(people, [0]).images / 255
    outputs = judge.forward(images, True)[1]
    assert outputs is not None
    assert torch.equal(outputs, model(images).float())
    assert judge.forward(images, False)[1] is None


@pytest.mark.parametrize("size", [16, 64])
def test_crops_of_another_size_are_resized(size: int) -> None:
    people = people_of(BOXES, [4, 4, 9])
    model = Knowing(true_joints(people))
    judge = PoseJudge(model, people, DATA, ValOptions())
    batch = batch_of(people, [0, 1, 2], size)
    (_, pixel), outputs = judge.forward(batch.images / 255, True)
    assert outputs is None and pixel == size / SIZE
    scores = judged(judge, [batch])
    assert set(model.calls) == {(3, 3, SIZE, SIZE)}
    assert scores.labelled.oks.ap > 0.99
    said = f"crops of {size} px were resized to the network's own {SIZE} px"
    assert said in scores.lines(size, False) and not any("resized" in line for line in scores.lines(SIZE, False))


def test_an_exported_file_gives_joints_and_has_no_flip_test() -> None:
    people = people_of(BOXES, [4, 4, 9])
    model = Reader(true_joints(people))
    scores = judged(PoseJudge(model, people, DATA, ValOptions()), [batch_of(people, [0, 1, 2])])
    assert len(model.calls) == 1
    np.testing.assert_allclose(scores.labelled.poses.key_points[..., :2], people.key_points[..., :2], atol=1e-4)
    assert "without the flip test" in notes_on_flip_test(model, "best.onnx")[0]
    assert notes_on_flip_test(Knowing(true_joints(people)), "best.pt") == []


def test_joints_are_matched_by_name() -> None:
    """The flip test is in the network's own order, the scores in the data set's."""
    people = people_of(BOXES, [4, 4, 9])
    model = Knowing(true_joints(people))
    order = (2, 0, 1)
    own = replace(
        people,
        key_points=people.key_points[:, order],
        skeleton=Skeleton(tuple(NAMES[i] for i in order), (2, 1, 0), (0.3, 0.1, 0.2), ()),
    )
    data: Any = SimpleNamespace(names=own.skeleton.names)
    assert judged(PoseJudge(model, own, data, ValOptions()), [batch_of(people, [0, 1, 2])]).labelled.oks.ap > 0.99
    with pytest.raises(ValueError, match="the weights have 3 key points, the data set has 1"):
        one = replace(people, skeleton=Skeleton(("nose",), (0,), (0.1,), ()))
        PoseJudge(model, one, data, ValOptions())


def test_a_place_that_is_no_number_is_not_found() -> None:
    people = people_of(BOXES, [4, 4, 9])
    judge = PoseJudge(Knowing(true_joints(people)), people, DATA, ValOptions())
    joints = np.concatenate((true_joints(people), np.ones((3, 3, 1))), axis=2)
    joints[1, 0, 2] = np.nan
    judge.add(batch_of(people, [0, 1, 2]), joints)
    scores = judge.scores(())
    assert scores.labelled.poses.items.tolist() == [0, 2]
    assert scores.labelled.oks.ar == pytest.approx(2 / 3)


def test_nothing_was_looked_at() -> None:
    people = people_of(np.zeros((0, 4)), [], image_count=5)
    scores = PoseJudge(Knowing(np.zeros((0, 3, 2))), people, DATA, ValOptions()).scores(())
    assert scores.fitness == 0 and (scores.images, scores.instances) == (5, 0)
    assert np.isnan(list(scores.columns().values())).all() and tuple(scores.columns()) == METRICS


def with_detector() -> tuple[People, Poses]:
    """Two labelled people in one picture; a detector's boxes of the first, twice, and of nobody."""
    people = people_of(
        [*BOXES[:2], [12, 18, 60, 100], [8, 20, 62, 100], [150, 150, 20, 20]],
        [1, 1, 1, 1, 1],
        scores=np.array([1, 1, 0.9, 0.8, 0.3]),
        found=np.array([False, False, True, True, True]),
    )
    people.key_points[2:] = 0
    joints = np.concatenate((people.key_points[..., :2], np.full((5, 3, 1), 0.5)), axis=2)
    joints[2:4] = joints[0]
    joints[3, 0, :2] += 3
    joints[4, :, :2] = 160.0
    return people, Poses(np.arange(5), joints, np.ones(5))


def test_boxes_of_both_kinds_are_scored_apart() -> None:
    people, poses = with_detector()
    scores = summarise(people, poses, (), ValOptions())
    assert scores.labelled.boxes == LABELLED and scores.labelled.poses.items.tolist() == [0, 1]
    assert scores.labelled.oks.ap == pytest.approx(1)
    assert scores.detected is not None and scores.detected.boxes == DETECTED
    assert scores.detected.poses.items.tolist() == [2, 4]  # the second of the same person is gone
    np.testing.assert_allclose(scores.detected.poses.scores, [0.45, 0.15])
    assert scores.detected.oks.ap == pytest.approx(51 / 101) and scores.detected.oks.ar == 0.5
    assert scores.instances == 2
    kept = summarise(people, poses, (), ValOptions(oks_nms=1.0)).detected
    assert kept is not None and kept.poses.items.tolist() == [2, 3, 4]
    strict = summarise(people, poses, (), ValOptions(joint_thres=0.5)).detected
    assert strict is not None and strict.poses.scores.tolist() == [0, 0]


def test_people_of_unreadable_pictures_do_not_count() -> None:
    people = people_of(BOXES, [4, 4, 9])
    joints = np.concatenate((people.key_points[:1, :, :2], np.ones((1, 3, 1))), axis=2)
    scores = summarise(people, Poses(np.array([0]), joints, np.ones(1)), (1, 2), ValOptions())
    assert (scores.images, scores.instances) == (0, 0) and np.isnan(scores.labelled.oks.ap)
    scores = summarise(people, Poses(np.array([0]), joints, np.ones(1)), (2,), ValOptions())
    assert (scores.images, scores.instances) == (1, 2) and scores.labelled.oks.ar == 0.5


def test_fitness_is_what_a_data_set_is_measured_by() -> None:
    people = people_of(BOXES, [4, 4, 9])
    joints = np.concatenate((people.key_points[..., :2], np.ones((3, 3, 1))), axis=2)
    joints[0, 1, 0] += 40.0
    poses = Poses(np.arange(3), joints, np.ones(3))
    by_oks = summarise(people, poses, (), ValOptions())
    assert by_oks.fitness == pytest.approx(by_oks.labelled.oks.ap, abs=2e-6) and by_oks.labelled.oks.ap < 1
    by_head = summarise(replace(people, head_sizes=np.full(3, 10.0)), poses, (), ValOptions())
    by_torso = summarise(replace(people, torso=(1, 2)), poses, (), ValOptions())
    assert by_head.fitness == by_torso.fitness == pytest.approx(8 / 9)
    assert by_head.columns()["metrics/PCK"] == by_head.fitness


def test_of_equal_ap_the_higher_pck_is_better() -> None:
    """In its first epochs a network may have none, and is not to be stopped for it."""
    people = people_of(BOXES, [4, 4, 9])
    joints = np.concatenate((people.key_points[..., :2] + 1000.0, np.ones((3, 3, 1))), axis=2)
    worse = summarise(people, Poses(np.arange(3), joints, np.ones(3)), (), ValOptions())
    joints[:, 0, :2] -= 1000.0
    better = summarise(people, Poses(np.arange(3), joints, np.ones(3)), (), ValOptions())
    assert worse.labelled.oks.ap == better.labelled.oks.ap == worse.fitness == 0 < better.fitness < 1e-5


def test_report_and_tables(tmp_path: Path) -> None:
    people, poses = with_detector()
    scores = summarise(people, poses, (), ValOptions())
    lines = scores.lines(32, verbose=True)
    assert lines[-1].split() == ["detector", "boxes", "1", "2", "0.505", "0.505", "0.505", "0.505", "nan", "0.500"]
    assert lines[-2].split() == ["ground-truth", "boxes", "1", "2", "1.000", "1.000", "1.000", "1.000", "nan", "1.000"]
    assert "32-64 px 1.000 (1), 64-128 px 1.000 (1)" in lines[0] and LABELLED in lines[0] and DETECTED in lines[1]
    assert "left_hand" in "".join(lines) and "left_hand" not in "".join(scores.lines(32, verbose=False))
    assert scores.lines(32, verbose=False)[2].endswith("%: nose 100.0, hand 100.0; mean 100.0")
    scores.write(tmp_path, pictures=False)
    assert (tmp_path / "per_joint.csv").read_text().splitlines()[:2] == ["joint,labels,PCK@0.1", "nose,2,1"]
    rows = (tmp_path / "oks.csv").read_text().splitlines()
    assert rows[0].startswith("boxes,ap,ap50,") and rows[2].startswith("detector boxes,0.50495,")
    assert (tmp_path / "per_size.csv").read_text().splitlines()[2] == "ground-truth boxes,32,64,1,1"
    row = scores.row()
    assert row["AP"] == pytest.approx(1) and row["AP_detector"] == pytest.approx(51 / 101)
    without = summarise(people_of(BOXES, [1, 2, 3]), poses.rows(np.arange(2)), (), ValOptions()).row()
    assert np.isnan(without["AP_detector"]) and tuple(without) == tuple(row)
    assert "OKS AP 1.000" in scores.summary()


@pytest.mark.parametrize(("size", "with_loss"), [(32, True), (20, False)])
def test_a_network_is_evaluated_by_the_engine(size: int, with_loss: bool, tmp_path: Path) -> None:
    """Crops of the network's own size have a loss, which is that of the plain logits; smaller ones are scored alone."""
    rng = np.random.default_rng(0)
    boxes = np.column_stack((rng.uniform(0, 40, (5, 2)), rng.uniform(20, 50, (5, 2))))
    places = boxes[:, None, :2] + rng.random((5, 17, 2)) * boxes[:, None, 2:]
    people = write_people(tmp_path, boxes, np.concatenate((places, np.full((5, 17, 1), 2.0)), axis=2), (100, 100))
    model = build_pose("simcc-small.yaml", people.skeleton.names, 32)
    model.skeleton = people.skeleton
    data: Any = SimpleNamespace(names=model.names)
    loader = PersonLoader(people, size, "linear", Loading(2))
    judge = PoseJudge(model, people, data, ValOptions())
    loss = SimCCLoss(model.split)
    found = evaluate(model, loader, judge, loss=loss if with_loss else None)
    assert isinstance(found.scores, PoseScores) and len(found.scores.labelled.poses) == 5
    assert found.size_hw == (size, size)
    if with_loss:
        model.eval()
        with torch.no_grad():
            terms = [
                loss(model(batch.images / 255), batch.targets)[1].item() * len(batch.images) / 5 for batch in loader
            ]
        assert found.losses[0] == pytest.approx(sum(terms), rel=1e-5)
