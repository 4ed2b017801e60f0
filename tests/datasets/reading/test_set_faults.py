"""Mistakes of a whole label set stop the reading with the reason; stray lines do not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.faults import Faults
from mgil.datasets.reading.load import load_samples
from tests.datasets.reading.label_sets import BOXES, FILES, HEIGHT, WIDTH, LabelSet, Row, corners_of

ALL = FILES * BOXES


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> LabelSet:
    return LabelSet(tmp_path_factory.mktemp("faults"))


def in_pixels(row: Row) -> Row:
    return row[0], row[1] * WIDTH, row[2] * HEIGHT, row[3] * WIDTH, row[4] * HEIGHT


def class_last(row: Row) -> Row:
    return *row[1:], row[0]


# What is written for each (class, cx, cy, w, h), how many names there are, and what is said.
MISTAKES: dict[str, tuple[Callable[[Row], Sequence[float]], int, str]] = {
    "ids from 1": (lambda row: (row[0] + 1, *row[1:]), 3, "no label is of class 0: do the ids start at 1?"),
    "one class, id 1": (lambda row: (1, *row[1:]), 1, "no label is of class 0: do the ids start at 1?"),
    "too few names": (lambda row: row, 2, "labels have classes up to 2, .*set.yaml names 0 to 1: are names missing?"),
    "other ids": (lambda row: (row[0] + 7, *row[1:]), 3, r"no label has a class that .*set.yaml names \(3 names\)"),
    "pixels": (in_pixels, 3, "are the boxes in pixels or per cent?"),
    "per cent": (lambda row: (row[0], *(100 * x for x in row[1:])), 3, "are the boxes in pixels or per cent?"),
    "corners in pixels": (lambda row: in_pixels(corners_of(row)), 3, "are the boxes in pixels or per cent?"),
    "corners": (corners_of, 3, r"the boxes look like corners \(x1 y1 x2 y2\)"),
    "spans": (
        lambda row: [corners_of(row)[i] for i in (0, 1, 3, 2, 4)],
        3,
        r"the boxes look like spans \(x1 x2",
    ),
    "corner and size": (
        lambda row: (*corners_of(row)[:3], *row[3:]),
        3,
        r"the boxes look like corner and size",
    ),
    "size and centre": (lambda row: (row[0], *row[3:], *row[1:3]), 3, r"the boxes look like sizes before centres"),
    "class last": (class_last, 3, "is the class the last column?"),
    "class last, pixels": (lambda row: class_last(in_pixels(row)), 3, "is the class the last column?"),
    "no class": (lambda row: row[1:], 3, "is the class missing?"),
    "confidence": (lambda row: (*row, 0.93), 3, "is the sixth column a confidence"),
    "eight columns": (lambda row: (*in_pixels(row), 1, 0, 0), 3, "are these key points.* else it is another format"),
    "track id": (lambda row: (*row, 0.93, 17), 3, "are the last columns a confidence and a track id?"),
    "nan": (lambda row: (*row[:4], np.nan if row[0] else row[4]), 3, "more labels are bad than stray lines"),
    "negative": (lambda row: (row[0] - 1, *row[1:]), 3, "more labels are bad than stray lines"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_the_whole_set_is_named(labels: LabelSet, mistake: str) -> None:
    change, names, reason = MISTAKES[mistake]
    messages = []
    labels.write(labels.texts(change), names=names)
    for split in ("train", "val", "train"):  # val and the second train are from the cache
        with pytest.raises(ValueError, match=f"^{split}: {reason}") as caught:
            labels.read(split)
        message = str(caught.value)
        assert "\n" not in message and f" of {ALL} " in message
        assert re.search(r"labels/\d\d\.txt:\d: ", message), message
        assert message.startswith(labels.lines[-1])  # the reason is in a line of its own, too
        messages.append((message.removeprefix(split), [line.removeprefix(split) for line in labels.lines]))
    assert messages[0] == messages[1] == messages[2]


def test_the_counts_are_those_of_the_files(labels: LabelSet) -> None:
    last = [sum(row[0] == 2 for row in rows) for rows in labels.rows]
    with pytest.raises(ValueError) as caught:
        labels.load(labels.texts(lambda row: (row[0] + 1, *row[1:])))
    counts = f"{sum(last)} of {ALL} labels in {np.count_nonzero(last)} of {FILES} label files cannot be used"
    assert counts in str(caught.value)
    assert f"{sum(last)} lines or entries dropped ({sum(last)} with an unknown class id)" in labels.lines[-2]


def with_bad_lines(labels: LabelSet, lines: list[str], files: range) -> list[str]:
    texts = labels.texts()
    for line, file in zip(lines, files, strict=True):
        texts[file] += f"{line}\n"
    return texts


STRAY = ["3 .5 .5 .2 .2", "x", "0 320 240 10 10", "0 .5 .5 .2 .2 .9", "0 .5 .5 nan .2", "0.5 .5 .5 .2 .2"]


@pytest.mark.parametrize(
    ("heading", "said"),
    [
        ("class x y w h", "is there a name or a heading in the place of a number?"),
        ("# class x y w h", "is there a name or a heading in the place of a number?"),
        ("4", "is there a heading or a count, or a separator"),
    ],
)
def test_a_heading_in_each_file_is_named_as_such(labels: LabelSet, heading: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        labels.load([f"{heading}\n{text}" for text in labels.texts()])


@pytest.mark.parametrize(
    ("classes", "names", "stray", "is_shift"),
    [([1], 3, 2, False), ([1, 2], 5, 1, False), ([1, 2], 3, 1, True), ([1], 2, 2, True), ([1], 5, 3, True)],
)
def test_one_or_two_lines_of_the_next_class_are_a_shift_where_most_classes_are_there(
    labels: LabelSet, classes: list[int], names: int, stray: int, is_shift: bool
) -> None:
    texts = labels.texts(lambda row: (classes[row[0] % len(classes)], *row[1:]))
    texts[5] += "".join(f"{names} .5 .5 .2 .{number + 2}\n" for number in range(stray))
    if is_shift:
        with pytest.raises(ValueError, match="do the ids start at 1"):
            labels.load(texts, names=names)
    else:
        labels.load(texts, names=names)
        assert f"{stray} lines or entries dropped" in labels.lines[-1]


@pytest.mark.parametrize("lines", [*([line] * 6 for line in STRAY), STRAY])
def test_a_few_bad_lines_cost_themselves_alone(labels: LabelSet, lines: list[str]) -> None:
    labels.check(labels.load(with_bad_lines(labels, lines, range(6))))  # 6 of 126 are less than 5 %
    assert f"{ALL} boxes, 6 lines or entries dropped" in labels.lines[-1]
    with pytest.raises(ValueError, match=f"7 of {ALL + 7} labels in 7 of {FILES} label files cannot be used"):
        labels.load(with_bad_lines(labels, [*lines, lines[0]], range(7)))


def test_a_file_full_of_bad_lines_is_a_stray_file(labels: LabelSet) -> None:
    texts = labels.texts()
    texts[3] += "0 320 240 10 10\n" * 50
    texts[4] += "x\n" * 49
    labels.check(labels.load(texts))
    sums = "(49 that repeat a box, 49 with 1 columns, 1 outside the image)"
    assert f"99 lines or entries dropped {sums}" in labels.lines[-1]


def test_lines_that_repeat_a_box_lose_nothing(labels: LabelSet) -> None:
    labels.check(labels.load([text * 2 for text in labels.texts()]))


def test_a_class_that_is_rare_and_unknown_in_ten_files_is_no_stray_line(labels: LabelSet) -> None:
    many = [text + "".join(f"0 .5 .5 .{n} .2\n" for n in range(100, 107)) for text in labels.texts()]
    for files, stray in ((9, True), (10, False)):
        texts = [text + "3 .5 .5 .2 .2\n" if file < files else text for file, text in enumerate(many)]
        if stray:
            assert len(labels.load(texts).classes) == ALL + 7 * FILES
        else:
            with pytest.raises(ValueError, match="labels have classes up to 3, .* names 0 to 2: are names missing?"):
                labels.load(texts)


def test_one_class_takes_every_id(labels: LabelSet) -> None:
    labels.write(labels.texts(lambda row: (row[0] + 7, *row[1:])))
    assert labels.read(one_class=True).classes.tolist() == [0] * ALL


@pytest.mark.parametrize("box", [(0.5, 0.5, 1, 1), (0.45, 0.5, 0.98, 1.0), (0.5, 0.5, 0.9, 0.95)])
def test_boxes_as_large_as_their_images_are_no_corners(labels: LabelSet, box: Row) -> None:
    assert len(labels.load(labels.texts(lambda row: (row[0], *box))).classes) > FILES


def test_boxes_that_reach_out_on_all_sides_are_cut_as_ever(labels: LabelSet) -> None:
    rng = np.random.default_rng(1)
    labels.load(labels.texts(lambda row: (row[0], *rng.uniform(0, 1, 2), *row[3:])))
    assert "boxes cut at the image's edge" in labels.lines[-1]


def test_boxes_in_one_corner_that_reach_out_a_little_are_cut_as_ever(labels: LabelSet) -> None:
    labels.load(labels.texts(lambda row: (row[0], row[1] / 3, row[2] / 3, row[3], row[4])))
    assert "boxes cut at the image's edge" in labels.lines[-1]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("labels/00.TXT", "; 00.TXT is there instead"),
        ("labels/00.png.txt", "; 00.png.txt is there instead"),
        ("labels/00.xml", "; 00.xml is there instead"),
        ("images/00.txt", "; .*images/00.txt is there instead: where a path has images/, labels are looked for in"),
        ("labels/100.txt", "labels/00.txt$"),
        (None, "; there is no folder .*labels$"),
        ("pictures", "; labels are looked for beside an image, or in labels/ where its path has a folder images/$"),
    ],
)
def test_what_is_there_instead_of_label_files_is_said(tmp_path: Path, other: str | None, said: str) -> None:
    labels = LabelSet(tmp_path)
    labels.write([])
    if other is None:
        (tmp_path / "labels").rmdir()
    elif other == "pictures":
        (tmp_path / "images").rename(tmp_path / other)
        yaml = tmp_path / "set.yaml"
        yaml.write_text(yaml.read_text().replace("images", other))
    else:
        (tmp_path / other).touch()
    with pytest.raises(ValueError, match=f": no image has a label file; expected e.g. .*{said}"):
        labels.read()
    assert not len(labels.read("val").classes)
    assert "warning: val: no image has a label file, so there is no accuracy to measure; exp" in labels.lines[-1]


def test_label_files_that_are_not_read_for_their_names_are_counted(tmp_path: Path) -> None:
    labels = LabelSet(tmp_path)
    labels.write(labels.texts())
    for name in ("07", "11", "13"):
        (tmp_path / "labels" / f"{name}.txt").rename(tmp_path / "labels" / f"{name}.TXT")
    (tmp_path / "labels" / "20.txt").rename(tmp_path / "labels" / "20.png.txt")
    (tmp_path / "labels" / "21.txt").unlink()
    (tmp_path / "labels" / "22.txt").write_text("")
    (tmp_path / "labels" / "22.TXT").touch()
    for _ in range(2):  # from the cache, too
        labels.read()
        assert len(labels.lines) == 2
        assert "warning: train: 4 label files are not read for their names, e.g. " in labels.lines[1]
        assert labels.lines[1].endswith("labels/07.TXT")


# COCO json -----------------------------------------------------------------------------------------------------------
def load_json(labels: LabelSet, boxes: list[list[float]]) -> int:
    content = {
        "images": [{"id": index, "file_name": f"{index:02}.png"} for index in range(FILES)],
        "annotations": [
            {"id": number, "image_id": number // BOXES, "category_id": 1, "bbox": box}
            for number, box in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "a"}],
    }
    (labels.root / "set.json").write_text(json.dumps(content))
    (labels.root / "json.yaml").write_text("train: set.json\n")
    config = load_data_config(labels.root / "json.yaml")
    return len(load_samples(config, "train", cache_dir=labels.root / "cache", report=labels.lines.append).classes)


def test_annotations_of_a_json_are_judged_too(labels: LabelSet) -> None:
    corners = [in_pixels(corners_of(row))[1:] for rows in labels.rows for row in rows]
    boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in corners]
    bad = [0.0, 0.0, -1.0, 5.0]
    assert load_json(labels, boxes) == ALL
    assert load_json(labels, [bad] * 6 + boxes[6:]) == ALL - 6
    with pytest.raises(ValueError, match=rf"7 of {ALL} annotations cannot be used; the first: .*: annotation 0"):
        load_json(labels, [bad] * 7 + boxes[7:])
    with pytest.raises(ValueError, match=r"the boxes look like corners \(x1 y1 x2 y2\)"):
        load_json(labels, [list(box) for box in corners])
    at_the_edge = [[0.0, 0.0, *box[2:]] if number % 9 else box for number, box in enumerate(map(list, corners))]
    with pytest.raises(ValueError, match=rf"the boxes look like corners .* of {ALL} reach out of their image"):
        load_json(labels, [*map(list, corners[:60]), *at_the_edge[60:]])
    fractions = [[x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT] for x, y, w, h in boxes]
    with pytest.raises(ValueError, match=rf"are the boxes fractions\?; all {ALL} are in the first pixel"):
        load_json(labels, fractions)


def test_annotations_down_to_the_edge_of_the_picture_are_no_corners(labels: LabelSet) -> None:
    """Heads and shoulders: large boxes that begin near the corner and end where the picture ends."""
    boxes = [[20.0, 10 + 50 * y, 60.0, 70 - 50 * y] for rows in labels.rows for y in (row[2] / 5 for row in rows)]
    assert load_json(labels, boxes) == ALL


def test_annotations_that_are_not_cut(labels: LabelSet) -> None:
    """Boxes that reach out on all sides are cut; centres in the place of corners reach out on two."""
    rows = [in_pixels(row)[1:] for rows in labels.rows for row in rows]
    assert load_json(labels, [[cx - 20, cy - 20, 60.0, 60.0] for cx, cy, _, _ in rows]) == ALL
    assert "boxes cut at the image's edge" in labels.lines[-1]
    with pytest.raises(ValueError, match=r"the boxes look like centre and size \(cx cy w h\); \d+ of 120 reach out"):
        load_json(labels, [list(row) for row in rows])


@pytest.mark.parametrize(
    "text",
    [
        '[{"bad": 1}, {}, {}]',
        '[{"class x": 1}, {}, {}]',
        "",
        "[]",
        "[1, 2, 3]",
        '[{"a": -1}, {}, {}]',
        '[{}, {}, {"a": "\\n"}]',
        "[" * 9999,
    ],
)
def test_what_is_no_record_of_faults_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Faults.from_json(text)
