"""The data of a study: finding it, holding images out, the peers' copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.study_data import find_data, peer_copy, split_yaml
from mgil.datasets.reading import digits
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from tests.engine.tiny import make_data, random_squares


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of 20 + 4 pictures."""
    make_data(tmp_path / "data" / "squares", random_squares(20), random_squares(4, seed=1))
    return tmp_path


def test_data_are_found_by_name_or_by_path(folder: Path) -> None:
    there = (folder / "data" / "squares" / "squares.yaml").resolve()
    assert find_data("squares", [folder, folder / "data"]) == there
    assert find_data("squares.yaml", [folder / "data" / "squares"]) == there
    assert find_data(str(there), []) == there
    assert find_data("digits", [folder]).parent.name == "data"  # shipped
    with pytest.raises(FileNotFoundError, match=r"absent.yaml not found.*--data-root"):
        find_data("absent", [folder])


def test_a_set_that_is_to_be_made_is_made_for_the_lists(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "SCENES", {"train": 5, "val": 3})
    (folder / "made.yaml").write_text("path: made\ngenerate: digits\ntrain: images/train\nval: images/val\n")
    few = load_data_config(split_yaml(folder / "made.yaml", "made", 0, 4, folder / "out"))
    for split, count in (("train", 4), ("val", 3)):
        assert len(load_samples(few, split, cache_dir=folder, report=lambda _line: None)) == count


def test_a_holdout_is_a_fixed_part_of_train_and_leaves_the_data_alone(folder: Path) -> None:
    data = find_data("squares", [folder / "data"])
    before = sorted(data.parent.rglob("*"))
    assert split_yaml(data, "squares", 0, 0, folder / "out") == data
    held = load_data_config(split_yaml(data, "squares", 0.15, 0, folder / "out"))
    again = load_data_config(split_yaml(data, "squares", 0.15, 0, folder / "out2"))
    samples = {}
    for split in ("train", "val"):
        samples[split] = load_samples(held, split, cache_dir=folder, report=lambda _line: None)
        other = load_samples(again, split, cache_dir=folder, report=lambda _line: None)
        assert list(samples[split].image_paths) == list(other.image_paths)
    train, val = (set(samples[split].image_paths) for split in ("train", "val"))
    assert len(train) == 17 and len(val) == 3 and not train & val
    assert train | val == {str(path) for path in (data.parent / "images" / "train").glob("*.png")}
    few = load_data_config(split_yaml(data, "squares", 0, 2, folder / "out"))
    counts = [len(load_samples(few, split, cache_dir=folder, report=lambda _line: None)) for split in ("train", "val")]
    assert counts == [2, 2]
    assert sorted(data.parent.rglob("*")) == before


def test_json_labels_cannot_be_divided_by_lists(folder: Path) -> None:
    path = folder / "set.yaml"
    path.write_text("train: train.json\nval: val.json\nnames: [a]\ncategory_ids: [1]\n")
    with pytest.raises(ValueError, match="COCO .json; holdout"):
        split_yaml(path, "set", 0.15, 0, folder / "out")


def test_the_peers_copy_has_the_same_labels_numbered_by_place(folder: Path) -> None:
    data = find_data("squares", [folder / "data"])
    copy = peer_copy(data, folder / "peers")
    assert peer_copy(data, folder / "peers") == copy
    (labels := data.parent / "labels" / "val" / "001.txt").write_text(labels.read_text() + "0 0.5 0.5 0.1 0.1\n")
    assert peer_copy(data, folder / "peers") != copy  # corrected labels
    copy = peer_copy(data, folder / "peers")
    for split in ("train", "val"):
        ours = load_samples(load_data_config(data), split, cache_dir=folder, report=lambda _line: None)
        theirs = load_samples(load_data_config(copy), split, cache_dir=folder, report=lambda _line: None)
        np.testing.assert_allclose(theirs.boxes_cxcywh, ours.boxes_cxcywh, atol=1e-7)
        assert (theirs.classes == ours.classes).all() and (theirs.offsets == ours.offsets).all()
        assert [int(Path(path).stem) for path in theirs.image_paths] == list(range(len(ours)))
        for ours_path, theirs_path in zip(ours.image_paths, theirs.image_paths, strict=True):
            assert Path(ours_path).read_bytes() == Path(theirs_path).read_bytes()
