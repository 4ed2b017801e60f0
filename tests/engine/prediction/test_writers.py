"""Outputs of detect.py: labels, table, crops, pictures and videos."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgil.engine.prediction.writers import ResultWriter, VideoFile
from mgil.engine.sources.sources import Frame
from mgil.files.found import folder_name
from mgil.files.written_files import LIST_NAME
from mgil.tasks.detect.results import Results
from mgil.tasks.detect.task import DetectTask

NAMES = ("cat", "../dog", "a, b")
COLUMNS = DetectTask.table_columns


def make(boxes: list[list[float]], classes: list[int], size_hw: tuple[int, int] = (50, 100)) -> Results:
    return Results(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.875, 0.5, len(boxes)).astype(np.float32),
        classes=np.array(classes, np.int64),
        names=NAMES,
        image=np.full((*size_hw, 3), 60, np.uint8),
    )


def still(path: str, stem: str) -> Frame:
    return Frame(np.zeros((1, 1, 3), np.uint8), path, stem, "")


def video(stem: str, number: int, fps: float = 10) -> Frame:
    return Frame(np.zeros((1, 1, 3), np.uint8), f"in/{stem}.avi", stem, "", number, fps)


def count_frames(path: Path) -> tuple[int, float, tuple[int, ...]]:
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    frames = []
    while (got := capture.read())[0]:
        frames.append(got[1])
    capture.release()
    return len(frames), fps, frames[0].shape if frames else ()


@pytest.mark.parametrize(
    ("boxes", "scores", "text"),
    [
        ([], True, ""),
        ([[10, 5, 30, 25]], False, "2 0.2 0.3 0.2 0.4\n"),
        ([[10, 5, 30, 25]], True, "2 0.2 0.3 0.2 0.4 0.875\n"),
        ([[0, 0, 100, 50], [0, 0, 1, 1]], False, "2 0.5 0.5 1 1\n2 0.005 0.01 0.01 0.02\n"),
    ],
)
def test_label_lines(boxes: list[list[float]], scores: bool, text: str) -> None:
    assert make(boxes, [2] * len(boxes)).label_lines(scores) == text


def test_labels_are_named_after_stem_and_frame_and_stale_ones_go(tmp_path: Path) -> None:
    for boxes in ([[1, 2, 3, 4]], []):
        writer = ResultWriter(tmp_path, COLUMNS, media=False, txt=True)
        writer.write(still("in/a.jpg", "a"), make(boxes, [0] * len(boxes)), None)
        writer.write(video("v", 7), make([[1, 2, 3, 4]], [0]), None)
        writer.close()
        names = sorted(path.name for path in (tmp_path / "labels").iterdir())
        assert names == (["a.txt", "v_7.txt"] if boxes else ["v_7.txt"])
        assert writer.labels_written == len(names)


def test_table_starts_with_yolov5_columns_and_quotes_names(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path, COLUMNS, media=False, table=True)
    writer.write(still("in/a.jpg", "a"), make([[1, 2, 3, 4], [5, 6, 7, 8]], [2, 0]), None)
    written = list(csv.DictReader((tmp_path / "predictions.csv").open()))  # readable before the run ends
    writer.write(video("v", 3), make([[1, 2, 3, 4]], [0]), None)
    writer.close()
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert list(rows[0])[:3] == ["Image Name", "Prediction", "Confidence"]
    assert rows[:2] == written
    assert [row["Prediction"] for row in rows] == ["a, b", "cat", "cat"]
    assert (rows[0]["Image Name"], rows[0]["Confidence"], rows[0]["Frame"]) == ("a.jpg", "0.88", "")
    assert [rows[2][key] for key in ("Frame", "xmin", "ymin", "xmax", "ymax")] == ["3", "1.00", "2.00", "3.00", "4.00"]


def test_crops_are_kept_apart_and_inside_the_folder(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path, COLUMNS, media=False, crops=True)
    writer.write(still("a.png", "a"), make([[0, 0, 30, 20], [5, 5, 25, 25], [0, 0, 9, 9]], [0, 0, 1]), None)
    writer.write(still("b/a-2.png", "a-2"), make([[0, 0, 30, 20]], [0]), None)
    writer.write(video("v", 7), make([[0, 0, 30, 20]], [0]), None)
    crops = sorted(path.relative_to(tmp_path / "crops").as_posix() for path in tmp_path.rglob("*.jpg"))
    assert crops == ["_dog/a_det3.jpg", "cat/a-2_det1.jpg", "cat/a_det1.jpg", "cat/a_det2.jpg", "cat/v_7_det1.jpg"]
    assert cv2.imread(str(tmp_path / "crops/cat/a_det1.jpg")).shape == (20, 30, 3)
    assert list(tmp_path.parent.glob("dog*")) == []


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("cat", "cat"),
        ("../x", "_x"),
        ("a/b\\c", "a_b_c"),
        ("..", "class"),
        ("", "class"),
        ("größe 1", "größe 1"),
        ("a\0b", "a_b"),
    ],
)
def test_class_names_as_folders(name: str, folder: str) -> None:
    assert folder_name(name) == folder


@pytest.mark.parametrize(("source", "written"), [("x/a.JPG", "a.JPG"), ("a.png", "a.png"), ("a.mpo", "a.png")])
def test_pictures_keep_a_writable_suffix(tmp_path: Path, source: str, written: str) -> None:
    writer = ResultWriter(tmp_path, COLUMNS)
    writer.write(still(source, "a"), make([], []), np.zeros((8, 8, 3), np.uint8))
    assert {path.name for path in tmp_path.iterdir()} == {written, LIST_NAME}


def test_videos_in_turn_and_side_by_side(tmp_path: Path) -> None:
    picture = np.full((48, 64, 3), 99, np.uint8)
    for side_by_side, order in ((False, "aaabb"), (True, "ababa")):
        folder = tmp_path / str(side_by_side)
        folder.mkdir()
        writer = ResultWriter(folder, COLUMNS, side_by_side=side_by_side)
        for number, stem in enumerate(order, start=1):
            writer.write(video(stem, number, fps=29.97 / 7), make([], []), picture)
        writer.close()
        for stem, count in (("a", 3), ("b", 2)):
            frames, fps, shape = count_frames(folder / f"{stem}.mp4")
            assert (frames, shape) == (count, (48, 64, 3))
            assert fps == pytest.approx(29.97 / 7, abs=0.01)


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        ([], []),
        ([5.0], [0]),
        ([0, 0.1, 0.2], [0, 1, 2]),  # at the video's own rate
        ([7.0, 7.5, 7.6], [0, 0, 0, 0, 0, 1, 2]),  # a slow start is waited for
        ([0, 0.04, 0.3, 0.33], [1, 1, 1, 3]),  # of two within one frame the newer is kept
        ([0, 0.1, 0.05], [0, 2]),  # a clock does not run back
    ],
)
def test_live_video_plays_at_the_speed_of_life(tmp_path: Path, times: list[float], shown: list[int]) -> None:
    file = VideoFile(tmp_path / "v.mp4", 10, (48, 64))
    for index, at_s in enumerate(times):
        file.write(np.full((48, 64, 3), 60 * index + 20, np.uint8), at_s)
    file.close()
    capture = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    seen = []
    while (got := capture.read())[0]:
        seen.append(round((float(got[1].mean()) - 20) / 60))
    capture.release()
    assert seen == shown


def test_live_video_goes_on_while_nothing_comes(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path, COLUMNS, side_by_side=True)
    picture = np.full((48, 64, 3), 99, np.uint8)
    for stem, at_s in (("a", 5.0), ("b", 5.0), ("a", 6.0)):
        writer.write(replace(video(stem, 1), arrived=at_s), make([], []), picture)
    for now_s in (6.0, 6.5, 6.95):
        writer.pass_time(now_s)
    writer.write(replace(video("a", 2), arrived=6.9), make([], []), picture)  # it came just before that
    writer.pass_time(1e6)
    writer.close()
    assert [count_frames(tmp_path / f"{stem}.mp4")[0] for stem in "ab"] == [10 * (2 + 120) - 1 + 1, 10 * 120 + 1]
    plain = VideoFile(tmp_path / "c.mp4", 10, (48, 64))
    plain.write(picture)
    plain.pass_time(1e6)
    plain.close()
    assert count_frames(tmp_path / "c.mp4")[0] == 1


@pytest.mark.parametrize("size_hw", [(33, 51), (512, 512), (16, 16)])
def test_video_of_any_size_and_frames_that_change_size(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    file = VideoFile(tmp_path / "v.mp4", 25, size_hw)
    file.write(np.zeros((*size_hw, 3), np.uint8))
    file.write(np.zeros((20, 20, 3), np.uint8))
    file.close()
    frames, fps, shape = count_frames(tmp_path / "v.mp4")
    assert frames == 2
    assert fps == 25
    assert abs(shape[0] - size_hw[0]) <= 1 and abs(shape[1] - size_hw[1]) <= 1  # some encoders want even sides


def test_unwritable_video_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot write a video"):
        VideoFile(tmp_path / "gone" / "v.mp4", 25, (32, 32))


def test_crops_of_an_earlier_run_about_the_same_frame_go(tmp_path: Path) -> None:
    """Those of other frames stay, as label files do, and so does what somebody put there."""
    boxes = [[0, 0, 30, 20], [5, 5, 25, 25]]
    for found in (2, 1, 0):
        writer = ResultWriter(tmp_path, COLUMNS, media=False, crops=True)
        writer.write(still("a.png", "a"), make(boxes[:found], [0, 0][:found]), None)
        if found == 2:
            writer.write(still("a_det1.png", "a_det1"), make(boxes[:1], [0]), None)
            (tmp_path / "crops/cat/a_det9.jpg").write_bytes(b"somebody's")
        writer.close()
        left = sorted(path.name for path in tmp_path.glob("crops/cat/*"))
        assert left == sorted([*(f"a_det{number + 1}.jpg" for number in range(found)), "a_det1_det1.jpg", "a_det9.jpg"])


def test_a_frame_rate_below_a_hundredth_is_a_hundredth(tmp_path: Path) -> None:
    file = VideoFile(tmp_path / "v.mp4", 1 / 300, (32, 32))
    file.write(np.zeros((32, 32, 3), np.uint8))
    file.close()
    assert count_frames(tmp_path / "v.mp4")[1] == pytest.approx(0.01, abs=0.001)
