"""Letters in pictures: DejaVu Sans, for what it lacks a font of the system, and a line where no font has them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path

from PIL import ImageFont

from mgil.files.matplotlib_import import load_matplotlib, matplotlib_data, own_settings
from mgil.files.packages import MissingPackage
from mgil.files.text import Report

_PROBE_PX = 32  # at which a font is asked for letters
_NO_CHARACTER = "\U0010ffff"  # for which fonts have no letter but the one that stands for missing ones
_EMPTY = ("lastresort", "adobeblank", "adobenotdef")  # fonts with a rectangle or nothing for every letter
_SPECIAL = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "mono", "serif")
_CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "IDEOGRAPHIC")


class Letters:
    """Which font draws which letter.

    Attributes:
        others: For letters that the base font lacks, the path of another one; None: no font has it.
        in_base: Letters that the base font is known to have, beside ASCII.
    """

    def __init__(self) -> None:
        self.others: dict[str, str | None] = {}
        self.in_base: set[str] = set()

    @cached_property
    def base(self) -> str | None:
        """Path of the font for all that it has letters for; None: Pillow's own."""
        data = matplotlib_data()
        path = data / "fonts" / "ttf" / "DejaVuSans.ttf" if data else None
        return str(path) if path and path.is_file() else None

    def learn(self, texts: Iterable[str]) -> None:
        """Find fonts for the letters of texts, for all of them together the same one where there is such a font."""
        new = {letter for text in texts if not text.isascii() for letter in text} - self.in_base - self.others.keys()
        new = {letter for letter in new if not letter.isascii() and unicodedata.category(letter)[0] not in "MZC"}
        self.in_base |= (own := _had(self.base, new))
        wanted = new - own
        found: dict[str, str] = {}
        used = dict.fromkeys(path for path in self.others.values() if path)  # first, so that names look alike
        for path in (*used, *system_fonts()) if wanted else ():
            has = _had(path, wanted)
            found = dict.fromkeys(has, path) | found if has != wanted else dict.fromkeys(has, path)
            if has == wanted:
                break
        self.others |= {letter: found.get(letter) for letter in sorted(wanted)}

    def runs(self, text: str) -> list[tuple[str, str | None]]:
        """Cut a text into parts of one font each, with that font's path; marks stay with the letter before them."""
        self.learn([text])
        parts: list[tuple[str, str | None]] = []
        for letter in text:
            path = self.others.get(letter) or self.base
            mark = parts and unicodedata.category(letter)[0] == "M"
            if parts and (mark or parts[-1][1] == path):
                parts[-1] = (parts[-1][0] + letter, parts[-1][1])
            else:
                parts.append((letter, path))
        return parts

    def lacking(self, text: str) -> str:
        """The letters of a text that no font has."""
        self.learn([text])
        return "".join(letter for letter in text if self.others.get(letter, "") is None)


LETTERS = Letters()


@lru_cache
def system_fonts() -> tuple[str, ...]:
    """Paths of the system's fonts, plain ones first; none where matplotlib is not there to list them."""
    try:
        with own_settings():
            from matplotlib.font_manager import findSystemFonts

            found = findSystemFonts()
    except MissingPackage:
        return ()
    names = {path: Path(path).name.lower() for path in found}
    usable = [path for path, name in names.items() if not any(word in name for word in _EMPTY)]
    return tuple(sorted(usable, key=lambda path: (sum(word in names[path] for word in _SPECIAL), names[path], path)))


@lru_cache(maxsize=64)
def open_font(path: str | None, font_px: int) -> ImageFont.FreeTypeFont:
    """A font at a height in pixels; None is the small one that Pillow has inside.

    Raises:
        OSError: The file is no font, or has no letters of that height.
    """
    if path is not None:
        return ImageFont.truetype(path, font_px)
    font = ImageFont.load_default(font_px)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow without FreeType"
    return font


def _had(path: str | None, letters: set[str]) -> set[str]:
    """Those of the letters that a font has; none where the file cannot be used."""
    if not letters:
        return set()
    try:
        font = open_font.__wrapped__(path, _PROBE_PX)
        missing = _shape(font, _NO_CHARACTER)
        return {letter for letter in letters if any(shape := _shape(font, letter)) and shape != missing}
    except (OSError, ValueError):
        return set()


def _shape(font: ImageFont.FreeTypeFont, letter: str) -> bytes:
    return bytes(font.getmask(letter))


@lru_cache
def drawable_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Class names as pictures can show them.

    Letters that no font has become rectangles, with the class's index in front, so that classes can be told apart.
    """
    LETTERS.learn(names)
    return tuple(_drawable(index, name) for index, name in enumerate(names))


def _drawable(index: int, name: str) -> str:
    lacking = LETTERS.lacking(name)
    if not lacking:
        return name
    sign = "?" if LETTERS.lacking("□") else "□"
    return f"{index} {''.join(sign if letter in lacking else letter for letter in name)}"


def fonts_beside(names: Sequence[str]) -> tuple[str, ...]:
    """Paths of the fonts that names need beside the base one."""
    return tuple(
        dict.fromkeys(path for name in names for _, path in LETTERS.runs(name) if path and path != LETTERS.base)
    )


def families_of(paths: Iterable[str]) -> list[str]:
    """The names by which matplotlib takes fonts' files, without those that it cannot read."""
    load_matplotlib()
    from matplotlib.font_manager import fontManager

    known = {entry.fname for entry in fontManager.ttflist}
    for path in paths:
        if path not in known:
            with suppress(OSError, RuntimeError, KeyError, ValueError):
                fontManager.addfont(path)
    names = {entry.fname: entry.name for entry in reversed(fontManager.ttflist)}  # of a collection the first font's
    return list(dict.fromkeys(names[path] for path in paths if path in names))


_told: set[tuple[str, ...]] = set()


def tell_missing_letters(names: Sequence[str], report: Report, again: bool = True) -> None:
    """Say which class names no font here can show, if there are any.

    Args:
        names: By class index.
        report: Gets the line for people.
        again: Also where it was said before of these names.
    """
    names = tuple(names)
    if names in _told and not again:
        return
    _told.add(names)
    LETTERS.learn(names)
    unshown = [(index, name, lacking) for index, name in enumerate(names) if (lacking := LETTERS.lacking(name))]
    if unshown:
        index, name, lacking = unshown[0]
        others = f" (and of {len(unshown) - 1} more)" if len(unshown) > 1 else ""
        report(f"no font here has the letters of class {index} '{name}'{others}; install e.g. {_advice(lacking[0])}")


def _advice(letter: str) -> str:
    """The font to install for a letter; Noto has one for each script."""
    script = unicodedata.name(letter, "").split(" ")[0].split("-")[0]
    if script in _CJK:
        return "Noto Sans CJK"
    if unicodedata.category(letter)[0] != "L":
        return "Noto Emoji"
    return f"Noto Sans {script.capitalize()}"
