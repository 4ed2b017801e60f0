"""--exist-ok into a folder that holds other things: what no run wrote stays as it is, and a rerun works as ever."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.run import run_detect
from mgil.engine.prediction.writers import ResultWriter
from mgil.files.written_files import LIST_NAME, WrittenFiles
from tests.engine.export.exported import save_tiny_detector
from tests.engine.tiny import make_data, random_squares

STAYS = "not overwritten; choose another --project or --name, or move it away"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_detector(tmp_path_factory.mktemp("weights") / "best.pt"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("001.png", "002.png"):
        cv2.imwrite(str(folder / name), np.full((48, 64, 3), 120, np.uint8))
    writer = cv2.VideoWriter(str(folder / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for _ in range(2):
        writer.write(np.full((48, 64, 3), 120, np.uint8))
    writer.release()
    return folder


@pytest.fixture
def everything(weights: str, pictures: Path, tmp_path: Path) -> DetectConfig:
    """A run of detect.py with every kind of output."""
    kinds = {"save_txt": True, "save_csv": True, "save_crop": True, "visualize": True}
    place = {"project": str(tmp_path), "name": "out", "exist_ok": True}
    return DetectConfig(weights, str(pictures), imgsz=(64,), max_det=2, device="cpu", **kinds, **place)  # type: ignore[arg-type]


def detect(config: DetectConfig) -> None:
    run_detect(config, lambda _line: None)


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file but the list."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != LIST_NAME]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_rerun_replaces_every_file_of_the_first(everything: DetectConfig, tmp_path: Path) -> None:
    detect(everything)
    first = contents(tmp_path / "out")
    kinds = {"001.png", "v.mp4", "labels/001.txt", "labels/v_2.txt", "predictions.csv"}
    assert kinds < first.keys() and {name.split("/")[0] for name in first} >= {"crops", "features"}
    detect(everything)
    assert contents(tmp_path / "out") == first
    detect(replace(everything, conf_thres=1.0))  # finds nothing: the labels of the first run go
    assert not list((tmp_path / "out" / "labels").iterdir())


@pytest.mark.parametrize("kind", ["001.png", "v.mp4", "labels/002.txt", "predictions.csv", "crops/", "features/"])
@pytest.mark.parametrize("how", ["there before", "changed since", "a link"])
def test_what_no_run_wrote_stays(kind: str, how: str, everything: DetectConfig, tmp_path: Path) -> None:
    detect(replace(everything, name="other"))
    name = min(name for name in contents(tmp_path / "other") if name.startswith(kind))
    if how == "changed since":
        detect(everything)
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "a link":
        (tmp_path / "elsewhere").write_text("the user's own")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_text("the user's own")
        os.utime(path, (2_000_000_000, 2_000_000_000))
    for config in (everything, everything):  # the first attempt does not make it ours
        with pytest.raises(
            ValueError, match=f"{name.rsplit('/')[-1]}: no file that train.py, val.py or detect.py wrote .*{STAYS}"
        ):
            detect(config)
        assert path.read_text() == "the user's own"


def test_labels_of_a_data_set_are_not_deleted(weights: str, tmp_path: Path) -> None:
    """A detector that finds nothing, with --project and --name of a data set whose labels lie in labels/."""
    make_data(tmp_path / "set", random_squares(2), random_squares(1))
    for path in (tmp_path / "set" / "labels" / "train").iterdir():
        path.rename(tmp_path / "set" / "labels" / path.name)
    before = contents(tmp_path / "set")
    place: dict[str, Any] = {"project": str(tmp_path), "name": "set", "exist_ok": True, "nosave": True}
    config = DetectConfig(weights, str(tmp_path / "set" / "images" / "train"), save_txt=True, device="cpu", **place)
    for conf_thres in (0.25, 1.0):
        with pytest.raises(ValueError, match=rf"set/labels/001\.txt: .*{STAYS}"):
            detect(replace(config, conf_thres=conf_thres))
    assert contents(tmp_path / "set") == before


def test_val_leaves_labels_and_tables_that_it_did_not_write(weights: str, tmp_path: Path) -> None:
    data = make_data(tmp_path / "set", random_squares(1), random_squares(2))
    place: dict[str, Any] = {"project": str(tmp_path), "name": "out", "exist_ok": True}
    config = ValConfig(
        (weights,), str(data), imgsz=(32, 64), save_txt=True, save_json=True, device="cpu", workers=0, **place
    )
    lines: list[str] = []

    def run() -> None:
        run_val(config, lines.append)

    run()
    out = tmp_path / "out"
    first = contents(out)
    run()
    assert contents(out).keys() == first.keys()
    with WrittenFiles(out)._path.open() as file:  # every file is guarded: the list names them all
        text = file.read()
    assert all(f'["{name}", ' in text for name in first)
    for name in ("size_64/labels/001.txt", "size_32/per_class.csv", "size_32/PR_curve.png", "ap_vs_input_size.csv"):
        path, kept = out / name, (out / name).read_bytes()
        path.write_text("the user's own")
        os.utime(path, (2_000_000_000, 2_000_000_000))
        lines.clear()
        with pytest.raises(ValueError, match=f"{path.name}: .*{STAYS}"):
            run()
        assert path.read_text() == "the user's own"
        assert not any("COCO AP at" in line for line in lines), "the work was done before it was refused"
        path.unlink()
        path.write_bytes(kept)
        os.utime(path, ns=(0, WrittenFiles(out)._times[name] or 0))


def kill_between(folder: Path) -> None:
    """A run that is killed when it has said that it writes a file."""
    written = WrittenFiles(folder)
    written.start(folder / "a.txt")
    (folder / "a.txt").write_text("half")


def half_a_line(folder: Path) -> None:
    kill_between(folder)
    with open(folder / LIST_NAME, "ab") as file:
        file.write(b'["b.t')


@pytest.mark.parametrize("killed", [kill_between, half_a_line])
def test_files_of_a_killed_run_are_ours(killed: Callable[[Path], None], tmp_path: Path) -> None:
    killed(tmp_path)
    written = WrittenFiles(tmp_path)
    with written.writing(tmp_path / "a.txt", tmp_path / "b.txt"):
        (tmp_path / "a.txt").write_text("whole")
    written.close()
    (tmp_path / "b.txt").write_text("the user's own: the run did not write it")
    again = WrittenFiles(tmp_path)
    again.check(tmp_path / "a.txt")
    with pytest.raises(ValueError, match=r"b\.txt"):
        again.check(tmp_path / "b.txt")


def aged(path: Path, seconds: float) -> None:
    """Give a file a time of change that is so long after (below 0: before) now."""
    changed = time.time() + seconds
    os.utime(path, (changed, changed))


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_file_that_the_user_puts_where_a_killed_run_wrote_none_stays(seconds: float, tmp_path: Path) -> None:
    """Made an hour after the run, or moved there and an hour older than it; also when another run came between."""
    killed = WrittenFiles(tmp_path)
    killed.start(tmp_path / "a.txt", tmp_path / "b.txt")
    (tmp_path / "a.txt").write_text("the user's own")
    aged(tmp_path / "a.txt", seconds)
    for _ in range(2):
        again = WrittenFiles(tmp_path)
        with pytest.raises(ValueError, match=r"a\.txt"), again.writing(tmp_path / "b.txt"):
            again.check(tmp_path / "a.txt")
        again.close()
    aged(tmp_path / LIST_NAME, 7200)
    with pytest.raises(ValueError, match=r"a\.txt"):
        WrittenFiles(tmp_path).check(tmp_path / "a.txt")


def test_a_video_that_grew_for_an_hour_is_ours(
    everything: DetectConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed at the end of it: nothing is finished, and its list was begun an hour before."""
    monkeypatch.setattr(WrittenFiles, "finish", lambda *_paths: None)
    real = ResultWriter._write

    def for_an_hour(writer: ResultWriter, *what: Any) -> None:
        real(writer, *what)
        aged(tmp_path / "out" / LIST_NAME, -3600)
        writer.written._kept_up = 0

    monkeypatch.setattr(ResultWriter, "_write", for_an_hour)
    detect(replace(everything, save_txt=False, save_csv=False, save_crop=False, visualize=False))
    monkeypatch.undo()
    WrittenFiles(tmp_path / "out").check(tmp_path / "out" / "v.mp4")


def test_what_a_killed_run_had_not_replaced_yet_is_ours(tmp_path: Path) -> None:
    written = WrittenFiles(tmp_path)
    with written.writing(tmp_path / "a.txt"):
        (tmp_path / "a.txt").write_text("first")
        aged(tmp_path / "a.txt", -3600)
    WrittenFiles(tmp_path).start(tmp_path / "a.txt")
    for _ in range(2):
        with WrittenFiles(tmp_path).writing(tmp_path / "b.txt"):
            WrittenFiles(tmp_path).check(tmp_path / "a.txt")


def test_a_write_that_failed_gives_no_right_to_a_later_file(tmp_path: Path) -> None:
    written = WrittenFiles(tmp_path)
    with pytest.raises(OSError, match="disk"), written.writing(tmp_path / "a.txt"):
        raise OSError("disk full")
    (tmp_path / "a.txt").write_text("the user's own")
    for again in (written, WrittenFiles(tmp_path)):
        with pytest.raises(ValueError, match=r"a\.txt"):
            again.check(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "text", ["", "\0\xff", "{}\n3\n[1, 2]\n[[], 3]\n", "[" * 100_000, '["a.txt", true]\n', '["a.txt"]']
)
def test_a_list_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / LIST_NAME).write_text(text, encoding="latin-1")
    (tmp_path / "a.txt").write_text("the user's own")
    with pytest.raises(ValueError, match=r"a\.txt"):
        WrittenFiles(tmp_path).check(tmp_path / "a.txt")


def test_a_list_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("keep")
    (tmp_path / LIST_NAME).symlink_to("elsewhere")
    with pytest.raises(OSError, match=LIST_NAME):
        WrittenFiles(tmp_path).start(tmp_path / "a.txt")
    assert (tmp_path / "elsewhere").read_text() == "keep"
