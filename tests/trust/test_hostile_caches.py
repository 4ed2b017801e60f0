"""Label caches made to harm: told and made again, quickly, in little memory, and no code of theirs runs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.label_cache import LabelCache
from mgil.datasets.reading.load import load_samples
from tests.engine.tiny import Playground
from tests.trust import hostile
from tests.trust.hostile import MEGABYTES, SECONDS
from tests.trust.limits import bounded


def test_a_label_cache_of_yolov5_is_not_opened(tmp_path: Path, playground: Playground) -> None:
    """YOLOv5 keeps pickles beside the labels, `labels/train.cache`, and loads whatever lies there."""
    mark, data = tmp_path / "mark", playground.folder / "data"
    for place in (data / "labels" / "train.cache", data / "labels" / "train.cache.npy"):
        place.write_bytes(pickle.dumps(hostile.Harm(mark)))
    samples = load_samples(load_data_config(playground.data), "train", cache_dir=tmp_path / "cache")
    assert len(samples) == 16 and not mark.exists()


def rewrite_arrays(path: Path, **arrays: Any) -> None:
    with np.load(path) as content:
        found = {name: content[name] for name in content.files}
    np.savez(path, **(found | arrays))


def huge_header(path: Path) -> None:
    """An array that claims a trillion numbers."""

    def change(name: str, data: bytes) -> bytes:
        return data.replace(b"(16,)", b"(999999999999,)").replace(b" " * 20, b" " * 10) if "image_ids" in name else data

    hostile.rewrite(path, path.with_suffix(".new"), change)
    path.with_suffix(".new").replace(path)


def objects(path: Path) -> None:
    array = np.array([hostile.Harm(path.with_name("mark"))], dtype=object)
    rewrite_arrays(path, problems=array)


@pytest.mark.parametrize(
    "damage",
    [
        objects,
        huge_header,
        lambda path: path.write_bytes(pickle.dumps(hostile.Harm(path.with_name("mark")))),
        lambda path: hostile.bomb(path, "signature.npy", b"\x93NUMPY"),
        lambda path: rewrite_arrays(path, classes=np.full(99, 2**31 - 1, np.int32)),
        lambda path: rewrite_arrays(path, offsets=np.arange(17)[::-1].copy()),
        lambda path: rewrite_arrays(path, sizes_hw=np.zeros((16, 2), np.int32)),
        lambda path: rewrite_arrays(path, sizes_hw=np.zeros((16, 2), "M8[s]")),
        lambda path: rewrite_arrays(path, counts=np.zeros(10**5, np.int64)),
    ],
    ids=["objects", "header", "pickle", "bomb", "classes", "offsets", "sizes", "dates", "counts"],
)
def test_label_caches(tmp_path: Path, playground: Playground, damage: Callable[[Path], object]) -> None:
    """A hostile cache is told and made again."""
    config, cache, lines = load_data_config(playground.data), tmp_path / "cache", list[str]()
    first = load_samples(config, "train", cache_dir=cache, report=lambda line: None)
    (path,) = cache.iterdir()
    damage(path)
    with bounded(SECONDS, MEGABYTES):
        second = load_samples(config, "train", cache_dir=cache, report=lines.append)
    assert lines[0].startswith(f"label cache {path} is damaged") and lines[0].isprintable()
    assert np.array_equal(first.boxes_cxcywh, second.boxes_cxcywh) and list(first.image_paths) == list(
        second.image_paths
    )
    assert not (cache / "mark").exists()
    assert LabelCache(cache, lines.append).load("nothing", "") is None
