"""Text from files, made fit to be shown."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

Report = Callable[[str], None]  # takes the lines for people
MOST_NAMES = 20_000  # classes
MOST_NAME_CHARACTERS = 200
BYTE_ORDER_MARKS = {  # the longer ones first: UTF-32's begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


def printable(text: str) -> str:
    """Text as one line that can be printed and written as UTF-8, whatever bytes it came from: no control characters."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def to_utf8(content: bytes) -> bytes:
    """A text file's bytes as UTF-8 without byte order mark, if they are UTF-16 or UTF-32; other bytes as they are.

    UTF-16 without a mark is known by its zeros: every second byte of digits and plain letters is one.
    """
    encodings = [name for mark, name in BYTE_ORDER_MARKS.items() if content.startswith(mark)]
    low, high = content[::2], content[1::2]
    if not encodings and len(low) == len(high) and (low.count(0) or high.count(0)):
        if not low.count(0) and 2 * high.count(0) > len(high):
            encodings = ["utf-16-le"]
        elif not high.count(0) and 2 * low.count(0) > len(low):
            encodings = ["utf-16-be"]
    for encoding in encodings:
        try:
            return content.decode(encoding).encode()
        except UnicodeDecodeError:
            continue
    return content.removeprefix(codecs.BOM_UTF8)


def check_class_names(names: Sequence[str]) -> None:
    """Raise ValueError for class names that cannot be shown: they go to the terminal, into pictures and file names."""
    if len(names) > MOST_NAMES:
        raise ValueError(f"{len(names)} class names, more than {MOST_NAMES}")
    for index, name in enumerate(names):
        if len(name) > MOST_NAME_CHARACTERS:
            raise ValueError(f"name of class {index} has {len(name)} characters, more than {MOST_NAME_CHARACTERS}")
        if not name.isprintable():
            raise ValueError(f"name of class {index} is {name!r}, which cannot be printed")
