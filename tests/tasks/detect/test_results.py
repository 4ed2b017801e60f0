"""Results: boxes, crops, table, text."""

from __future__ import annotations

import builtins
import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgil.files.found import count_text
from mgil.tasks.detect.results import Results

IMAGE = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3).astype(np.uint8)
NAMES = ("person", "dog", "sheep")


def make(boxes: list[list[float]], classes: list[int]) -> Results:
    return Results(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.5, len(boxes)).astype(np.float32),
        classes=np.array(classes, np.int64),
        names=NAMES,
        image=IMAGE,
        path="a/b.jpg",
        speed={"preprocess": 1.0, "inference": 2.0, "nms": 3.0},
        input_hw=(64, 64),
    )


@pytest.mark.parametrize(
    ("classes", "text"),
    [([], ""), ([1], "1 dog"), ([1, 0, 1], "1 person, 2 dogs"), ([2, 2, 2], "3 sheeps")],
)
def test_counts_read_as_in_yolov5(classes: list[int], text: str) -> None:
    assert count_text(np.array(classes, np.int64), NAMES) == text


def test_length_and_text() -> None:
    results = make([[1, 2, 3, 4], [5, 6, 7, 8]], [0, 0])
    assert len(results) == 2
    assert str(results) == "a/b.jpg: 48x64 pixels seen at 64x64: 2 persons"
    assert "(no detections)" in str(make([], []))


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ([2, 3, 10, 20], slice(3, 20), slice(2, 10)),
        ([2.5, 3.1, 9.2, 19.9], slice(3, 20), slice(2, 10)),  # every pixel that is touched
        ([-5, -5, 100, 100], slice(0, 48), slice(0, 64)),
        ([10, 10, 10, 10], slice(10, 11), slice(10, 11)),  # never empty
        ([63.9, 47.9, 70, 70], slice(47, 48), slice(63, 64)),
        ([64, 48, 64, 48], slice(47, 48), slice(63, 64)),
    ],
)
def test_crops_are_the_touched_pixels(box: list[float], rows: slice, columns: slice) -> None:
    (crop,) = make([box], [0]).crop()
    assert np.array_equal(crop, IMAGE[rows, columns])


def test_table_has_yolov5_columns() -> None:
    table = make([[1, 2, 3, 4], [5, 6, 7, 8]], [0, 2]).to_pandas()
    assert list(table.columns) == ["xmin", "ymin", "xmax", "ymax", "confidence", "class", "name"]
    assert table.iloc[1, :4].tolist() == [5, 6, 7, 8]
    assert table["name"].tolist() == ["person", "sheep"]
    assert make([], []).to_pandas().empty


def test_table_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_pandas(name: str, *arguments: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", no_pandas)
    with pytest.raises(ValueError, match="pip install pandas"):
        make([], []).to_pandas()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("xyxy", "results have no xyxy: boxes_xyxy, scores and classes .*hubconf.py"),
        ("pandas", r"no pandas: to_pandas\(\)"),
        ("print", r"print\(results\)"),
        ("other", "^results have no other$"),
    ],
)
def test_a_name_of_yolov5s_results_says_what_takes_its_place(name: str, message: str) -> None:
    results = make([[1, 2, 3, 4]], [0])
    assert not hasattr(results, name) and len(copy.deepcopy(results)) == len(pickle.loads(pickle.dumps(results))) == 1
    with pytest.raises(AttributeError, match=message):
        getattr(results, name)


def test_plot_and_save(tmp_path: Path) -> None:
    results = make([[1, 2, 30, 40]], [1])
    picture = results.plot()
    assert picture.shape == (48 * 8, 64 * 8, 3)
    assert picture.dtype == np.uint8
    assert results.save(tmp_path / "out.png").stat().st_size > 0


def test_followed_objects_carry_their_numbers_everywhere() -> None:
    given = make([[0, 0, 10, 10], [5, 5, 9, 9], [2, 2, 4, 8]], [0, 2, 0])
    trails = tuple(np.zeros((2, 2), np.float32) for _ in range(2))
    followed = given.followed(np.array([0, 2]), np.array([12345678, 3]), trails)
    assert np.array_equal(followed.boxes_xyxy, given.boxes_xyxy[[0, 2]])
    assert (followed.track_ids.tolist(), len(followed.trails)) == ([12345678, 3], 2)  # type: ignore[union-attr]
    name = given.names[0]
    assert followed.text() == f"2 {name}s (3, 12345678)"
    for with_scores, columns in ((False, 6), (True, 7)):
        plain = given.label_lines(with_scores).splitlines()
        lines = followed.label_lines(with_scores).splitlines()
        assert lines == [f"{plain[0]} 12345678", f"{plain[2]} 3"]
        assert [len(line.split()) for line in lines] == [columns] * 2
    assert followed.table_rows() == [[*given.table_rows()[0], "12345678"], [*given.table_rows()[2], "3"]]
    assert followed.to_pandas()["track"].tolist() == [12345678, 3]
    assert (given.track_ids, given.trails) == (None, ())
    assert len(followed.followed(np.empty(0, int), np.empty(0, int), ()).label_lines(True)) == 0
