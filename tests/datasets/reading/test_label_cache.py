"""The label cache: same answer as reading again, never stale, and never in the way."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mgil.datasets.reading import label_cache, load
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.label_cache import cache_folder
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for index in range(5):
        Image.new("RGB", (20 + index, 30)).save(tmp_path / "images" / f"{index}.png")
        (tmp_path / "labels" / f"{index}.txt").write_text(f"0 0.5 0.5 0.{index + 1} 0.5\n")
    (tmp_path / "labels" / "0.txt").write_text("0 0.5 0.5 0.1 0.5\n" + "0 0.5\n" * 5)
    (tmp_path / "images" / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "set.yaml").write_text("train: images\nnames: [a, b]\n")
    return tmp_path


class Reader:
    """Loads the split and says whether the files were read or the cache was used."""

    def __init__(self, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dataset = dataset
        self.reads = 0
        self.lines: list[str] = []
        original = load.scan_yolo

        def counting(*arguments: object) -> object:
            self.reads += 1
            return original(*arguments)

        monkeypatch.setattr(load, "scan_yolo", counting)

    def load(self, cache: Path | None = None) -> tuple[Samples, bool]:
        before = self.reads
        self.lines.clear()
        config = load_data_config(self.dataset / "set.yaml")
        folder = cache or self.dataset / "cache"
        samples = load_samples(config, "train", cache_dir=folder, report=self.lines.append)
        return samples, self.reads > before


@pytest.fixture
def reader(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    return Reader(dataset, monkeypatch)


def assert_same(first: Samples, second: Samples) -> None:
    for field in fields(Samples):
        one, two = getattr(first, field.name), getattr(second, field.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)
        else:
            assert one == two


def test_the_second_time_the_cache_answers_the_same_with_the_same_problems(reader: Reader) -> None:
    first, was_read = reader.load()
    assert was_read
    told = list(reader.lines)
    assert len(told) == 7  # five bad lines, one bad image, the summary
    second, was_read = reader.load()
    assert not was_read
    assert_same(first, second)
    assert reader.lines == told


def later(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda root: later(root / "labels" / "2.txt"),
        lambda root: later(root / "images" / "2.png"),
        lambda root: (root / "labels" / "2.txt").write_text("1 0.5 0.5 0.2 0.2\n"),
        lambda root: (root / "labels" / "2.txt").unlink(),
        lambda root: (root / "images" / "2.png").unlink(),
        lambda root: Image.new("RGB", (5, 5)).save(root / "images" / "new.png"),
        lambda root: (root / "labels" / "bad.txt").write_text("1 0.5 0.5 0.2 0.2\n"),
        lambda root: (root / "images" / "2.png").rename(root / "images" / "two.png"),
        lambda root: (root / "set.yaml").write_text("train: images\nnames: [a, b, c]\n"),
    ],
    ids=["label-time", "image-time", "label", "no-label", "no-image", "new-image", "new-label", "renamed", "classes"],
)
def test_any_change_makes_it_read_again(reader: Reader, change: Callable[[Path], object]) -> None:
    reader.load()
    change(reader.dataset)
    assert reader.load()[1]
    assert not reader.load()[1]


def test_a_new_format_makes_it_read_again(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.load()
    monkeypatch.setattr(label_cache, "FORMAT", label_cache.FORMAT + 1)
    assert reader.load()[1]


def test_another_folder_with_the_same_names_is_another_data_set(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = reader.load()
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("images", "labels", "set.yaml"):
        (reader.dataset / name).rename(moved / name)
    cache = reader.dataset / "cache"
    reader.dataset = moved
    second, was_read = reader.load(cache)
    assert was_read
    assert second.image_paths[0] == str(moved / "images" / "0.png") != first.image_paths[0]


class Ran(Exception):
    """Raised by unpickling the hostile cache below."""


class Hostile:
    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Ran, ("code was run",)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for position in range(200, len(content), 97):
        content[position] ^= 0xFF
    path.write_bytes(bytes(content))


def drop_array(path: Path) -> None:
    with np.load(path) as content:
        arrays = {name: content[name] for name in content.files if name != "offsets"}
    np.savez(path, **arrays)


def put_objects(path: Path) -> None:
    with np.load(path) as content:
        arrays = {name: content[name] for name in content.files}
    arrays["problems"] = np.array([Hostile()], dtype=object)
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip,
        drop_array,
        put_objects,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"text"),
        lambda path: path.write_bytes(pickle.dumps(Hostile())),
        lambda path: zipfile.ZipFile(path, "w").close(),
    ],
    ids=["truncated", "flipped", "no-offsets", "objects", "empty", "text", "pickle", "empty-zip"],
)
def test_a_damaged_cache_is_told_and_made_again(reader: Reader, damage: Callable[[Path], object]) -> None:
    first, _ = reader.load()
    (path,) = (reader.dataset / "cache").iterdir()
    damage(path)
    second, was_read = reader.load()
    assert was_read
    assert reader.lines[0].startswith(f"label cache {path} is damaged")
    assert_same(first, second)
    assert not reader.load()[1]


def test_a_folder_that_cannot_be_written_is_told_and_does_not_matter(reader: Reader) -> None:
    blocked = reader.dataset / "file"
    blocked.write_text("in the way")
    samples, was_read = reader.load(blocked / "cache")
    assert was_read and len(samples) == 5
    assert reader.lines[0].startswith(f"label cache folder {blocked / 'cache'} cannot be written (Not a directory)")
    assert reader.load(blocked / "cache")[1]


def test_nothing_is_left_in_the_folder_of_the_data_set_nor_half_written(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "mine"))
    before = sorted(path for path in reader.dataset.rglob("*"))
    config = load_data_config(reader.dataset / "set.yaml")
    load_samples(config, "train", report=reader.lines.append)
    written = sorted(set(reader.dataset.rglob("*")) - set(before))
    assert [path.parent for path in written if path.is_file()] == [tmp_path / "mine" / "labels"]
    assert all(path.suffix == ".npz" for path in written if path.is_file())


def test_a_full_disk_leaves_no_part_behind(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(label_cache.np, "savez", fail)
    samples, _ = reader.load()
    assert len(samples) == 5
    assert "No space left on device" in reader.lines[0]
    assert list((reader.dataset / "cache").iterdir()) == []


def test_cache_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MGIL_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/mgil-yolov5")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("~/.cache/mgil-yolov5").expanduser()
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == Path("~/Library/Caches/mgil-yolov5").expanduser()
    monkeypatch.setenv("MGIL_CACHE", "/mine")
    assert cache_folder() == Path("/mine")
