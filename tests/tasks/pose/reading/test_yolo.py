"""People of ultralytics' label files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.pose.reading.sets import read, same, write_picture, write_yaml

LINE = "0 0.5 0.5 0.5 0.4 0.25 0.5 2 0.1 0.2 1 0 0 0"


def write(folder: Path, text: str, keys: str = "kpt_shape: [3, 3]", labels: str = "labels") -> Path:
    """Two pictures of 40 x 30 pixels, 5.png with labels and 6.png without."""
    for number in (5, 6):
        write_picture(folder / "images" / f"{number}.png")
    (folder / labels).mkdir(exist_ok=True)
    (folder / labels / "5.txt").write_text(text)
    return write_yaml(folder, f"train: images\nval: images\nnames: [person, dog]\n{keys}\n")


@pytest.mark.parametrize("keys", ["kpt_shape: [3, 3]", "kpt_names: [a, b, c]"])
def test_three_numbers_a_point(tmp_path: Path, keys: str) -> None:
    people, lines = read(write(tmp_path, LINE + "\n\n0 0.5 0.5 0.2 0.2\n", keys))
    same(people.boxes, [[10, 9, 20, 12], [16, 12, 8, 6]])
    same(people.key_points[0], [[10, 15, 2], [4, 6, 1], [0, 0, 0]])
    same(people.areas, [0.53 * 240, 0.53 * 48])
    assert people.ignored.tolist() == [False, True] and people.image_count == 2
    assert people.image_ids.tolist() == [5, 5]  # by the names of the files
    told = "2 of 3 key points labelled, 1 people without key points, 1 images without a label file"
    assert lines == [f"val: 1 people in 2 images, {told}"]


def test_two_numbers_a_point(tmp_path: Path) -> None:
    people, _ = read(write(tmp_path, "0 0.5 0.5 0.5 0.4 0.25 0.5 0 0 -0.1 0.2\n", "kpt_shape: [3, 2]"))
    same(people.key_points[0], [[10, 15, 2], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("line", [LINE.replace(" ", "\t"), LINE.replace(" ", ", "), LINE.replace(" ", ";")])
def test_other_separators(tmp_path: Path, line: str) -> None:
    same(read(write(tmp_path, line))[0].key_points[0, 0], [10, 15, 2])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.5 0.4 0.25 0.5 2", "expected 14 columns (class cx cy w h and 3 key points), found 8"),
        ("0 0.5 0.5 0.5 x 0.25 0.5 2 0.1 0.2 1 0 0 0", "has a text in the place of a number"),
        ("0 0.5 0.5 0.5 0.4 nan 0.5 2 0.1 0.2 1 0 0 0", "a key point has no place"),
        ("0 0.5 0.5 0.5 0.4 0.25 0.5 2 0.1 0.2 0.7 0 0 0", "a visibility is 0.7"),
        ("0 nan 0.5 0.5 0.4 0.25 0.5 2 0.1 0.2 1 0 0 0", "a side of the box is NaN"),
        ("0 0.5 0.5 0 0.4 0.25 0.5 2 0.1 0.2 1 0 0 0", "has no area in the picture"),
        ("0 1.5 0.5 0.5 0.4 0.25 0.5 2 0.1 0.2 1 0 0 0", "has no area in the picture"),
        ("0 1e999 0.5 0.5 0.4 0.25 0.5 2 0.1 0.2 1 0 0 0", "a side of the box is NaN, or far outside"),
    ],
)
def test_what_costs_one_line(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, f"{LINE}\n{line}\n")
    people, lines = read(path)
    assert len(people) == 1 and len(lines) == 2
    assert lines[0].startswith(f"{tmp_path}/labels/5.txt:2: ") and message in lines[0]
    with pytest.raises(ValueError, match="1 problem, errors with --strict"):
        read(path, strict=True)


def test_other_classes_are_passed_over(tmp_path: Path) -> None:
    people, lines = read(write(tmp_path, f"{LINE}\n1{LINE[1:]}\n"), strict=True)
    assert len(people) == 1 and "1 boxes of other classes" in lines[0]


def test_an_unreadable_picture(tmp_path: Path) -> None:
    path = write(tmp_path, LINE)
    (tmp_path / "images" / "6.png").write_bytes(b"")
    people, lines = read(path)
    assert people.image_count == 1 and "6.png: is empty" in lines[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.5 0.5 0.5 0.4 0.25 0.5 2\n", "labels/5.txt:1: no line has 3 key points"),
        ("", "nobody has labelled key points"),
        ("0 0.5 0.5 0.5 0.4\n", "nobody has labelled key points"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path, text))


def test_labels_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nobody has labelled key points"):
        read(write(tmp_path, LINE, labels="text"))


def test_a_list_of_pictures(tmp_path: Path) -> None:
    path = write(tmp_path, LINE)
    (tmp_path / "some.txt").write_text("images/5.png\n")
    path.write_text(path.read_text().replace("val: images", "val: some.txt"))
    assert read(path)[0].image_count == 1


def test_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images found"):
        read(write_yaml(tmp_path, "val: empty\nnames: [person]\nkpt_shape: [3, 3]\n"))
