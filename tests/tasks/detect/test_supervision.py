"""Results as supervision's detections, and what docs/detection.md does with them."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from mgil.tasks.detect.results import Results
from tests.engine.prediction.squares import needs_trackers
from tests.tasks.detect.judging import detector

PAGE = Path(__file__).resolve().parents[3] / "docs" / "detection.md"
SECTION = PAGE.read_text(encoding="utf-8").split("## Large frames, zones, counting")[1].split("\n## ")[0]
BLOCKS = dict(zip(("slicing", "zone", "line"), re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL), strict=True))


class SquareFinder(nn.Module):
    """Stands in for a network: a box around each red thing, score 0.9, class 1 of 2."""

    names = ("other", "red")
    stride, max_stride = torch.tensor([8.0, 16.0, 32.0]), 32

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(images), 9, 7)
        for rows, image in zip(found, images, strict=True):
            red = ((image[0] > 0.6) & (image[1] < 0.4)).numpy().astype(np.uint8)
            for row, (x, y, width, height, _) in zip(rows, cv2.connectedComponentsWithStats(red)[2][1:], strict=False):
                row[:] = torch.tensor([x + width / 2, y + height / 2, width, height, 0.9, 0, 1])
        return found


def scene(height: int, width: int, *corners: tuple[int, int]) -> np.ndarray:
    """Red squares of 16 px on grey, as OpenCV has them."""
    image_bgr = np.full((height, width, 3), 90, np.uint8)
    for x, y in corners:
        image_bgr[y : y + 16, x : x + 16] = (0, 0, 255)
    return image_bgr


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a program of the page in a folder of its own, where every weights file holds the stand-in."""
    pytest.importorskip("supervision", reason="optional")
    finder = detector(SquareFinder(), device=torch.device("cpu"), size_hw=(160, 160))
    monkeypatch.setattr("mgil.engine.prediction.load.load_model", lambda weights: finder)
    monkeypatch.chdir(tmp_path)

    def run_block(name: str) -> dict[str, Any]:
        assert len(BLOCKS[name].strip().splitlines()) <= 10
        (tmp_path / "program.py").write_text(BLOCKS[name])
        return runpy.run_path("program.py")

    return run_block


def test_slicing_of_large_frames(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    corners = [(60, 60), (200, 70), (390, 60), (137, 210), (300, 250)]  # the fourth is in two tiles
    cv2.imwrite("large.png", scene(288, 416, *corners))
    found = sorted(run("slicing")["detections"].xyxy.tolist())
    expected = sorted([x, y, x + 16, y + 16] for x, y in corners)
    assert found == expected and capsys.readouterr().out.startswith("5 ['red' 'red'")


def test_a_zone(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite("small.png", scene(160, 160, (10, 10), (40, 60), (100, 120)))
    assert run("zone")["inside"].tolist().count(False) == 2
    assert capsys.readouterr().out == "1 ['red']\n"


@needs_trackers
def test_counting_over_a_line(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Two squares go to the right over the line, one to the left, and one stays."""
    writer = cv2.VideoWriter("video.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 30, (160, 160))
    for step in range(40):
        writer.write(scene(160, 160, (20 + 3 * step, 8), (30 + 2 * step, 100), (120 - 3 * step, 50), (10, 130)))
    writer.release()
    line = run("line")["line"]
    assert sorted((line.in_count, line.out_count)) == [1, 2]


def results(track_ids: np.ndarray | None = None) -> Results:
    found = Results(
        boxes_xyxy=np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32),
        scores=np.array([0.9, 0.5], np.float32),
        classes=np.array([1, 0]),
        names=("cat", "dog"),
        image=np.zeros((9, 9, 3), np.uint8),
    )
    object.__setattr__(found, "track_ids", track_ids)
    return found


def test_what_is_followed_keeps_its_number(run: Any) -> None:
    assert results().to_supervision().tracker_id is None
    found = results(np.array([7, 9])).to_supervision()
    assert found.tracker_id.tolist() == [7, 9] and found.class_id.tolist() == [1, 0]
    assert found.data["class_name"].tolist() == ["dog", "cat"]


def test_without_supervision_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ValueError, match="supervision is not installed: pip install supervision"):
        results().to_supervision()
