"""detect.py on a network camera over RTSP: pictures, logins, a loss and the return, and a clean goodbye."""

from __future__ import annotations

import csv
import itertools
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgil.engine.sources.sources import open_source
from mgil.engine.sources.stream_state import Patience
from tests.engine.export.exported import save_tiny_detector
from tests.engine.sources.mjpeg import read_number
from tests.engine.sources.rtsp import FPS, RtspCamera, rtp_packets

REPOSITORY = Path(__file__).resolve().parents[3]
LOGIN = "user:secret"


@pytest.fixture
def camera() -> Iterator[RtspCamera]:
    camera = RtspCamera(LOGIN)
    yield camera
    camera.kill()


def test_pictures_come_live_and_the_camera_is_told_goodbye(camera: RtspCamera) -> None:
    source = open_source(camera.url(LOGIN), report=lambda _: None)
    frames = list(itertools.islice((frame for moment in source for frame in moment), 10))
    source.close()
    numbers = [read_number(frame.image) for frame in frames]
    assert numbers == sorted(set(numbers))
    assert {frame.fps for frame in frames} == {FPS}
    assert frames[-1].arrived is not None
    assert frames[-1].arrived - camera.sent[numbers[-1]] < 3  # what was sent while it was opened is caught up with
    until = time.monotonic() + 5  # the client does not wait for the answer to its goodbye
    while camera.methods[-1] != "TEARDOWN" and time.monotonic() < until:
        time.sleep(0.01)
    assert camera.methods[-2:] == ["PLAY", "TEARDOWN"]


def test_a_wrong_login(camera: RtspCamera, capfd: pytest.CaptureFixture[str]) -> None:
    source = open_source(camera.url("user:guess"), patience=Patience(open_s=5), report=print)
    with pytest.raises(ValueError, match=r"rtsp://127\.0\.0\.1:\d+/live: cannot be opened .*login") as caught:
        next(moment for moment in source if moment)
    source.close()
    assert "guess" not in str(caught.value) + "".join(capfd.readouterr())


def test_packets_of_a_large_picture() -> None:
    """Pieces lie where their headers say, and the last one is marked."""
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    packets = list(rtp_packets(image, itertools.count(65_530), 2.0))
    assert len(packets) > 100
    assert [packet[1] >> 7 for packet in packets] == [0] * (len(packets) - 1) + [1]
    assert {packet[4:8] for packet in packets} == {(180_000).to_bytes(4, "big")}
    pieces = [packet[20:] if place else packet[20 + 4 + 128 :] for place, packet in enumerate(packets)]
    offsets = [int.from_bytes(packet[13:16], "big") for packet in packets]
    assert offsets == [0, *itertools.accumulate(map(len, pieces[:-1]))]
    assert b"".join(pieces) in cv2.imencode(".jpg", image)[1].tobytes()


@pytest.mark.nightly
def test_detect_outlives_a_camera_that_is_killed_and_comes_back(camera: RtspCamera, tmp_path: Path) -> None:
    weights = save_tiny_detector(tmp_path / "random.pt")
    flags = ["--weights", weights, "--source", camera.url(LOGIN), "--project", tmp_path, "--device", "cpu"]
    flags += ["--imgsz", 64, "--conf", 0, "--max-det", 2, "--save-csv"]
    command = list(map(str, [sys.executable, "-u", REPOSITORY / "detect.py", *flags]))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    lines: list[str] = []
    assert process.stdout and process.stderr

    def until(words: str, times: int = 1) -> None:
        assert process.stdout
        for line in process.stdout:
            lines.append(line.rstrip())
            times -= words in line
            if times <= 0:
                return
        pytest.fail(f"it ended before it said {words!r}: {lines} {process.stderr and process.stderr.read()}")

    until("0: rtsp://", 10)
    camera.kill()
    until("lost (")
    camera.start()
    until("back after ")
    until("0: rtsp://", 10)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    lines += process.stdout.read().splitlines()
    error, status = process.stderr.read(), process.wait()
    watchdog.cancel()
    assert (status, error) == (0, "")
    assert time.monotonic() - asked < 30
    name = camera.url()
    assert f"stream {name}: lost (it broke off); trying again for 60 s" in lines
    assert re.fullmatch(rf"stream {name}: \d+ pictures, .*, lost 1 times", lines[-1])
    assert "secret" not in "\n".join(lines)
    assert camera.methods[-1] == "TEARDOWN"
    shown = [line for line in lines if line.startswith("0: rtsp://")]
    with (tmp_path / "exp" / "predictions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * len(shown)
    (video,) = (tmp_path / "exp").glob("*.mp4")
    capture = cv2.VideoCapture(str(video))
    assert sum(1 for _ in iter(capture.grab, False)) > len(shown) / 2
    capture.release()
