"""Results of poses: text, label lines, table, crops, pandas, supervision, drawing."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mgil.files.packages import MissingPackage
from mgil.files.paint import class_colour
from mgil.tasks.abilities import Followable
from mgil.tasks.pose.results import TABLE_COLUMNS, PoseResults
from mgil.tasks.pose.skeleton import checked

STICK = checked(["head", "left hand", "right hand"], [0, 2, 1], [0.05] * 3, [(0, 1), (0, 2)])
IMAGE = np.random.default_rng(0).integers(0, 256, (50, 100, 3), np.uint8)
JOINTS = np.array([[[20, 10, 0.5], [30, 25, 0.3], [-10, 60, 0.01]], [[60, 10, 0.9], [70, 25, 0.8], [50, 30, 0.7]]])


def make(count: int = 2, **changes: Any) -> PoseResults:
    values = {
        "boxes_xyxy": np.array([[10, 5, 30, 45], [50, 0, 80, 40]], np.float32)[:count],
        "box_scores": np.array([0.5, 1.0], np.float32)[:count],
        "keypoints": JOINTS.astype(np.float32)[:count],
        "skeleton": STICK,
        "image": IMAGE,
        "joint_threshold": 0.02,
        "path": "a/b.jpg",
        "input_hw": (64, 64),
    }
    return PoseResults(**{**values, **changes})


def followed() -> PoseResults:
    return make().followed(np.array([1]), np.array([7]), (np.array([[60, 20], [65, 20]], np.float32),))


def test_scores_and_classes() -> None:
    assert make().scores.tolist() == pytest.approx([0.5 * 0.4, 0.8])
    assert make().scores.dtype == np.float32
    assert make().classes.tolist() == [0, 0]
    assert isinstance(make(), Followable)


def test_text() -> None:
    assert make().text() == "2 persons"
    assert make(1).text() == "1 person"
    assert make(0).text() == "(nobody)"
    assert followed().text() == "1 person (7)"
    assert str(make()) == "a/b.jpg: 50x100 pixels, people seen at 64x64: 2 persons"


def test_label_lines_are_yolo_poses() -> None:
    first, second = make().label_lines(False).splitlines()
    expected = [0, 0.2, 0.5, 0.2, 0.8, 0.2, 0.2, 0.5, 0.3, 0.5, 0.3, 0, 1, 0.01]  # what lies outside is at the border
    assert [float(word) for word in first.split()] == pytest.approx(expected, abs=1e-6)
    assert len(second.split()) == 5 + 3 * 3
    with_scores = make().label_lines(True).splitlines()
    assert with_scores[0].split()[:-1] == first.split()
    assert float(with_scores[1].split()[-1]) == pytest.approx(0.8)
    assert followed().label_lines(True).split()[-1] == "7"
    assert make(0).label_lines(True) == ""


def test_label_lines_are_read_by_ultralytics_rules() -> None:
    """Class and box within 0..1, then K triples within 0..1, as its data sets must be."""
    for line in make().label_lines(False).splitlines():
        values = np.array(line.split(), float)
        triples = values[5:].reshape(-1, 3)
        assert ((triples >= 0) & (triples <= 1)).all()
        assert ((values[1:5] > 0) & (values[1:5] <= 1)).all()


def test_table_rows_fit_the_columns() -> None:
    rows = make().table_rows()
    assert all(len(row) == len(TABLE_COLUMNS) for row in rows)
    assert rows[1][:6] == ["person", "0.80", "50.00", "0.00", "80.00", "40.00"]
    assert rows[1][6] == "60.00 10.00 0.900 70.00 25.00 0.800 50.00 30.00 0.700"
    assert followed().table_rows()[0][-1] == "7"


def test_pandas() -> None:
    table = make().to_pandas()
    assert list(table.columns[:7]) == ["xmin", "ymin", "xmax", "ymax", "confidence", "class", "name"]
    assert list(table.columns[7:10]) == ["head_x", "head_y", "head_score"]
    assert table["left hand_y"].tolist() == [25, 25]
    assert table["name"].tolist() == ["person", "person"]
    assert followed().to_pandas()["track"].tolist() == [7]
    assert make(0).to_pandas().empty


def test_crops_are_the_boxes_pixels() -> None:
    (kind, crop), _ = make().named_crops()
    assert kind == "person"
    assert np.array_equal(crop, IMAGE[5:45, 10:30])


def test_following_keeps_the_joints_with_their_person() -> None:
    one = followed()
    assert np.array_equal(one.keypoints[0], make().keypoints[1])
    assert one.box_scores.tolist() == [1]
    assert len(one.trails) == 1


def test_drawing_shows_boxes_but_not_the_frame_of_a_whole_picture(tmp_path: Path) -> None:
    red = class_colour(0)
    assert (make().plot(labels=False)[25:225, 50:52] == red).all()  # enlarged five times
    whole = make(1, boxes_xyxy=np.array([[0, 0, 100, 50]], np.float32), image=np.zeros((50, 100, 3), np.uint8))
    assert not (whole.plot() == red).all(axis=2).any()
    assert (followed().plot() == class_colour(7)).all(axis=2).any()
    assert np.array_equal(make(0).plot(), cv2.resize(IMAGE, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC))
    saved = make().save(tmp_path / "a.png")
    assert np.array_equal(cv2.imread(str(saved))[..., ::-1], make().plot())


def test_supervision_has_all_of_it_and_draws() -> None:
    supervision = pytest.importorskip("supervision")
    found = make().to_supervision()
    assert found.xy == pytest.approx(JOINTS[..., :2])
    assert found.keypoint_confidence == pytest.approx(JOINTS[..., 2])
    assert found.detection_confidence == pytest.approx(make().scores)
    assert found.visible.tolist() == [[True, True, False], [True, True, True]]
    assert found.data["class_name"].tolist() == ["person", "person"]
    assert followed().to_supervision().data["tracker_id"].tolist() == [7]
    assert len(make(0).to_supervision()) == 0
    edges = [(first + 1, second + 1) for first, second in STICK.limbs]
    drawn = supervision.EdgeAnnotator(color=supervision.Color.GREEN, edges=edges).annotate(IMAGE.copy(), found)
    assert not np.array_equal(drawn, IMAGE)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(MissingPackage, match="pip install supervision"):
        make().to_supervision()


def test_names_of_others_are_answered() -> None:
    with pytest.raises(AttributeError, match="results have no boxes: boxes_xyxy, scores and track_ids"):
        _ = make().boxes  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="results have no masks$"):
        _ = make().masks  # type: ignore[attr-defined]
    assert len(copy.deepcopy(make())) == len(pickle.loads(pickle.dumps(make()))) == 2
