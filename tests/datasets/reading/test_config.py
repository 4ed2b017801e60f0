"""Data set YAML files: what they mean, and how mistakes in them are told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from mgil.datasets.reading.config import SHIPPED_FOLDER, find_data_yaml, load_data_config

GOOD = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


def write(folder: Path, text: str | bytes, name: str = "set.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_paths_resolve_against_the_yaml_not_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    config = load_data_config(write(tmp_path / "configs", "path: ../sets/pets\n" + GOOD).relative_to(tmp_path))
    assert config.root == tmp_path / "sets" / "pets"
    assert config.train == (str(tmp_path / "sets" / "pets" / "images" / "train"),)
    assert config.val == (str(tmp_path / "sets" / "pets" / "images" / "val"),)
    assert config.test == ()
    assert config.names == ("cat", "dog")
    assert config.category_ids == (1, 2)
    assert config.download is None


def test_without_path_the_root_is_the_folder_of_the_yaml(tmp_path: Path) -> None:
    assert load_data_config(write(tmp_path, GOOD)).root == tmp_path


def test_absolute_paths_lists_and_name_mappings(tmp_path: Path) -> None:
    text = f"path: {tmp_path}/a\ntrain: [x, {tmp_path}/y]\nnames:\n  1: dog\n  0: cat\nnc: 2\ncategory_ids: [5, 3]\n"
    config = load_data_config(write(tmp_path, text))
    assert config.train == (f"{tmp_path}/a/x", f"{tmp_path}/y")
    assert config.names == ("cat", "dog")
    assert config.category_ids == (5, 3)


def test_a_path_beside_the_yaml_written_with_a_leading_parent_is_found(tmp_path: Path) -> None:
    (tmp_path / "train" / "images").mkdir(parents=True)
    config = load_data_config(write(tmp_path, "train: ../train/images\nnames: [cat]\nroboflow: {version: 1}\n"))
    assert config.train == (str(tmp_path / "train" / "images"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "tarin: x\n", "unknown key 'tarin'; did you mean 'train'"),
        (GOOD + "wibblefrotz: x\n", "unknown key 'wibblefrotz'; known keys: train"),
        (GOOD + "nc: 3\n", "nc is 3 but there are 2 names"),
        (GOOD + "nc: two\n", "nc is 'two'"),
        (GOOD + "train: images/other\n", r"line 4: key 'train' is written twice"),
        ("train: [a\nnames: [b]\n", r"set.yaml, line \d"),
        ("train: x\nnames: !!python/object/apply:os.system ['true']\n", "line 2: could not determine a constructor"),
        ("? [a, b]\n: 1\n", "line 1: a key must be text or a number"),
        ("? !!python/tuple [a]\n: 1\n", "could not determine a constructor"),
        ("- a\n- b\n", "expected 'key: value' lines, found a list"),
        ("just text", "found a str"),
        ("", "gives neither train, val nor test"),
        ("names: [a]\n", "gives neither train, val nor test"),
        ("1: x\n", "key 1 must be text"),
        ("[" * 1000, "nested too deeply"),
        (b"train: \xff\xfe\n", r"not a UTF-8 text file \(byte 7\)"),
        ("train: a\x07b\n", "set.yaml"),
        ("train: x\n", "has no names"),
        ("train: x\nnames: []\n", "names must be a list"),
        ("train: x\nnames: cat\n", "names must be a list"),
        ("train: x\nnames: {0: a, 2: b}\n", "keys of names must be 0 to 1, each once; 1 is missing, 2 is there"),
        ("train: x\nnames: {1: a, 2: b}\n", "keys of names must be 0 to 1, each once; they start at 1"),
        ('train: x\nnames: {0: a, "0": b}\n', "keys of names must be 0 to 1"),
        ("train: x\nnames: {a: 1, b: 2}\n", "keys of names must be 0 to 1"),
        ("train: x\nnames: [a, b, a]\n", "class 0 and class 2 are both called 'a'; rename one"),
        ('train: x\nnames: [a]\nnc: "2"\n', "nc is '2' but there are 1 names"),
        ("train: x\nnc: 2\n", "has no names"),
        (b"train: x\nnames: [caf\xe9]\n", r"byte 20\); an editor may have saved it in Latin-1 .*: save it as UTF-8"),
        ("train: x\nnames: {0: a, b: c}\n", "keys of names must be 0 to 1"),
        ("train: x\nnames: [yes, maybe]\n", "class 0 is True, not text; put it in quotes"),
        ("train: x\nnames: [a, null]\n", "class 1 is None"),
        ("train: x\nnames: [a, [b]]\n", "class 1 is"),
        ("train: x\nnames: [a, '']\n", "class 1 is ''"),
        ('train: x\nnames: ["a\\e[31m"]\n', "cannot be printed"),
        ("train: 3\nnames: [a]\n", "train: 3 is not the name"),
        ("train: [x, '']\nnames: [a]\n", "train: '' is not the name"),
        ("train: {a: b}\nnames: [a]\n", "is not the name of a folder"),
        ("train: [a.json, b.json]\nnames: [a]\n", "COCO .json must be the split's only entry"),
        ("train: x\npath: [a]\nnames: [a]\n", r"path \['a'\] is not the name"),
        ("train: x\nnames: [a]\ncategory_ids: [1, 2]\n", "has 1 names but 2 category_ids"),
        ("train: x\nnames: [a, b]\ncategory_ids: [1, 1]\n", "category_ids must be a list of different whole numbers"),
        ("train: x\nnames: [a]\ngenerate: letters\n", "generate: 'letters' is not known"),
    ],
)
def test_mistakes_are_one_line_errors_that_name_the_file(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_data_config(write(tmp_path, text))
    assert "set.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('names: {"0": red, "1": blue}', ("red", "blue")),
        ('names: {1: blue, "0": red}\nnc: "2"', ("red", "blue")),
        ("names: {red: 0, blue: 1}\nnc: 2.0", ("red", "blue")),
        ("names: {0: 1, 1: 2}", ("1", "2")),
        (
            "names: [1, 010, 1.10, 0x1F, 1:30, 1_000, 2020-01-01]",
            ("1", "010", "1.10", "0x1F", "1:30", "1_000", "2020-01-01"),
        ),
        ("names: [a, A]\nnc: 2", ("a", "A")),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_other_forms_of_names(tmp_path: Path, text: str, names: tuple[str, ...], encoding: str) -> None:
    content = f"train: images/train\r\n{text}\n# \u00e9".encode(encoding)
    assert load_data_config(write(tmp_path, content)).names == names


def test_a_python_tag_runs_nothing(tmp_path: Path) -> None:
    target = tmp_path / "was-run"
    text = f"train: !!python/object/apply:os.mkdir ['{target}']\nnames: [a]\n"
    with pytest.raises(ValueError, match="line 1"):
        load_data_config(write(tmp_path, text))
    assert not target.exists()


def test_a_missing_file_names_the_nearest_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="coco12.yaml not found; did you mean coco128.yaml"):
        load_data_config("coco12.yaml")
    with pytest.raises(FileNotFoundError, match="shipped ones: cifar10.yaml, cifar100.yaml"):
        load_data_config("zzz")
    with pytest.raises(FileNotFoundError):
        load_data_config("elsewhere/coco.yaml")
    with pytest.raises(FileNotFoundError):
        load_data_config(tmp_path)  # a folder


@pytest.mark.parametrize("name", ["VOC.yaml", "voc", "voc.yaml"])
def test_shipped_files_are_found_whatever_their_capitals(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_data_yaml(name) == SHIPPED_FOLDER / "voc.yaml"


def test_a_file_with_backslashes_in_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets").mkdir()
    path = write(tmp_path / "sets", GOOD)
    assert find_data_yaml(".\\sets\\set.yaml") == path


def test_a_file_of_the_user_comes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, GOOD, "coco.yaml")
    assert load_data_config("coco.yaml").names == ("cat", "dog")


@pytest.mark.parametrize("path", sorted(SHIPPED_FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_file_loads_and_nothing_is_written(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / "data" / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    config = load_data_config(copy)
    assert list(tmp_path.rglob("*")) == [copy.parent, copy]
    assert load_data_config(path.name).names == config.names
    assert config.train and config.val
    assert len(set(config.names)) == len(config.names) == len(config.category_ids)


def test_coco_has_its_names_and_category_ids() -> None:
    config = load_data_config("coco.yaml")
    table = dict(zip(config.names, config.category_ids, strict=True))
    # From the published list of COCO's categories.
    for name, number in {"person": 1, "traffic light": 10, "fire hydrant": 11, "stop sign": 13, "zebra": 24}.items():
        assert table[name] == number
    for name, number in {"backpack": 27, "wine glass": 46, "dining table": 67, "toilet": 70, "tv": 72}.items():
        assert table[name] == number
    for name, number in {"refrigerator": 82, "book": 84, "toothbrush": 90}.items():
        assert table[name] == number
    assert len(config.names) == 80
    assert load_data_config("coco128.yaml").category_ids == config.category_ids
    assert len(load_data_config("voc.yaml").names) == 20
    # Next to the repository, where YOLOv5's users keep data sets.
    assert config.root == SHIPPED_FOLDER.parent.parent / "datasets" / "coco"


# fmt: off
HYP_KEYS = [
    "lr0", "lrf", "momentum", "weight_decay", "warmup_epochs", "warmup_momentum", "warmup_bias_lr", "box",
    "cls", "cls_pw", "obj", "obj_pw", "anchor_t", "fl_gamma", "hsv_h", "hsv_s", "hsv_v", "degrees", "translate",
    "scale", "shear", "perspective", "flipud", "fliplr", "mosaic", "mixup", "copy_paste",
]
# fmt: on


@pytest.mark.parametrize(
    ("name", "different"),
    [
        ("low", {"lrf": 0.01, "cls": 0.5, "obj": 1.0, "scale": 0.5, "mixup": 0.0}),
        ("med", {"lrf": 0.1, "cls": 0.3, "obj": 0.7, "scale": 0.9, "mixup": 0.1}),
        ("high", {"lrf": 0.1, "cls": 0.3, "obj": 0.7, "scale": 0.9, "mixup": 0.1, "copy_paste": 0.0}),
    ],
)
def test_hyps_have_yolov5_values(name: str, different: dict[str, float]) -> None:
    text = (SHIPPED_FOLDER / "hyps" / f"hyp.scratch-{name}.yaml").read_text()
    values = yaml.safe_load(text)
    assert list(values) == HYP_KEYS
    assert all(re.search(rf"^{key}: \S+  # \w", text, re.M) for key in HYP_KEYS)
    common = {"lr0": 0.01, "momentum": 0.937, "weight_decay": 0.0005, "box": 0.05, "anchor_t": 4.0, "mosaic": 1.0}
    common |= {"hsv_h": 0.015, "hsv_s": 0.7, "hsv_v": 0.4, "translate": 0.1, "fliplr": 0.5, "warmup_bias_lr": 0.1}
    for key, value in (common | different).items():
        assert values[key] == value, key


def write_json(folder: Path, categories: list[dict[str, object]], name: str) -> None:
    content = {"images": [], "annotations": [], "categories": categories}
    (folder / name).write_text(json.dumps(content))


def test_names_and_ids_come_from_a_coco_json_sorted_by_id(tmp_path: Path) -> None:
    write_json(tmp_path, [{"id": 18, "name": "dog"}, {"id": 3, "name": "cat"}], "train.json")
    config = load_data_config(write(tmp_path, "train: train.json\n"))
    assert config.names == ("cat", "dog")
    assert config.category_ids == (3, 18)
    turned = load_data_config(write(tmp_path, "train: train.json\nnames: [dog, cat]\n"))
    assert (turned.names, turned.category_ids) == (("dog", "cat"), (18, 3))


def test_names_that_should_come_from_a_missing_json(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data set not found: .*gone\.json \(.*set\.yaml"):
        load_data_config(write(tmp_path, "val: gone.json\n"))


def test_an_unknown_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split 'dev' is not one of train, val, test"):
        load_data_config(write(tmp_path, GOOD)).split("dev")
