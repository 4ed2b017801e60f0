"""Full disks, kills and folders that cannot be written to: the last good file stays whole, and one line says so."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import detect
import export
import train
import val
from mgil.datasets.reading import digits
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.download import unpack
from mgil.datasets.reading.label_cache import LabelCache
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Findings
from mgil.engine.cli import run_cli
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.run import ExportError, run_export
from mgil.engine.prediction.writers import TableFile, VideoFile
from mgil.engine.training.log import ResultsCsv, read_results
from mgil.engine.weights.checkpoints import load_checkpoint, save_checkpoint
from mgil.files.atomic import write_text_atomic
from mgil.files.csv_file import write_csv
from mgil.files.image_file import save_image
from mgil.networks.detector import DetectionModel, build_model
from tests.datasets.scenes import make_samples
from tests.engine.export.exported import save_tiny_detector
from tests.engine.tiny import NAMES, TINY, Playground
from tests.tasks.detect.judging import COLUMNS
from tests.tasks.toy.data import make_colours
from tests.trust.disks import fill, limited_files, read_only, small_disk

SMALL, LARGE = 1, 2000  # how much a version of a file holds: fits on a full disk, or does not
NOISE = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
DOORS: dict[str, Callable[[], None]] = {
    "detect": detect.main,
    "export": export.main,
    "train": train.main,
    "val": val.main,
}


def write_checkpoint(path: Path, amount: int, model: DetectionModel) -> None:
    save_checkpoint(path, model, {"epoch": amount}, {"more": torch.zeros(20 * amount)})


def write_results(path: Path, amount: int) -> None:
    log = ResultsCsv(path, COLUMNS)
    log.lines += [",".join([str(epoch), *["0.123456"] * (len(COLUMNS) - 1)]) for epoch in range(amount)]
    log.add({"epoch": amount})


def write_cache(path: Path, amount: int) -> None:
    said: list[str] = []
    LabelCache(path.parent, said.append).save(
        "key", "signature", make_samples([], []), Findings(problems=["x" * 99] * amount)
    )
    made = [item for item in path.parent.glob("*.npz") if item != path]
    if made:
        made[0].replace(path)  # to be found under a name that the test knows
    if said:
        raise OSError(28, said[0], str(path))


def write_unpacked(path: Path, amount: int) -> None:
    for size, name in ((SMALL, "target.txt"), (LARGE, "other.txt")):
        if amount == SMALL:  # the disk is not full yet
            with zipfile.ZipFile(path.parents[1] / f"{size}.zip", "w") as file:
                file.writestr(name, b"x" * 999 * size)
    unpack(path.parents[1] / f"{amount}.zip", path.parent)


WRITERS: dict[str, Callable[[Path, int], object]] = {
    "checkpoint": partial(write_checkpoint, model=build_model(TINY, names=NAMES, imgsz=64)),
    "results.csv": write_results,
    "table": lambda path, amount: write_csv(path, ["a"], [[0.5]] * 99 * amount),
    "settings": lambda path, amount: write_text_atomic(path, "key: value\n" * 99 * amount),
    "predictions.json": lambda path, amount: write_text_atomic(path, json.dumps([{"image_id": 1}] * 99 * amount)),
    "label cache": write_cache,
    "picture": lambda path, amount: save_image(path.with_suffix(".png"), NOISE[: 40 if amount == SMALL else 400]),
    "data set": write_unpacked,
}


@pytest.fixture(params=["disk", "quota"])
def tight(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Callable[[], Any]]]:
    """A folder, and what makes it a full one: a small disk where one can be mounted, a limit on files anywhere."""
    folder = tmp_path / "tight"
    folder.mkdir()
    if request.param == "quota":
        yield folder, lambda: limited_files(150)
        return
    with small_disk(folder, 1024) as mounted:
        if not mounted:
            pytest.skip("only root can mount a small disk; the limit on files is tested instead")

        def make_full() -> Any:
            fill(folder, spare_kilobytes=20)
            return nullcontext()

        yield folder, make_full


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_leaves_the_last_good_file(tight: tuple[Path, Callable[[], Any]], kind: str) -> None:
    folder, make_full = tight
    path = folder / ("target.png" if kind == "picture" else "target.txt")
    WRITERS[kind](path, SMALL)
    before = path.read_bytes()
    assert before
    with make_full(), pytest.raises(OSError) as caught:
        WRITERS[kind](path, LARGE)
    assert path.read_bytes() == before
    assert {item.name for item in folder.iterdir()} <= {path.name, "filler"}, "parts of files were left"
    named = folder / "other.txt" if kind == "data set" else path
    assert caught.value.filename == str(named) and caught.value.errno in (27, 28)


def test_tables_that_grow_end_with_a_whole_row(tight: tuple[Path, Callable[[], Any]]) -> None:
    folder, make_full = tight
    table = TableFile(folder / "predictions.csv", ["name", "text"])
    with make_full(), pytest.raises(OSError) as caught:
        for number in range(10_000):
            table.write([[number, "x" * 50]] * 3)
    table.close()
    assert caught.value.filename == str(folder / "predictions.csv")
    rows = list(csv.reader((folder / "predictions.csv").open()))
    assert len(rows) > 100 and all(len(row) == 2 and len(row[1]) in (4, 50) for row in rows)
    assert (len(rows) - 1) % 3 == 0


def test_a_video_ends_before_the_disk_is_full_and_can_be_played(tmp_path: Path) -> None:
    """OpenCV says nothing of a full disk, and a video without its end is none."""
    with small_disk(tmp_path / "disk", 17_500) as mounted:
        if not mounted:
            pytest.skip("only root can mount a small disk")
        video = VideoFile(tmp_path / "disk" / "a.mp4", 10, (400, 400))
        with pytest.raises(OSError, match=r"a\.mp4"):
            for number in range(1000):
                video.write(np.roll(NOISE, number, axis=1))
        video.close()
        frames = cv2.VideoCapture(str(tmp_path / "disk" / "a.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)
        assert 2 < frames < 1000


def test_a_video_that_could_not_be_finished_is_told(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "a.mp4", 10, (400, 400))
    with limited_files(100):
        for _ in range(30):
            video.write(NOISE)
        with pytest.raises(OSError, match=r"a\.mp4: only 0 of 30 pictures"):
            video.close()


def run_door(
    name: str, flags: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Run a door that fails: the one line that it says on standard error, progress bars aside."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, flags)])
    with pytest.raises(SystemExit) as end:
        run_cli(DOORS[name])
    said = [line for line in capsys.readouterr().err.splitlines() if line.strip() and "it/s" not in line]
    assert end.value.code == 1 and len(said) == 1, said
    return said[0].removeprefix("error: ")


def train_flags(playground: Playground, project: Path) -> list[object]:
    files = ["--cfg", playground.cfg, "--hyp", playground.hyp, "--data", playground.data, "--project", project]
    options = {"imgsz": 32, "epochs": 9, "batch-size": 8, "workers": 0, "device": "cpu"}
    return [*files, *(part for key, value in options.items() for part in (f"--{key}", value)), "--noplots", "--noval"]


def toy_flags(data: str, project: Path) -> list[object]:
    options = {"data": data, "imgsz": 32, "epochs": 9, "batch-size": 8, "workers": 0, "device": "cpu"}
    given = (part for key, value in options.items() for part in (f"--{key}", value))
    return ["toy", "--project", project, "--noplots", "--noval", *given]


@pytest.mark.parametrize(
    ("task", "kilobytes"),
    [*(("detect", size) for size in (4, 8, 76, 90, 200, 330)), *(("toy", size) for size in (4, 8, 12, 32, 44))],
)
def test_training_on_a_disk_that_runs_full(
    playground: Playground,
    toy_task: None,
    task: str,
    kilobytes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Wherever it happens: one line with a file's name, whole checkpoints, a whole results.csv."""
    flags = train_flags(playground, tmp_path / "disk")
    if task == "toy":
        flags = toy_flags(make_colours(tmp_path / "colours"), tmp_path / "disk")
    with small_disk(tmp_path / "disk", kilobytes) as mounted:
        if not mounted:
            pytest.skip("only root can mount a small disk")
        said = run_door("train", flags, monkeypatch, capsys)
        assert said.startswith(str(tmp_path / "disk")) and said.endswith(": No space left on device")
        folder = tmp_path / "disk" / "exp"
        assert not list(folder.rglob("*.tmp"))
        for path in folder.rglob("*.pt"):
            load_checkpoint(path)
        if (folder / "results.csv").exists():
            rows = read_results(folder / "results.csv")
            assert [int(row["epoch"]) for row in rows] == list(range(len(rows)))


def test_export_onto_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", 2048) as mounted:
        if not mounted:
            pytest.skip("only root can mount a small disk")
        weights = save_tiny_detector(tmp_path / "disk" / "best.pt")
        flags = ["--weights", weights, "--include", "torchscript", "--imgsz", 64]
        monkeypatch.setattr(sys, "argv", ["export.py", *map(str, flags)])
        export.main()
        before = weights.with_suffix(".torchscript").read_bytes()
        fill(tmp_path / "disk", spare_kilobytes=40)
        said = run_door("export", flags, monkeypatch, capsys)
        assert str(weights.with_suffix(".torchscript")) in said and "No space left on device" in said
        assert weights.with_suffix(".torchscript").read_bytes() == before
        assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["best.pt", "best.torchscript", "filler"]


def test_an_export_that_fails_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A converter that writes half a folder and fails, onto a good folder; and a name that cannot be given."""
    weights = save_tiny_detector(tmp_path / "best.pt")
    good = tmp_path / "best_openvino_model"
    good.mkdir()
    (good / "best.xml").write_text("good")

    def half(_: object, path: Path) -> None:
        path.mkdir()
        (path / "best.xml").write_text("half")
        raise RuntimeError("converter failed")

    config = ExportConfig(weights=str(weights), include=("openvino",))
    with monkeypatch.context() as patched, pytest.raises(ExportError, match="openvino: converter failed"):
        patched.setitem(export_writers(), "openvino", half)
        run_export(config, report=lambda line: None)
    assert (good / "best.xml").read_text() == "good" and len(list(tmp_path.iterdir())) == 2


def export_writers() -> dict[str, Any]:
    from mgil.engine.export.run import WRITERS as writers

    return writers


def test_the_data_set_of_digits_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there whole or not at all; where both places fail, that is told."""
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digits, "SCENES", {"train": 20, "val": 5})
    with limited_files(2), pytest.raises(OSError):
        digits.DIGITS.make(tmp_path / "digits")
    assert not (tmp_path / "digits").exists() and not list(tmp_path.glob(".digits*"))
    digits.DIGITS.make(tmp_path / "digits")
    assert len(list((tmp_path / "digits" / "images").rglob("*.png"))) == 25


def in_child(action: Callable[[], object]) -> int:
    """Run something in a forked process without end; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            action()
    finally:
        os._exit(1)


def version_writer(kind: str, path: Path) -> Callable[[], object]:
    """Writes one version after another, each twice the size of the one before, and small again."""
    state = {"amount": 1}

    def write() -> None:
        state["amount"] = state["amount"] * 2 if state["amount"] < 300 else 1
        WRITERS[kind](path, state["amount"])

    return write


def is_whole(kind: str, path: Path) -> bool:
    if kind == "checkpoint":
        found = load_checkpoint(path)
        return found.training["more"].numel() == 20 * found.info["epoch"]
    if kind == "results.csv":
        rows = read_results(path)
        return len(rows) == int(rows[-1]["epoch"]) + 1
    if kind == "predictions.json":
        return len(json.loads(path.read_text())) % 99 == 0
    with np.load(path, allow_pickle=False) as content:  # reads and checks every entry
        return all(content[name] is not None for name in content.files)


KILLS = 12
NIGHTLY = pytest.mark.nightly


@pytest.mark.parametrize(
    "kind",
    ["checkpoint", "label cache", *(pytest.param(kind, marks=NIGHTLY) for kind in ("results.csv", "predictions.json"))],
)
def test_a_kill_while_files_are_written(tmp_path: Path, kind: str) -> None:
    """SIGKILL at any moment: what is found afterwards is a whole file of one version."""
    path, chance = tmp_path / "target.txt", random.Random(kind)
    found = 0
    for _ in range(KILLS):
        child = in_child(version_writer(kind, path))
        time.sleep(chance.uniform(0.02, 0.12))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "it ended by itself"
        if kind == "label cache" and not path.exists():
            path = next(tmp_path.glob("*.npz"), path)
        if path.exists():
            found += 1
            assert is_whole(kind, path)
        assert all(item.suffix in (".txt", ".npz", ".tmp") for item in tmp_path.iterdir())
    assert found >= KILLS // 2


@pytest.mark.parametrize("name", ["detect", "val", "train", "export"])
def test_a_folder_that_cannot_be_written_to(
    playground: Playground,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line that names it, exit code 1, and nothing in it has changed."""
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "locked"
    folder.mkdir()
    weights = save_tiny_detector(folder / "best.pt")
    picture = playground.folder / "data" / "images" / "val" / "001.png"
    flags: dict[str, list[object]] = {
        "detect": ["--weights", weights, "--source", picture, "--project", folder, "--device", "cpu"],
        "val": [
            "--weights",
            weights,
            "--data",
            playground.data,
            "--project",
            folder,
            "--device",
            "cpu",
            "--workers",
            0,
        ],
        "train": train_flags(playground, folder),
        "export": ["--weights", weights, "--include", "torchscript"],
    }
    before = weights.read_bytes()
    with read_only(folder) as locked:
        if not locked:
            pytest.skip("root may write everywhere, and nothing can be mounted here")
        said = run_door(name, flags[name], monkeypatch, capsys)
        assert str(folder) in said and ("Read-only file system" in said or "Permission denied" in said)
        assert [path.name for path in folder.iterdir()] == ["best.pt"] and weights.read_bytes() == before


def test_a_label_cache_that_cannot_be_written_is_told_and_missed(playground: Playground, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    said: list[str] = []
    with read_only(tmp_path / "cache") as locked:
        if not locked:
            pytest.skip("root may write everywhere, and nothing can be mounted here")
        found = load_samples(
            load_data_config(playground.data), "train", cache_dir=tmp_path / "cache", report=said.append
        )
    assert len(found) == 16
    assert sum("cannot be written" in line and str(tmp_path / "cache") in line for line in said) == 1
