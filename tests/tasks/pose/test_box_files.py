"""People in the boxes of a file: COCO's results, the labels of a data set, YOLO's label files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.pose.marks import PEOPLE, around, joints, picture, using


def test_boxes_of_a_json_go_by_the_names_of_pictures(tmp_path: Path) -> None:
    def entry(**changes: Any) -> dict[str, Any]:
        (box,) = around(PEOPLE[:1]).tolist()
        ltwh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        return {"image_id": 36, "category_id": 1, "bbox": ltwh, "score": 0.9} | changes

    file = tmp_path / "boxes.json"
    entries = [entry(), entry(score=0.1), entry(category_id=3), entry(file_name="sub/b.jpg"), entry(image_id="c")]
    file.write_text(json.dumps(entries))
    lines: list[str] = []
    made = using(None, lines, boxes=str(file))
    paths = ["x/000000000036.jpg", "b.jpg", "c.png", "d.png", "e.png"]
    results = made([picture(PEOPLE)] * 5, paths)
    assert [len(result) for result in results] == [1, 1, 1, 0, 0]
    assert results[0].keypoints[..., :2] == pytest.approx(joints(PEOPLE[:1]), abs=0.5)
    assert results[0].box_scores.tolist() == pytest.approx([0.9])
    assert len(lines) == 1 and lines[0].startswith(f"--boxes {file} says nothing of d.png: nobody is looked for there")
    assert len(made.candidates([picture(PEOPLE)], paths[:1])[0]) == 2
    assert len(using(None, boxes=str(file), classes=(1, 3))([picture(PEOPLE)], paths[:1])[0]) == 2


def test_the_labels_of_a_data_set_are_boxes(tmp_path: Path) -> None:
    """They number pictures of any name; a crowd is nobody to look at."""
    (box,) = around(PEOPLE[:1]).tolist()
    label = {"image_id": 7, "category_id": 1, "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
    content = {"images": [{"id": 7, "file_name": "a.png"}], "annotations": [label, label | {"iscrowd": 1}]}
    file = tmp_path / "people.json"
    file.write_text(json.dumps(content))
    (result,) = using(None, boxes=str(file))([picture(PEOPLE)], ["x/a.png"])
    assert result.keypoints[..., :2] == pytest.approx(joints(PEOPLE[:1]), abs=0.5)
    assert result.box_scores.tolist() == [1.0]


def box_of(person: int, **changes: Any) -> dict[str, Any]:
    """An entry of COCO's results around one of the people."""
    left, top, right, bottom = around(PEOPLE)[person].tolist()
    return {"category_id": 1, "bbox": [left, top, right - left, bottom - top], "score": 0.9} | changes


def test_pictures_of_one_name_have_the_boxes_of_their_own_folder(tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    entries = [box_of(number, file_name=f"day/cam{number}/1.png", image_id=number) for number in (0, 1)]
    file.write_text(json.dumps(entries))
    paths = ["x/cam1/1.png", "x/cam0/1.png"]
    second, first = using(None, boxes=str(file))([picture(PEOPLE)] * 2, paths)
    assert first.boxes_xyxy == pytest.approx(around(PEOPLE[:1]), abs=1e-3)
    assert second.boxes_xyxy == pytest.approx(around(PEOPLE[1:2]), abs=1e-3)
    with pytest.raises(ValueError, match=r"day/cam0/1 and day/cam1/1 fit cam2/1\.png equally well; put pictures"):
        using(None, boxes=str(file))([picture(PEOPLE)], ["cam2/1.png"])


@pytest.mark.parametrize("kind", ["json", "number", "labels"])
def test_boxes_are_of_one_picture(kind: str, tmp_path: Path) -> None:
    (tmp_path / "7.txt").write_text("0 .5 .5 .2 .2\n")
    entry = box_of(0, **({"image_id": 7} if kind == "number" else {"file_name": "cam1/7.png", "image_id": 1}))
    (tmp_path / "boxes.json").write_text(json.dumps([entry]))
    made = using(None, boxes=str(tmp_path if kind == "labels" else tmp_path / "boxes.json"))
    for _ in range(2):
        assert len(made([picture(PEOPLE)], ["cam1/7.png"])[0]) == 1
    with pytest.raises(ValueError, match=r"cam1/7\.png and cam2/7\.png would both have the boxes of .*7.*; run them"):
        made([picture(PEOPLE)], ["cam2/7.png"])


@pytest.mark.parametrize("number", [[1], {}, None, "9" * 5000])
def test_numbers_that_are_none(number: Any, tmp_path: Path) -> None:
    for content in ([box_of(0, image_id=number)], {"images": [], "annotations": [box_of(0, image_id=number)]}):
        (tmp_path / "boxes.json").write_text(json.dumps(content))
        if isinstance(number, str):  # a name like any other
            assert len(using(None, boxes=str(tmp_path / "boxes.json"))([picture(PEOPLE)], [f"{number}.png"])[0]) == 1
            continue
        with pytest.raises(ValueError, match=r"boxes\.json, entry 0: no image_id and no file_name"):
            using(None, boxes=str(tmp_path / "boxes.json"))


def test_the_number_of_a_track_is_no_score(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 .5 .5 .2 .2 .75 3\n")
    (result,) = using(None, boxes=str(tmp_path))([picture(PEOPLE)], ["a.png"])
    assert result.box_scores.tolist() == [0.75]
    (tmp_path / "a.txt").write_text("0 .5 .5 .2 .2 3\n")
    with pytest.raises(ValueError, match=r"line 1: score 3 is not from 0 to 1; where it is the number of a track"):
        using(None, boxes=str(tmp_path))([picture(PEOPLE)], ["a.png"])


def test_boxes_of_label_files(tmp_path: Path) -> None:
    left, top, right, bottom = around(PEOPLE[:1])[0] / (96, 64, 96, 64)
    box = f"{(left + right) / 2} {(top + bottom) / 2} {right - left} {bottom - top}"
    (tmp_path / "a.txt").write_text(
        f"0 {box} 0.8\n\n1 {box} 0.9\n0 {box}{' 0.5 0.5' * 3}\n0 {box}{' .5 .5 2' * 3} .7\n"
    )
    (tmp_path / "empty.txt").write_text("")
    lines: list[str] = []
    made = using(None, lines, boxes=str(tmp_path))
    results = made([picture(PEOPLE)] * 2, ["x/a.png", "empty.png"])
    assert [len(result) for result in results] == [3, 0]
    assert sorted(results[0].box_scores.tolist()) == pytest.approx([0.7, 0.8, 1])
    assert results[0].boxes_xyxy == pytest.approx(around(PEOPLE[:1] * 3), abs=1e-3)
    assert lines == []  # it is known that nobody is there
    alone = using(None, lines, boxes=str(tmp_path / "a.txt"), classes=(1,))
    assert [len(result) for result in alone([picture(PEOPLE)] * 2, ["a.png", "b.png"])] == [1, 0]
    assert "says nothing of b.png" in lines[0]


BOX = [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"annotations": [3]}', "entry 0: no mapping of image_id"),
        ('{"annotations": {}}', "give COCO results, a list .*; this is none"),
        ("3", "give COCO results, a list .*; this is none"),
        ([3], "entry 0: no mapping of image_id"),
        ([{"category_id": 1, "bbox": BOX, "score": 1}], "entry 0: no image_id and no file_name"),
        ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3], "score": 1}], "entry 0: bbox .* is not left, top"),
        ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, "x"], "score": 1}], "entry 0: bbox"),
        ([{"image_id": 1, "category_id": 1, "bbox": BOX, "score": True}], "entry 0: score True is no number"),
        ([{"image_id": 1, "category_id": "a", "bbox": BOX}], "entry 0: category_id 'a' is no whole number"),
        (
            [{"image_id": 1, "category_id": kind, "bbox": BOX, "score": 1} for kind in (2, 3)],
            "its categories are 2, 3, none is 1; --classes",
        ),
    ],
)
def test_json_that_is_none_is_named(content: Any, said: str, tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=f"^--boxes .*boxes.json.*{said}"):
        using(None, boxes=str(file))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("0 .5 .5 .5\n", "line 1: 4 columns; a line is class x y w h, then 3 key points or none"),
        ("0 .5 .5 .5 .5\n0 a .5 .5 .5\n", "line 2: '0 a .5 .5 .5' are no numbers"),
        ("0 .5 .5 .5 nan\n", "line 1: .* are no numbers"),
        (b"\xff\xfe\x00\xd8", "are no numbers"),
    ],
)
def test_label_file_that_is_none_is_named(content: str | bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    made = using(None, boxes=str(file))
    with pytest.raises(ValueError, match=f"^--boxes .*a.txt, .*{said}"):
        made([picture(PEOPLE)], ["a.png"])


def test_files_that_cannot_hold_boxes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--boxes none.json: no such file or folder"):
        using(None, boxes="none.json")
    (tmp_path / "boxes.csv").touch()
    with pytest.raises(
        ValueError, match=r"boxes\.csv: give a \.json with COCO results, a YOLO label \.txt or a folder"
    ):
        using(None, boxes=str(tmp_path / "boxes.csv"))
    video = tmp_path / "a.mp4"
    video.touch()
    with pytest.raises(ValueError, match=r"a\.mp4 is none; --detector finds people in videos"):
        using(None, boxes=str(tmp_path))([picture(PEOPLE)], [str(video)])
