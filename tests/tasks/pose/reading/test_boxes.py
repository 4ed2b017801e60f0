"""A detector's boxes beside the labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgil.tasks.pose.people import People, trainable
from mgil.tasks.pose.reading.boxes import with_boxes
from tests.tasks.pose.reading.sets import person, read, same, write_coco


@pytest.fixture
def people(tmp_path: Path) -> People:
    return read(write_coco(tmp_path, person()))[0]


def box(**changes: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 20], "score": 0.5, **changes}


def write(folder: Path, *boxes: Any) -> str:
    path = folder / "boxes.json"
    path.write_text(json.dumps(boxes))
    return str(path)


def test_boxes_come_after_labels(tmp_path: Path, people: People) -> None:
    lines: list[str] = []
    path = write(tmp_path, box(image_id=2, bbox=[-5, 20, 50, 50]), box(score=0), box(score=0.9))
    both = with_boxes(people, path, lines.append)
    assert lines == [f"{path}: 3 boxes of people in 2 images"]
    assert both.found.tolist() == [False, True, True, True] and both.image_ids.tolist() == [1, 1, 1, 2]
    same(both.boxes[1:], [[1, 2, 10, 20], [1, 2, 10, 20], [0, 20, 40, 10]])  # cut at the edge
    assert both.scores.tolist() == [1, 0, 0.9, 0.5] and not both.key_points[1:].any()
    assert [Path(name).name for name in both.image_paths] == ["1.png", "1.png", "1.png", "2.png"]
    assert both.sizes_hw.tolist() == [[30, 40]] * 4 and both.key_points.shape == (4, 3, 3)
    assert trainable(both).tolist() == [True, False, False, False]
    assert len(both) == 4 and both.image_count == 2 and both.skeleton == people.skeleton
    same(both.rows(~both.found).key_points, people.key_points)
    assert both.content()["people"] == 1 and both.content()["labels"] != people.content()["labels"]


def test_sizes_of_heads_are_not_known(tmp_path: Path, people: People) -> None:
    both = with_boxes(replace(people, head_sizes=np.array([3.0])), write(tmp_path, box()), list[str]().append)
    assert both.head_sizes is not None
    np.testing.assert_array_equal(both.head_sizes, [3, np.nan])


def test_people_without_a_list_of_pictures(tmp_path: Path, people: People) -> None:
    both = with_boxes(replace(people, pictures=None), write(tmp_path, box(), box(image_id=2)), list[str]().append)
    assert both.image_ids.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        *((5, "dropped: no image_id, bbox or score"), (box(bbox=[1, 2, 3]), "dropped: no image_id, bbox or score")),
        (box(bbox=[1, 2, float("nan"), 3]), "dropped: no image_id, bbox or score"),
        (box(score=None), "dropped: no image_id, bbox or score"),
        (box(score=float("nan")), "dropped: no image_id, bbox or score"),
        (box(image_id="1"), "dropped: no image_id, bbox or score"),
        (box(bbox=[1, 2, 0, 5]), "dropped: without an area in their image"),
        (box(bbox=[90, 2, 5, 5]), "dropped: without an area in their image"),
        (box(bbox=[1, 2, -5, 5]), "dropped: without an area in their image"),
    ],
)
def test_what_costs_one_box(tmp_path: Path, people: People, bad: Any, what: str) -> None:
    lines: list[str] = []
    both = with_boxes(people, write(tmp_path, box(), bad, bad), lines.append)
    assert both.found.sum() == 1
    assert lines == [f"{tmp_path}/boxes.json: 1 boxes of people in 1 images, 2 {what} (the first at position 1)"]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (box(category_id=2), "of other categories"),
        (box(image_id=9), "in images that the data set has not"),
        (box(score=-0.1), "with a score below 0"),
    ],
)
def test_what_is_left_out(tmp_path: Path, people: People, other: Any, what: str) -> None:
    lines: list[str] = []
    with_boxes(people, write(tmp_path, box(), other), lines.append)
    assert lines[0].endswith(f"1 boxes of people in 1 images, 1 {what}")
    with pytest.raises(
        ValueError, match=f"boxes.json: no box is of a person .*0 boxes of people in 0 images, 1 {what}"
    ):
        with_boxes(people, write(tmp_path, other), lines.append)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "not a list of boxes"),
        ("[", "line 1: not valid JSON"),
        ("[]", "no box is of a person"),
        ("\xff", "UTF-8"),
    ],
)
def test_another_file(tmp_path: Path, people: People, text: str, message: str) -> None:
    (tmp_path / "boxes.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"boxes.json.*{message}"):
        with_boxes(people, str(tmp_path / "boxes.json"), list[str]().append)


def test_no_file(tmp_path: Path, people: People) -> None:
    with pytest.raises(FileNotFoundError, match="none.json"):
        with_boxes(people, str(tmp_path / "none.json"), list[str]().append)
