"""Sources: files, folders, globs, lists, videos, the screen, and all that can be wrong with them."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mgil.engine.sources.files import find_files
from mgil.engine.sources.names import without_login
from mgil.engine.sources.sources import Frame, StreamSource, open_source, unique_stems


def write_png(path: Path, value: int = 50) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 30, 3), (value, 0, 0), np.uint8))  # BGR: blue
    return path


def write_video(path: Path, count: int = 11, fps: float = 12.5) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (48, 36))
    for index in range(count):
        writer.write(np.full((36, 48, 3), 20 * index + 5, np.uint8))
    writer.release()
    return path


def read(source: str | Path, **options: Any) -> list[Frame]:
    opened = open_source(str(source), report=lambda _: None, **options)
    try:
        return [frame for frames in opened for frame in frames]
    finally:
        opened.close()


# Files ---------------------------------------------------------------------------------------------------------------
def test_single_picture_is_rgb(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", 200)
    (frame,) = read(path)
    assert frame.image.shape == (20, 30, 3)
    assert tuple(frame.image[0, 0]) == (0, 0, 200)
    assert (frame.path, frame.stem, frame.number, frame.fps) == (str(path), "a", None, None)
    assert frame.title == f"image 1/1 {path}: "


def test_folder_lists_pictures_then_videos_and_no_sub_folder(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 2)
    for name in ("c.PNG", "b.png", "sub/d.png", ".hidden.png"):
        write_png(tmp_path / name)
    (tmp_path / "notes.md").write_text("x")
    assert [Path(path).name for path in find_files(str(tmp_path))[0]] == ["b.png", "c.PNG", "a.mp4"]
    titles = [frame.title.split()[:2] for frame in read(tmp_path)]
    assert titles == [["image", "1/3"], ["image", "2/3"], ["video", "3/3"], ["video", "3/3"]]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("*.png", ["a", "b"]), ("**/*.png", ["a", "b", "d"]), ("[a]*.png", ["a"]), ("?.png", ["a", "b"])],
)
def test_glob(tmp_path: Path, pattern: str, names: list[str]) -> None:
    for name in ("a.png", "b.png", "sub/d.png"):
        write_png(tmp_path / name)
    assert sorted(frame.stem for frame in read(tmp_path / pattern)) == names


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    write_png(tmp_path / "a[1].png")
    assert [frame.stem for frame in read(tmp_path / "a[1].png")] == ["a[1]"]


@pytest.mark.parametrize(
    ("pattern", "stems"),
    [
        ("site [1]/pics/*.png", ["a", "b", "c [2]"]),
        ("site [1]\\pics\\*.png", ["a", "b", "c [2]"]),
        ("site [1]/*/[ab].png", ["a", "b"]),
        ("site [1]/pics/c [2]*", ["c [2]"]),
        ("*/pics/?.png", ["a", "b"]),
        ("s* [1]/pics/a.*", ["a"]),
        ("site [1]\\pics", ["a", "b", "c [2]"]),
        ("~/pics/a.png", ["a"]),
        ("list.txt", ["a", "a-2", "b", "b-2", "c [2]"]),
    ],
)
def test_brackets_in_folders_and_other_spellings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, stems: list[str]
) -> None:
    for name in ("a", "b", "c [2]"):
        write_png(tmp_path / "site [1]" / "pics" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "site [1]"))
    content = "site [1]/pics/?.png\r\nsite [1]\\pics\r\n"
    (tmp_path / "list.txt").write_bytes(content.encode("utf-16"))
    assert sorted(frame.stem for frame in read(pattern)) == stems
    if "~" not in pattern:
        assert sorted(frame.stem for frame in read(tmp_path / pattern)) == stems


def test_list_resolves_against_its_own_folder_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "lists" / "pictures" / "a.png", 10)
    write_png(tmp_path / "cwd" / "pictures" / "a.png", 20)
    write_png(tmp_path / "cwd" / "b.png", 30)
    absolute = write_png(tmp_path / "name with spaces.png", 40)
    monkeypatch.chdir(tmp_path / "cwd")
    text = f"\ufeffpictures/a.png\r\n\r\nb.png\r\n{absolute}\r\n"
    (tmp_path / "lists" / "list.txt").write_bytes(text.encode())
    assert [int(frame.image[0, 0, 2]) for frame in read(tmp_path / "lists" / "list.txt")] == [10, 30, 40]


def test_list_reports_entries_that_are_no_file(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png")
    (tmp_path / "b.md").write_text("x")
    (tmp_path / "list.txt").write_text("gone.png\na.png\nb.md\n")
    reported: list[str] = []
    source = open_source(str(tmp_path / "list.txt"), report=reported.append)
    assert [frames[0].stem for frames in source] == ["a"]
    assert [line.split(": ", 1)[1].removeprefix(str(tmp_path)) for line in reported] == [
        "/list.txt:1: gone.png: no such file",
        next(line.split(": ", 1)[1].removeprefix(str(tmp_path)) for line in reported if "b.md" in line),
    ]
    assert len(source.skipped) == 2


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_corrupt_picture_in_a_folder_is_reported_and_skipped(tmp_path: Path, content: bytes) -> None:
    write_png(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(content)
    write_png(tmp_path / "c.png")
    reported: list[str] = []
    source = open_source(str(tmp_path), report=reported.append)
    assert [frames[0].stem for frames in source] == ["a", "c"]
    assert len(reported) == len(source.skipped) == 1
    assert "b.png" in source.skipped[0]


@pytest.mark.parametrize("name", ["b.png", "b.jpg", "b.mp4"])
def test_single_corrupt_file_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"garbage")
    with pytest.raises(ValueError, match=name):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("gone.png", FileNotFoundError, "no such file or folder"),
        ("gone/*.png", FileNotFoundError, "matches no picture"),
        ("texts/b[1]*.png", FileNotFoundError, r"; \[1\] matches one character; for the brackets .* write \[\[\]1\]$"),
        ("wrong.txt", FileNotFoundError, r"wrong.txt:1: gone.png: no such file; looked in .*/test_bad"),
        ("empty", FileNotFoundError, "no file at all"),
        ("texts", FileNotFoundError, "it has: .md"),
        ("texts/a.md", ValueError, "'.md' is neither a picture"),
        ("empty.txt", FileNotFoundError, "the list is empty"),
        ("gone.txt", FileNotFoundError, "no such file"),
        ("gone.streams", FileNotFoundError, "no such list of streams"),
        ("empty.streams", ValueError, "names no stream"),
        ("bad.streams", ValueError, "stream 'nonsense' is neither"),
        ("   ", ValueError, "--source is empty"),
        ("https://www.youtube.com/watch?v=1", ValueError, "web page"),
        ("100", ValueError, "stream '100': webcams are numbered from 0 to 99; for a folder of that name write ./100"),
        ("9" * 5000, ValueError, "webcams are numbered"),
        ("mms://me:secret@host/x", FileNotFoundError, "^mms://host/x: no such file or folder"),
        ("screen one", ValueError, "screen \\[number\\]"),
        ("screen 1 2", ValueError, "screen \\[number\\]"),
    ],
)
def test_bad_sources_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.md").write_text("x")
    for name, text in (
        ("empty.txt", "\n"),
        ("wrong.txt", "gone.png\n"),
        ("empty.streams", ""),
        ("bad.streams", "nonsense"),
    ):
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        read(source)


def test_vid_stride_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--vid-stride 0"):
        open_source(str(tmp_path), vid_stride=0)


@pytest.mark.parametrize(
    ("paths", "stems"),
    [
        ([], []),
        (["a/x.jpg", "b/x.jpg", "b/x.png"], ["x", "x-2", "x-3"]),
        (["a/x.jpg", "a/X.png"], ["x", "X-2"]),  # some file systems do not tell them apart
        (["a/x.jpg", "a/x-2.jpg", "b/x.jpg"], ["x", "x-2", "x-3"]),
        (["a/x.jpg", "b/x.jpg", "b/X-2.jpg"], ["x", "x-3", "X-2"]),  # the last one is called so itself
        (["v_3.jpg", "v.mp4"], ["v_3", "v-2"]),  # frame 3 of the video would be called v_3
    ],
)
def test_no_two_files_share_a_stem(paths: list[str], stems: list[str]) -> None:
    assert unique_stems(paths) == stems


# Videos --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("stride", "frames"), [(1, list(range(11))), (3, [2, 5, 8]), (5, [4, 9]), (11, [10])])
def test_video_frames_and_rate(tmp_path: Path, stride: int, frames: list[int]) -> None:
    path = write_video(tmp_path / "v.mp4")
    seen = read(path, vid_stride=stride)
    assert [frame.number for frame in seen] == [index + 1 for index in frames]  # in the video, not of those seen
    for frame, index in zip(seen, frames, strict=True):
        assert abs(float(frame.image.mean()) - (20 * index + 5)) < 5
        assert frame.fps == pytest.approx(12.5 / stride)
    assert [frame.title for frame in seen] == [f"video 1/1 ({index + 1}/11) {path}: " for index in frames]


def test_video_shorter_than_the_stride_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--vid-stride 12"):
        read(write_video(tmp_path / "v.mp4"), vid_stride=12)


def test_error_in_the_loop_is_not_taken_for_a_bad_video(tmp_path: Path) -> None:
    source = open_source(str(write_video(tmp_path / "v.mp4")))
    frames = iter(source)
    next(frames)
    with pytest.raises(ValueError, match="mine"):
        frames.throw(ValueError("mine"))  # type: ignore[attr-defined]
    assert not source.skipped


# Streams -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("rtsp://a:b@host/x", "rtsp://host/x"),
        ("rtsp://host/x@y", "rtsp://host/x@y"),
        ("stream http://a@h: failed http://b:c@h", "stream http://h: failed http://h"),
        ("rtsp://admin:p@ss@host/", "rtsp://host/"),
        ("rtsp://admin:pa/ss@host/x", "rtsp://host/x"),
        ("rtsp://admin:p?a#s@s/@host:554/x", "rtsp://host:554/x"),
        ("RTSP://admin:12/34@host", "RTSP://host"),
        ("rtsp://admin:p ss@host/", "rtsp://host/"),
        ("rtsp://host:554/x?user=a&password=secret&channel=1", "rtsp://host:554/x?user=a&password=***&channel=1"),
        ("rtsp://host/user=a_password=secret_channel=1", "rtsp://host/user=a_password=***"),
        ("http://h/v?access_token=a/b@c&x=1&Signature=s#Key=k", "http://h/v?access_token=***&x=1&Signature=***"),
        ("http://h:80/?pwd=a@b", "http://h:80/?pwd=***"),
        ("http://proxy/?url=rtsp://a:b@cam/x", "http://proxy/?url=rtsp://cam/x"),
        ("http://host:80/x.mjpg?fps=5", "http://host:80/x.mjpg?fps=5"),
        ("a folder/key=1@2.mp4", "a folder/key=1@2.mp4"),
    ],
)
def test_login_is_taken_out(text: str, clean: str) -> None:
    assert without_login(text) == clean


def test_names_and_files_of_streams(tmp_path: Path) -> None:
    entries = [
        "rtsp://me:p@ss@host:554/live/1?token=secret",
        "http://host/" + "part/" * 100 + "last.m3u8?policy=" + "x" * 500,
        "http://host/\x1b[2Jx",
        "http://host/" + "\u6620" * 300,
        "0",
    ]
    (tmp_path / "a.streams").write_text("\n".join(entries), encoding="utf-8")
    source = StreamSource(str(tmp_path / "a.streams"))
    assert source.names[0] == "rtsp://host:554/live/1?token=***"
    assert source.names[2] == "http://host/\\x1b[2Jx"
    assert source.stems[0] == "rtsp_host_554_live_1"
    assert source.stems[1].startswith("http_host_part_") and source.stems[1].endswith("_last_m3u8")
    assert source.stems[4] == "0"


def test_a_line_may_name_a_file_with_blanks(tmp_path: Path) -> None:
    (tmp_path / "my cam.avi").touch()
    (tmp_path / "a.streams").write_text(f" {tmp_path}/my cam.avi \r\n\r\n0 rtsp://host/x\n")
    source = StreamSource(str(tmp_path / "a.streams"))
    assert source.names == [f"{tmp_path}/my cam.avi", "0", "rtsp://host/x"]
    (tmp_path / "a.streams").write_text("0\nmy cam.avi\n")
    with pytest.raises(ValueError, match=r"a\.streams, line 2: stream 'my' is neither"):
        StreamSource(str(tmp_path / "a.streams"))


def test_streams_of_one_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.streams").write_text("rtsp://a:b@host/x\n0\nrtsp://host/x\n0\n")
    source = StreamSource(str(tmp_path / "a.streams"))
    assert source.names == ["rtsp://host/x [0]", "0 [1]", "rtsp://host/x [2]", "0 [3]"]
    assert source.stems == ["rtsp_host_x", "0", "rtsp_host_x-2", "0-2"]
    assert all(len(f"{stem}-2_123456.mp4".encode()) < 255 for stem in source.stems)
    assert not any("secret" in text or "ss" in text for text in (source.names[0], *source.stems))


@pytest.mark.parametrize("entry", ["https://me:secret@www.youtube.com/watch?v=1", "\x1b[2Jnonsense"])
def test_errors_about_streams_are_fit_for_a_terminal(tmp_path: Path, entry: str) -> None:
    (tmp_path / "a.streams").write_text(entry)
    with pytest.raises(ValueError, match=r"a\.streams, line 1: stream '") as caught:
        open_source(str(tmp_path / "a.streams"))
    assert str(caught.value).isprintable() and "secret" not in str(caught.value)


# Screen --------------------------------------------------------------------------------------------------------------
def test_screen_region(monkeypatch: pytest.MonkeyPatch) -> None:
    class Grabber:
        monitors = [{"left": 0, "top": 0, "width": 100, "height": 80}]

        def grab(self, region: dict[str, int]) -> np.ndarray:
            return np.full((region["height"], region["width"], 4), (1, 2, 3, 255), np.uint8)  # BGRA

        def close(self) -> None:
            pass

    fake = types.ModuleType("mss")
    fake.mss = Grabber  # type: ignore[attr-defined]
    fake.MSS = Grabber  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mss", fake)
    (frame,) = next(iter(open_source("screen 0 10 20 30 40")))
    assert frame.image.shape == (40, 30, 3)
    assert tuple(frame.image[0, 0]) == (3, 2, 1)
    assert frame.arrived is not None and 0 <= time.monotonic() - frame.arrived < 5
    with pytest.raises(ValueError, match="no such screen"):
        next(iter(open_source("screen 5")))


def test_screen_without_mss_says_what_to_install() -> None:
    if "mss" in sys.modules or __import__("importlib.util").util.find_spec("mss"):
        pytest.skip("mss is installed")
    with pytest.raises(ValueError, match="pip install mss"):
        next(iter(open_source("screen")))
