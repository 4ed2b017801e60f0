"""Following objects in detect.py: its files, what is refused, and a process that stays as it was."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from benchmarks.identity import count_identity
from benchmarks.moving import Clip, make_clip
from benchmarks.tracking import truth
from mgil.engine.cli import parse
from mgil.engine.prediction import run as run_module
from mgil.engine.prediction import trackers
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.predictor import Model
from mgil.engine.prediction.run import run_detect
from mgil.engine.prediction.tracking import Tracker, check_sequence, following
from mgil.engine.sources.sources import FileSource
from mgil.files.packages import MissingPackage
from mgil.tasks.detect.options import PredictOptions
from mgil.tasks.detect.predictor import Detector
from mgil.tasks.detect.task import TASK
from tests.engine.prediction.squares import Squares, detector, ids, needs_trackers

pytestmark = needs_trackers
REPOSITORY = Path(__file__).resolve().parents[3]


# What is refused -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kind": "sort"}, "bytetrack and botsort"),
        ({"fps": 0}, "fps 0"),
        ({"fps": float("nan")}, "fps nan"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Tracker(detector(), **arguments)


@pytest.mark.parametrize("images", [[], [np.zeros((8, 8, 3), np.uint8)] * 2])
def test_tracker_takes_one_picture(images: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match=f"{len(images)} images: a tracker takes them one by one"):
        Tracker(detector())(images)


def test_task_without_objects_is_refused() -> None:
    from tests.tasks.toy.task import ToyPredictor

    with pytest.raises(ValueError, match="no objects to follow"):
        following(ToyPredictor(SimpleNamespace(names=("colour",)), torch.device("cpu"), (32, 32)))


@pytest.fixture
def fresh() -> Iterator[None]:
    trackers.tracker_classes.cache_clear()
    yield
    trackers.tracker_classes.cache_clear()


@pytest.mark.parametrize("missing", ["lap", "ultralytics.trackers"])
def test_missing_package_ends_the_run_before_anything_is_read(
    missing: str, fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    config = parse(DetectConfig, ["--track", "--weights", "none.pt", "--source", "none", "--project", str(tmp_path)])
    with pytest.raises(MissingPackage, match="--track.*pip install ultralytics-opencv-headless lap"):
        run_detect(config, print)
    assert not list(tmp_path.iterdir())


class _Shared:
    """A tracker of an older version: all share one counter, as `BaseTrack._count` did."""

    count = 0

    def __init__(self, arguments: Any) -> None:
        self.frame_id, self.tracked_stracks, self.lost_stracks = 0, [], []

    def update(self, detections: Any, image: np.ndarray) -> np.ndarray:
        _Shared.count += 1
        return np.array([[0, 0, 9, 9, _Shared.count, 1, 0, 0]], np.float32)

    def reset(self) -> None: ...
    def multi_predict(self, tracks: list[Any]) -> None: ...


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: None, "it has no bytetrack"),
        (lambda one: _Shared, "numbers of its bytetrack are shared between streams"),
        (lambda one: lambda arguments: SimpleNamespace(update=0), "has no reset, multi_predict, tracked_stracks"),
        (lambda one: lambda arguments, rate: 0, "cannot be called"),
        (lambda one: type("Other", (one,), {"update": lambda *_: np.zeros((1, 9))}), "gives something else"),
    ],
)
def test_versions_that_do_not_fit_are_named(change: Callable[[type], Any], said: str) -> None:
    own = dict(trackers.tracker_classes())
    assert trackers._problem(own) == ""
    own["bytetrack"] = change(own["bytetrack"])
    assert said in trackers._problem(own)


# detect.py -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever weights are named, the network is `Squares`."""

    def open_squares(config: Any, weights: str, report: object) -> tuple[Any, Model]:
        options = PredictOptions(config.conf_thres, config.iou_thres, config.max_det, config.classes)
        return TASK, Model(Detector(Squares(), options, device=torch.device("cpu"), size_hw=(64, 64)))

    monkeypatch.setattr(run_module, "_open", open_squares)


def write_clip(path: Path, frames: int = 24) -> Clip:
    """As pictures in a folder, without a loss."""
    clip = make_clip("apart", 64, 10, 2, frames=frames)
    path.mkdir()
    for number, image in enumerate(clip.images()):
        cv2.imwrite(str(path / f"{number:03}.png"), image[..., ::-1])
    return clip


def write_video(path: Path, frames: int = 24, fps: float = 30) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 64))
    for image in make_clip("apart", 64, 10, 2, frames=frames).images():
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()


def detect(source: Path, out: Path, *flags: str) -> tuple[list[str], list[dict[str, str]]]:
    lines: list[str] = []
    common = ["--weights", "any.pt", "--source", str(source), "--project", str(out), "--exist-ok", "--save-csv"]
    run_detect(parse(DetectConfig, [*common, *flags]), lines.append)
    with (out / "exp" / "predictions.csv").open() as file:
        return lines, list(csv.DictReader(file))


def test_folder_of_frames_is_followed_and_its_files_carry_the_numbers(squares: None, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in")
    lines, rows = detect(tmp_path / "in", tmp_path / "out", "--track", "--save-txt", "--save-conf", "--nosave")
    assert list(rows[0])[-2:] == ["Track", "Path"]
    frames = [[row for row in rows if row["Image Name"] == f"{number:03}.png"] for number in range(len(clip))]
    shown = [
        (
            np.array([[float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")] for row in some]).reshape(-1, 4),
            np.array([int(row["Track"]) for row in some], int),
        )
        for some in frames
    ]
    counts = count_identity(truth(clip), shown)
    assert counts.switches == 0
    assert counts.missed < 0.2 * counts.objects
    assert counts.tracks == len({row["Track"] for row in rows})
    assert lines[0] == (
        "--track: the 24 pictures are taken for frames of a video, one for each folder, in this order: "
        "000.png, 001.png, 002.png, ..."
    )
    assert lines[-1] == f"{tmp_path / 'in'}: {counts.tracks} objects followed"
    labels = [line.split() for line in (tmp_path / "out/exp/labels/020.txt").read_text().splitlines()]
    assert [len(label) for label in labels] == [7] * len(frames[20])
    assert [label[6] for label in labels] == [row["Track"] for row in frames[20]]
    said = next(line for line in lines if "020.png" in line)
    assert all(re.search(rf"[( ]{row['Track']}[),]", said) for row in frames[20])


@pytest.mark.parametrize("stride", [1, 3])
def test_video_with_a_stride_and_classes(squares: None, stride: int, tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", frames=30)
    lines, rows = detect(
        tmp_path / "a.avi", tmp_path / "out", "--track", "botsort", "--vid-stride", str(stride), "--classes", "0", "2"
    )
    assert {row["Prediction"] for row in rows} == {"red", "blue"}
    for track in {row["Track"] for row in rows}:  # one object, so one class, and to one side
        own = [row for row in rows if row["Track"] == track]
        assert len({row["Prediction"] for row in own}) == 1
        places = np.array([float(row["xmin"]) + float(row["xmax"]) for row in own])
        assert len(own) == 1 or len(set(np.sign(np.diff(places)).tolist()) - {0}) == 1
    assert lines[-1] == f"{tmp_path / 'a.avi'}: {len({row['Track'] for row in rows})} objects followed"
    assert (tmp_path / "out/exp/a.mp4").stat().st_size


def test_streams_of_a_list_have_numbers_of_their_own(squares: None, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.avi", frames=16)
    (tmp_path / "all.streams").write_text(f"{tmp_path / 'a.avi'}\n{tmp_path / 'b.avi'}\n")
    lines, rows = detect(tmp_path / "all.streams", tmp_path / "out", "--track", "--nosave")
    shown = {name: [row["Track"] for row in rows if row["Image Name"] == f"{name}.avi"] for name in ("a", "b")}
    assert shown["a"] == shown["b"] != []
    assert {line.rpartition(":")[2] for line in lines[-2:]} == {f" {len(set(shown['a']))} objects followed"}


@pytest.mark.parametrize(
    ("flags", "kind"), [([], None), (["--track"], "bytetrack"), (["--track", "bytetrack"], "bytetrack")]
)
def test_flag_alone_is_bytetrack(flags: list[str], kind: str | None) -> None:
    assert parse(DetectConfig, flags).track == kind


def test_tracker_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="'sort' is not one of bytetrack, botsort"):
        DetectConfig(track="sort")


def test_model_follows_a_source(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", frames=20)
    results = list(Model(detector()).track(tmp_path / "a.avi"))
    assert [result.path for result in results] == [str(tmp_path / "a.avi")] * 20
    assert max(ids(results[-1])) >= 1
    with pytest.raises(FileNotFoundError):
        Model(detector()).track(str(tmp_path / "b.avi"))
    with pytest.raises(ValueError, match="tracker 'sort': there is bytetrack and botsort"):  # before the first picture
        Model(detector()).track(tmp_path / "a.avi", "sort")


def test_one_picture_is_no_sequence(squares: None, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a video or a folder of its frames; .*a\.png is one picture"):
        detect(tmp_path / "a.png", tmp_path / "out", "--track")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a/f1.png", "a/f10.png", "a/f2.png"], "--track: f10.png comes before f2.png; "),
        (["a/x1_f2.png", "a/x1_f10.png", "a/x2_f1.png"], ""),
        (["cam10/f1.png", "cam2/f1.png"], ""),  # two sequences
        (["a/f10.png", "a/g2.png", "a/plain.png"], ""),
    ],
)
def test_frames_in_the_order_of_their_letters_are_told(names: list[str], said: str) -> None:
    lines: list[str] = []
    check_sequence(FileSource(names), lines.append)
    assert len(lines) == (2 if said else 1)
    assert lines[-1].startswith(said)


# The process ---------------------------------------------------------------------------------------------------------
GUARDED = """
import builtins, io, json, logging, os, pathlib, shutil, socket, subprocess, sys, threading, time, warnings
import cv2, numpy as np, torch, yaml
from PIL import Image, ImageFile
from mgil.engine.prediction.tracking import Tracker
from mgil.tasks.detect.results import Results

class Given:
    sure_score, model, names, device, size_hw = 0.25, None, ("a",), None, (64, 64)
    def __call__(self, images, paths): ...
    def candidates(self, images, paths):
        box = np.array([[9, 9, 30, 30]], np.float32)
        return [Results(box, np.ones(1, np.float32), np.zeros(1, np.int64), self.names, images[0])]

def files():
    return [os.path.join(*place) for top in (os.environ["HOME"], os.environ["TMPDIR"]) for place in os.walk(top)
            for place in [(place[0], name) for name in place[1] + place[2]]]

MODULES = (builtins, io, json, logging, os, pathlib, shutil, socket, subprocess, sys, threading, time, warnings, cv2,
    np, torch, torch.nn, torch.jit, torch.backends.cudnn, yaml, Image, ImageFile)

def functions():
    return {f"{module.__name__}.{name}": id(value) for module in MODULES for name, value in vars(module).items()
            if callable(value)}

def state():
    return dict(
        environment=dict(os.environ), threads=[torch.get_num_threads(), torch.get_num_interop_threads()],
        opencv=cv2.getNumThreads(), warnings=[str(rule) for rule in warnings.filters], numpy=str(np.get_printoptions()),
        torch=str(torch._tensor_str.PRINT_OPTS),
        loggers=[(name, one.level, len(one.handlers), one.propagate, one.disabled)
            for name in ("", "ultralytics", "coremltools", "sentry_sdk") for one in [logging.getLogger(name)]],
        streams=[id(sys.stdout), id(sys.stderr)], hooks=[id(sys.excepthook)], folder=os.getcwd(), path=list(sys.path),
        modules=[name for name in sys.modules if name.partition(".")[0] in ("ultralytics", "matplotlib", "sentry_sdk")],
        random=[str(np.random.get_state()[1][:9]), str(torch.random.get_rng_state()[:9])], files=files(),
    )

events = []
def watch(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "urllib.")):
        events.append([event, str(arguments)])
        raise OSError(event)

torch.set_num_threads(2); cv2.setNumThreads(2); torch.set_printoptions(precision=3); np.set_printoptions(precision=5)
sys.addaudithook(watch)
before, first = state(), functions()
for kind in ("bytetrack", "botsort"):
    tracker = Tracker(Given(), kind)
    shown = [tracker(np.zeros((64, 64, 3), np.uint8)) for _ in range(3)]
after = state()
changed = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
changed |= {name: "replaced" for name, value in functions().items() if first.get(name, value) != value}
print(json.dumps([changed, events, shown[-1].track_ids.tolist()]))
"""


def test_process_and_disk_stay_as_they_were(tmp_path: Path) -> None:
    """With a home of its own, no network, and nothing that could be started."""
    folders = {name: str(tmp_path / name) for name in ("HOME", "TMPDIR")}
    for folder in folders.values():
        Path(folder).mkdir()
    environment = {**folders, "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", GUARDED], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    changed, events, numbers = json.loads(done.stdout)  # nothing else is printed
    assert (changed, events, numbers) == ({}, [], [1])


def test_users_own_ultralytics_is_left_alone(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user has imported it, nothing is imported anew and no module forgotten."""
    own = ModuleType("ultralytics")
    own.__version__ = "0.0.1"  # type: ignore[attr-defined]
    inside = ModuleType("ultralytics.trackers")
    monkeypatch.setitem(sys.modules, "ultralytics", own)
    monkeypatch.setitem(sys.modules, "ultralytics.trackers", inside)
    with pytest.raises(MissingPackage, match=r"\(--track\): ultralytics 0\.0\.1: it has no bytetrack; tested are"):
        trackers.tracker_classes()
    assert sys.modules["ultralytics.trackers"] is inside
