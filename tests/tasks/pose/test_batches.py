"""Crops of people and their targets, held against the pixels that they show and against OpenCV's own warp."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mgil.datasets.batches.kernel_torch import render_torch
from mgil.datasets.batches.loader import TrainLoader
from mgil.tasks.base import Loading
from mgil.tasks.pose.batches import PersonLoader, PoseComposer
from mgil.tasks.pose.crops import crop_maps, crop_people
from mgil.tasks.pose.half_body import half_bodies
from mgil.tasks.pose.options import CROPS
from mgil.tasks.pose.people import People
from mgil.tasks.pose.recipe import PoseRecipe
from mgil.tasks.pose.skeleton import Skeleton
from mgil.tasks.pose.tiles import regions_of
from tests.tasks.pose.crowd import COCO, write_people

TWO = Skeleton(("left", "right"), (1, 0), (0.05, 0.05), ())
PLAIN = PoseRecipe(scale=0, degrees=0, fliplr=0, half_body=0)


def two_joints(tmp_path: Path, count: int = 6, seed: int = 0) -> People:
    """People in pictures of 90x120, who have one bright and one missing joint each."""
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(20, 40, (count, 2)), rng.uniform(30, 50, (count, 2))], axis=1)
    points = np.zeros((count, 2, 3))
    points[:, 0, :2] = boxes[:, :2] + boxes[:, 2:] * rng.uniform(0.4, 0.6, (count, 2))
    points[:, 0, 2] = 2
    return write_people(tmp_path, boxes, points, (90, 120), TWO)


def brightest(image: np.ndarray) -> np.ndarray:
    """The middle of the bright disc in an (H, W) picture, edge coordinates."""
    light = np.clip(image.astype(float) - 60, 0, None)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(light * x).sum(), (light * y).sum()]) / light.sum()


@pytest.mark.parametrize("how", CROPS)
def test_targets_lie_where_the_pixels_are(tmp_path: Path, how: str) -> None:
    people = two_joints(tmp_path)
    recipe = PoseRecipe(scale=0.3, degrees=40, rotated=1.0, fliplr=0.5, half_body=0)
    loader = TrainLoader(PoseComposer(people, recipe, 64, how), 6, seed=3, report=lambda _line: None)
    mirrored = 0
    for epoch in range(4):
        batch = loader.batch(epoch, 0)
        for image, target in zip(batch.images.numpy(), batch.targets.numpy(), strict=True):
            points = target[1:].reshape(2, 3)
            joint = int(points[1, 2] > 0)  # where the picture is mirrored, left is right
            mirrored += joint
            assert points[1 - joint].tolist() == [0, 0, 0] and points[joint, 2] == 2
            assert np.abs(brightest(image[0]) - points[joint, :2]).max() < 0.35
    assert 4 < mirrored < 20


def test_plain_training_crops_are_the_evaluation_crops(tmp_path: Path) -> None:
    people = two_joints(tmp_path)
    loader = TrainLoader(PoseComposer(people, PLAIN, 48, "linear"), 6, report=lambda _line: None)
    train = loader.batch(0, 0)
    (batch,) = PersonLoader(people, 48, "linear", Loading(8, report=lambda _line: None))
    order = np.argsort(train.indices)
    assert np.abs(train.images.numpy()[order].astype(int) - batch.images.numpy()).max() <= 1
    assert np.allclose(train.targets.numpy()[order, 1:], batch.targets.numpy()[:, 1:], atol=1e-4)
    assert batch.targets[:, 0].tolist() == list(range(6))


def test_both_kernels_draw_the_same_crop(tmp_path: Path) -> None:
    people = two_joints(tmp_path)
    people.boxes[:, :2] -= 30  # in part beyond the picture
    loader = TrainLoader(PoseComposer(people, PoseRecipe(half_body=0), 48, "linear"), 6, report=lambda _line: None)
    sequence = loader.sequence(0)
    plan = loader.planner.plan(0, 0, sequence).plan
    tiles, rows = loader.store.tiles_of(np.where(plan.positions >= 0, sequence[plan.positions], -1))
    drawn = render_torch(plan, torch.from_numpy(np.asarray(tiles)), rows).numpy()
    assert np.abs(drawn.astype(int) - loader.batch(0, 0).images.numpy()).max() <= 4
    assert (drawn == 0).any() and 114 not in drawn[:, :, :2, :2]  # black beyond the picture, not YOLO's grey


def test_crop_equals_opencvs_warp() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 80, 3), np.uint8)
    box = np.array([[10.0, 20.0, 30.0, 60.0]])
    crops, maps = crop_people(image, box, 64, "linear")
    gain = 64 / (60 * 1.25)  # the longer side, padded
    middle = np.array([25.0, 50.0])
    assert maps.gains[0] == pytest.approx(gain) and maps.pads[0] == pytest.approx(32 - gain * middle)
    shift = 32 - gain * middle + gain / 2 - 0.5  # OpenCV counts from the middles of pixels
    warped = cv2.warpAffine(image, np.array([[gain, 0, shift[0]], [0, gain, shift[1]]]), (64, 64))
    assert np.abs(crops[0].transpose(1, 2, 0).astype(int) - warped).max() <= 1


@pytest.mark.parametrize("how", CROPS)
def test_crop_of_the_mirrored_picture_is_the_mirrored_crop(how: str) -> None:
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (120, 160, 3), np.uint8), (5, 5), 0)
    boxes = np.array([[30.3, 20.7, 40, 81.2], [-5, -6, 50, 60], [100, 60, 58, 60]])
    mirrored = boxes.copy()
    mirrored[:, 0] = 160 - boxes[:, 0] - boxes[:, 2]
    crops, _ = crop_people(image, boxes, 64, how)
    others, _ = crop_people(np.ascontiguousarray(image[:, ::-1]), mirrored, 64, how)
    assert np.abs(crops.astype(int) - others[..., ::-1]).max() <= 1


def test_linear_crops_alias_and_area_crops_average() -> None:
    """White noise that shrinks 7.8 times: bilinear samples keep 2/3 of it, averages of 8x8 at most 1/8."""
    noise = np.clip(np.random.default_rng(0).normal(128, 40, (500, 500, 3)), 0, 255).astype(np.uint8)
    box = np.array([[50.0, 50.0, 400.0, 400.0]])
    linear, area = (float(crop_people(noise, box, 64, how)[0][..., 4:-4, 4:-4].std() / noise.std()) for how in CROPS)
    assert linear == pytest.approx(2 / 3, abs=0.02)  # of a bilinear weight, squared: (2/3)**2 on the mean
    assert 1 / 8 * 2 / 3 - 0.01 < area < 1 / 8  # which the last, bilinear step smooths by up to 2/3


def test_there_and_back() -> None:
    maps = crop_maps(np.array([[3.0, 4.0, 50.0, 20.0], [0.0, 0.0, 0.0, 0.0]]), 32)
    points = np.random.default_rng(0).uniform(0, 60, (2, 5, 2))
    assert np.allclose(maps.to_picture(maps.to_input(points)), points)
    assert maps.to_input(np.array([[[27.5, 13.5]]] * 2))[0, 0] == pytest.approx([16, 16])  # the box's middle


def test_large_people_become_smaller_tiles_only_as_said(tmp_path: Path) -> None:
    people = write_people(tmp_path, np.array([[100.0, 100.0, 700, 900]]), np.zeros((1, 17, 3)), (1300, 1200), COCO)
    linear, area = (regions_of(people, 1.5, 64, how) for how in CROPS)
    assert linear.side == 930 and area.side == 233  # of 1,225 px, as of 1,350 px remain 1,024 and 256
    assert linear.sizes_wh.tolist() == [[1125, 1225]] and linear.corners.tolist() == [[0, 0]]


def test_half_bodies_are_boxes_around_the_joints_of_a_half(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(20, 80, (40, 17, 2)), np.full((40, 17, 1), 2.0)], axis=2)
    points[-1, 8:, 2] = 0  # too few
    people = write_people(tmp_path, np.tile([10.0, 10, 80, 80], (40, 1)), points, (100, 100))
    boxes = half_bodies(np.random.default_rng(1), people, np.arange(40), 1.0)
    assert boxes[-1].tolist() == [10, 10, 80, 80]
    upper, lower = points[:, :11, :2] + 0.5, points[:, 11:, :2] + 0.5
    sides = []
    for half in (upper, lower):
        extent = (half.max(axis=1) - half.min(axis=1)) * 1.5 / 1.25
        expected = np.concatenate([half.mean(axis=1) - extent / 2, extent], axis=1)
        sides.append(np.isclose(boxes, expected).all(axis=1))
    assert (sides[0][:-1] ^ sides[1][:-1]).all() and 18 < sides[0].sum() < 36
    assert np.array_equal(half_bodies(np.random.default_rng(1), people, np.arange(40), 0.0), people.boxes)
    names = tuple(name.title().replace("_", "") for name in people.skeleton.names)  # LeftHip
    renamed = replace(people, skeleton=replace(people.skeleton, names=names))
    assert np.array_equal(half_bodies(np.random.default_rng(1), renamed, np.arange(40), 1.0), boxes)


def test_evaluation_crops_nobody_who_is_ignored(tmp_path: Path) -> None:
    people = two_joints(tmp_path)
    people.ignored[[1, 4]] = True
    batches = list(PersonLoader(people, 48, "linear", Loading(3, report=lambda _line: None)))
    assert [batch.indices.tolist() for batch in batches] == [[0, 2, 3], [5]]


def test_a_lost_picture_costs_its_people_alone(tmp_path: Path) -> None:
    people = two_joints(tmp_path)
    Path(people.image_paths[2]).unlink()
    told: list[str] = []
    (batch,) = PersonLoader(people, 48, "linear", Loading(8, report=told.append))
    assert batch.indices.tolist() == [0, 1, 3, 4, 5] and len(told) == 1 and "2.png" in told[0]
    loader = TrainLoader(PoseComposer(people, PLAIN, 48, "linear"), 6, report=told.append)
    train = loader.batch(0, 0)
    row = train.indices.tolist().index(2)
    assert not train.images[row].any() and not train.targets[row, 1:].any()
    assert train.targets[train.indices != 2, 3].eq(2).all()
