"""A folder per class, YOLOv5's layout; and TinyImageNet as it is distributed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mgil.datasets.reading.samples import NoImages
from mgil.tasks.classify.reading.config import class_data
from tests.tasks.classify.reading.sets import read, write_folders, write_picture, write_tiny

pytestmark = pytest.mark.usefixtures("private_cache")


def names_of(paths: Sequence[str]) -> list[str]:
    return ["/".join(Path(path).parts[-2:]) for path in paths]


def test_classes_are_trains_folders_sorted(tmp_path: Path) -> None:
    write_folders(tmp_path, train={"b": 2, "a": 1, "B": 1, "10": 1, "9": 1}, val={"a": 1, "b": 1})
    data = class_data(str(tmp_path))
    assert data.names == ("10", "9", "B", "a", "b") and data.yaml_path == data.root == tmp_path
    assert (data.train, data.val, data.test) == ((str(tmp_path / "train"),), (str(tmp_path / "val"),), ())
    train, lines = read(tmp_path, "train", strict=True)
    assert names_of(train.image_paths) == ["10/0.png", "9/0.png", "B/0.png", "a/0.png", "b/0.png", "b/1.png"]
    assert train.classes.tolist() == [0, 1, 2, 3, 4, 4] and train.names == data.names
    assert train.sizes_hw.tolist() == [[9, 12]] * 6
    assert (train.classes.dtype, train.sizes_hw.dtype) == (np.int64, np.int32)
    assert lines == ["train: 6 images of 5 classes"]
    _, lines = read(tmp_path, "val", strict=True)
    assert lines == ["val: no images of 3 classes: 10, 9, B", "val: 2 images of 2 classes"]


def test_test_is_validated_on_where_it_has_classes(tmp_path: Path) -> None:
    """YOLOv5's rule; what has no folders there, as pictures without labels, does not count."""
    write_folders(tmp_path, train={"a": 1, "b": 1}, val={"a": 1, "b": 1})
    write_picture(tmp_path / "test" / "1.png")
    assert class_data(str(tmp_path)).val == (str(tmp_path / "val"),)
    write_folders(tmp_path, test={"a": 2, "b": 1})
    data = class_data(str(tmp_path))
    assert data.val == data.test == (str(tmp_path / "test"),)
    found, lines = read(tmp_path)
    assert len(found) == 3 and lines[:1] == ["val: 3 images of 2 classes, 1 images beside the class folders"]
    assert lines[1].startswith("val: test/ is taken, as in YOLOv5; to take val/,")
    assert len(read(tmp_path, "test")[0]) == 3


def test_what_is_no_image_is_counted(tmp_path: Path) -> None:
    write_folders(tmp_path, train={"a": 2, "b": 1})
    folder = tmp_path / "train" / "a"
    write_picture(folder / ".ipynb_checkpoints" / "0-checkpoint.png")
    write_picture(folder / "more" / "deep.jpg")
    write_picture(folder / "._0.png")
    write_picture(tmp_path / "train" / ".ipynb_checkpoints" / "1.png")
    for name in ("Thumbs.db", "notes.txt"):
        (folder / name).write_text("")
    write_picture(folder / "1.gif")
    write_picture(tmp_path / "train" / "stray.png")
    found, lines = read(tmp_path, "train")
    assert names_of(found.image_paths) == ["a/0.png", "a/1.png", "more/deep.jpg", "b/0.png"]
    assert lines[0] == f"{tmp_path / 'train'}: 1 .gif file is not read; convert to JPEG or PNG"
    assert lines[1] == (
        "train: 4 images of 2 classes, 2 files that are no images, 1 hidden files, 1 images beside the class folders"
    )


def test_an_image_that_cannot_be_read_costs_itself(tmp_path: Path) -> None:
    write_folders(tmp_path, train={"a": 3, "b": 1})
    path = tmp_path / "train" / "a" / "1.png"
    path.write_bytes(path.read_bytes()[:40])
    for _ in range(2):  # the second time from the cache
        found, lines = read(tmp_path, "train")
        assert names_of(found.image_paths) == ["a/0.png", "a/2.png", "b/0.png"] and found.classes.tolist() == [0, 0, 1]
        assert lines[0].startswith(f"{path}: cannot be decoded") and lines[0].endswith("; image skipped")
        assert lines[1:] == ["train: 3 images of 2 classes, 1 images skipped"]
    with pytest.raises(ValueError, match="train: 1 problem, errors with --strict"):
        read(tmp_path, "train", strict=True)
    write_picture(path)
    assert len(read(tmp_path, "train", strict=True)[0]) == 4


def test_the_cache_knows_what_moved_to_another_class(tmp_path: Path) -> None:
    write_folders(tmp_path, train={"a": 2, "b": 2})
    before = read(tmp_path, "train")[0]
    assert read(tmp_path, "train")[0].content() == before.content()
    (tmp_path / "train" / "a" / "1.png").rename(tmp_path / "train" / "b" / "2.png")
    after = read(tmp_path, "train")[0]
    assert after.classes.tolist() == [0, 1, 1, 1] and after.content() != before.content()


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links(tmp_path: Path) -> None:
    write_folders(tmp_path / "set", train={"a": 1, "b": 1})
    write_folders(tmp_path / "other", x={"c": 2})
    train = tmp_path / "set" / "train"
    (train / "c").symlink_to(tmp_path / "other" / "x" / "c")
    (train / "loop").symlink_to(tmp_path / "set")
    (train / "a" / "back").symlink_to(train / "a")
    (train / "broken").symlink_to(tmp_path / "nowhere")
    (train / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    found, lines = read(tmp_path / "link", "train")
    assert found.names == ("a", "b", "c") and found.classes.tolist() == [0, 1, 2, 2]
    assert lines[0].endswith("b/gone.png: no such file; image skipped")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_an_image_in_two_folders_is_used_once(tmp_path: Path) -> None:
    write_folders(tmp_path, first={"a": 2, "b": 1}, second={"b": 1})
    (tmp_path / "second" / "a").symlink_to(tmp_path / "first" / "a")
    (tmp_path / "second" / "b" / "1.png").symlink_to(tmp_path / "first" / "a" / "1.png")
    path = tmp_path / "set.yaml"
    path.write_text("train: [first, second]\n")
    found, lines = read(path, "train")
    assert names_of(found.image_paths) == ["a/0.png", "a/1.png", "b/0.png", "b/0.png"]
    assert found.classes.tolist() == [0, 0, 1, 1]
    other = f"in {tmp_path / 'first' / 'a'} it is of another class; image skipped"
    assert lines == [
        f"{tmp_path / 'second' / 'b' / '1.png'}: {other}",
        f"{tmp_path / 'second'}: 2 images are there again; each image is used once",
        "train: 4 images of 2 classes",
    ]
    path.write_text("train: [fir*, first]\n")
    assert len(read(path, "train")[0]) == 3


def test_odd_names(tmp_path: Path) -> None:
    classes = ["two words", "naïve", "日本", "#1", "it's", "cat", "Cat"]
    write_folders(tmp_path, train=dict.fromkeys(classes, 1), val={"Cat": 1, "nai\u0308ve": 1})
    write_picture(tmp_path / "train" / "#1" / "line\nbreak ü.png")
    found, lines = read(tmp_path, "train", strict=True)
    assert found.names == tuple(sorted(classes)) and len(found) == 8 and lines == ["train: 8 images of 7 classes"]
    val = read(tmp_path, "val")[0]  # accents are one character or two
    assert [val.names[place] for place in val.classes.tolist()] == ["Cat", "naïve"]


def test_a_name_that_cannot_be_shown(tmp_path: Path) -> None:
    write_folders(tmp_path, train={"a": 1, "line\nbreak": 1})
    with pytest.raises(ValueError, match=r"train: name of class 1 is 'line\\nbreak', which cannot be printed"):
        class_data(str(tmp_path))


def test_names_that_look_the_same(tmp_path: Path) -> None:
    write_folders(tmp_path, train={"naïve": 1, "nai\u0308ve": 1})
    with pytest.raises(ValueError, match="look the same; rename one"):
        class_data(str(tmp_path))


def test_a_class_that_train_lacks(tmp_path: Path) -> None:
    write_folders(tmp_path, train={"cat": 1, "dog": 1}, val={"cats": 1})
    with pytest.raises(ValueError, match=r"val/cats: a class folder of val, .*; did you mean 'cat'\?$"):
        read(tmp_path)


def test_an_empty_class_is_told(tmp_path: Path) -> None:
    write_folders(tmp_path, train={"a": 1, "b": 1, "c": 0}, val={"a": 0, "b": 0})
    assert read(tmp_path, "train")[1][0] == "warning: train: no images of 1 class: c"
    with pytest.raises(NoImages, match="val: no images found"):
        read(tmp_path)


def test_all_images_of_one_class(tmp_path: Path) -> None:
    write_folders(tmp_path, train={"a": 2, "b": 0})
    with pytest.raises(ValueError, match="train: all images are of the class 'a'; there is nothing to tell apart"):
        read(tmp_path, "train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "has no folders; expected train/<class>/"),
        (("1.png",), "has no folders"),
        (("cat/1.png", "dog/1.png"), "has no train/; it has cat, dog; expected"),
        (("images/train/1.png", "labels/train/1.txt", "set.yaml"), r"has images/ and labels/, .* such as .*set\.yaml$"),
        (("train/images/1.png", "train/labels/1.txt"), "train: has images and labels, as sets with boxes do"),
        (("train/1.png", "train/2.png"), "train: has images but no class folders; expected a folder per class"),
        (("train/notes.txt",), "train: has no class folders"),
        (("train/cat/1.png",), "train: has one class only, 'cat'; a classifier tells two or more apart"),
    ],
)
def test_folders_that_are_no_set(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    for name in files:
        if name.endswith(".png"):
            write_picture(tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=message) as caught:
        class_data(str(tmp_path))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    write_folders(tmp_path, train={"a": 1, "b": 1})
    with pytest.raises(ValueError, match="has no folder for val; expected train/<class>"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data set file .*nowhere not found"):
        class_data(str(tmp_path / "nowhere"))
    for name in ("imagenet", "ImageNet1000.yaml", "imagenette160", "fashion-mnist"):  # of YOLOv5
        with pytest.raises(FileNotFoundError, match=r"this project does not; classify takes .*--data FOLDER"):
            class_data(name)


def test_tiny_imagenet_as_it_is_distributed(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    train, lines = read(tmp_path, "train", strict=True)
    assert train.names == ("n01", "n02") and train.classes.tolist() == [0, 0, 1, 1]
    assert names_of(train.image_paths)[0] == "images/n01_0.JPEG" and train.sizes_hw.tolist() == [[64, 64]] * 4
    assert lines == ["train: 4 images of 2 classes, 2 files that are no images"]
    val, lines = read(tmp_path, "val", strict=True)
    assert names_of(val.image_paths) == ["images/val_0.JPEG", "images/val_1.JPEG", "images/val_2.JPEG"]
    assert val.classes.tolist() == [1, 0, 1] and lines == ["val: 3 images of 2 classes"]
    with pytest.raises(ValueError, match="has no folder for test"):  # its pictures have no classes
        read(tmp_path, "test")


def test_damaged_lines_of_tiny_imagenet(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    path = tmp_path / "val" / "val_annotations.txt"
    for number in range(3, 60):
        write_picture(path.parent / "images" / f"val_{number}.JPEG")
    good = [f"val_{number}.JPEG\tn0{1 + number % 2}\t0\t0\t1\t1" for number in range(59)]
    path.write_text("\n".join([*good, "val_59.JPEG\tn77\t0\t0\t1\t1", "val_0.JPEG\tn02"]))
    found, lines = read(tmp_path)
    assert len(found) == 59
    assert lines[0].startswith(f"{path}:60: ") and lines[0].endswith("a class that the set does not have; line dropped")
    assert lines[1].startswith(f"{path}:61: ") and lines[1].endswith("in line 1 it is of another class; line dropped")
    assert lines[2] == "val: 59 images of 2 classes, 1 images that the list does not name"
    path.write_text("\n".join(["val_99.JPEG\tn01", "val_98.JPEG", "val_0.JPEG", *good[1:6]]))
    with pytest.raises(ValueError, match=r"3 of 8 lines cannot be used; the first: .*:1: .*: no such image in images/"):
        read(tmp_path)


def test_a_yaml_names_folders(tmp_path: Path) -> None:
    write_folders(tmp_path / "set", first={"a": 1, "b": 1}, second={"b": 2, "c": 1}, held={"c": 1})
    path = tmp_path / "set.yaml"
    path.write_text("path: set\ntrain: [first, second]\nval: held\nimgsz: 32\nepochs: 3\nhyp: {fliplr: 0.0}\n")
    data = class_data(str(path))
    assert data.names == ("a", "b", "c") and (data.imgsz, data.epochs, data.hyp) == (32, 3, {"fliplr": 0.0})
    assert read(path, "train")[0].classes.tolist() == [0, 1, 1, 1, 2]
    path.write_text("path: set\ntrain: [first, second]\nval: he*\nnames: [c, b, a]\n")
    assert read(path, "train")[0].classes.tolist() == [2, 1, 1, 1, 0]
    assert read(path)[0].classes.tolist() == [0]
    path.write_text("path: set\ntrain: [first, second]\nnames: [a, b]\n")
    with pytest.raises(ValueError, match="second/c: a class folder of train, but the set has no such class; its 2 are"):
        read(path, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: nowhere", "gives no names, and .*nowhere, which has the classes, is not there; give names: a set"),
        ("train: first\ncategory_ids: [1, 2]", "category_ids are those of boxes"),
        ("train: first\nnames: [a]", "has one class only, 'a'"),
        ("train: notes.txt", "notes.txt: without names, classes are those of a folder"),
        ("train: notes.txt\nnames: [a, b]", "the entries of train in .* must be folders with a folder per class"),
        ("train: [first, x.csv]\nnames: [a, b]", "x.csv:1: heading: expected a line `path,class`"),
    ],
)
def test_yamls_that_are_no_set(tmp_path: Path, text: str, message: str) -> None:
    write_folders(tmp_path, first={"a": 1, "b": 1})
    (tmp_path / "notes.txt").write_text("a")
    (tmp_path / "x.csv").write_text("heading\n")
    path = tmp_path / "set.yaml"
    path.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read(path, "train")
