"""A task that looks in boxes: detect.py and load_model with --detector, --boxes and --track."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mgil.engine.cli import parse
from mgil.engine.evaluation.config import val_config
from mgil.engine.evaluation.found_boxes import with_found_boxes
from mgil.engine.prediction import run as run_module
from mgil.engine.prediction.config import detect_config
from mgil.engine.prediction.load import load_model
from mgil.engine.prediction.run import run_detect
from mgil.engine.runtimes import predictors
from mgil.tasks import registry
from mgil.tasks.abilities import BoxTask
from mgil.tasks.detect.task import TASK as DETECT
from mgil.tasks.pose.finding import finder_of, paths_of, with_found
from mgil.tasks.pose.people import People, Pictures
from mgil.tasks.pose.predictor import PosePredictor
from mgil.tasks.pose.results import TABLE_COLUMNS
from tests.engine.prediction.squares import needs_trackers
from tests.tasks.pose.crowd import write_people
from tests.tasks.pose.marks import Marks, around, joints, picture

PEOPLE = [(20, 20), (60, 40)]


class HeadFinder(nn.Module):
    """A detector of people by their red heads: YOLOv5's outputs, a score of 0.9; a blue-handed one is class 1."""

    names, max_stride, imgsz, stride = ("dog", "person"), 32, 96, torch.tensor([32.0])

    def forward(self, images: Tensor) -> Tensor:
        found = torch.zeros(len(images), 8, 7)
        for rows, image in zip(found, images, strict=True):
            red = ((image[0] > 0.6) & (image[1] < 0.3) & (image[2] < 0.3)).numpy().astype(np.uint8)
            for row, (x, y, width, height, _) in zip(rows, cv2.connectedComponentsWithStats(red)[2][1:], strict=False):
                row[:] = torch.tensor([x + width / 2, y + height / 2 + 8, 24, 24, 0.9, 0, 1])
        return found


class PoseTask:
    """What prediction asks of a task."""

    name, last_stage, table_columns = "pose", "decode", TABLE_COLUMNS

    def predictor(self, model: Any, options: Any, **place: Any) -> PosePredictor:
        return PosePredictor(model, options, **place)

    def finder(self, options: Any) -> Any:
        return finder_of(options)

    def with_filed(self, split: Any, options: Any, report: Any) -> Any:
        return split

    def pictures(self, split: Any) -> Any:
        return paths_of(split)

    def with_found(self, split: Any, found: Any, source: str, report: Any) -> Any:
        return with_found(split, found, source, report)


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """`pose*` are poses, `toy*` toys, all other weights are detectors; what was loaded and how is noted."""
    from tests.tasks.toy.task import TASK as TOY

    monkeypatch.setitem(registry._PACKAGES, "pose", "mgil.tasks.pose")
    monkeypatch.setitem(registry._PACKAGES, "toy", "tests.tasks.toy")
    loaded: list[tuple[str, dict[str, Any]]] = []

    def load(weights: Any, device: Any, **how: Any) -> Any:
        (path,) = weights
        loaded.append((str(path), {name: how[name] for name in ("half", "amp")}))
        if str(path).startswith("none"):
            raise FileNotFoundError(f"weights {path} do not exist")
        if str(path).startswith("toy"):
            return TOY, Marks(), None, None
        return (PoseTask(), Marks(), None, None) if str(path).startswith("pose") else (DETECT, HeadFinder(), None, None)

    monkeypatch.setattr(predictors, "load_networks", load)
    monkeypatch.setattr(run_module, "Network", Marks)
    yield loaded


def write_pictures(folder: Path, moves: int = 1) -> Path:
    folder.mkdir()
    for number in range(moves):
        cv2.imwrite(str(folder / f"{number}.png"), picture([(x + number, y) for x, y in PEOPLE])[..., ::-1])
    return folder


def detect(source: Path, out: Path, *flags: str) -> tuple[list[str], list[dict[str, str]]]:
    lines: list[str] = []
    common = ["--weights", "pose.pt", "--source", str(source), "--project", str(out), "--exist-ok", "--save-csv"]
    run_detect(parse(detect_config(), [*common, "--device", "cpu", *flags]), lines.append)
    with (out / "exp" / "predictions.csv").open() as file:
        return lines, list(csv.DictReader(file))


def test_task_with_boxes_is_told_from_others() -> None:
    assert isinstance(PoseTask(), BoxTask)
    assert not isinstance(DETECT, BoxTask)


def test_people_of_a_detector(tmp_path: Path, networks: Any) -> None:
    write_pictures(tmp_path / "in")
    lines, rows = detect(
        tmp_path / "in", tmp_path / "out", "--detector", "best.pt", "--save-txt", "--save-conf", "--save-crop"
    )
    assert networks == [("pose.pt", {"half": False, "amp": "off"}), ("best.pt", {"half": False, "amp": "off"})]
    assert lines[0] == "people: boxes of best.pt, class person"
    assert any(re.fullmatch(r"image 1/1 .*0\.png: 32x32 2 persons, \d+\.\d+ms", line) for line in lines)
    speed = next(line for line in lines if line.startswith("Speed: "))
    assert re.fullmatch(
        r"Speed: [\d.]+ms pre-process, [\d.]+ms inference, [\d.]+ms decode, [\d.]+ms detector per image at shape "
        r"\(1, 3, 32, 32\)",
        speed,
    )
    assert [row["Prediction"] for row in rows] == ["person", "person"]
    found = np.array([[float(word) for word in row["Key Points"].split()] for row in rows]).reshape(2, 3, 3)
    order = np.argsort(found[:, 0, 0])
    assert found[order][..., :2] == pytest.approx(joints(PEOPLE), abs=0.5)
    labels = (tmp_path / "out/exp/labels/0.txt").read_text().splitlines()
    assert [len(line.split()) for line in labels] == [5 + 9 + 1] * 2
    assert len(list((tmp_path / "out/exp/crops/person").iterdir())) == 2
    drawn = cv2.imread(str(tmp_path / "out/exp/0.png"))
    assert drawn.shape == (320, 480, 3)


def test_flags_are_the_detectors(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in")
    assert detect(tmp_path / "in", tmp_path / "a", "--detector", "best.pt", "--conf", "0.95")[1] == []
    assert detect(tmp_path / "in", tmp_path / "b", "--detector", "best.pt", "--classes", "0")[1] == []
    assert len(detect(tmp_path / "in", tmp_path / "c", "--detector", "best.pt", "--max-det", "1")[1]) == 1
    with pytest.raises(ValueError, match=r"--detector: --classes 5: the model has 2 classes"):
        detect(tmp_path / "in", tmp_path / "d", "--detector", "best.pt", "--classes", "5")


def test_exported_detector_computes_in_its_own_numbers(tmp_path: Path, networks: Any) -> None:
    write_pictures(tmp_path / "in")
    detect(tmp_path / "in", tmp_path / "out", "--detector", "best.onnx", "--amp", "bf16")
    assert networks == [("pose.pt", {"half": False, "amp": "bf16"}), ("best.onnx", {"half": False, "amp": "off"})]
    networks.clear()
    detect(tmp_path / "in", tmp_path / "out", "--detector", "best.pt", "--amp", "bf16")
    assert [how["amp"] for _, how in networks] == ["bf16", "bf16"]


def test_whole_pictures_and_boxes_of_files(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in")
    lines, rows = detect(tmp_path / "in", tmp_path / "out")
    assert len(rows) == 1
    assert lines[0].startswith("people: each picture is taken for one person")
    assert "detector" not in next(line for line in lines if line.startswith("Speed"))
    left, top, right, bottom = around(PEOPLE[:1])[0] / (96, 64, 96, 64)
    (tmp_path / "0.txt").write_text(f"0 {(left + right) / 2} {(top + bottom) / 2} {right - left} {bottom - top}\n")
    _, rows = detect(tmp_path / "in", tmp_path / "out", "--boxes", str(tmp_path / "0.txt"))
    found = np.array([float(word) for word in rows[0]["Key Points"].split()]).reshape(1, 3, 3)
    assert found[..., :2] == pytest.approx(joints(PEOPLE[:1]), abs=0.5)


@needs_trackers
def test_key_points_stay_with_the_person_who_is_followed(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 8)
    lines, rows = detect(tmp_path / "in", tmp_path / "out", "--detector", "best.pt", "--track", "--save-txt")
    assert lines[-1] == f"{tmp_path / 'in'}: 2 objects followed"
    for track in ("1", "2"):
        own = [row for row in rows if row["Track"] == track]
        assert len(own) >= 7
        heads = [[float(word) for word in row["Key Points"].split()[:2]] for row in own]
        person = min(PEOPLE, key=lambda middle: abs(middle[0] - heads[0][0]))
        expected = [[person[0] + int(row["Image Name"][0]), person[1] - 8] for row in own]
        assert np.array(heads) == pytest.approx(np.array(expected), abs=0.5)


def test_load_model(networks: Any) -> None:
    lines: list[str] = []
    model = load_model("pose.pt", device="cpu", detector="best.pt", conf=0.5, report=lines.append)
    results = model(picture(PEOPLE))
    assert len(results) == 2
    assert results.keypoints.shape == (2, 3, 3)
    assert model.names == ("person",)
    assert lines == ["people: boxes of best.pt, class person"]
    assert len(model([picture(PEOPLE), picture([])])[1]) == 0
    with pytest.warns(UserWarning, match="each picture is taken for one person"):
        whole = load_model("pose.pt", device="cpu")
    assert len(whole(picture(PEOPLE))) == 1
    with pytest.raises(ValueError, match="unknown option 'detektor'; did you mean 'detector'"):
        load_model("pose.pt", device="cpu", detektor="best.pt")


@needs_trackers
def test_tracker_of_a_model() -> None:
    tracker = load_model("pose.pt", device="cpu", detector="best.pt", report=lambda line: None).tracker()
    for step in range(3):
        results = tracker(picture([(x + step, y) for x, y in PEOPLE]))
    assert sorted(results.track_ids.tolist()) == [1, 2]
    assert results.keypoints[np.argsort(results.keypoints[:, 0, 0]), :, :2] == pytest.approx(
        joints([(x + 2, y) for x, y in PEOPLE]), abs=0.5
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--detector", "pose2.pt"], r"^--detector: pose2\.pt is of the task pose, which looks in boxes"),
        (["--detector", "none.pt"], r"^--detector: weights none\.pt do not exist"),
        (["--detector", "toy.pt"], r"^--detector: toy\.pt finds no boxes; give a detector"),
        (["--detector", "best.pt", "--boxes", "a.json"], "^--detector and --boxes: people come from one of them"),
        (["--boxes", "none.json"], r"^--boxes none\.json: no such file or folder"),
        (["--visualize"], r"^--visualize: pose\.pt looks at every person by itself"),
        (["--imgsz", "64"], "^--imgsz 64 64: the network sees each person at 32x32 pixels alone"),
        (["--agnostic-nms"], r"^--agnostic-nms: pose\.pt is of the task pose, which has no such flag"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(flags: list[str], said: str, tmp_path: Path) -> None:
    write_pictures(tmp_path / "in")
    with pytest.raises(
        (ValueError, FileNotFoundError, SystemExit), match=said if "2" not in flags[1:] else None
    ) as caught:
        detect(tmp_path / "in", tmp_path / "out", *flags)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_detectors_refuse_the_flags_of_poses(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in")
    with pytest.raises(ValueError, match=r"--detector: best\.pt is of the task detect, which has no such flag"):
        detect(tmp_path / "in", tmp_path / "out", "--weights", "best.pt", "--detector", "best.pt")


def test_boxes_for_evaluation_are_found_in_every_picture(tmp_path: Path, networks: Any) -> None:
    people = write_people(tmp_path, np.array([[8.0, 8, 24, 24]]), np.full((1, 17, 3), 2.0), (64, 96))
    paths = [*people.image_paths, str(tmp_path / "nobody.png")]
    for path, where in zip(paths, (PEOPLE, PEOPLE[:1]), strict=True):
        cv2.imwrite(path, picture(where)[..., ::-1])
    pictures = Pictures(paths, np.tile((64, 96), (2, 1)), np.array([0, 7]))
    lines: list[str] = []
    config = val_config()(weights=("pose.pt",), detector="best.pt", device="cpu")
    both = with_found_boxes(PoseTask(), replace(people, pictures=pictures), config, None, None, lines.append)
    assert isinstance(both, People)
    assert networks == [("best.pt", {"half": False, "amp": "off"})]
    assert both.found.tolist() == [False, True, True, True]
    assert both.image_ids.tolist() == [0, 0, 0, 7]
    middles = both.boxes[1:, :2] + both.boxes[1:, 2:] / 2 - 0.5
    assert sorted(middles.round().tolist()) == sorted([list(person) for person in (*PEOPLE, PEOPLE[0])])
    assert lines == ["people: boxes of best.pt, class person: 3 boxes in 2 images"]
    with pytest.raises(FileNotFoundError, match=r"^--detector: weights none\.pt do not exist"):
        with_found_boxes(PoseTask(), people, val_config()(weights=("pose.pt",), detector="none.pt"), None, None, print)
    with pytest.raises(ValueError, match="^--detector: --task speed measures times alone"):
        val_config()(weights=("pose.pt",), detector="best.pt", task="speed")
