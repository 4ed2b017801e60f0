"""People of COCO's json."""

from __future__ import annotations

import contextlib
import io
import json
import math
import zipfile
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgil.tasks.pose.oks import Poses, indexed, oks_averages
from mgil.tasks.pose.people import trainable
from tests.tasks.pose.reading.sets import person, read, same, write_coco


def test_people(tmp_path: Path) -> None:
    second = person(id=8, image_id=2, bbox=[30, -2, 20, 10], area=None, keypoints=[0] * 9)
    crowd = person(id=9, iscrowd=1, bbox=[0, 0, 40, 30], area=900)
    people, lines = read(write_coco(tmp_path, second, person(), crowd))
    assert lines == ["val: 1 people in 2 images, 2 of 3 key points labelled, 1 crowds, 1 people without key points"]
    assert people.crowds is not None and people.areas[people.crowds].tolist() == [900]
    assert [Path(path).name for path in people.image_paths] == ["1.png", "1.png", "2.png"]
    same(people.boxes, [[2, 3, 20, 24], [0, 0, 40, 30], [30, 0, 10, 8]])
    same(people.areas, [250.5, 900, 0.53 * 80])
    same(people.key_points[0], [[10, 5, 2], [4.5, 12, 1], [0, 0, 0]])
    assert people.ignored.tolist() == [False, True, True] and not people.found.any()
    assert people.image_ids.tolist() == [1, 1, 2] and people.image_count == 2
    assert people.scores.tolist() == [1, 1, 1] and people.head_sizes is None and people.torso is None
    assert people.sizes_hw.tolist() == [[30, 40]] * 3
    assert trainable(people).tolist() == [True, False, False]
    assert people.content()["people"] == 1


def test_crowds_with_key_points_are_scored_as_pycocotools_scores_the_file(tmp_path: Path) -> None:
    """A result near a crowd's key points is no mistake, one far from them is, though both are in its box."""
    from pycocotools.cocoeval import COCOeval

    crowd = person(id=9, iscrowd=1, bbox=[0, 0, 40, 30], area=900, keypoints=[30, 25, 2, 32, 27, 2, 35, 20, 1])
    people, lines = read(write_coco(tmp_path, person(), crowd))
    assert "2 of 3 key points labelled, 1 crowds" in lines[0]
    near, far = people.key_points[1], people.key_points[1] - [25, 20, 0]
    places = np.stack([people.key_points[0], near, far])
    poses = Poses(np.array([0, 0, 0]), places, np.array([0.5, 0.9, 0.8]))
    rows = zip(poses.flat().tolist(), poses.scores.tolist(), strict=True)
    found = [{"image_id": 1, "category_id": 1, "keypoints": points, "score": score} for points, score in rows]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = indexed(json.loads((tmp_path / "people.json").read_text()))
        for entry in truth.dataset["annotations"]:  # which COCO's files have and ours do without
            entry["num_keypoints"] = sum(seen > 0 for seen in entry["keypoints"][2::3])
        evaluator = COCOeval(truth, truth.loadRes(found), "keypoints")
        evaluator.params.kpt_oks_sigmas = np.array(people.skeleton.sigmas)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    assert evaluator.stats[0] == pytest.approx(0.5, abs=1e-9)  # of far alone
    own = [-1 if math.isnan(value) else value for value in astuple(oks_averages(people, poses))]
    assert own == evaluator.stats.tolist()


def test_a_picture_without_anybody_counts(tmp_path: Path) -> None:
    people, _ = read(write_coco(tmp_path, person()))
    assert people.image_count == 2 and people.pictures is not None
    assert people.pictures.ids.tolist() == [1, 2] and people.rows(np.array([0])).pictures is people.pictures


def test_without_a_box_it_is_around_the_points(tmp_path: Path) -> None:
    people, _ = read(write_coco(tmp_path, person(bbox=None, area=None)))
    # points span 6.5 x 8 pixels; the margin is at least 4 px; cut at the edge
    same(people.boxes, [[0.5, 1, 14.5, 16]])
    same(people.areas, [0.53 * 14.5 * 16])


def test_values_of_points_without_a_label_mean_nothing(tmp_path: Path) -> None:
    people, lines = read(write_coco(tmp_path, person(keypoints=[10, 5, 2, 4, 12, 1, 1e9, -3, 0])))
    assert len(lines) == 1
    same(people.key_points[0, 2], [0, 0, 0])


def test_a_point_outside_the_picture_stays(tmp_path: Path) -> None:
    people, _ = read(write_coco(tmp_path, person(keypoints=[-10, 50, 2, 4, 12, 1, 0, 0, 0])))
    same(people.key_points[0, 0], [-10, 50, 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": [1, 2, 2]}, "keypoints has 3 numbers, 3 key points have 9"),
        ({"keypoints": "x"}, "keypoints has 'x'"),
        ({"keypoints": [float("nan"), 5, 2, 4, 12, 1, 0, 0, 0]}, "keypoints has a value that is not a number"),
        ({"keypoints": [None, 5, 2, 4, 12, 1, 0, 0, 0]}, "keypoints has a value that is not a number"),
        ({"keypoints": [1e12, 5, 2, 4, 12, 1, 0, 0, 0]}, "a key point has no place"),
        ({"keypoints": [10, 5, 3, 4, 12, 1, 0, 0, 0]}, "a visibility is 3, must be 0, 1 or 2"),
        ({"bbox": [2, 3, 0, 24]}, "box 2 3 0 24 has no area in the picture of 30x40 pixels"),
        ({"bbox": [50, 3, 10, 24]}, "box 50 3 10 24 has no area"),
        ({"bbox": [2, 3, float("nan"), 24]}, "is not four numbers"),
        ({"bbox": [2, 3, 4]}, "is not four numbers"),
        ({"area": -1}, "area -1 is not a number from 0"),
        ({"area": "x"}, "area 'x' is not a number from 0"),
        ({"image_id": 9}, "image_id 9 is no image of this file"),
        ({"iscrowd": 2}, "iscrowd 2 is neither 0 nor 1"),
        ({"bbox": None, "keypoints": [0] * 9}, "has neither a box nor labelled key points"),
    ],
)
def test_what_costs_one_person(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_coco(tmp_path, person(), {**person(id=8, **changes)})
    people, lines = read(path)
    assert len(people) == 1 and len(lines) == 2
    assert lines[0].startswith(f"{tmp_path}/people.json: annotation 8: ") and message in lines[0]
    assert lines[0].endswith("; person dropped") and "1 people dropped" in lines[1]
    with pytest.raises(ValueError, match="val: 1 problem, errors with --strict; the first problem: .*annotation 8"):
        read(path, strict=True)


def test_an_entry_that_is_none(tmp_path: Path) -> None:
    people, lines = read(write_coco(tmp_path, 5, person()))
    assert len(people) == 1 and "annotation at position 0: is not an object" in lines[0]


def test_other_categories_are_passed_over(tmp_path: Path) -> None:
    path = write_coco(tmp_path, person(), person(id=8, category_id=3))
    people, lines = read(path, strict=True)
    assert len(people) == 1 and "1 boxes of other categories" in lines[0]


def test_an_unreadable_picture_costs_its_people(tmp_path: Path) -> None:
    path = write_coco(tmp_path, person(), person(id=8, image_id=2))
    (tmp_path / "images" / "2.png").write_bytes(b"no picture")
    people, lines = read(path)
    assert len(people) == 1 and people.image_count == 1
    assert "2.png: cannot be read" in lines[0] and "1 pictures skipped" in lines[1]


def test_no_more_than_ten_problems_are_told(tmp_path: Path) -> None:
    people, lines = read(write_coco(tmp_path, person(), *(person(id=8, area=-1) for _ in range(12))))
    assert len(people) == 1 and len(lines) == 12 and lines[10] == "... and 2 more problems"


@pytest.mark.parametrize(
    ("people", "changes", "message"),
    [
        ([person(keypoints=None)], {}, "no annotation has key points; COCO's files of people"),
        ([person(keypoints=[0] * 9)], {}, "nobody has labelled key points"),
        ([], {}, "nobody has labelled key points"),
        ([person(area=-1)], {}, "nobody has labelled key points; the first problem: .*annotation 7: area -1"),
        ([person()], {"images": []}, "none of the images can be used"),
    ],
)
def test_what_is_refused(tmp_path: Path, people: list[Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"people.json: .*{message}"):
        read(write_coco(tmp_path, *people, **changes))


def test_another_number_of_points(tmp_path: Path) -> None:
    path = write_coco(tmp_path, person())
    path.write_text(path.read_text() + "names: [person]\nkpt_names: [a, b]\n")
    with pytest.raises(ValueError, match="people.json: people have 3 key points, the data set 2"):
        read(path)


def test_names_in_the_yaml_alone(tmp_path: Path) -> None:
    """Some programs write no names of key points."""
    path = write_coco(tmp_path, person(), categories=[{"id": 1, "name": "person"}])
    path.write_text(path.read_text() + "kpt_names: [a, b, c]\n")
    assert len(read(path)[0]) == 1


@pytest.mark.parametrize("text", ["[]", "{}", "5", "[{}]"])
def test_another_json(tmp_path: Path, text: str) -> None:
    path = write_coco(tmp_path, person())
    path.write_text(path.read_text() + "names: [person]\ncategory_ids: [1]\nkpt_shape: [3, 3]\n")
    (tmp_path / "people.json").write_text(text)
    with pytest.raises(ValueError, match="neither a COCO json nor MPII's"):
        read(path)


@pytest.mark.parametrize(
    ("name", "json_name", "torso"),
    [("coco17", "keypoints_train.json", None), ("lspet", "keypoints_val.json", (9, 2))],
)
def test_real_sets(tmp_path: Path, shared_data: Path, name: str, json_name: str, torso: tuple[int, int] | None) -> None:
    archive = shared_data / f"{name}.zip"
    if not archive.is_file():
        pytest.skip(f"needs {archive}")
    with zipfile.ZipFile(archive) as zipped:
        content = json.loads(zipped.read(f"{name}/{json_name}"))
        content["images"] = content["images"][:20]
        for image in content["images"]:
            zipped.extract(f"{name}/images/{image['file_name']}", tmp_path)
    numbers = [image["id"] for image in content["images"]]
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in numbers]
    (tmp_path / name / "people.json").write_text(json.dumps(content))
    path = tmp_path / name / "set.yaml"
    path.write_text("val: people.json\n")
    people, lines = read(path, strict=True)
    entries = sorted(content["annotations"], key=lambda entry: numbers.index(entry["image_id"]))
    assert people.image_ids.tolist() == [entry["image_id"] for entry in entries]
    same(people.areas, [entry["area"] for entry in entries])
    expected = np.array([entry["keypoints"] for entry in entries], np.float64).reshape(len(entries), -1, 3)
    labelled = expected[:, :, 2] > 0
    assert (people.key_points[:, :, 2] == expected[:, :, 2]).all()
    same(people.key_points[labelled], expected[labelled])
    boxes = np.array([entry["bbox"] for entry in entries])
    assert np.abs(people.boxes - boxes).max() < 0.02  # cut at the edge, where rounding went beyond it
    assert people.torso == torso and int(labelled.sum()) == sum(entry["num_keypoints"] for entry in entries)
    assert lines[0].startswith(f"val: {len(entries)} people in 20 images, {labelled.sum()} of ")
