"""Other forms of the same labels give the same boxes: separators, encodings, key points, polygons."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgil.datasets.reading.label_text import BadLine, LongLines, parse_label_file
from mgil.files.text import to_utf8
from tests.datasets.reading.label_sets import BOXES, FILES, LabelSet, Row, corners_of


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> LabelSet:
    return LabelSet(tmp_path_factory.mktemp("forms"))


TEXT_FORMS: dict[str, Callable[[str], str | bytes]] = {
    "plain": lambda text: text,
    "commas": lambda text: text.replace(" ", ","),
    "commas and blanks": lambda text: text.replace(" ", ", "),
    "commas, one at the end": lambda text: text.replace(" ", ",").replace("\n", ",\n"),
    "semicolons": lambda text: text.replace(" ", ";"),
    "tabs": lambda text: text.replace(" ", "\t"),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "decimal commas": lambda text: text.replace(".", ","),
    "decimal commas, semicolons": lambda text: text.replace(".", ",").replace(" ", ";"),
    "decimal commas, commas": lambda text: text.replace(".", ",").replace(" ", ","),
    "pairs with a comma": lambda text: "".join("{} {},{} {},{}\n".format(*line.split()) for line in text.splitlines()),
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "CR": lambda text: text.replace("\n", "\r"),
    "UTF-8 with mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 big": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-16 without mark": lambda text: text.encode("utf-16-le"),
    "UTF-16 big without mark": lambda text: text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "spreadsheet": lambda text: text.replace(".", ",").replace(" ", ";").replace("\n", "\r\n").encode("utf-16"),
}


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_text_forms_give_exactly_the_same_boxes(labels: LabelSet, form: str) -> None:
    labels.check(labels.load([TEXT_FORMS[form](text) for text in labels.texts()]))
    assert labels.lines == [f"train: {FILES} images, {FILES * BOXES} boxes"]


def with_key_points(
    rng: np.random.Generator, points: int, numbers: int, confident: bool = False
) -> Callable[[Row], Sequence[float]]:
    def change(row: Row) -> Sequence[float]:
        _, x1, y1, x2, y2 = corners_of(row)
        third = rng.uniform(0, 1, points) if confident else rng.integers(0, 3, points)
        table = np.stack([rng.uniform(x1, x2, points), rng.uniform(y1, y2, points), third], 1)
        return *row, *table[:, :numbers].ravel().tolist()

    return change


@pytest.mark.parametrize(("numbers", "confident"), [(2, False), (3, False), (3, True)])
@pytest.mark.parametrize("points", [1, 2, 3, 4, 17])
def test_the_box_of_key_point_lines_is_read(labels: LabelSet, points: int, numbers: int, confident: bool) -> None:
    rng = np.random.default_rng(0)
    labels.write(labels.texts(with_key_points(rng, points, numbers, confident)))
    for _ in ("read", "from the cache"):
        labels.check(labels.read())
        assert labels.lines == [f"train: {FILES} images, {FILES * BOXES} boxes, {FILES * BOXES} boxes with key points"]


def polygon_of(rng: np.random.Generator, corners: int) -> Callable[[Row], Sequence[float]]:
    """A polygon of so many points with the same box: two opposite corners of it, and points within."""

    def change(row: Row) -> Sequence[float]:
        number, x1, y1, x2, y2 = corners_of(row)
        inner = np.stack([rng.uniform(x1, x2, corners - 2), rng.uniform(y1, y2, corners - 2)], 1).ravel().tolist()
        return number, x1, y1, x2, y2, *inner

    return change


def rotated(row: Row) -> Sequence[float]:
    """The middles of the sides as the four corners of a rotated box."""
    number, cx, cy, w, h = row
    return number, cx, cy - h / 2, cx + w / 2, cy, cx, cy + h / 2, cx - w / 2, cy


def upright(row: Row) -> Sequence[float]:
    number, x1, y1, x2, y2 = corners_of(row)
    return number, x1, y1, x2, y1, x2, y2, x1, y2


@pytest.mark.parametrize("corners", [3, 4, 5, 8, 20, "upright", "rotated"])
@pytest.mark.parametrize("where", ["anywhere", "in the middle"])
def test_polygons_stay_polygons(labels: LabelSet, corners: int | str, where: str) -> None:
    rng = np.random.default_rng(0)
    change = {"upright": upright, "rotated": rotated}.get(str(corners)) or polygon_of(rng, int(corners))
    rows = labels.rows
    if where == "in the middle":  # where a small polygon looks like a box with points inside
        places = rng.uniform([0.35, 0.35, 0.02, 0.02], [0.6, 0.6, 0.15, 0.15], (FILES, BOXES, 4)).round(6).tolist()
        rows = [[(1, *place) for place in one] for one in places]
    own = labels.rows
    try:
        labels.rows = rows
        labels.check(labels.load(labels.texts(change)), atol=3e-6)
    finally:
        labels.rows = own
    assert labels.lines[-1].endswith(f"{FILES * BOXES} boxes around polygons")


def test_lines_of_many_forms_side_by_side(labels: LabelSet) -> None:
    rng = np.random.default_rng(0)
    changes = [lambda row: row, *(polygon_of(rng, corners) for corners in (3, 5, 6, 9)), upright]
    labels.check(labels.load(labels.texts(lambda row: changes[int(rng.integers(6))](row))), atol=3e-6)
    mixed = [with_key_points(rng, 17, 3), lambda row: row]
    labels.check(labels.load(labels.texts(lambda row: mixed[int(rng.integers(2))](row))))


def test_kpt_shape_says_what_no_line_can(labels: LabelSet) -> None:
    rng = np.random.default_rng(0)
    one = labels.texts()
    one[0] = one[0].replace("\n", " 0.1 0.1 0.2 0.2\n")  # a few lines that may as well be polygons
    labels.check(labels.load(one, more="kpt_shape: [2, 2]\n"))
    assert "4 boxes with key points" in labels.lines[-1]
    with pytest.raises(ValueError, match=r"\(class cx cy w h\) or 20 with key points, found 56"):
        labels.load(labels.texts(with_key_points(rng, 17, 3)), more="kpt_shape: [5, 3]\n")
    rows = [f"{text.splitlines()[0]} .1 .1 .1\n" for text in labels.texts()]  # the points are not in the boxes
    with pytest.raises(ValueError, match="are these key points\\? say kpt_shape"):
        labels.load(rows)
    assert len(labels.load(rows, more="kpt_shape: [1, 3]\n").classes) == FILES
    for bad in ("17", "[17]", "[17, 4]", "[0, 3]", "[a, 3]"):
        with pytest.raises(ValueError, match=r"set\.yaml: kpt_shape is .* must be \[points, 2 or 3\]"):
            labels.load(one, more=f"kpt_shape: {bad}\n")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100) | st.text("01.,;- \n\t\r", max_size=100).map(str.encode), st.sampled_from([None, 8, 11]))
def test_any_bytes_are_rows_or_bad_lines(content: bytes, columns: int | None) -> None:
    seen = LongLines()
    for _, found in parse_label_file(content, columns, seen):
        assert isinstance(found, BadLine) or len(found) == 5
    assert seen.key_point_columns() in (None, *seen.columns)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", ["", "a", "\u4eba 1\n", "ab\U0001f642\n"])
def test_marked_texts_become_utf8(text: str, encoding: str) -> None:
    assert to_utf8(text.encode(encoding)) == text.encode()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\xd8", b"a\0b", b"\0\0", b"caf\xe9", b"\xff\xfea"])
def test_what_is_no_such_text_stays_as_it_is(content: bytes) -> None:
    assert to_utf8(content) == content
