"""YOLOv5's results object: boxes in four ways, tables, pictures, crops, text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mgil.engine.hub.detections import Detections
from mgil.tasks.detect.results import Results

NAMES = ("person", "dog", "a/b")
RANDOM = np.random.default_rng(0)
SPEED = {"preprocess": 1.0, "inference": 20.0, "nms": 0.5}


def result(
    boxes: list[list[float]], classes: list[int], path: str = "in/im.png", hw: tuple[int, int] = (40, 80)
) -> Results:
    return Results(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.75, 0.5, len(boxes)).astype(np.float32),
        classes=np.array(classes, np.int64),
        names=NAMES,
        image=RANDOM.integers(0, 256, (*hw, 3), np.uint8),
        path=path,
        speed=SPEED,
        input_hw=(32, 64),
    )


@pytest.fixture
def found() -> Detections:
    """Two boxes in the first image, none in the second."""
    return Detections([result([[8, 4, 24, 20], [0, 10, 80, 30]], [1, 2]), result([], [], "b/im.jpg", (20, 30))], NAMES)


def test_boxes_in_four_ways(found: Detections) -> None:
    assert found.pred[0].tolist() == found.xyxy[0].tolist() == [[8, 4, 24, 20, 0.75, 1], [0, 10, 80, 30, 0.5, 2]]
    assert found.xywh[0].tolist() == [[16, 12, 16, 16, 0.75, 1], [40, 20, 80, 20, 0.5, 2]]
    expected = [[0.1, 0.1, 0.3, 0.5, 0.75, 1], [0, 0.25, 1, 0.75, 0.5, 2]]
    assert found.xyxyn[0].numpy() == pytest.approx(np.array(expected))
    expected = [[0.2, 0.3, 0.2, 0.4, 0.75, 1], [0.5, 0.5, 1, 0.5, 0.5, 2]]
    assert found.xywhn[0].numpy() == pytest.approx(np.array(expected))
    for kind in ("pred", "xyxy", "xywh", "xyxyn", "xywhn"):
        assert [tuple(rows.shape) for rows in getattr(found, kind)] == [(2, 6), (0, 6)]


def test_tables_have_yolov5s_columns(found: Detections) -> None:
    tables = found.pandas()
    for kind, columns in {
        "xyxy": ["xmin", "ymin", "xmax", "ymax"],
        "xyxyn": ["xmin", "ymin", "xmax", "ymax"],
        "xywh": ["xcenter", "ycenter", "width", "height"],
        "xywhn": ["xcenter", "ycenter", "width", "height"],
    }.items():
        first, second = getattr(tables, kind)
        assert list(first.columns) == list(second.columns) == [*columns, "confidence", "class", "name"]
        assert first.iloc[:, :6].to_numpy(float) == pytest.approx(getattr(found, kind)[0].numpy())
        assert first["name"].tolist() == ["dog", "a/b"] and second.empty
    assert tables.xyxy[0]["class"].tolist() == [1, 2] and tables.xyxy[0]["class"].dtype.kind == "i"
    assert tables.xyxy[0].equals(found.results[0].to_pandas())
    assert all(json.dumps(value) for value in tables.xyxy[0].iloc[:, :5].to_numpy().ravel())  # of float32 it would fail
    odd = Detections([result([[63.0838, 4, 24, 20]], [1])], NAMES).pandas().xyxy[0]
    assert json.loads(odd.round(2).to_json(orient="records"))[0]["xmin"] == 63.08


def test_text_and_numbers(found: Detections, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "image 1/2: 40x80 1 dog, 1 a/b",
        "image 2/2: 20x30 (no detections)",
        "Speed: 1.0ms pre-process, 20.0ms inference, 0.5ms NMS per image at shape (2, 3, 32, 64)",
    ]
    assert str(found) == repr(found) == "\n".join(lines)
    found.print()
    assert capsys.readouterr().out.splitlines() == lines
    assert len(found) == found.n == 2 and found.s == (2, 3, 32, 64)
    assert found.t == (1.0, 20.0, 0.5) and found.times == pytest.approx((0.002, 0.04, 0.001))
    assert found.names == {0: "person", 1: "dog", 2: "a/b"} and found.files == ["im.jpg", "im-2.jpg"]
    first, second = found.tolist()
    assert first.n == second.n == 1 and torch.equal(first.pred[0], found.pred[0]) and second.files == ["im.jpg"]
    assert found[0] is found.results[0] and list(found) == found.results


def test_no_images_at_all() -> None:
    none = Detections([], NAMES)
    assert (len(none), none.pred, none.pandas().xyxy, none.render(), none.tolist(), none.crop(save=False)) == (
        0,
        *[[]] * 5,
    )
    assert none.t == (0, 0, 0) and str(none).startswith("Speed: ")


def test_pictures_are_drawn_and_saved(found: Detections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = found.ims[0]
    drawn = [one.plot() for one in found.results]
    assert found.save() == Path("runs/detect/exp") and found.save() == Path("runs/detect/exp2")
    assert found.ims[0] is plain
    with Image.open("runs/detect/exp/im.jpg") as first, Image.open("runs/detect/exp2/im-2.jpg") as second:
        assert np.abs(np.asarray(first).astype(int) - drawn[0]).mean() < 6  # noise, as JPEG keeps it
        assert second.size == drawn[1].shape[1::-1]
    assert all(np.array_equal(*pair) for pair in zip(found.render(), drawn, strict=True))
    assert found.ims[0].shape == drawn[0].shape
    assert not np.array_equal(found.render(labels=False)[0], drawn[0])


def test_nothing_of_the_users_is_overwritten(found: Detections, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "im.jpg").write_bytes(b"the user's")
    with pytest.raises(ValueError, match=r"im\.jpg"):
        found.save(save_dir=folder, exist_ok=True)
    assert (folder / "im.jpg").read_bytes() == b"the user's"
    assert found.save(save_dir=folder) == tmp_path / "mine2"
    assert found.save(save_dir=tmp_path / "mine2", exist_ok=True) == tmp_path / "mine2"  # its own files


@pytest.mark.parametrize("save_dir", ["", ".", "..", "exp/.."])
def test_a_folder_that_has_no_second_beside_it(
    found: Detections, save_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with pytest.raises(ValueError, match="save_dir=.* exists; give exist_ok=True"):
        found.save(save_dir=save_dir)
    assert list(tmp_path.rglob("*")) == [tmp_path / "work"]


def test_crops(tmp_path: Path) -> None:
    found = Detections([result([[8, 4, 24, 20], [30, 4, 50, 30], [60, 0, 99, 9]], [1, 1, 2])], NAMES)
    crops = found.crop(save_dir=tmp_path / "out")
    assert [crop["label"] for crop in crops] == ["dog 0.75", "dog 0.62", "a/b 0.50"]
    assert [int(crop["cls"]) for crop in crops] == [1, 1, 2] and float(crops[1]["conf"]) == 0.625
    assert crops[0]["box"].tolist() == [8, 4, 24, 20]
    assert np.array_equal(crops[0]["im"], found.ims[0][4:20, 8:24])
    saved = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.jpg"))
    assert saved == ["crops/a_b/im.jpg", "crops/dog/im-2.jpg", "crops/dog/im.jpg"]
    assert cv2.imread(str(tmp_path / "out" / "crops" / "dog" / "im-2.jpg")).shape == (26, 20, 3)
    assert len(found.crop(save=False)) == 3 and not (tmp_path / "out2").exists()


def test_a_window_or_the_reason_why_there_is_none(found: Detections, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[Any, ...]] = []
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(ValueError, match="no display here.*save"):
        found.show()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("PIL.ImageShow.show", lambda image, title: shown.append((image.size, title)) or True)
    found.show()
    assert shown == [((480, 240), "im.jpg"), ((480, 320), "im-2.jpg")]
    monkeypatch.setattr("PIL.ImageShow.show", lambda image, title: False)
    with pytest.raises(ValueError, match="no program for it"):
        found.show()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("imgs", "ims"),
        ("boxes", "xyxy"),
        ("masks", "no masks"),
        ("xyxyns", "did you mean xyxyn"),
        ("to_supervision", r"results\[i\].to_supervision"),
        ("qqq", "there is results, names"),
    ],
)
def test_what_is_not_here_says_what_takes_its_place(found: Detections, name: str, hint: str) -> None:
    assert not hasattr(found, name)
    with pytest.raises(AttributeError, match=f"no {name} on the results of a torch.hub model: .*{hint}"):
        getattr(found, name)


def test_supervisions_reader_of_yolov5_agrees_with_ours(found: Detections) -> None:
    supervision = pytest.importorskip("supervision", reason="optional")
    for index in range(2):
        ours, theirs = (
            found[index].to_supervision(),
            supervision.Detections.from_yolov5(Detections([found[index]], NAMES)),
        )
        assert isinstance(ours, supervision.Detections) and len(ours) == len(theirs) == len(found[index])
        assert np.array_equal(ours.xyxy, theirs.xyxy) and np.array_equal(ours.confidence, theirs.confidence)
        assert np.array_equal(ours.class_id, theirs.class_id) and ours.tracker_id is None
        assert ours.data["class_name"].tolist() == [NAMES[kind] for kind in ours.class_id]
