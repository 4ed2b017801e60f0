"""Streams: loss and return, one that ends beside others, pictures dropped under load, and never an endless wait."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mgil.engine.sources.capture import StreamCapture
from mgil.engine.sources.reader import StreamReader
from mgil.engine.sources.sources import Frame, Source, open_source
from mgil.engine.sources.stream_state import Patience, StreamState
from mgil.engine.sources.streams import StreamsGone
from tests.engine.sources.mjpeg import Camera, number_picture, read_number

QUICK = Patience(open_s=10, silence_s=5, gone_s=20, first_pause_s=0.05, longest_pause_s=0.2)
ENOUGH_S = 60  # nothing here takes nearly as long, however slow the machine


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.kill()


class Watcher:
    """Reads a source step by step and remembers what it said."""

    def __init__(self, source: str | Path, patience: Patience = QUICK, vid_stride: int = 1) -> None:
        self.lines: list[str] = []
        self.frames: list[Frame] = []
        self.source: Source = open_source(
            str(source), patience=patience, vid_stride=vid_stride, report=self.lines.append
        )
        self._moments = iter(self.source)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    def step(self) -> list[Frame]:
        moment = next(self._moments)
        self.frames += moment
        return moment

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + ENOUGH_S
        while not done():
            assert time.monotonic() < deadline, (self.lines, len(self.frames))
            self.step()

    def get(self, count: int, stem: str = "") -> list[Frame]:
        """The next frames of a stream."""
        start = len(self.frames)
        self.until(lambda: sum(stem in frame.stem for frame in self.frames[start:]) >= count)
        return [frame for frame in self.frames[start:] if stem in frame.stem]

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)


def write_list(path: Path, *entries: object) -> Path:
    path.write_text("\n".join(map(str, entries)))
    return path


def write_numbered(path: Path, count: int, fps: float = 12.5) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (64, 48))
    for number in range(count):
        writer.write(number_picture(number))
    writer.release()
    return path


# Loss and return -----------------------------------------------------------------------------------------------------
def test_a_lost_stream_comes_back(camera: Camera, capfd: pytest.CaptureFixture[str]) -> None:
    with Watcher(camera.url("a.mjpg", login="user:secret@")) as watcher:
        before = watcher.get(5)
        camera.kill()
        watcher.until(lambda: watcher.said("lost"))
        time.sleep(0.3)  # attempts fail meanwhile
        camera.start()
        watcher.until(lambda: watcher.said("back"))
        after = watcher.get(5)
        sums = watcher.source.sums()
    assert read_number(after[-1].image) > read_number(before[-1].image)
    numbers = [frame.number or 0 for frame in watcher.frames]
    assert numbers == sorted(set(numbers))
    name = camera.url("a.mjpg")
    assert watcher.lines[0] == f"stream {name}: lost (it broke off); trying again for 20 s"
    assert watcher.lines[1].startswith(f"stream {name}: back after ")
    assert len(watcher.lines) == 2
    assert "lost 1 times" in sums[0]
    shown = "".join(capfd.readouterr()) + "".join(watcher.lines + sums + [frame.title for frame in watcher.frames])
    assert "secret" not in shown


def test_a_stream_that_stays_away_is_given_up(camera: Camera) -> None:
    patience = Patience(open_s=5, gone_s=0.6, first_pause_s=0.05, longest_pause_s=0.1)
    with Watcher(camera.url("a.mjpg"), patience) as watcher:
        watcher.get(3)
        camera.kill()
        with pytest.raises(StreamsGone, match=r"no stream is left; given up: http://127.0.0.1:\d+/a.mjpg \("):
            watcher.until(lambda: False)
    assert watcher.said("lost") and watcher.said("given up after 0.6 s")


def test_one_stream_that_ends_leaves_the_others_alone(camera: Camera, tmp_path: Path) -> None:
    video = write_numbered(tmp_path / "short.mp4", 4)
    entries = write_list(
        tmp_path / "all.streams",
        camera.url("dies.mjpg?count=8&once=1"),
        video,
        camera.url("lives.mjpg"),
        "http://127.0.0.1:9/no",
    )
    patience = Patience(open_s=5, gone_s=0.5, first_pause_s=2, longest_pause_s=2)
    with Watcher(entries, patience) as watcher:
        watcher.until(lambda: watcher.said("dies.mjpg?count=8&once=1: given up") and watcher.said("9/no: given up"))
        watcher.until(lambda: watcher.said(f"{video}: ended"))
        assert len(watcher.get(10, "lives")) == 10
    assert watcher.said("9/no: cannot be opened (nobody answers")
    assert not watcher.said("lives.mjpg: ")
    short = [read_number(frame.image) for frame in watcher.frames if "short" in frame.stem]
    assert short == [0, 1, 2, 3]


def test_pauses_between_attempts_grow_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[float] = []

    def refuse(_: StreamCapture) -> str:
        attempts.append(time.monotonic())
        return "refused"

    monkeypatch.setattr(StreamCapture, "connect", refuse)
    patience = Patience(gone_s=1.5, first_pause_s=0.1, longest_pause_s=0.4)
    reader = StreamReader("0", "0", vid_stride=1, patience=patience, changed=threading.Condition())
    reader.start()
    reader.join(time.monotonic() + ENOUGH_S)
    assert reader.state.over and reader.state.given_up == "refused"
    pauses = np.diff(attempts)
    assert 3 <= len(pauses) <= 6
    assert (pauses[:3] >= (0.1, 0.2, 0.4)).all()
    assert attempts[-1] - attempts[0] >= 1.4


@contextlib.contextmanager
def download(content: bytes, lengths: Iterator[int]) -> Iterator[str]:
    """Address of a video whose n-th download breaks off after the n-th length in bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that the base class calls
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: next(lengths)])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/video.avi"
        server.shutdown()


@pytest.fixture(scope="module")
def video_content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A motion JPEG of 40 numbered pictures, which says in its beginning how many they are."""
    path = tmp_path_factory.mktemp("video") / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(40):
        writer.write(number_picture(number))
    writer.release()
    return path.read_bytes()


@pytest.mark.parametrize("vid_stride", [1, 3])
def test_a_video_that_breaks_off_goes_on_where_it_was(video_content: bytes, vid_stride: int) -> None:
    size = len(video_content)
    downloads = download(video_content, iter([size // 2, size // 4, size]))
    ends = pytest.raises(StopIteration)
    with downloads as address, Watcher(address, vid_stride=vid_stride) as watcher, ends:
        watcher.until(lambda: False)
    assert [read_number(frame.image) for frame in watcher.frames] == list(range(vid_stride - 1, 40, vid_stride))
    assert [frame.number for frame in watcher.frames] == list(range(vid_stride, 41, vid_stride))
    lost, back, ended = watcher.lines
    assert "lost (it broke off after " in lost and "of 40 pictures); trying again" in lost
    assert ": back after " in back and ended.endswith(": ended")


def test_a_video_that_always_breaks_off_is_given_up(video_content: bytes) -> None:
    half = len(video_content) // 2
    patience = Patience(open_s=5, gone_s=0.3, first_pause_s=0.05)
    downloads = download(video_content, itertools.repeat(half))
    problem = pytest.raises(StreamsGone, match=r"it broke off after \d+ of 40 pictures")
    with downloads as address, Watcher(address, patience) as watcher, problem:
        watcher.until(lambda: False)
    numbers = [read_number(frame.image) for frame in watcher.frames]
    assert numbers == list(range(len(numbers))) and 5 <= len(numbers) < 25


def test_a_thread_that_fails_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no memory for http://me:secret@host/x\x1b[2J")

    address = "http://me:secret@host/x"
    monkeypatch.setattr(StreamCapture, "_open", fail)
    message = (
        r"stream http://host/x: cannot be opened .it cannot be read: RuntimeError: no memory for http://host/x\\x1b"
    )
    with Watcher(address) as watcher, pytest.raises(ValueError, match=message):
        watcher.until(lambda: False)
    monkeypatch.undo()
    monkeypatch.setattr(StreamState, "put", fail)  # not at the start
    video = write_numbered(tmp_path / "v.mp4", 3)
    reader = StreamReader(str(video), "v", vid_stride=1, patience=QUICK, changed=threading.Condition())
    reader.start()
    reader.join(time.monotonic() + ENOUGH_S)
    assert reader.state.over and "RuntimeError" in str(reader.state.given_up)
    assert [line.split(" (")[0] for line in reader.state.news] == ["stream v: given up"]


# Load ----------------------------------------------------------------------------------------------------------------
def test_a_slow_reader_gets_the_newest_picture(camera: Camera) -> None:
    """The age of a picture is taken from its number, which tells when the camera sent it."""
    with Watcher(camera.url("a.mjpg?fps=50")) as watcher:
        watcher.get(10)
        ages = []
        for _ in range(15):
            time.sleep(0.2)
            (frame,) = watcher.get(1)
            ages.append(time.monotonic() - camera.sent["/a.mjpg"][read_number(frame.image)])
        assert np.median(ages) < 0.6  # a backlog would be 1.4 s on average
        assert max(ages) < 2  # and 2.7 s now
        (line,) = watcher.source.sums()
    numbers = np.array([read_number(frame.image) for frame in watcher.frames[-15:]])
    assert (np.diff(numbers) > 1).all()
    seen, dropped = (int(words.split()[0]) for words in line.split(": ")[1].split(", ")[:2])
    assert dropped > 20
    assert seen - dropped - len(watcher.frames) in (0, 1)  # one may wait to be taken


def test_every_nth_picture_of_a_stream(camera: Camera) -> None:
    with Watcher(camera.url("a.mjpg?fps=60"), vid_stride=3) as watcher:
        numbers = np.array([read_number(frame.image) for frame in watcher.get(12)])
        assert watcher.frames[0].fps == pytest.approx(25 / 3)  # FFmpeg's guess for motion JPEG
    assert (np.diff(numbers) > 0).all()
    assert (np.diff(numbers) % 3 == 0).all()


def test_a_file_among_streams_keeps_every_picture(camera: Camera, tmp_path: Path) -> None:
    entries = write_list(tmp_path / "a.streams", write_numbered(tmp_path / "v.mp4", 30), camera.url("a.mjpg?fps=50"))
    with Watcher(entries, vid_stride=2) as watcher:
        while not watcher.said("ended"):
            watcher.step()
            time.sleep(0.01)
    file = [frame for frame in watcher.frames if "v_mp4" in frame.stem]
    assert [read_number(frame.image) for frame in file] == list(range(1, 30, 2))
    assert [frame.number for frame in file] == list(range(2, 31, 2))
    assert {frame.arrived for frame in file} == {None}
    assert {frame.fps for frame in file} == {12.5 / 2}


def test_files_alone_come_to_their_end_without_an_error(tmp_path: Path) -> None:
    entries = write_list(tmp_path / "a.streams", *(write_numbered(tmp_path / f"{n}.mp4", n) for n in (3, 5)))
    with Watcher(entries) as watcher, pytest.raises(StopIteration):
        watcher.until(lambda: False)
    assert len(watcher.frames) == 8
    assert len(watcher.lines) == 2


# No endless wait -----------------------------------------------------------------------------------------------------
def test_a_stream_that_falls_silent_is_lost(camera: Camera) -> None:
    patience = Patience(open_s=5, silence_s=0.5, gone_s=0.3, first_pause_s=1)
    with Watcher(camera.url("a.mjpg?count=6&silent=1&once=1"), patience) as watcher, pytest.raises(StreamsGone):
        watcher.until(lambda: False)
    assert len(watcher.frames) >= 1
    assert watcher.said("lost (no picture for 0.5 s)")


def test_a_stream_that_never_answers_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.mjpg"
        problem = pytest.raises(ValueError, match="cannot be opened .no answer within 0.5 s")
        with Watcher(url, Patience(open_s=0.5)) as watcher, problem:
            watcher.until(lambda: False)
        assert time.monotonic() - start < 5


def test_a_thread_that_hangs_is_left_behind(camera: Camera, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver or a name look-up may hang beyond every limit that OpenCV knows."""
    for_ever = threading.Event()
    really_open = StreamCapture._open

    def hang(self: StreamCapture, open_s: float) -> cv2.VideoCapture:
        if "hangs.mjpg" in self._address:
            for_ever.wait(ENOUGH_S)
        return really_open(self, open_s)

    monkeypatch.setattr(StreamCapture, "_open", hang)
    problem = pytest.raises(ValueError, match="no answer within 0.2 s")
    with Watcher(camera.url("hangs.mjpg"), Patience(open_s=0.2)) as watcher, problem:
        watcher.until(lambda: False)
    video = write_numbered(tmp_path / "v.mp4", 3)
    entries = write_list(tmp_path / "a.streams", camera.url("hangs.mjpg"), video)
    patience = Patience(open_s=0.5, gone_s=0.5)
    with Watcher(entries, patience) as watcher, pytest.raises(StreamsGone, match="it hangs"):
        watcher.until(lambda: False)
    assert len(watcher.frames) == 3
    for_ever.set()


@pytest.mark.parametrize("seen", [0, 5])
def test_a_hanging_thread_is_given_up_after_the_thread_would_have(seen: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("mgil.engine.sources.stream_state.time", SimpleNamespace(monotonic=lambda: now_s))
    patience = Patience(open_s=20, silence_s=10, gone_s=60)
    state = StreamState("0", patience, threading.Condition())
    state.seen = seen
    now_s = (10 if seen else 20) + 60 + 5.0  # the thread tries until a second past the sum
    state.watch()
    assert not state.over
    now_s += 30
    state.watch()
    assert state.over and state.given_up == "it hangs"


def test_a_stream_is_given_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread gives up while `watch` is about to."""
    changed = threading.Condition()
    state = StreamState("0", Patience(0, 0, 0), changed)
    monkeypatch.setattr("mgil.engine.sources.stream_state.time", SimpleNamespace(monotonic=lambda: float("inf")))
    watch = threading.Thread(target=state.watch)
    with changed:
        watch.start()
        watch.join(0.2)
        state.over, state.given_up = True, "refused"
    watch.join(ENOUGH_S)
    assert (state.given_up, list(state.news)) == ("refused", [])


@pytest.mark.parametrize("url", ["http://user:secret@127.0.0.1:9/x", "rtsp://user:secret@127.0.0.1:9/x"])
def test_a_stream_that_cannot_be_opened(url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Watcher(url) as watcher, pytest.raises(ValueError, match="cannot be opened .nobody answers") as caught:
        watcher.until(lambda: False)
    both = write_list(tmp_path / "2.streams", url, url)
    with Watcher(both) as watcher, pytest.raises(ValueError, match="nor can the other 1"):
        watcher.until(lambda: False)
    assert "secret" not in str(caught.value) + "".join(capfd.readouterr()) + "".join(watcher.lines)


def test_waiting_gives_empty_moments_and_closing_is_quick(camera: Camera) -> None:
    with Watcher(camera.url("a.mjpg?count=6&silent=1")) as watcher:
        watcher.until(lambda: bool(watcher.frames))
        moments = [watcher.step() for _ in range(12)]
        start = time.monotonic()
    assert time.monotonic() - start < 4
    assert [] in moments
