"""What the side-by-side benchmarks share, and each of them once with this project alone."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import peers, side_by_side
from benchmarks.side_by_side import Worker, alternate, available, camera_picture, camera_set, plot_bars, show, yolo_copy
from mgil.datasets.reading import digits
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples

FAKE = """
import sys
sys.path.insert(0, {folder!r})
print("a library greets")
from channel import Channel
channel = Channel()
print("a library chatters")
count = 0
def add(first, second):
    return first + second
def fail():
    raise ValueError("no such thing")
def train(channel=channel):
    channel.answer("ready")
    while True:
        request = channel.serve({{"add": add}}, until="epoch")
        channel.answer(request["number"] * 10)
channel.serve({{"add": add, "fail": fail, "train": train}})
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A worker's script in place of ours."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE.format(folder=str(side_by_side.WORKERS)))
    monkeypatch.setitem(side_by_side.SCRIPTS, side_by_side.OURS, str(script))
    monkeypatch.setattr(side_by_side, "OUTPUT", tmp_path / "output")
    return script


def test_requests_are_answered_whatever_is_printed(fake: Path) -> None:
    with Worker(side_by_side.OURS) as worker:
        assert worker.ask("add", first=1, second=2) == 3
        with pytest.raises(RuntimeError, match="ours: fail: ValueError: no such thing"):
            worker.ask("fail")
        assert worker.ask("add", first=2, second=2) == 4
        assert worker.ask("train") == "ready"
        assert worker.ask("add", first=5, second=2) == 7  # between epochs
        assert worker.ask("epoch", number=3) == 30
    assert worker.process.poll() is not None


def test_a_worker_that_ends_is_noticed(fake: Path) -> None:
    fake.write_text("raise SystemExit(3)")
    with Worker(side_by_side.OURS) as worker, pytest.raises(RuntimeError, match=r"ended during 'info'; see .*log.txt"):
        worker.ask("info")


def test_projects_take_turns() -> None:
    asked = []

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name = name

        def ask(self, call: str, **arguments: int) -> int:
            asked.append(self.name)
            return len(asked)

    workers = {"a": Recorder("a"), "b": Recorder("b")}
    assert alternate(workers, "run", 2, steps=1) == {"a": [1, 3], "b": [2, 4]}  # type: ignore[arg-type]
    assert asked == ["a", "b", "a", "b"]


def test_missing_peers_are_said_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert available(side_by_side.SCRIPTS, tmp_path / "none") == ["ours"]
    assert "python -m benchmarks.peers" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="benchmarks.peers"):
        Worker("yolov5", tmp_path / "none")


def test_peers_are_quiet_and_keep_to_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(side_by_side.ROOT))  # its models/ would hide upstream's
    environment = peers.peers_environment(tmp_path)
    assert "PYTHONPATH" not in environment
    assert environment["YOLOv5_AUTOINSTALL"] == environment["YOLO_AUTOINSTALL"] == "false"
    assert environment["YOLO_CONFIG_DIR"] == environment["YOLOV5_CONFIG_DIR"] == str(tmp_path / "settings")


def test_camera_pictures_are_like_a_cameras(tmp_path: Path) -> None:
    picture = camera_picture(np.random.default_rng(0))
    assert np.array_equal(picture, camera_picture(np.random.default_rng(0)))
    grey = picture.mean(axis=2)
    assert grey.std() > 20
    spectrum = np.abs(np.fft.fft2(grey - grey.mean()))[:240, :320]
    rows = np.hypot(*np.mgrid[:240, :320])
    bands = [np.log(spectrum[(rows >= low) & (rows < 2 * low)].mean()) for low in (4, 16, 64)]
    assert bands[0] > bands[1] > bands[2]  # less of every finer structure, yet some of all
    description = camera_set(tmp_path, 2)
    samples = load_samples(load_data_config(description), "train", cache_dir=tmp_path, report=lambda _line: None)
    assert samples.sizes_hw.tolist() == [[480, 640]] * 2 and len(samples.classes) == 14
    assert all(40_000 < os.path.getsize(path) < 140_000 for path in samples.image_paths)


def test_a_set_that_is_to_be_made_is_made_to_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "SCENES", {"train": 5, "val": 3})
    source = tmp_path / "made.yaml"
    source.write_text("path: made\ngenerate: digits\ntrain: images/train\nval: images/val\n")
    config = load_data_config(yolo_copy(str(source), tmp_path / "copies"))
    assert config.generate is None
    for split, images in (("train", 5), ("val", 3)):
        assert len(load_samples(config, split, cache_dir=tmp_path, report=lambda _line: None)) == images


def test_a_copied_set_is_the_set(tmp_path: Path) -> None:
    source = tmp_path / "tiny"
    for split, images in (("train", 3), ("val", 1)):
        (source / "images" / split).mkdir(parents=True)
        (source / "labels" / split).mkdir(parents=True)
        for number in range(images):
            cv2.imwrite(str(source / "images" / split / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
        (source / "labels" / split / "0.txt").write_text("1 0.5 0.5 0.25 0.25\n")
    (source / "tiny.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [a, b]\n")
    config = load_data_config(yolo_copy(str(source / "tiny.yaml"), tmp_path / "copies", copies=2))
    assert config.names == ("a", "b")
    for split, images in (("train", 6), ("val", 2)):
        samples = load_samples(config, split, cache_dir=tmp_path, report=lambda _line: None)
        assert len(samples) == images
        assert samples.classes.tolist() == [1, 1]
        assert sorted(cv2.imread(path)[0, 0, 0] for path in samples.image_paths) == sorted([*range(images // 2)] * 2)


def test_tables_and_bars_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"size": 64, "ms": 1.23456}, {"size": 160, "ms": 2.0, "note": "x"}]
    show("a title", rows, tmp_path / "new" / "table.csv")
    assert "1.235" in capsys.readouterr().out
    with (tmp_path / "new" / "table.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"size": "64", "ms": "1.23456", "note": ""},
            {"size": "160", "ms": "2.0", "note": "x"},
        ]
    plot_bars(tmp_path / "bars.png", "t", "ms", {"64 px": {"ours": 1.0, "other": 3.0}, "160 px": {"ours": 2.0}})
    assert cv2.imread(str(tmp_path / "bars.png")).shape[0] > 300


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("module", "options", "table", "positive"),
    [
        ("data_path", ["--sizes", "32", "--seconds", "0.05"], "data_path_camera.csv", "ours images/s"),
        (
            "train_step",
            ["--sizes", "96", "--steps", "1", "--batch", "8", "--threads", "1"],
            "train_step.csv",
            "images/s",
        ),
    ],
)
def test_ours_alone(tmp_path: Path, module: str, options: list[str], table: str, positive: str) -> None:
    common = ["--rounds", "1", "--images", "24", "--peers", "none", "--output", str(tmp_path / "tables")]
    environment = {**os.environ, "PYTHONPATH": str(side_by_side.ROOT)}
    command = [sys.executable, "-m", f"benchmarks.{module}", *options, *common]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    with (tmp_path / "tables" / table).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows and all(float(row[positive]) > 0 for row in rows)
    assert (tmp_path / "tables" / table.replace(".csv", ".png")).exists()
