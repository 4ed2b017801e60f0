"""Names: near ones to those not known, what takes the place of YOLOv5's, and names of their own for files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import SequenceMatcher

NEAR = 0.75  # share of the characters that two names have in common, in order; below this a hint would be a guess
MOST_NEAR = 3  # equally near names that a hint lists


def hint_for(
    name: object,
    known: Iterable[str],
    not_here: Mapping[str, str] | None = None,
    *,
    ending: str = "",
    quoted: bool = True,
) -> str:
    """What a message says behind an unknown name: what to use instead, or "" where nobody can know.

    Args:
        name: What was given.
        known: The names that there are.
        not_here: What to do instead of a name that YOLOv5 has, by a regular expression for such names; `\\g<0>` stands
            for the name, `\\1` for its first group.
        ending: Of all names, such as ".yaml": left away before they are compared, as it makes every two alike.
        quoted: Put the near names in quotation marks, as keys of a YAML file are; names of files and flags are not.
    """
    given = str(name)
    stem = _stem(given, ending)
    for pattern, instead in (not_here or {}).items():
        match = re.fullmatch(pattern, stem, re.IGNORECASE)
        if match:
            return f"YOLOv5 has it, this project does not; {match.expand(instead)}"
    near = [other + ending for other in nearest(stem, [_stem(other, ending) for other in known])]
    return f"did you mean {' or '.join(map(repr, near) if quoted else near)}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The known names that are nearest to one that is not, several where they are equally near, none if none is.

    Another number is no slip of the finger but another thing: yolov8n is not near to yolov5n, nor coco8 to coco. Digits
    may only be missing, as in lr for lr0.
    """
    possible = [other for other in known if _digits(other).startswith(_digits(name))]
    ratios = {other: SequenceMatcher(None, name.lower(), other.lower()).ratio() for other in possible}
    best = max(ratios.values(), default=0.0)
    return [other for other, ratio in ratios.items() if ratio == best][:MOST_NEAR] if best >= NEAR else []


def _digits(name: str) -> str:
    return "".join(character for character in name if character.isdecimal())


def _stem(name: str, ending: str) -> str:
    return name[: -len(ending)] if ending and name.lower().endswith(ending) else name


def distinct(stems: Sequence[str], clashes: Callable[[int, str], bool] = lambda _index, _name: False) -> list[str]:
    """Names of files: the first of equal stems keeps it, the others become `stem-2`, `stem-3`, ..., as far as free.

    Names that differ in capitals alone are equal, as some file systems do not tell them apart.

    Args:
        stems: What the files would be called.
        clashes: Whether a name cannot be that of the file at an index, for another reason.
    """
    own, taken = {stem.lower() for stem in stems}, set[str]()
    counts: dict[str, int] = {}
    names = []
    for index, stem in enumerate(stems):
        name = stem
        while name.lower() in taken or (name != stem and name.lower() in own) or clashes(index, name):
            counts[stem.lower()] = counts.get(stem.lower(), 1) + 1
            name = f"{stem}-{counts[stem.lower()]}"
        taken.add(name.lower())
        names.append(name)
    return names
