"""detect.py on streams, from the first picture to Ctrl-C: latency, the saved video's time, files that are whole."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch

from mgil.engine.cli import parse
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.run import run_detect
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from mgil.tasks.detect.predictor import Detector
from tests.engine.sources.mjpeg import Camera
from tests.engine.tiny import NAMES, TINY

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights: at a confidence of 0 it finds something everywhere."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    save_checkpoint(path, build_model(TINY, names=NAMES, imgsz=32), {"epoch": 0})
    return path


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.kill()


def flags(weights: Path, source: object, folder: Path) -> list[str]:
    values = {"weights": weights, "source": source, "project": folder, "device": "cpu", "conf": 0, "max-det": 2}
    return [text for name, value in values.items() for text in (f"--{name}", str(value))] + ["--save-csv"]


def video_seconds(path: Path) -> float:
    capture = cv2.VideoCapture(str(path))
    frames = 0
    while capture.grab():
        frames += 1
    seconds = frames / capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return seconds


def test_slow_detector_sees_new_pictures_and_saves_real_time(
    weights: Path, camera: Camera, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detector of 0.15 s on a stream of 40 pictures a second, ended by Ctrl-C after 3 s."""
    real, seen_at, taken_s = Detector.__call__, [], []

    def slow(self: Detector, *arguments: object) -> object:
        seen_at.append(time.monotonic())
        time.sleep(0.15)
        if seen_at[-1] - seen_at[0] > 3 and len(seen_at) > 4:
            os.kill(os.getpid(), signal.SIGINT)
        found = real(self, *arguments)  # type: ignore[arg-type]
        taken_s.append(time.monotonic() - seen_at[-1])
        return found

    monkeypatch.setattr(Detector, "__call__", slow)
    lines: list[str] = []
    summary = run_detect(
        parse(DetectConfig, flags(weights, camera.url("a.mjpg?fps=40"), tmp_path / "out")), lines.append
    )
    assert summary.frames == len(seen_at)
    (latency,) = (line for line in lines if line.startswith("Latency: "))
    mean_ms, longest_ms = (int(text) for text in re.findall(r"(\d+)ms", latency))
    assert 150 <= mean_ms < 1e3 * sum(taken_s) / len(taken_s) + 300
    assert longest_ms < 1e3 * max(taken_s) + 1000
    dropped = re.search(r"(\d+) pictures, (\d+) of them dropped to keep up", lines[-1])
    assert dropped and int(dropped[2]) > summary.frames
    assert summary.folder
    (video,) = summary.folder.glob("*.mp4")
    assert video_seconds(video) == pytest.approx(seen_at[-1] - seen_at[0], abs=0.5)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
def test_signals_end_a_run_on_streams_with_whole_files(
    weights: Path, camera: Camera, tmp_path: Path, number: signal.Signals
) -> None:
    """Two streams, of which one dies and comes back, in a program of its own."""
    entries = [camera.url("steady.mjpg"), camera.url("breaks.mjpg?count=40", login="user:secret@")]
    (tmp_path / "two.streams").write_text("\n".join(entries))
    command = [sys.executable, "-u", REPOSITORY / "detect.py", *flags(weights, tmp_path / "two.streams", tmp_path)]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    lines, times = [], []
    assert process.stdout and process.stderr
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith("0: "):
            times.append(time.monotonic())
            if times[-1] - times[0] > 2.5 and any(": back after" in said for said in lines):
                process.send_signal(number)
                break
    rest = process.stdout.read()
    lines += rest.splitlines()
    error, status = process.stderr.read(), process.wait()
    watchdog.cancel()
    assert (status, error) == (0, "")
    assert any(line.endswith("lost (it broke off); trying again for 60 s") for line in lines)
    assert any(line.startswith("Results saved to ") for line in lines)
    assert "secret" not in "\n".join(lines)
    steady, breaks = sorted((tmp_path / "exp").glob("*.mp4"), key=lambda path: "breaks" in path.name)
    assert video_seconds(steady) == pytest.approx(times[-1] - times[0], abs=1)
    assert video_seconds(breaks) == pytest.approx(video_seconds(steady), abs=1)  # also while it was lost
    with (tmp_path / "exp" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    shown = sum(re.match(r"[01]: http", line) is not None for line in lines)
    assert len(rows) == 2 * shown
    assert all(row["Path"] for row in rows)
