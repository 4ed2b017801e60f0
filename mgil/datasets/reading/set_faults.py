"""Mistakes of a whole split that cost a line here and a line there: they are named instead of repaired.

A stray line is dropped with a warning. Lines are not stray where more than `STRAY_SHARE` of them are bad, at least
`STRAY_LINES`, in at least `STRAY_FILES` files or in all; where all lines are bad; where one class id that the data set
does not have is in `SAME_CLASS_FILES` files; or where the ids look like 1 to nc. Some mistakes make lines that are good
one by one, such as corners in the place of centre and size: they are known by what all lines have in common.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mgil.datasets.reading.faults import Faults
from mgil.datasets.reading.image_list import STRAY_SHARE
from mgil.datasets.reading.samples import Findings, Samples

STRAY_LINES = STRAY_FILES = 3
STRAY_ENTRIES = 5  # likewise, of a COCO json
SAME_CLASS_FILES = 10
ALIKE = 0.99  # share of the lines that a mistake of the whole set must explain
LEAST_ALIKE = 10  # lines from which this says something
LEAST_CUT = 0.1  # share of the boxes that reach far out of their image, where they are not what they seem
LEAST_CUT_A_LITTLE = 0.02  # and where they may reach out on the left and at the top alone
FORM = "a line is: class cx cy w h, the box in fractions of the image"
JSON_FORM = "a bbox is [x, y, width, height] in pixels"
# Signs that boxes are something else, the most special first, and what they are then.
MISREAD = {
    "size first": "sizes before centres (w h cx cy)",
    "corners": "corners (x1 y1 x2 y2)",
    "spans": "spans (x1 x2 y1 y2)",
}
COLUMNS = {
    "columns 4": "is the class missing?",
    "columns 6": "is the sixth column a confidence, as detect.py --save-conf writes it, or a track id? remove it",
    "columns 7": "are the last columns a confidence and a track id? remove them",
}


class Fault(NamedTuple):
    """Why the labels of a split cannot be meant as they are."""

    reason: str  # in words
    evidence: str  # counts and an example


def fault_of_labels(samples: Samples, found: Findings, num_classes: int | None, yaml_path: object) -> Fault | None:
    """What is wrong with the label files of a split as a whole, if anything.

    Args:
        samples: the split as it was read.
        found: what reading it found; the same whether it is from the cache or not.
        num_classes: class ids are below this; None: every id is taken.
        yaml_path: the data set's YAML, to be named.
    """
    faults = found.faults
    if num_classes is not None and (reason := _class_fault(samples, faults, num_classes, yaml_path)):
        return Fault(reason, _counts(faults))
    if _is_no_stray(faults):
        return Fault(_guess(faults), f"{_counts(faults)}; {FORM}")
    kind = _misread(faults)
    if kind:
        cut = f"{faults.lines['sign cut']} of {faults.lines['all']} boxes reach out of their image"
        return Fault(f"the boxes look like {kind}", f"{cut}, e.g. {faults.examples['sign cut']}; {FORM}")
    return None


def _class_fault(samples: Samples, faults: Faults, num_classes: int, yaml_path: object) -> str:
    unknown = faults.lines["unknown"]
    ids = sorted(int(kind.removeprefix("class ")) for kind in faults.lines if kind.startswith("class "))
    if not unknown:
        return ""
    if (
        ids == [num_classes]
        and faults.lines[f"class {num_classes}"] == unknown
        and _start_at_one(samples, faults, num_classes)
    ):
        return f"no label is of class 0: do the ids start at 1? {yaml_path} has the classes 0 to {num_classes - 1}"
    if unknown == faults.lines["all"]:
        return f"no label has a class that {yaml_path} names ({num_classes} names)"
    repeated = any(faults.files[f"class {number}"] >= SAME_CLASS_FILES for number in ids)
    if 2 * unknown <= faults.lines["bad"] or not (repeated or _is_no_stray(faults)):
        return ""
    if 2 * faults.lines["sign class last"] > unknown:
        return ""  # told as such
    largest = f"up to {ids[-1]}" if ids else "far above"
    return f"labels have classes {largest}, {yaml_path} names 0 to {num_classes - 1}: are names missing?"


def _start_at_one(samples: Samples, faults: Faults, num_classes: int) -> bool:
    """Whether ids are one too large: none is 0. Where one or two are unknown, half of the classes must be there."""
    used, unknown = np.unique(samples.classes), faults.lines["unknown"]
    many = unknown >= STRAY_LINES or unknown == faults.lines["all"]
    return 0 not in used and (many or 2 * len(used) >= num_classes)


def _is_no_stray(faults: Faults) -> bool:
    lines, rows = faults.lines["bad"], faults.lines["all"]
    everywhere = faults.files["bad"] >= min(STRAY_FILES, faults.files["all"])
    return 0 < lines == rows or (lines >= STRAY_LINES and lines > STRAY_SHARE * rows and everywhere)


def _guess(faults: Faults) -> str:
    """What the mistake may be, as a question."""
    half = faults.lines["bad"] / 2
    if faults.lines["sign class last"] > half:
        return "is the class the last column? it must be the first"
    if faults.lines["sign pixels"] > half:
        return "are the boxes in pixels or per cent?"
    if faults.lines["number"] > half:
        return "is there a name or a heading in the place of a number?"
    kind = next((kind for kind in COLUMNS if faults.lines[kind] > half), None)
    others = {int(kind[8:]): faults.lines[kind] for kind in faults.lines if kind.startswith("columns ")}
    if sum(lines for count, lines in others.items() if count < 4) > half:
        return "is there a heading or a count, or a separator that is no blank, comma or semicolon?"
    if sum(lines for count, lines in others.items() if count > 7) > half:
        return "are these key points? say kpt_shape in the data set's YAML, such as [17, 3]; else it is another format"
    return COLUMNS[kind] if kind else "more labels are bad than stray lines"


def _counts(faults: Faults) -> str:
    lines, rows = faults.lines["bad"], faults.lines["all"]
    files = f"{faults.files['bad']} of {faults.files['all']} label files"
    sums = faults.sums()
    kinds = f" ({sums})" if ", " in sums else ""
    return f"{lines} of {rows} labels in {files} cannot be used{kinds}; the first: {faults.examples['bad']}"


def _misread(faults: Faults) -> str:
    """What the boxes are instead, where that explains all lines and many boxes reach out of their images."""
    rows = faults.lines["sign inside"]
    if rows < LEAST_ALIKE:
        return ""
    if faults.lines["sign far cut"] >= LEAST_CUT * rows:
        for sign, kind in MISREAD.items():
            if faults.lines[f"sign {sign}"] >= ALIKE * rows:
                return kind
    spread = (
        _few(faults.lines["sign cut"], rows) and faults.lines["sign at the end"]
    )  # small boxes in the upper left corner alone may be cut there
    return "corner and size (x1 y1 w h)" if spread and faults.lines["sign top left"] >= ALIKE * rows else ""


def fault_of_json(samples: Samples, found: Findings) -> Fault | None:
    """As `fault_of_labels`, for the annotations of a COCO json."""
    dropped, rows = found.counts.dropped, found.counts.dropped + len(samples.classes)
    if dropped >= STRAY_ENTRIES and dropped > STRAY_SHARE * rows:
        first = next(problem for problem in found.problems if problem.endswith("; dropped"))
        evidence = f"{dropped} of {rows} annotations cannot be used; the first: {first}"
        return Fault("more annotations are bad than stray ones", evidence)
    if len(samples.classes) < LEAST_ALIKE:
        return None
    if samples.boxes_xyxy_px()[:, 2:].max() <= 1:
        return Fault("are the boxes fractions?", f"all {rows} are in the first pixel of their images; {JSON_FORM}")
    lines = found.faults.lines
    if lines["sign corners"] >= ALIKE * rows and lines["sign far cut"] >= LEAST_CUT * rows:
        kind, out = "corners (x1 y1 x2 y2)", lines["sign far cut"]
    elif lines["sign centres"] >= ALIKE * rows and lines["sign at the start"] and _few(lines["sign out"], rows):
        kind, out = "centre and size (cx cy w h)", lines["sign out"]
    else:
        return None
    return Fault(f"the boxes look like {kind}", f"{out} of {rows} reach out of their image; {JSON_FORM}")


def _few(cut: int, rows: int) -> bool:
    """Whether enough boxes reach out of their images where they may do so on two sides alone."""
    return cut >= max(LEAST_ALIKE, LEAST_CUT_A_LITTLE * rows)
