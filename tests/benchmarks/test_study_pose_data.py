"""The people of a study: parts of a set, the peers' copy, and what the peers found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.study_pose_data import (
    label_line,
    load_people,
    people_copy,
    people_part,
    read_poses,
    write_people,
)
from mgil.tasks.pose.oks import oks_averages, size_bins
from mgil.tasks.pose.people import People
from tests.tasks.pose.people_sets import make_people


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_people(tmp_path / "people")


def people_of(path: Path) -> dict[str, People]:
    return {split: load_people(path, split) for split in ("train", "val")}


def test_a_part_holds_out_the_same_people_every_time(data: Path, tmp_path: Path) -> None:
    before = sorted(data.parent.rglob("*"))
    assert people_part(data, "people", 0, 0, tmp_path / "out") == data
    held = people_part(data, "people", 0.25, 0, tmp_path / "out")
    parts, whole = people_of(held), load_people(data, "train")
    names = [set(parts[split].image_paths) for split in ("train", "val")]
    assert [len(part) for part in names] == [9, 3] and names[0] | names[1] == set(whole.image_paths)
    assert set(people_of(people_part(data, "people", 0.25, 0, tmp_path / "again"))["val"].image_paths) == names[1]
    rows = [list(whole.image_paths).index(path) for path in parts["val"].image_paths]
    for name in ("boxes", "areas", "key_points", "image_ids"):
        np.testing.assert_array_equal(getattr(parts["val"], name), getattr(whole, name)[rows])
    assert parts["val"].skeleton == whole.skeleton
    few = people_of(people_part(data, "people", 0, 2, tmp_path / "out"))
    assert [len(few[split]) for split in ("train", "val")] == [2, 2]
    assert list(few["val"].image_paths) == list(load_people(data, "val").image_paths)[:2]
    assert sorted(data.parent.rglob("*")) == before


def test_only_a_json_can_be_divided(tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text("train: images\nval: images\nnames: [person]\nkpt_shape: [3, 3]\n")
    with pytest.raises(ValueError, match="train is not one COCO .json; holdout and images need that of people"):
        people_part(path, "set", 0.2, 0, tmp_path / "out")


def test_the_peers_copy_has_the_same_people(data: Path, tmp_path: Path) -> None:
    """Read back by the reader of such label files."""
    copy = people_copy(data, tmp_path / "peers")
    assert people_copy(data, tmp_path / "peers") == copy and "flip_idx:\n- 0\n- 2\n- 1" in copy.read_text()
    for split, ours in people_of(data).items():
        theirs = load_people(copy, split)
        np.testing.assert_allclose(theirs.key_points, ours.key_points, atol=1e-5)
        np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=1e-5)
        assert theirs.skeleton.flip == ours.skeleton.flip
        assert [int(Path(path).stem) for path in theirs.image_paths] == list(range(len(ours)))
        for ours_path, theirs_path in zip(ours.image_paths, theirs.image_paths, strict=True):
            assert Path(ours_path).read_bytes() == Path(theirs_path).read_bytes()
    content = json.loads((data.parent / "val" / "people.json").read_text())
    content["annotations"][0]["keypoints"][0] += 1
    (data.parent / "val" / "people.json").write_text(json.dumps(content))
    assert people_copy(data, tmp_path / "peers") != copy  # corrected labels


def test_joints_outside_the_picture_lose_their_label() -> None:
    points = np.array([[5.0, 10.0, 2.0], [-1.0, 10.0, 2.0], [3.0, 40.5, 1.0], [10.0, 20.0, 0.0]])
    line = label_line(np.array([2.0, 4.0, 6.0, 8.0]), points, np.array([40, 20]))
    joints = " ".join(["0.25000000 0.25000000 2", *["0.00000000 0.00000000 0"] * 3])
    assert line == f"0 0.25000000 0.20000000 0.30000000 0.20000000 {joints}\n"


def test_what_peers_find_is_scored_by_picture(data: Path, tmp_path: Path) -> None:
    """Three of four people at their places, out of order, one result where nobody is; by hand as in COCO."""
    people = load_people(data, "val")
    rows = [[place, 8, 8, 40, 40, 0.9 - 0.1 * place, *people.key_points[place].ravel()] for place in (2, 0, 1)]
    (path := tmp_path / "people.json").write_text(json.dumps(rows))
    together, poses = read_poses(path, people)
    assert together.found.tolist() == [False] * 4 + [True] * 3 and poses.items.tolist() == [4, 5, 6]
    found = oks_averages(together, poses)
    recalls = np.linspace(0, 1, 101)
    assert found.ap == found.ap50 == pytest.approx((recalls <= 0.75).mean()) and found.ar == pytest.approx(0.75)
    rows.append([3, 8, 8, 40, 40, 0.95, *(people.key_points[3] + 500).ravel()])  # the first in rank, and wrong
    path.write_text(json.dumps(rows))
    worse = oks_averages(*read_poses(path, people))
    assert worse.ap == pytest.approx(0.75 * (recalls <= 0.75).mean())
    assert [part.people for part in size_bins(*read_poses(path, people))] == [0, 4, 0, 0]
    path.write_text("[]")
    together, poses = read_poses(path, people)
    assert oks_averages(together, poses).ap == 0 and len(together) == 4


def test_wrong_answers_of_a_peer_are_refused(data: Path, tmp_path: Path) -> None:
    people = load_people(data, "val")
    path = tmp_path / "people.json"
    path.write_text(json.dumps([[0, 1, 1, 2, 2, 0.5]]))
    with pytest.raises(ValueError, match="rows must have 15 numbers"):
        read_poses(path, people)
    for place in (4, -1):
        path.write_text(json.dumps([[place, 1, 1, 2, 2, 0.5, *range(9)]]))
        with pytest.raises(ValueError, match=rf"people in picture {place} of 4"):
            read_poses(path, people)


def test_crowds_are_not_the_peers(data: Path, tmp_path: Path) -> None:
    people = load_people(data, "val")
    ignored = people.ignored.copy()
    ignored[1] = True
    write_people(replace(people, ignored=ignored), tmp_path / "copy", "val")
    lengths = [len(path.read_text()) for path in sorted((tmp_path / "copy" / "labels" / "val").glob("*.txt"))]
    assert lengths[1] == 0 < min(lengths[0], lengths[2], lengths[3])
