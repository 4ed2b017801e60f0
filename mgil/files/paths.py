"""Names of files as people and other systems write them, and the files that they mean."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence


def spellings(name: str) -> Iterator[str]:
    r"""A name as written, then the other ways to read it: whoever takes the first that is there takes no wrong one.

    `~` and environment variables are filled in, backslashes are slashes, letters with accents are one character or two
    (macOS writes two), and bytes that are not UTF-8 are Windows' Latin-1.
    """
    yield name
    seen = {name}
    for other in _other_spellings(name):
        if other not in seen:
            seen.add(other)
            yield other


def _other_spellings(name: str) -> Iterator[str]:
    texts = [name, os.path.expandvars(os.path.expanduser(name))]
    if not name.isascii():
        with contextlib.suppress(UnicodeError):
            texts.append(os.fsencode(name).decode("cp1252"))
    for text in texts:
        for slashed in (text, text.replace("\\", "/")):
            yield slashed
            if not slashed.isascii():
                yield unicodedata.normalize("NFC", slashed)
                yield unicodedata.normalize("NFD", slashed)


def suffix_of(path: str) -> str:
    """The end of a file's name from its last dot, in lower case."""
    return os.path.splitext(path)[1].lower()


def find(name: str, folders: Sequence[str] = ("",), there: Callable[[str], bool] = os.path.exists) -> str | None:
    """The first path that is there: the name as written below each of the folders, then its other spellings likewise.

    Args:
        name: a path; where it is absolute, the folders do not matter.
        folders: what a relative path may be relative to; "" is the working folder.
        there: whether a path will do.
    """
    for spelling in spellings(name):
        for folder in folders:
            path = os.path.join(folder, spelling)
            if there(path):
                return path
    return None


def find_or_match(name: str, folders: Sequence[str] = ("",)) -> str | None:
    """As `find`, and where nothing has the name, the first path that is a pattern which matches something."""
    return find(name, folders) or find(name, folders, is_there)


def path_hint(name: str) -> str:
    """A clause about why a path or pattern may not be found, or ""."""
    return _bracket_hint(name) + _brace_hint(name) + _unset_variables(name) + drive_hint(name)


def drive_hint(name: str) -> str:
    """A clause about the drive of Windows in a path, which other systems do not have, or ""."""
    drive = re.search(r"(?:^|/)([A-Za-z]:)[\\/]", name)
    return f"; {drive[1]} is a drive of Windows: give the path on this computer" if drive and os.name != "nt" else ""


def _brace_hint(pattern: str) -> str:
    _, rest = _leading_part(pattern)
    braces = re.search(r"\{[^{}]*,[^{}]*\}", rest)
    return f"; {braces[0]} is no pattern: give one pattern for each" if braces else ""


def _unset_variables(name: str) -> str:
    unset = sorted({match for match in re.findall(r"\$\{?([A-Za-z_]\w*)", name) if match not in os.environ})
    return f"; environment variable {' and '.join(unset)} not set" if unset else ""


def glob_paths(pattern: str) -> list[str]:
    """What a pattern of *, ?, ** and [...] matches, sorted.

    The longest leading part that is there is taken as written, so that a folder may be called `site [1]`. Brackets
    behind it are a pattern first and, where that matches nothing, brackets.
    """
    if not glob.has_magic(pattern):
        return []
    for spelling in spellings(pattern):
        lead, rest = _leading_part(spelling)
        for form in (rest, rest.replace("[", "[[]")):
            found = sorted(glob.glob(os.path.join(glob.escape(lead), form), recursive=True))
            if found:
                return found
    return []


def _leading_part(pattern: str) -> tuple[str, str]:
    """A pattern as its longest leading part that is there, and the rest."""
    lead, rest = pattern, ""
    while lead and not os.path.lexists(lead):
        shorter, last = os.path.split(lead)
        if shorter == lead:
            break
        lead, rest = shorter, os.path.join(last, rest) if rest else last
    return lead, rest


def is_there(path: str) -> bool:
    """Whether a file or folder has this name, or a pattern of this name matches any."""
    return os.path.exists(path) or bool(glob_paths(path))


def _bracket_hint(pattern: str) -> str:
    _, rest = _leading_part(pattern)
    brackets = re.search(r"\[[^\]]+\]", rest)
    if not brackets:
        return ""
    literal = brackets[0].replace("[", "[[]", 1)
    return f"; {brackets[0]} matches one character; for the brackets themselves write {literal}"
