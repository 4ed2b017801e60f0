"""Video files: numbers, rates, sizes and colours of frames, odd names, damaged and guessed containers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from mgil.engine.sources import video
from mgil.engine.sources.video import FALLBACK_FPS, frame_rate, quiet_opencv, read_video


def write_video(path: Path, count: int, fps: float, size_wh: tuple[int, int], codec: str) -> Path:
    """Frames of the grey levels 0, 10, 20, ..."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size_wh)
    for index in range(count):
        writer.write(np.full((size_wh[1], size_wh[0], 3), 10 * index, np.uint8))
    writer.release()
    return path


class Capture:
    """What OpenCV gives for a video of 6 frames of the grey levels 0 to 5."""

    released = 0

    def __init__(
        self, *, count: float = 6, fps: float = 25, damaged: tuple[int, ...] = (), opened: bool = True
    ) -> None:
        self.values = {cv2.CAP_PROP_FRAME_COUNT: count, cv2.CAP_PROP_FPS: fps}
        self.damaged, self.opened, self.position = damaged, opened, -1

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def get(self, key: int) -> float:
        return self.values.get(key, 0.0)

    def grab(self) -> bool:
        self.position += 1
        return self.position < 6

    def retrieve(self) -> tuple[bool, Any]:
        if self.position in self.damaged:
            return False, None
        return True, np.full((2, 3, 3), self.position, np.uint8)

    def release(self) -> None:
        self.released += 1


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(capture: Capture) -> Capture:
        monkeypatch.setattr(video.cv2, "VideoCapture", lambda _path: capture)
        return capture

    return give


@pytest.mark.parametrize(
    ("name", "codec", "size_wh", "fps"),
    [
        ("a.mp4", "mp4v", (64, 48), 12.5),
        ("a.mkv", "mp4v", (64, 48), 30),
        ("a.avi", "MJPG", (50, 34), 29.97),
        ("a.mov", "mp4v", (320, 16), 5),
    ],
)
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_frames_of_a_video(
    tmp_path: Path, name: str, codec: str, size_wh: tuple[int, int], fps: float, stride: int
) -> None:
    path = write_video(tmp_path / name, 9, fps, size_wh, codec)
    frames = list(read_video(str(path), stride))
    seen = range(stride - 1, 9, stride)
    assert [number for _, number, _, _ in frames] == [index + 1 for index in seen]
    assert {count for _, _, count, _ in frames} == {9}
    for index, (image, _, _, rate) in zip(seen, frames, strict=True):
        assert image.shape == (size_wh[1], size_wh[0], 3) and image.dtype == np.uint8 and image.flags.c_contiguous
        assert abs(float(image.mean()) - 10 * index) < 4
        assert rate == pytest.approx(fps, abs=0.01)


def test_frames_are_rgb(tmp_path: Path) -> None:
    """In a GIF of Pillow's, which OpenCV did not write."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    pages = [Image.new("RGB", (20, 10), colour) for colour in colours]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:], duration=100)
    frames = list(read_video(str(tmp_path / "a.gif"), 1))
    assert [tuple(image[5, 10]) for image, *_ in frames] == colours
    assert [rate for *_, rate in frames] == [10.0] * 3


@pytest.mark.parametrize("name", ["http:a.mp4", "a%03d.mp4", "a*.mp4", "-a.mp4", "ü [1].mp4"])
def test_names_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        write_video(tmp_path / "plain.mp4", 3, 5, (64, 48), "mp4v").rename(name)
    except OSError:
        pytest.skip("this file system does not take the name")
    write_video(tmp_path / "a000.mp4", 7, 5, (64, 48), "mp4v")
    assert len(list(read_video(name, 1))) == 3


def test_a_video_that_breaks_off_gives_what_it_has(tmp_path: Path) -> None:
    path, noise = tmp_path / "a.avi", np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for _ in range(20):
        writer.write(noise)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    lines: list[str] = []
    with quiet_opencv():
        frames = list(read_video(str(path), 1, lines.append))
    assert 5 <= len(frames) <= 15 and lines == [f"{path}: breaks off after frame {len(frames)} of 20"]
    assert [number for _, number, _, _ in frames] == list(range(1, len(frames) + 1))


@pytest.mark.parametrize("content", [b"", b"garbage" * 30, b"RIFF\xff\xff\xff\x00AVI LIST"])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a1.avi").write_bytes(content)
    with quiet_opencv(), pytest.raises(ValueError, match=r"a1\.avi: cannot be read as a video$"):
        list(read_video(str(tmp_path / "a1.avi"), 1))
    with pytest.raises(ValueError, match="absent.mp4: cannot be read"):
        list(read_video(str(tmp_path / "absent.mp4"), 1))


@pytest.mark.parametrize(
    ("count", "stride", "expected"),
    [
        (6, 1, [6] * 6),
        (4, 1, [4] * 4 + [0] * 2),
        (9, 2, [9] * 3),
        (3, 2, [3, 0, 0]),
        (-9.2e18, 1, [0] * 6),
        (0, 1, [0] * 6),
    ],
)
def test_a_guessed_number_of_frames_does_not_cut_the_video(
    captured: Any, count: float, stride: int, expected: list[int]
) -> None:
    captured(Capture(count=count))
    assert [said for _, _, said, _ in read_video("a.mp4", stride)] == expected


def test_damaged_frames_are_passed_over(captured: Any) -> None:
    captured(Capture(damaged=(0, 3)))
    lines: list[str] = []
    assert [(int(image[0, 0, 0]), number) for image, number, _, _ in read_video("a", 1, lines.append)] == [
        (1, 2), (2, 3), (4, 5), (5, 6)
    ]  # fmt: skip
    assert lines == ["a: 2 of 6 frames are damaged and were passed over"]
    captured(Capture(damaged=tuple(range(6))))
    with pytest.raises(ValueError, match="a: holds no frame that can be read at --vid-stride 2"):
        list(read_video("a", 2))


def test_the_file_is_closed_in_every_case(captured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, left, closed = Capture(), Capture(), Capture(opened=False)
    captured(whole)
    assert len(list(read_video("a", 1))) == 6
    captured(left)
    frames = read_video("a", 1)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    captured(closed)
    with pytest.raises(ValueError, match="cannot be read"):
        next(read_video("a", 1))
    assert whole.released == left.released == closed.released == 1


def test_an_error_of_opencv_is_one_of_the_file(captured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: Capture) -> None:
        cv2.cvtColor(np.zeros((0, 0, 3), np.uint8), cv2.COLOR_BGR2RGB)

    monkeypatch.setattr(Capture, "retrieve", fail)
    capture = captured(Capture())
    with pytest.raises(ValueError, match=r"a\.mp4: cannot be read as a video \(OpenCV: "):
        next(read_video("a.mp4", 1))
    assert capture.released == 1


@pytest.mark.parametrize(
    ("said", "fps"), [(29.97, 29.97), (0, FALLBACK_FPS), (-1, FALLBACK_FPS), (90_000, FALLBACK_FPS), (math.nan, 30.0)]
)
def test_frame_rate(said: float, fps: float) -> None:
    assert frame_rate(Capture(fps=said)) == fps  # type: ignore[arg-type]


def test_quiet_opencv_gives_the_level_back() -> None:
    logs = cv2.utils.logging
    before = logs.getLogLevel()
    with pytest.raises(KeyError), quiet_opencv():
        assert logs.getLogLevel() == logs.LOG_LEVEL_SILENT
        raise KeyError
    assert logs.getLogLevel() == before
