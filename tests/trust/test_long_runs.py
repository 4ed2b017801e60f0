"""Long runs need no more at their end than at their start: memory, open files, threads and processes stay flat."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.run import run_detect
from mgil.engine.training.log import read_results
from mgil.engine.training.run import run_train
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from tests.engine.tiny import NAMES, TINY, Playground, make_data, random_squares

pytestmark = [pytest.mark.nightly, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")]

EPOCHS, FRAMES = 200, 1000
# The allocator's own noise over the last three quarters of a run was up to 1 MiB in training, in either direction, and
# 0.1 MiB in detection. A set of weights kept in every epoch would be 13 MiB, a picture kept of every frame 2 MiB.
MOST_TRAINING_KIB, MOST_DETECTION_KIB = 3072, 1024


@dataclass
class Gauge:
    """Notes what this process holds whenever it is called with a line that counts."""

    start: str
    every: int = 1
    seen: int = 0
    memory_kib: list[int] = field(default_factory=list)
    others: list[tuple[int, int, int]] = field(default_factory=list)  # open files, threads, child processes

    def __call__(self, line: str) -> None:
        self.seen += line.startswith(self.start)
        if line.startswith(self.start) and self.seen % self.every == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.memory_kib.append(pages * os.sysconf("SC_PAGE_SIZE") // 1024)
            files, threads = (len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task"))
            processes = [task.read_text().split() for task in Path("/proc/self/task").glob("*/children")]
            self.others.append((files, threads, sum(map(len, processes))))

    def grew(self) -> bool:
        """Whether the last quarter of the run has more files, threads or processes than the first.

        By their medians: a thread that is about to end may be seen now and then.
        """
        quarter = len(self.others) // 4
        early, late = (np.median(part, axis=0) for part in (self.others[:quarter], self.others[-quarter:]))
        return bool((late > early).any())

    def growth_kib(self) -> float:
        """Rise of the straight line through the last three quarters of the run."""
        tail = self.memory_kib[len(self.memory_kib) // 4 :]
        return float(np.polyfit(np.linspace(0, 1, len(tail)), tail, 1)[0])


def test_200_epochs(tmp_path: Path) -> None:
    """Every epoch writes its row, its events and its checkpoint."""
    gauge = train_long(tmp_path, EPOCHS, noval=True)
    assert gauge.growth_kib() < MOST_TRAINING_KIB, gauge.memory_kib[:: EPOCHS // 20]
    assert not gauge.grew(), gauge.others


def test_epochs_that_start_processes_and_validate(tmp_path: Path) -> None:
    gauge = train_long(tmp_path, EPOCHS // 8, cache="none", workers=1)
    assert not gauge.grew(), gauge.others
    assert gauge.others[0][2] == 0  # between epochs no decoding process runs


def train_long(folder: Path, epochs: int, **options: Any) -> Gauge:
    """Train on four small images."""
    ground = Playground(folder / "ground")
    data = make_data(folder / "data", random_squares(4, seed=1), random_squares(1, seed=2))
    gauge = Gauge("epoch ")
    run = run_train(ground.config(folder, epochs=epochs, data=str(data), batch_size=4, patience=0, **options), gauge)
    assert len(read_results(run / "results.csv")) == len(gauge.memory_kib) == epochs
    return gauge


@pytest.mark.parametrize("streamed", [False, True], ids=["video", "stream"])
def test_detection_on_a_long_video(tmp_path: Path, streamed: bool) -> None:
    """Read as a file, and by the thread that reads streams. (20,000 frames: run by hand with MGIL_FRAMES=20000.)"""
    frames = int(os.environ.get("MGIL_FRAMES", FRAMES)) // (2 if streamed else 1)
    source, weights = tmp_path / "video.avi", tmp_path / "tiny.pt"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter_fourcc(*"MJPG"), 30, (32, 32))
    for number in range(frames):
        writer.write(np.full((32, 32, 3), number % 256, np.uint8))
    writer.release()
    save_checkpoint(weights, build_model(TINY, names=NAMES, imgsz=32), {})
    if streamed:
        source = tmp_path / "list.streams"
        source.write_text(f"{tmp_path / 'video.avi'}\n")
    gauge = Gauge("0: " if streamed else "video ", every=frames // 100)
    low = {"conf_thres": 0.0005, "max_det": 3}  # untrained, it finds something in every frame
    config = DetectConfig(str(weights), str(source), imgsz=(32,), device="cpu", nosave=True, **low)
    summary = run_detect(config, gauge)
    assert summary.frames == gauge.seen == frames and summary.detections == 3 * frames
    assert gauge.growth_kib() < MOST_DETECTION_KIB, gauge.memory_kib[::5]
    assert not gauge.grew(), gauge.others
