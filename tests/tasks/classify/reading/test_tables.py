"""csv lists: a line for every picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from mgil.engine.data_of_weights import load_data, place_of_data
from mgil.tasks.base import Task
from mgil.tasks.classify.reading.config import class_data
from mgil.tasks.registry import task_named
from tests.tasks.classify.reading.sets import read, write_cifar10, write_folders, write_picture

pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        write_picture(tmp_path / "images" / f"{number}.png")
    return tmp_path


def places(path: Path, split: str = "train") -> list[tuple[str, str]]:
    found, _ = read(path, split, strict=True)
    return [(Path(name).name, found.names[place]) for name, place in zip(found.image_paths, found.classes, strict=True)]


@pytest.mark.parametrize(
    "text",
    [
        "images/0.png,cat\nimages/1.png,a dog\n",
        "path,class\nimages/0.png,cat\n\nimages/1.png,a dog",
        "id,Label,File Name\r\n7,cat,images/0.png\r\n8,a dog,images/1.png\r\n",
        '\ufeffimage;label\n"images/0.png";"cat"\n images\\1.png ; a dog \n',
        "images/0.png\tcat\t5\nimages/1.png\ta dog\t6\n",
    ],
)
def test_forms_of_lists(folder: Path, text: str) -> None:
    path = folder / "train.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert class_data(str(path)).names == ("a dog", "cat")
    assert places(path) == [("0.png", "cat"), ("1.png", "a dog")]


def test_lists_beside_each_other(folder: Path) -> None:
    (folder / "train.csv").write_text("images/0.png,b\nimages/1.png,a\n")
    (folder / "val.csv").write_text("images/2.png,b\n")
    for given in (folder / "train.csv", folder / "val.csv", folder):
        data = class_data(str(given))
        assert (data.names, data.test) == (("a", "b"), ()) and places(given, "val") == [("2.png", "b")]
    with pytest.raises(ValueError, match="gives no test split"):
        read(folder / "val.csv", "test")
    (folder / "other.csv").write_text("images/2.png,b\n")
    with pytest.raises(ValueError, match=r"other\.csv: is it train or val\? name the lists train\.csv and val\.csv"):
        class_data(str(folder / "other.csv"))
    with pytest.raises(FileNotFoundError, match=r"gone\.csv: no such file"):
        class_data(str(folder / "gone.csv"))


def test_the_place_of_a_set_is_told_without_reading_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train", "val"):
        (folder / f"{name}.csv").write_text("images/0.png,b\nimages/1.png,a\n")
    write_folders(folder / "both", train={"a": 1, "b": 1})
    (folder / "both" / "train.csv").write_text("0.png,x\n")
    write_cifar10(folder / "cifar")
    (folder / "cifar" / "train.csv").write_text("0.png,x\n")
    (folder / "set.yaml").write_text("train: train.csv\n")
    given = [str(folder / name) for name in ("", "train.csv", "val.csv", "set.yaml", "both", "cifar")]
    task: Task = task_named("classify")
    expected = [load_data(task, path).yaml_path for path in [*given, "cifar10.yaml", "cifar10"]]
    assert expected[:2] == [folder / "train.csv"] * 2
    monkeypatch.setattr("builtins.open", None)  # neither a list nor a YAML is read, and no folder of classes
    monkeypatch.setattr("os.listdir", None)
    assert [place_of_data(task, path) for path in [*given, "cifar10.yaml", "cifar10"]] == expected
    for name in ("gone.csv", "gone.yaml", "gone"):
        with pytest.raises(FileNotFoundError, match=rf"{name}\b.* (no such file|not found)"):
            place_of_data(task, str(folder / name))


def test_indices_are_classes_by_number(folder: Path) -> None:
    (folder / "train.csv").write_text("images/0.png,10\nimages/1.png,9\nimages/2.png,2\n")
    assert class_data(str(folder / "train.csv")).names == ("2", "9", "10")
    assert places(folder / "train.csv") == [("0.png", "10"), ("1.png", "9"), ("2.png", "2")]


def test_numbers_have_one_order_in_one_list_and_in_two(folder: Path) -> None:
    (folder / "a.csv").write_text("images/0.png,10\nimages/1.png,2\n")
    (folder / "b.csv").write_text("images/2.png,9\nimages/3.png,2\n")
    (folder / "both.csv").write_text((folder / "a.csv").read_text() + (folder / "b.csv").read_text())
    for lists in ("[both.csv]", "[a.csv, b.csv]", "[b.csv, a.csv]"):
        (folder / "set.yaml").write_text(f"train: {lists}\n")
        assert class_data(str(folder / "set.yaml")).names == ("2", "9", "10")
    (folder / "b.csv").write_text("images/2.png,x\n")
    (folder / "set.yaml").write_text("train: [a.csv, b.csv]\n")
    assert class_data(str(folder / "set.yaml")).names == ("10", "2", "x")


def test_a_class_is_a_name_or_an_index(folder: Path) -> None:
    (folder / "lists").mkdir()
    (folder / "lists" / "x.csv").write_text("0.png,cat\n1.png,0\n2.png,1\n3.png,DOG\n")
    path = folder / "set.yaml"
    path.write_text("path: images\ntrain: ../lists/x.csv\nnames: [cat, dog]\n")
    assert places(path) == [("0.png", "cat"), ("1.png", "cat"), ("2.png", "dog"), ("3.png", "dog")]


@pytest.mark.parametrize("names", ["'1', '2', '5'", "cat, '1', dog"])
def test_a_number_is_no_index_where_a_name_is_one(folder: Path, names: str) -> None:
    (folder / "x.csv").write_text("images/0.png,1\nimages/1.png,0\nimages/2.png,1\n")
    path = folder / "set.yaml"
    path.write_text(f"train: x.csv\nval: x.csv\nnames: [{names}]\n")
    found, lines = read(path)
    assert [found.names[place] for place in found.classes.tolist()] == ["1", "1"]
    assert lines[0].endswith("x.csv:2: images/1.png: '0' is no class of the set; line dropped")


def test_bad_lines_are_named_by_their_number(folder: Path) -> None:
    path = folder / "set.yaml"
    path.write_text("train: x.csv\nnames: [cat, dog]\n")
    for number in range(5, 100):
        write_picture(folder / "images" / f"{number}.png")
    good = [f"images/{number}.png,{'cat' if number % 2 else 'dog'}" for number in range(95)]
    bad = ["images/gone.png,cat", '"images/95.png\nx",cat', "images/96.png,cow", "images/97.png", "images/0.png,cat"]
    (folder / "x.csv").write_text("\n".join(["path,class", *good, *bad, good[1]]))
    found, lines = read(path, "train")
    assert len(found) == 95
    ends = ("no such image", "not the name of an image file", "'cow' is no class of the set", "no class",
            "in line 2 it is of another class")  # fmt: skip
    for line, number, end in zip(lines, (97, 98, 100, 101, 102), ends, strict=False):
        assert f"x.csv:{number}: " in line and line.endswith(f"{end}; line dropped")
    assert lines[5].endswith("x.csv: 1 image is there again; each image is used once")
    assert lines[6] == "train: 95 images of 2 classes"
    with pytest.raises(ValueError, match="6 problems, errors with --strict"):
        read(path, "train", strict=True)


def test_an_image_in_two_lists_is_used_once(folder: Path) -> None:
    for number in range(5, 60):
        write_picture(folder / "images" / f"{number}.png")
    good = [f"images/{number}.png,{'cat' if number % 2 else 'dog'}" for number in range(60)]
    (folder / "a.csv").write_text("\n".join(good[:58]))
    (folder / "b.csv").write_text("\n".join([*good[2:], "images/../images/0.png,cat"]))
    path = folder / "set.yaml"
    path.write_text("train: [a.csv, b.csv]\nnames: [cat, dog]\n")
    found, lines = read(path, "train")
    assert [Path(name).name for name in found.image_paths] == [f"{number}.png" for number in range(60)]
    assert found.classes.tolist() == [1, 0] * 30
    assert lines == [
        f"{folder / 'b.csv'}:59: images/../images/0.png: in {folder / 'a.csv'}:1 it is of another class; line dropped",
        f"{folder / 'b.csv'}: 56 images are there again; each image is used once",
        "train: 60 images of 2 classes",
    ]
    with pytest.raises(ValueError, match="2 problems, errors with --strict"):
        read(path, "train", strict=True)
    (folder / "b.csv").write_text((folder / "a.csv").read_text().replace("cat", "cow").replace("dog", "cat"))
    path.write_text("train: [a.csv, b.csv]\nnames: [cat, dog, cow]\n")
    with pytest.raises(
        ValueError, match=r"58 of 58 lines cannot be used; the first: .*b\.csv:1: .*in .*a\.csv:1 it is"
    ):
        read(path, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no class; a line is: path,class"),
        ("path,class\n", "names no class"),
        ("id,label\na,b\n", "train.csv:1: id, label: expected a line `path,class`, or a heading that names these"),
        ("images/0.png\n", "train.csv:1: images/0.png: expected"),
        (
            "images/0.png,a\nx.png,b\ny.png,b\nz.png,b\n",
            r"3 of 4 lines cannot be used; the first: .*train\.csv:2: x\.png",
        ),
        (f"images/0.png,a\nimages/1.png,b{'b' * 200_000}\n", r"train\.csv:2: not a line of a csv file"),
        (
            "images/0.png,a\nimages/1.png,b\x1b[0m\n",
            r"train\.csv: name of class 1 is 'b\\x1b\[0m', which cannot be printed",
        ),
    ],
)
def test_lists_that_cannot_be_read(folder: Path, text: str, message: str) -> None:
    (folder / "train.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read(folder / "train.csv", "train")
    assert str(caught.value).isprintable()


def test_a_list_in_another_encoding(folder: Path) -> None:
    write_picture(folder / "images" / "naïve.png")
    path = folder / "train.csv"
    path.write_text("images/naïve.png,é\nimages/0.png,b\n", encoding="utf-16")
    assert places(path) == [("naïve.png", "é"), ("0.png", "b")]
