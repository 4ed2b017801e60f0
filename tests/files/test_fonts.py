"""Letters in pictures: a font of the system where DejaVu Sans has none, and a line where no font has them."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image

from mgil.files import fonts, paint
from mgil.files.confusion_figure import plot_confusion_matrix
from mgil.files.figures import literal, new_figure, save_figure
from mgil.files.fonts import LETTERS, Letters, drawable_names, tell_missing_letters
from mgil.files.matplotlib_import import own_settings
from mgil.files.packages import MissingPackage
from mgil.tasks.detect.plots import plot_labels
from tests.datasets.scenes import make_samples

REPOSITORY = Path(__file__).resolve().parents[2]
EM = 1000
HALVES = {"红": (0, 500), "色": (500, EM), "ก": (0, EM)}  # a letter is a bar from one height to another


def write_font(path: Path, letters: str, family: str = "Bars") -> str:
    """A font whose letters are black bars, an em wide."""
    names = {ord(letter): f"bar{ord(letter)}" for letter in letters}
    glyphs = {}
    for name, (low, high) in {".notdef": (0, 100), **{names[ord(own)]: HALVES[own] for own in letters}}.items():
        pen = TTGlyphPen(None)
        pen.moveTo((0, low))
        for point in ((0, high), (EM, high), (EM, low)):
            pen.lineTo(point)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder = FontBuilder(EM)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap(names)
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (EM, 0)))
    builder.setupHorizontalHeader(ascent=EM, descent=0)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


def forget() -> None:
    drawable_names.cache_clear()
    paint._text.cache_clear()
    fonts._told.clear()


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The fonts of a system that has just those of this list."""
    found: list[str] = []
    monkeypatch.setattr(fonts, "system_fonts", lambda: tuple(found))
    monkeypatch.setattr(LETTERS, "others", {})
    forget()
    yield found
    forget()


def ink(text: str, font_px: int = 20) -> np.ndarray:
    return paint._text(text, font_px)


def test_letters_of_another_font_stand_on_the_line_of_the_others(system: list[str], tmp_path: Path) -> None:
    system.append(write_font(tmp_path / "bars.ttf", "红色"))
    alone, mixed = ink("红色"), ink("A红色")
    ascent = 20  # an em of that font; DejaVu Sans has 19
    expected = np.zeros(alone.shape, np.uint8)
    expected[ascent - 10 : ascent, :20] = 255  # the lower half of an em of 20 px, on the base line
    expected[ascent - 20 : ascent - 10, 20:] = 255
    assert alone.shape[1] == 40 and np.array_equal(alone, expected)
    latin = ink("A")
    assert mixed.shape[0] == alone.shape[0] == latin.shape[0] + 1
    assert np.array_equal(mixed[:, -40:] > 200, alone > 0)
    assert np.array_equal(mixed[1:, : latin.shape[1] - 1], latin[:, :-1])


def test_one_font_for_all_letters_before_several(system: list[str], tmp_path: Path) -> None:
    first, second, both = (write_font(tmp_path / f"{n}.ttf", letters) for n, letters in enumerate(("红", "色", "红色")))
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    system += [str(tmp_path / "broken.ttf"), str(tmp_path / "gone.ttf"), first, second]
    assert [path for _, path in Letters().runs("红色")] == [first, second]
    system.append(both)
    assert Letters().runs("红色 1") == [("红色", both), (" 1", LETTERS.base)]
    assert drawable_names(("red", "红色")) == ("red", "红色")


def test_letters_that_no_font_has_are_seen_and_said_once(system: list[str], tmp_path: Path) -> None:
    names = ("голубой", "红x", "dog", "색", "🦖")
    lines: list[str] = []
    for _ in range(2):
        tell_missing_letters(names, lines.append, again=False)
    assert lines == ["no font here has the letters of class 1 '红x' (and of 2 more); install e.g. Noto Sans CJK"]
    assert drawable_names(names) == ("голубой", "1 □x", "dog", "3 □", "4 □")
    system.append(write_font(tmp_path / "other.ttf", "色"))
    for names, line in {
        ("ก",): "no font here has the letters of class 0 'ก'; install e.g. Noto Sans Thai",
        ("a", "🦖"): "no font here has the letters of class 1 '🦖'; install e.g. Noto Emoji",
        ("a", "色", "Ärger", "كلب", "Σ"): "",
    }.items():
        lines.clear()
        tell_missing_letters(names, lines.append)
        assert "".join(lines) == line


@pytest.mark.parametrize("has_font", [True, False])
def test_figures_show_the_letters_or_rectangles_without_a_warning(
    has_font: bool, system: list[str], tmp_path: Path
) -> None:
    if has_font:
        system.append(write_font(tmp_path / "bars.ttf", "ก", "Tall bars"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_confusion_matrix(np.eye(2, dtype=int), ("ก", "background"), tmp_path / "matrix.png")
        plot_labels(make_samples(["a.png"], [(32, 32)], [[[0, 0.5, 0.5, 0.2, 0.2]]]), ("ก",), tmp_path / "labels.png")
    for name in ("matrix.png", "labels.png"):
        black = (np.asarray(Image.open(tmp_path / name).convert("L")) < 8).astype(np.uint8)
        squares = cv2.erode(black, np.ones((18, 18), np.uint8)).any()  # an em of 10 points is 21 pixels at 150 dpi
        assert squares == has_font, name


def test_long_names_leave_room_for_a_figure(system: list[str], tmp_path: Path) -> None:
    system.append(write_font(tmp_path / "bars.ttf", "红"))
    long = "a name that is longer than any figure has room for, " * 3
    names = ("dog", long + "a", long + "b", long + "1" + long, long + "2" + long)
    with own_settings():
        assert literal(names) == (
            "dog",
            *("a name that …room for, a", "a name that …room for, b"),
            *("3 a name that …s room for,", "4 a name that …s room for,"),
        )
        assert literal(("红" * 13,)) == ("红" * 6 + "…" + "红" * 5,)  # which take two columns each
    plot_confusion_matrix(np.eye(6, dtype=int), (*names, "background"), tmp_path / "matrix.png")
    plot_labels(make_samples(["a.png"], [(32, 32)], [[[0, 0.5, 0.5, 0.2, 0.2]]]), names, tmp_path / "labels.png")
    for name in ("matrix.png", "labels.png"):
        picture = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert picture[:, 0].min() == picture[-1].min() == 255, name  # nothing is cut off


def test_without_matplotlib_pictures_still_have_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    fonts.system_fonts.cache_clear()
    letters = Letters()
    assert letters.base is None and letters.runs("dog 0.9") == [("dog 0.9", None)] and letters.lacking("红") == "红"
    fonts.system_fonts.cache_clear()
    monkeypatch.setattr(LETTERS, "base", None)
    paint._text.cache_clear()
    assert ink("dog").any()
    paint._text.cache_clear()
    with pytest.raises(MissingPackage, match="pip install matplotlib"):
        new_figure(1, 1)


DRAWN = """
import os, sys
from mgil.files.figures import new_figure, save_figure
from mgil.files.matplotlib_import import own_settings
assert "matplotlib" not in sys.modules
with own_settings():
    figure, axes = new_figure(2, 1)
    axes.plot([1, 2])
    save_figure(figure, __import__("pathlib").Path("figure.png"))
import matplotlib
print("matplotlib.pyplot" in sys.modules, os.environ.get("MPLBACKEND"), matplotlib.rcParams["lines.linewidth"])
"""


@pytest.mark.parametrize(
    ("backend", "settings", "width"),
    [
        ("module://of_a_notebook.that_is_not_here", b"text.usetex: True\nlines.linewidth: 9\nbackend: nonsense\n", 9.0),
        ("TkAgg", b"lines.linewidth: 9\n\xff\xfe", 1.5),
    ],
)
def test_no_setting_of_matplotlib_ends_or_changes_a_figure(
    backend: str, settings: bytes, width: float, tmp_path: Path
) -> None:
    """Backends that are not there, folders that cannot be written, a matplotlibrc in the working folder."""
    (tmp_path / "matplotlibrc").write_bytes(settings)
    (tmp_path / "file").touch()
    environment = {
        **os.environ,
        "MPLBACKEND": backend,
        "PYTHONPATH": str(REPOSITORY),
    }
    environment.pop("DISPLAY", None)
    if width == 9:
        environment["MPLCONFIGDIR"] = str(tmp_path / "file" / "below")
    done = subprocess.run(
        [sys.executable, "-c", DRAWN], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == (f"False {backend} {width}\n", "")
    with own_settings():
        figure, axes = new_figure(2, 1)
        axes.plot([1, 2])
        save_figure(figure, tmp_path / "expected.png")
    assert (tmp_path / "figure.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
