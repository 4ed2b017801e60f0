"""The ids of images without a COCO json: numbers of file names, else what is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.image_ids import number_images
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples


def add(folder: Path, name: str) -> Path:
    path = folder / "images" / name
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (40, 20)).save(path)
    return path


def read(folder: Path) -> Samples:
    (folder / "set.yaml").write_text("val: images\nnames: [cat]\n")
    config = load_data_config(folder / "set.yaml")
    return load_samples(config, "val", cache_dir=folder / "cache", report=lambda _: None)


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["000139", "12"], [139, 12]),
        (["012", "12"], [12, 1]),  # one number, two pictures
        (["003", "007", "011", "extra_1"], [3, 7, 11, 1]),
        (["1", "2", "4", "b", "c", "d"], [1, 2, 4, 3, 5, 6]),
        (["a", "b", "c"], [1, 2, 3]),
        (["0", "-1", "1.5", "1_0"], [0, 1, 2, 3]),
        (["9" * 18, "9" * 19, "\u0663"], [10**18 - 1, 1, 2]),  # of the Arabic digits, too, none is read
    ],
)
def test_a_picture_named_by_a_number_has_that_id(tmp_path: Path, names: list[str], ids: list[int]) -> None:
    paths = [str(add(tmp_path, f"{name}.png")) for name in names]
    assert number_images(paths).tolist() == ids
    samples = read(tmp_path)
    assert dict(zip(samples.image_paths, samples.image_ids.tolist(), strict=True)) == dict(zip(paths, ids, strict=True))


def test_a_picture_that_cannot_be_read_keeps_its_id_from_others(tmp_path: Path) -> None:
    paths = [add(tmp_path, name) for name in ("5.png", "a.png", "b.png", "c.png")]
    before = read(tmp_path)
    paths[0].write_bytes(b"")
    paths[2].write_bytes(b"")
    after = read(tmp_path)
    assert (before.image_ids.tolist(), after.image_ids.tolist()) == ([5, 1, 2, 3], [1, 3])
    assert read(tmp_path).image_ids.tolist() == [1, 3]  # from the cache


def test_no_images() -> None:
    assert number_images([]).tolist() == []
