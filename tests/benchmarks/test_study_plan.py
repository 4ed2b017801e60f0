"""A study's YAML, its cells, and the models and data that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks.study_data import find_data, peer_copy, split_yaml
from benchmarks.study_models import gflops_of, resolve_architecture, solve_width
from benchmarks.study_plan import Cell, load_study
from data.config import load_data_config
from data.load import load_samples
from engine.hyp import load_hyp
from models.config import load_architecture
from tests.engine.tiny import TINY, make_data, random_squares, write_yaml

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "benchmarks" / "studies").glob("*.yaml"))

PEER = {"peer": "ultralytics", "model": "yolo11n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model, and a set of 20 + 4 pictures whose YAML asks for no mirroring."""
    write_yaml(tmp_path / "tiny.yaml", TINY)
    data = make_data(tmp_path / "data" / "squares", random_squares(20), random_squares(4, seed=1))
    data.write_text(data.read_text() + "epochs: 7\nhyp: {fliplr: 0.0, lr0: 0.5}\n")
    return tmp_path


def study(folder: Path, **changes: Any) -> Path:
    content = {"models": ["tiny"], "data": ["squares"], "sizes": [32], **changes}
    return Path(write_yaml(folder / "study.yaml", {key: value for key, value in content.items() if value is not None}))


def cells(folder: Path, only: tuple[str, ...] = (), **changes: Any) -> tuple[Cell, ...]:
    return load_study(study(folder, **changes), [folder / "data"], only).cells


def test_a_grid_is_every_combination_with_first_seeds_first(folder: Path) -> None:
    models = [
        "tiny",
        {"name": "flie", "cfg": "tiny", "mgil": {"fusion": "none"}},
        {"peer": "yolov5", "model": "yolov5n"},
    ]
    found = cells(folder, models=models, sizes=[32, 64], seeds=[0, 1])
    assert len(found) == 3 * 2 * 2 == len({cell.id for cell in found})
    assert [str(cell) for cell in found[:2]] == ["tiny, squares, 32 px, seed 0", "flie, squares, 32 px, seed 0"]
    assert [cell.seed for cell in found] == [0] * 6 + [1] * 6
    assert found[2].definition["model"] == {"peer": "yolov5", "model": "yolov5n"}
    assert found[1].definition["model"]["backbone"][1] == [-1, 1, "MGIL", [16, {"fusion": "none"}]]


def test_the_id_follows_the_definition_and_nothing_else(folder: Path) -> None:
    (first,) = cells(folder)
    (renamed,) = cells(folder, models=[{"cfg": "tiny", "name": "another name"}])
    assert renamed.id == first.id and renamed.folder_name != first.folder_name
    other_places = {
        cells(folder, epochs=9)[0].id,
        cells(folder, batch=9)[0].id,
        cells(folder, patience=9)[0].id,
        cells(folder, seeds=[1])[0].id,
        cells(folder, sizes=[64])[0].id,
        cells(folder, recipe={"box": 0.3})[0].id,
        cells(folder, hyp="scratch-low")[0].id,
        cells(folder, split="holdout")[0].id,
        cells(folder, split="holdout", holdout=0.3)[0].id,
        cells(folder, images=8)[0].id,
        cells(folder, models=[{"cfg": "tiny", "mgil": {"fine_convs": 1}}])[0].id,
        cells(folder, models=[{"cfg": "tiny", "width": 2.0}])[0].id,
        first.id,
    }
    assert len(other_places) == 13
    write_yaml(folder / "tiny.yaml", {**TINY, "activation": "ReLU"})  # the file behind the name
    assert cells(folder)[0].id not in other_places


def test_later_settings_win_and_the_data_sets_own_changes_hold(folder: Path) -> None:
    models = ["tiny", {"cfg": "tiny", "name": "long", "epochs": 50, "recipe": {"lr0": 0.1}}, PEER]
    data = [{"data": "squares", "epochs": 20, "recipe": {"mosaic": 0.0, "lr0": 0.2}}]
    overrides = [{"where": {"model": ["l*", "yolo11n*"], "size": 64}, "epochs": 70, "recipe": {"lrf": 0.5}}]
    options: dict[str, Any] = {"models": models, "data": data, "sizes": [32, 64], "epochs": 10, "overrides": overrides}
    found = {(cell.model, cell.size): cell.definition for cell in cells(folder, batch=8, **options)}
    assert [definition["epochs"] for definition in found.values()] == [20, 50, 20, 20, 70, 70]
    assert {definition["batch"] for definition in found.values()} == {8}
    default = load_hyp("hyp.lowres.yaml").as_dict()
    assert found["tiny", 32]["recipe"] == {**default, "fliplr": 0.0, "mosaic": 0.0, "lr0": 0.2}
    assert found["long", 64]["recipe"] == {**default, "fliplr": 0.0, "mosaic": 0.0, "lr0": 0.1, "lrf": 0.5}
    # a peer keeps its own recipe, but for augmentation that the data ask for, and what is meant for it
    assert found["yolo11n (ultralytics)", 32]["recipe"] == {"fliplr": 0.0, "mosaic": 0.0}
    assert found["yolo11n (ultralytics)", 64]["recipe"] == {"fliplr": 0.0, "mosaic": 0.0, "lrf": 0.5}
    assert cells(folder)[0].definition["epochs"] == 7  # the data set's suggestion


def test_cells_are_chosen_by_patterns(folder: Path) -> None:
    options: dict[str, Any] = {"models": ["tiny", {"cfg": "tiny", "name": "flie", "mgil": {"fusion": "none"}}]}
    options |= {"sizes": [32, 64], "seeds": [0, 1]}
    assert len(cells(folder, ("model=f*", "seed=1"), **options)) == 2
    assert len(cells(folder, ("size=32", "size=64", "seed=0"), **options)) == 4
    # what is not chosen need not be there
    assert len(cells(folder, ("data=squares",), **{**options, "data": ["squares", "absent"]})) == 8
    with pytest.raises(FileNotFoundError, match="absent.yaml not found.*--data-root"):
        cells(folder, data=["squares", "absent"])
    with pytest.raises(ValueError, match="give key=pattern"):
        cells(folder, ("tiny",))
    with pytest.raises(ValueError, match="--only model=tyni seed=0: no cell"):
        cells(folder, ("model=tyni", "seed=0"), **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ["tiny"]}, "unknown key 'model'; did you mean 'models'"),
        ({"models": None}, "models: None must be a list"),
        ({"models": [{"cfg": "tiny", "widht": 0.5}]}, "unknown key 'widht'; did you mean 'width'"),
        ({"models": [{"name": "x"}]}, "either cfg or peer"),
        ({"models": [{"peer": "yolov9", "model": "x"}]}, "one of yolov5, ultralytics"),
        ({"models": ["tiny", "tiny"]}, "two are called 'tiny'"),
        ({"models": ["tiny", {"cfg": "tiny", "name": "twin"}]}, "'twin' is the same as 'tiny'"),
        ({"models": [{"cfg": "tiny", "width": {"as": 3}}]}, "neither a number"),
        ({"models": [{"cfg": "yolov5n", "mgil": {"fusion": "sum"}}]}, "no MGIL row"),
        ({"baseline": "other"}, "baseline: 'other' is none of the models"),
        ({"split": "test"}, "split: 'test' is none of val, holdout"),
        ({"split": "holdout", "holdout": 3}, "between 0 and 1"),
        ({"holdout": 0.3}, "no effect without split: holdout"),
        ({"images": -5}, "images: -5 must be"),
        ({"images": "abc"}, "images: 'abc' must be"),
        ({"seeds": []}, "one or more whole numbers"),
        ({"overrides": [{"where": {"model": "yolov5m"}, "epochs": 3}]}, "no cell matches where: {'model': 'yolov5m'}"),
        ({"models": ["tiny", PEER], "overrides": [{"where": {"model": "yolo11n*"}, "hyp": "scratch-low"}]}, "its own"),
        ({"sizes": [16]}, "32 or more"),
        ({"sizes": None}, "no sizes"),
        ({"epochs": 0}, "epochs: 0"),
        ({"recipe": {"lr": 0.1}}, "unknown key 'lr'; did you mean"),
        ({"overrides": [{"where": {"mode": "x"}}]}, "did you mean 'model'"),
    ],
)
def test_mistakes_are_named(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cells(folder, **changes)


def test_a_width_is_solved_for_operations(tmp_path: Path) -> None:
    tiny = resolve_architecture(write_yaml(tmp_path / "tiny.yaml", TINY))
    double = resolve_architecture("tiny", width=2.0, folder=tmp_path)
    assert double == {**tiny, "width_multiple": 2.0}
    assert gflops_of(double) > 3 * gflops_of(tiny)
    assert resolve_architecture("tiny", width={"gflops": gflops_of(double)}, folder=tmp_path) == double
    assert solve_width(double, gflops_of(tiny)) == 1.0  # downwards too
    more = 1.05 * gflops_of(double)  # between two steps of 8 channels
    wider = solve_width(double, more)
    costs = [gflops_of({**tiny, "width_multiple": wider + step / 128}) for step in (-1, 0, 1)]
    assert abs(costs[1] - more) == min(abs(cost - more) for cost in costs) > 0
    with pytest.raises(ValueError, match=r"no width gives 0\.\d+ GFLOPs; the nearest, 0\.5, gives"):
        solve_width(tiny, gflops_of(tiny) / 2)
    with pytest.raises(ValueError, match=r"no width up to 4 gives 1e\+06"):
        solve_width(tiny, 1e6)


def test_rows_take_the_place_of_the_models_own(tmp_path: Path) -> None:
    tiny = resolve_architecture(write_yaml(tmp_path / "tiny.yaml", TINY))
    last = len(tiny["backbone"]) + len(tiny["head"]) - 1
    stem, head = [-1, 1, "SPDConv", [32]], tiny["head"][-1]
    other = resolve_architecture("tiny", rows={0: stem, last: head}, folder=tmp_path)
    assert other == {**tiny, "backbone": [stem, *tiny["backbone"][1:]]}
    for number in (-1, last + 1, "0"):
        with pytest.raises(ValueError, match=f"tiny has no row {number!r}; rows are numbered 0 to {last}"):
            resolve_architecture("tiny", rows={number: stem}, folder=tmp_path)  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"tiny: rows: 0: 'Conv' is no row"):
        resolve_architecture("tiny", rows={0: "Conv"}, folder=tmp_path)  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"tiny: rows: \['Conv'\] is no mapping"):
        resolve_architecture("tiny", rows=["Conv"], folder=tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_studies_name_what_is_there(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    for model in content["models"]:
        entry = {"cfg": model} if isinstance(model, str) else model
        if "cfg" in entry:
            load_architecture(f"{entry['cfg']}.yaml")
            assert not isinstance(entry.get("width"), dict) or set(entry["width"]) == {"like"}


def test_shipped_studies_of_digits_can_be_planned() -> None:
    (smoke,) = [path for path in SHIPPED if path.stem == "smoke"]
    assert len(load_study(smoke).cells) == 2
    (ablation,) = [path for path in SHIPPED if path.stem == "ablation"]
    found = load_study(ablation, only=("data=digits", "seed=0")).cells
    assert [cell.definition["recipe"]["fliplr"] for cell in found] == [0.0] * 9
    rows = {cell.model: cell.definition["model"]["backbone"][0][3] for cell in found}
    assert rows["FLIE"] == [64, {"fusion": "none"}] and rows["FLIE + CII"] == [64, {"fusion": "sum"}]
    assert rows["3 + 3 convolutions"] == [64, {"fine_convs": 3, "coarse_convs": 3}]


def test_data_are_found_by_name_or_by_path(folder: Path) -> None:
    there = (folder / "data" / "squares" / "squares.yaml").resolve()
    assert find_data("squares", folder, [folder, folder / "data"]) == there
    assert find_data("squares.yaml", folder, [folder / "data" / "squares"]) == there
    assert find_data("data/squares/squares.yaml", folder, []) == there
    assert find_data("digits", folder, [folder]).parent.name == "data"  # shipped
    (folder / "squares.yaml").write_text("models: [tiny]")  # a study that is called after its data
    assert find_data("squares", folder, [folder / "data"]) == there


def test_a_holdout_is_a_fixed_part_of_train_and_leaves_the_data_alone(folder: Path) -> None:
    data = find_data("squares", folder, [folder / "data"])
    before = sorted(data.parent.rglob("*"))
    assert split_yaml(data, "squares", "val", 0.15, None, folder / "out") == data
    held = load_data_config(split_yaml(data, "squares", "holdout", 0.15, None, folder / "out"))
    again = load_data_config(split_yaml(data, "squares", "holdout", 0.15, None, folder / "out2"))
    samples = {}
    for split in ("train", "val"):
        samples[split] = load_samples(held, split, cache_dir=folder, report=lambda _line: None)
        other = load_samples(again, split, cache_dir=folder, report=lambda _line: None)
        assert list(samples[split].image_paths) == list(other.image_paths)
    train, val = (set(samples[split].image_paths) for split in ("train", "val"))
    assert len(train) == 17 and len(val) == 3 and not train & val
    assert train | val == {str(path) for path in (data.parent / "images" / "train").glob("*.png")}
    few = load_data_config(split_yaml(data, "squares", "val", 0.15, 2, folder / "out"))
    counts = [len(load_samples(few, split, cache_dir=folder, report=lambda _line: None)) for split in ("train", "val")]
    assert counts == [2, 2]
    assert sorted(data.parent.rglob("*")) == before


def test_json_labels_cannot_be_divided_by_lists(folder: Path) -> None:
    path = folder / "set.yaml"
    path.write_text("train: train.json\nval: val.json\nnames: [a]\ncategory_ids: [1]\n")
    with pytest.raises(ValueError, match="COCO .json; split: holdout"):
        split_yaml(path, "set", "holdout", 0.15, None, folder / "out")


def test_the_peers_copy_has_the_same_labels_numbered_by_place(folder: Path) -> None:
    data = find_data("squares", folder, [folder / "data"])
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
