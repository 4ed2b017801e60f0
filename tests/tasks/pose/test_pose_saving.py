"""What an evaluation of pose writes: COCO results that score the same, label files, pictures of batches."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mgil.datasets.batches.batch import EvalBatch
from mgil.tasks.pose.crops import crop_maps
from mgil.tasks.pose.label_lines import label_lines
from mgil.tasks.pose.oks import Poses
from mgil.tasks.pose.options import ValOptions
from mgil.tasks.pose.people import People
from mgil.tasks.pose.plots import BatchPictures
from mgil.tasks.pose.saving import evaluation_files, score_json
from mgil.tasks.pose.scores import summarise
from mgil.tasks.pose.skeleton import Skeleton

SKELETON = Skeleton(("nose", "left_hand", "right_hand"), (0, 2, 1), (0.1, 0.2, 0.3), ((0, 1), (0, 2)))


def make_people(count: int = 3, seed: int = 0) -> tuple[People, Poses]:
    """Labels and a detector's boxes, one picture each of 100x200 pixels, in two folders."""
    rng = np.random.default_rng(seed)
    corners, sides = rng.uniform(0, 60, (count, 2)), rng.uniform(20, 40, (count, 2))
    places = corners[:, None] + rng.random((count, 3, 2)) * sides[:, None]
    labels = np.concatenate((places, np.full((count, 3, 1), 2.0)), axis=2)
    paths = [f"{'ab'[number % 2]}/same.png" for number in range(count)]
    people = People(
        image_paths=paths * 2,
        sizes_hw=np.tile([100, 200], (2 * count, 1)),
        boxes=np.tile(np.concatenate((corners, sides), axis=1), (2, 1)),
        key_points=np.concatenate((labels, np.zeros_like(labels))),
        areas=np.tile(sides.prod(axis=1) * 0.6, 2),
        scores=np.repeat([1.0, 0.7], count),
        found=np.repeat([False, True], count),
        ignored=np.zeros(2 * count, bool),
        image_ids=np.tile([7 + 5 * (number % 2) for number in range(count)], 2),
        image_count=2,
        skeleton=SKELETON,
    )
    joints = np.concatenate((np.tile(places, (2, 1, 1)), rng.uniform(0.1, 1, (2 * count, 3, 1))), axis=2)
    joints[..., :2] += rng.normal(0, 3, (2 * count, 3, 2))
    return people, Poses(np.arange(2 * count), joints, np.ones(2 * count))


def test_results_as_json_score_as_they_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people, poses = make_people(6)
    scores = summarise(people, poses, (), ValOptions(save_json=True))
    said: list[str] = []
    scores.save(tmp_path, "best", said.append)
    assert scores.detected is not None
    for name, kind in (("best_keypoints.json", scores.labelled), ("best_keypoints_detector.json", scores.detected)):
        found = score_json(tmp_path / name, people)
        np.testing.assert_allclose(found, np.nan_to_num(astuple(kind.oks), nan=-1), atol=1e-9)
        assert any(name in line and kind.boxes in line for line in said)
    assert "Average Precision" in capsys.readouterr().out
    first = json.loads((tmp_path / "best_keypoints_detector.json").read_text())[0]
    item = scores.detected.poses.items[0]
    assert list(first) == ["image_id", "file_name", "category_id", "keypoints", "score"] and first["category_id"] == 1
    assert first["file_name"] == people.image_paths[item]
    assert first["image_id"] == people.image_ids[item]
    np.testing.assert_allclose(first["keypoints"], scores.detected.poses.key_points[0].ravel(), atol=1e-4)


def test_nothing_found_is_an_empty_list(tmp_path: Path) -> None:
    people, poses = make_people()
    scores = summarise(people.rows(~people.found), poses.rows(np.zeros(0, np.int64)), (), ValOptions(save_json=True))
    scores.save(tmp_path, "best", lambda line: None)
    assert json.loads((tmp_path / "best_keypoints.json").read_text()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["best_keypoints.json"]


def test_label_lines_are_shares_of_the_picture() -> None:
    boxes, joints = np.array([[10.0, 20, 50, 70]]), np.array([[[50.0, 25, 0.5], [0, 100, 1], [-3, 300, 0.25]]])
    assert label_lines(boxes, joints, (100, 200)) == "0 0.15 0.45 0.2 0.5 0.25 0.25 0.5 0 1 1 0 1 0.25\n"
    assert label_lines(boxes, joints, (100, 200), np.array([0.75])).endswith(" 0 1 0.25 0.75\n")
    assert label_lines(boxes[:0], joints[:0], (100, 200)) == ""


@pytest.mark.parametrize("detected", [True, False])
def test_label_files_are_of_the_boxes_that_people_are_used_with(detected: bool, tmp_path: Path) -> None:
    people, poses = make_people(4)
    if not detected:
        people, poses = people.rows(~people.found), poses.rows(np.arange(4))
    options = ValOptions(save_txt=True, save_conf=True, oks_nms=1.0)
    scores = summarise(people, poses, (), options)
    scores.save(tmp_path, "best", lambda line: None)
    files = {path.name: path.read_text().splitlines() for path in (tmp_path / "labels").iterdir()}
    assert sorted(files) == ["same-2.txt", "same.txt"] and [len(lines) for lines in files.values()] == [2, 2]
    values = np.array([line.split() for line in files["same.txt"]], float)
    assert values.shape == (2, 1 + 4 + 9 + 1) and (np.diff(values[:, -1]) <= 0).all()
    kind = scores.detected or scores.labelled
    assert values[0, -1] == pytest.approx(kind.poses.scores[people.image_ids[kind.poses.items] == 7].max(), rel=1e-5)
    names = set(evaluation_files(people, options, "best"))
    assert {"labels/same.txt", "labels/same-2.txt", "per_joint.csv", "pck_curve.png"} <= names
    assert (
        "best_keypoints_detector.json" in evaluation_files(people, replace(options, save_json=True), "best")
    ) == detected


def test_all_that_is_written_is_named_before(tmp_path: Path) -> None:
    people, poses = make_people()
    options = ValOptions(save_txt=True, save_json=True)
    pictures = BatchPictures(tmp_path, people)
    maps = crop_maps(people.boxes, 32)
    gains = np.repeat(maps.gains[:, None], 2, axis=1)
    images = torch.zeros((6, 3, 32, 32), dtype=torch.uint8)
    pictures.add(EvalBatch(images, torch.zeros(0, 10), np.arange(6), gains, maps.pads), np.full((6, 3, 3), 16.0))
    scores = summarise(people, poses, (), options, pictures)
    scores.write(tmp_path, pictures=True)
    scores.save(tmp_path, "best", lambda line: None)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert written <= set(evaluation_files(people, options, "best"))
    assert {"val_batch0_labels.jpg", "val_batch0_pred.jpg", "pck_curve.png"} <= written
    assert "val_batch1_pred.jpg" not in written


def test_pictures_show_labels_and_what_was_found(tmp_path: Path) -> None:
    """One black crop: colour is where the joints are; unlabelled joints and weak ones are not drawn."""
    people, _ = make_people(1)
    people.key_points[0, 1:, 2] = 0
    pictures = BatchPictures(tmp_path, people)
    maps = crop_maps(people.boxes[:1], 64)
    batch = EvalBatch(
        torch.zeros((1, 3, 64, 64), dtype=torch.uint8),
        torch.zeros(0, 10),
        np.array([0]),
        maps.gains[:, None],
        maps.pads,
    )
    found = np.array([[[8.0, 48.0, 0.9], [50.0, 50.0, 0.01], [50.0, 20.0, 0.01]]])
    pictures.add(batch, found)
    pictures.write()
    expected = {"labels": maps.to_input(people.key_points[:1, :, :2])[0, 0], "pred": found[0, 0, :2]}
    for kind, place in expected.items():
        picture = cv2.imread(str(tmp_path / f"val_batch0_{kind}.jpg"))
        assert picture is not None
        scale = picture.shape[0] / 64
        rows, columns = np.nonzero(picture.max(axis=2) > 100)
        middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5]) / scale
        np.testing.assert_allclose(middle, place, atol=0.3)


def test_people_are_chosen_from_all_over_the_split(tmp_path: Path) -> None:
    people, _ = make_people(200)
    pictures = BatchPictures(tmp_path, people)
    chosen = sorted(item for items in pictures.items for item in items)
    assert (
        len(chosen) == 48
        and chosen[0] == 0
        and chosen[-1] == 199
        and [len(items) for items in pictures.items] == [16] * 3
    )
    nobody = BatchPictures(tmp_path, people.rows(np.zeros(0, np.int64)))
    nobody.write()
    assert nobody.items == [] and not list(tmp_path.iterdir())
