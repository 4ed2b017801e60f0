"""The drawn people: the same everywhere, true to their labels, and made once."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.figures import made
from mgil.datasets.reading.figures.body import (
    FOREARM,
    HEAD_RADII,
    SHIN,
    SHOULDER,
    THIGH,
    UNIT,
    UPPER_ARM,
    Body,
    Limbs,
    Stance,
    body_of,
    draw_stance,
)
from mgil.datasets.reading.figures.made import FIGURES, scene
from mgil.datasets.reading.figures.person import NUMBERS, PARTS, Placed, draw_person, is_seen
from mgil.datasets.reading.figures.raster import FINE, PIXEL, POINT, Canvas
from mgil.datasets.reading.figures.scene import HEIGHTS, KEY_POINTS, SIDES, Figure
from mgil.datasets.reading.generated import STAMP_NAME, Draws

# sha256 over the pixels and labels of the first 12 scenes of each split: another value means another data set, which
# needs a new stamp, too.
PINNED = "1c269ffa47686e0e10e5b5ad5034a3f1ba95939104ef4c6a72766a106b104bb8"
UPRIGHT = Limbs(0, 5, 0, 0, 0, 3, 0)
STANDING = Stance(0, 0, 0, 0, 0, 0, 0, 0, (UPRIGHT, UPRIGHT))


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[tuple[np.ndarray, list[Figure]]]]:
    return {split: [scene(split, index) for index in range(12)] for split in made.SCENES}


@pytest.fixture
def few_scenes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(made, "SCENES", {"train": 5, "val": 3})
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "cache"))


def test_the_pixels_and_labels_are_the_same_everywhere(
    scenes: dict[str, list[tuple[np.ndarray, list[Figure]]]],
) -> None:
    digest = hashlib.sha256()
    for split in ("train", "val"):
        for pixels, figures in scenes[split]:
            digest.update(repr(pixels.shape).encode() + pixels.tobytes() + repr(figures).encode())
    assert digest.hexdigest() == PINNED


def test_scenes_are_what_they_say(scenes: dict[str, list[tuple[np.ndarray, list[Figure]]]]) -> None:
    drawn = [(pixels, figure) for split in scenes for pixels, figures in scenes[split] for figure in figures]
    assert {len(figures) for split in scenes for _, figures in scenes[split]} >= {1, 2}
    for pixels, figure in drawn:
        height, width = pixels.shape[:2]
        assert pixels.dtype == np.uint8 and all(SIDES[0] <= side <= SIDES[1] for side in (height, width))
        left, top, box_width, box_height = figure.box
        assert left >= 0 <= top and left + box_width <= width and top + box_height <= height
        assert 10 < figure.area < box_width * box_height
        assert max(box_width, box_height) <= HEIGHTS[1] * 1.4  # with raised arms
        points = np.array(figure.key_points)
        assert points.shape == (17, 3) and set(points[:, 2]) <= {0, 1, 2} and (points[:, 2] > 0).sum() >= 5
        inside = points[points[:, 2] > 0, :2] / 100 + 0.5
        assert (inside >= (left - 1, top - 1)).all()
        assert (inside <= (left + box_width + 1, top + box_height + 1)).all()
    seen = np.array([figure.key_points for _, figure in drawn])[:, :, 2]
    assert 0.5 < (seen == 2).mean() < 0.9 and 0.1 < (seen == 1).mean() < 0.5


def test_train_and_val_differ(scenes: dict[str, list[tuple[np.ndarray, list[Figure]]]]) -> None:
    pictures = [pixels.tobytes() for split in scenes for pixels, _ in scenes[split]]
    assert len(set(pictures)) == 24


def distances(body: Body) -> dict[str, float]:
    pairs = {"shoulder": "elbow", "elbow": "wrist", "hip": "knee", "knee": "ankle"}
    return {
        f"{side}_{first}": math.dist(body.joints[f"{side}_{first}"], body.joints[f"{side}_{second}"])
        for side in ("left", "right")
        for first, second in pairs.items()
    }


def test_bones_keep_their_lengths() -> None:
    wanted = {"shoulder": UPPER_ARM, "elbow": FOREARM, "hip": THIGH, "knee": SHIN}
    for index in range(50):
        body = body_of(draw_stance(Draws(3, index)))
        for joint, length in distances(body).items():
            assert abs(length - wanted[joint.partition("_")[2]]) < 6  # of 1024; every turn rounds
        for name in ("nose", "left_ear", "right_eye"):
            reach = math.dist(body.joints[name], body.joints["head"])
            assert min(HEAD_RADII) - 8 < reach < max(HEAD_RADII) + 2


def test_a_body_is_about_as_tall_as_it_says() -> None:
    joints = body_of(STANDING).joints
    top = joints["head"][1] - HEAD_RADII[1]
    assert 0.85 * UNIT < joints["left_toes"][1] - top < 1.05 * UNIT


@pytest.mark.parametrize(("yaw", "left_x", "nose_x", "nose_z"), [(0, 1, 0, 1), (180, -1, 0, -1), (90, 0, 1, 0)])
def test_left_is_the_persons(yaw: int, left_x: int, nose_x: int, nose_z: int) -> None:
    """Who faces the viewer has its left at the right; who looks to the right of the picture has its left behind."""
    joints = body_of(replace(STANDING, yaw=yaw)).joints
    assert np.sign(round(joints["left_shoulder"][0], -1)) == left_x
    assert abs(abs(joints["left_shoulder"][0]) - SHOULDER * abs(left_x)) <= 1
    head, nose = joints["head"], joints["nose"]
    assert np.sign(round(nose[0] - head[0], -1)) == nose_x and np.sign(round(nose[2] - head[2], -1)) == nose_z
    if yaw == 90:
        assert joints["left_shoulder"][2] < joints["right_shoulder"][2]


def placed(stance: Stance, pixels: int = 90) -> tuple[Canvas, Placed]:
    canvas = Canvas(120, 100)
    person = Placed(body_of(stance), (50 * PIXEL, 60 * PIXEL), pixels * PIXEL, 100, 64)
    draw_person(canvas, person, long_hair=False, bald=False)
    return canvas, person


@pytest.mark.parametrize(
    ("yaw", "hidden"),
    [
        (0, set()),
        (180, {"nose", "left_eye", "right_eye"}),
        (90, {"left_shoulder", "left_hip", "left_ear", "left_eye"}),
        (-90, {"right_shoulder", "right_hip", "right_ear", "right_eye"}),
    ],
)
def test_what_the_body_hides(yaw: int, hidden: set[str]) -> None:
    reaching = replace(UPRIGHT, arm_forward=85)  # so that no arm hangs before a hip
    stance = STANDING if yaw in (0, 180) else replace(STANDING, limbs=(reaching, reaching))
    canvas, person = placed(replace(stance, yaw=yaw))
    covered = {joint for joint in KEY_POINTS if not is_seen(canvas, person, joint)}
    arms_and_legs = {joint for joint in KEY_POINTS if joint.partition("_")[2] in ("elbow", "wrist", "knee", "ankle")}
    assert covered - arms_and_legs == hidden
    assert not covered & arms_and_legs if yaw in (0, 180) else True


def test_an_object_hides_what_is_behind_it() -> None:
    canvas, person = placed(STANDING)
    canvas.polygon(999, [(0, 80 * PIXEL), (100 * PIXEL, 80 * PIXEL), (100 * PIXEL, 120 * PIXEL), (0, 120 * PIXEL)])
    covered = {joint for joint in KEY_POINTS if not is_seen(canvas, person, joint)}
    assert covered == {"left_knee", "right_knee", "left_ankle", "right_ankle"}


def test_front_and_back_look_different() -> None:
    shown = {}
    for yaw in (0, 180):
        canvas, person = placed(replace(STANDING, yaw=yaw))
        shown[yaw] = {part: int((canvas.shown == person.number(part)).sum()) for part in PARTS}
    assert shown[0]["eye"] > 0 and shown[0]["skin"] > 2 * shown[0]["hair"]
    assert shown[180]["eye"] == 0 and shown[180]["hair"] > 2 * shown[180]["skin"]
    assert len(PARTS) <= NUMBERS


def points_of(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """x and y steps of all points."""
    height, width = canvas.shown.shape
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return columns * POINT + POINT // 2, rows * POINT + POINT // 2


@pytest.mark.parametrize("end", [(900, 700), (300, 400), (-200, 350)])
def test_a_capsule_is_all_that_is_near_a_line(end: tuple[int, int]) -> None:
    canvas = Canvas(20, 24)
    start, radius = (300, 400), 150
    canvas.capsule(7, start, end, (radius, radius))
    xs, ys = points_of(canvas)
    direction = np.array(end, float) - start
    length = float(direction @ direction)
    along = ((xs - start[0]) * direction[0] + (ys - start[1]) * direction[1]) / max(length, 1)
    along = along.clip(0, 1)
    gap = np.hypot(xs - start[0] - along * direction[0], ys - start[1] - along * direction[1])
    np.testing.assert_array_equal(canvas.shown == 7, gap <= radius)


def test_a_capsule_gets_thinner_and_may_cover_some_shapes_alone() -> None:
    canvas = Canvas(20, 40)
    canvas.capsule(7, (200, 480), (1700, 480), (300, 100))
    sums = (canvas.shown == 7).sum(0)
    half = sums[200 // POINT] * POINT / 2, sums[950 // POINT] * POINT / 2, sums[1700 // POINT] * POINT / 2
    assert np.abs(np.array(half) - (300, 200, 100)).max() <= POINT
    before = canvas.shown.copy()
    canvas.capsule(9, (0, 480), (1900, 480), (50, 50), over=7)
    assert (canvas.shown == 9).any() and ((canvas.shown == 9) <= (before == 7)).all()


@pytest.mark.parametrize("turn", [1, -1])
def test_a_polygon(turn: int) -> None:
    canvas = Canvas(20, 20)
    corners = [(100, 100), (800, 200), (700, 900), (200, 600)][::turn]
    canvas.polygon(3, corners)
    area = (canvas.shown == 3).sum() * POINT**2
    xs, ys = zip(*corners, strict=True)
    shoelace = abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(4))) / 2
    assert abs(area - shoelace) < 0.02 * shoelace


def test_a_ball() -> None:
    canvas = Canvas(20, 20)
    found = canvas.ellipsoid(5, (480, 480), (300, 400))
    assert found is not None
    places, offsets = found
    assert abs(len(places) * POINT**2 - math.pi * 300 * 400) < 0.02 * math.pi * 300 * 400
    assert len(places) == (canvas.shown == 5).sum() and (canvas.shown[tuple(places.T)] == 5).all()
    np.testing.assert_allclose(np.linalg.norm(offsets, axis=1), 256, atol=2)
    middle = offsets[(places == 480 // POINT).all(1)][0]
    assert middle[2] >= 253 and np.abs(middle[:2]).max() < 20


def test_shapes_beyond_the_picture() -> None:
    canvas = Canvas(10, 10)
    canvas.capsule(1, (-900, -900), (-500, -500), (60, 60))
    canvas.polygon(2, [(5000, 0), (6000, 0), (6000, 60)])
    assert canvas.ellipsoid(3, (-900, 0), (90, 90)) is None and not canvas.shown.any()
    assert canvas.shown.shape == (10 * FINE, 10 * FINE)


def test_the_folder_is_the_pictures_and_a_coco_json(
    few_scenes: None, tmp_path: Path, scenes: dict[str, list[tuple[np.ndarray, list[Figure]]]]
) -> None:
    folder = tmp_path / "figures"
    FIGURES.make(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]
    assert (folder / STAMP_NAME).read_text() == FIGURES.stamp
    for split, count in made.SCENES.items():
        content = json.loads((folder / "annotations" / f"person_keypoints_{split}.json").read_text())
        assert [entry["file_name"] for entry in content["images"]] == [f"{n:06d}.png" for n in range(1, count + 1)]
        assert content["categories"][0]["keypoints"][:2] == ["nose", "left_eye"]
        assert len(content["categories"][0]["skeleton"]) == 19
        expected = [(number, figure) for number in range(count) for figure in scenes[split][number][1]]
        assert [entry["id"] for entry in content["annotations"]] == list(range(1, len(expected) + 1))
        for entry, (number, figure) in zip(content["annotations"], expected, strict=True):
            assert entry["image_id"] == number + 1 and tuple(entry["bbox"]) == figure.box
            assert entry["num_keypoints"] == sum(seen > 0 for _, _, seen in figure.key_points)
            assert entry["keypoints"][:3] in (
                [figure.key_points[0][0] / 100, figure.key_points[0][1] / 100, figure.key_points[0][2]],
                [0, 0, 0],
            )
        for number in range(count):
            with Image.open(folder / "images" / split / f"{number + 1:06d}.png") as image:
                np.testing.assert_array_equal(np.asarray(image), scenes[split][number][0])


def test_reading_the_yaml_writes_nothing(few_scenes: None, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("path: made\ngenerate: figures\ntrain: annotations/person_keypoints_train.json\n")
    config = load_data_config(path)
    assert (config.generate, config.names, config.category_ids) == ("figures", ("person",), (1,))
    assert list(tmp_path.iterdir()) == [path]
    assert FIGURES.folder(tmp_path / "made") == tmp_path / "made"


@pytest.mark.parametrize("value", ["faces", "[digits]", "5"])
def test_other_generated_sets(tmp_path: Path, value: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"generate: {value}\ntrain: images\n")
    with pytest.raises(ValueError, match="mine.yaml: generate: .* is not known; 'digits', 'figures' and 'glyphs' are"):
        load_data_config(path)
