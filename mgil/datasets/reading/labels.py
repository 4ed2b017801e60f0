"""Reading YOLO label files: a bad line costs that line, a bad image that image, and each is reported."""

from __future__ import annotations

import os
import stat
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from mgil.datasets.reading.faults import GROSS, TOLERANCE
from mgil.datasets.reading.image_ids import ids_of
from mgil.datasets.reading.image_probe import ImageProblem, map_chunks, probe_image
from mgil.datasets.reading.label_text import BadLine, LongLines, LongRow, parse_label_file, parse_plain_labels
from mgil.datasets.reading.samples import Findings, Samples, join_parts
from mgil.files.regular import open_at_once
from mgil.files.text import printable

MAX_LABEL_BYTES = 64 << 20  # a larger file is no label file
MOST_CLASSES_TOLD = 10_000  # class ids above this are counted, but not each
MOST_UNKNOWN = 200  # unknown class ids that are counted each
MOST_TOLD = 100  # bad lines of a file that are told one by one


def label_path_of(image_path: str) -> str:
    """The label file of an image: the last `/images/` of its path becomes `/labels/`, the suffix `.txt`."""
    folder, separator, name = image_path.rpartition(os.sep)
    return f"{_label_folder(folder + separator)}{os.path.splitext(name)[0]}.txt"


def instead_of_labels(image_path: str) -> str:
    """A clause about what is there where the label file of an image is not: beside the image, or of another suffix."""
    label_path = label_path_of(image_path)
    folder, name = os.path.split(label_path)
    beside = f"{os.path.splitext(image_path)[0]}.txt"
    if os.path.isfile(beside):
        return f"; {beside} is there instead: where a path has images/, labels are looked for in labels/"
    if not os.path.isdir(folder):
        return f"; there is no folder {folder}"
    stem = f"{os.path.splitext(name)[0]}.".casefold()
    own = os.path.basename(image_path)
    others = [other for other in os.listdir(folder) if other.casefold().startswith(stem) and other != own]
    if others:
        return f"; {min(others)} is there instead"
    rule = "; labels are looked for beside an image, or in labels/ where its path has a folder images/"
    return rule if folder == os.path.dirname(image_path) else ""


def near_labels(image_paths: Iterable[str]) -> list[str]:
    """What may be the label files of images that have none: called alike but for capitals or the image's suffix."""
    folders: dict[str, dict[str, str]] = {}
    near: list[str] = []
    for image_path in image_paths:
        label_path = label_path_of(image_path)
        folder, name = os.path.split(label_path)
        if folder not in folders:
            there = os.listdir(folder) if os.path.isdir(folder) else []
            folders[folder] = {other.casefold(): other for other in there}
        wanted = (name.casefold(), f"{os.path.basename(image_path)}.txt".casefold())
        other = next((folders[folder][key] for key in wanted if key in folders[folder]), name)
        if other != name and not os.path.lexists(label_path):
            near.append(os.path.join(folder, other))
    return near


@lru_cache(maxsize=1024)
def _label_folder(image_folder: str) -> str:
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return labels.join(image_folder.rsplit(images, 1))


def scan_yolo(
    image_paths: Sequence[str], num_classes: int | None, kpt_shape: tuple[int, int] | None = None
) -> tuple[Samples, Findings]:
    """Read sizes and labels of images.

    Args:
        image_paths: absolute paths.
        num_classes: class ids must be below this; None accepts every id.
        kpt_shape: how many key points follow the box on a line, and of how many numbers each is; None: where all long
            lines of the split look like a box and key points they are read as such, else as polygons.

    Returns:
        The images that can be used, with their labels, and what there is to tell.
    """
    columns = None if kpt_shape is None else 5 + kpt_shape[0] * kpt_shape[1]
    samples, found, long_lines = _scan(image_paths, num_classes, columns)
    if columns is None and (columns := long_lines.key_point_columns()) is not None:
        del samples, found  # there may be no room for two of them
        samples, found, _ = _scan(image_paths, num_classes, columns)
    return replace(samples, image_ids=ids_of(image_paths, samples.image_paths)), found


def _scan(
    image_paths: Sequence[str], num_classes: int | None, key_point_columns: int | None
) -> tuple[Samples, Findings, LongLines]:
    def scan(paths: Sequence[str]) -> tuple[Samples, Findings, LongLines]:
        chunk = _Chunk(key_point_columns)
        for path in paths:
            chunk.read(path)
        return _good_rows(chunk, num_classes), chunk.found, chunk.long_lines

    parts = map_chunks(scan, image_paths) or [scan(())]
    long_lines = LongLines()
    for _, _, seen in parts:
        long_lines.update(seen)
    return *join_parts([(samples, found) for samples, found, _ in parts]), long_lines


@dataclass
class _Chunk:
    """Some images of a split and the rows of their labels, as they are read."""

    key_point_columns: int | None
    found: Findings = field(default_factory=Findings)
    long_lines: LongLines = field(default_factory=LongLines)
    image_paths: list[str] = field(default_factory=list)  # those that can be used
    sizes: array[int] = field(default_factory=lambda: array("i"))  # height and width of each
    rows: array[float] = field(default_factory=lambda: array("d"))  # five numbers of each line
    numbers: array[int] = field(default_factory=lambda: array("q"))  # the line that each row is from
    ends: array[int] = field(default_factory=lambda: array("q", [0]))  # where the rows of each image end
    long_rows: list[int] = field(default_factory=list)  # rows from lines with more numbers
    bad_files: set[int] = field(default_factory=set)  # images with a line that is no row

    def read(self, image_path: str) -> None:
        """Read an image's size and its labels."""
        try:
            self.sizes.extend(probe_image(image_path))
        except ImageProblem as problem:
            self.found.counts.bad_images += 1
            self.found.problems.append(f"{printable(image_path)}: {problem}; image skipped")
            return
        label_path = label_path_of(image_path)
        content = read_label_file(label_path, self.found)
        values = parse_plain_labels(content)
        if values is not None:
            self.rows.extend(values)
            self.numbers.extend(range(1, len(values) // 5 + 1))
        else:
            self._read_lines(content, label_path)
        self.ends.append(len(self.numbers))
        self.image_paths.append(image_path)

    def _read_lines(self, content: bytes, label_path: str) -> None:
        kinds: Counter[str] = Counter()
        for number, line in parse_label_file(content, self.key_point_columns, self.long_lines):
            if isinstance(line, BadLine):
                kinds[line.kind] += 1
                _drop(self.found, label_path, number, line, told=kinds.total() <= MOST_TOLD)
            else:
                if isinstance(line, LongRow):
                    self.long_rows.append(len(self.numbers))
                self.rows.extend(line)
                self.numbers.append(number)
        if kinds.total() > MOST_TOLD:
            self.found.problems.append(f"{printable(label_path)}: {kinds.total() - MOST_TOLD} more lines dropped")
        for kind, count in kinds.items():
            self.found.faults.add(kind, count, 1)
        del kinds["twice"]  # nothing is lost with them
        if kinds:
            self.bad_files.add(len(self.image_paths))
            self.found.faults.add("bad", kinds.total(), 0)
            self.found.faults.add("all", kinds.total(), 0)


def read_label_file(label_path: str, found: Findings) -> bytes:
    """The bytes of a label file, empty if there are none; counts and tells."""
    try:
        with open(label_path, "rb", buffering=0, opener=open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_LABEL_BYTES:
                found.counts.empty += 1
                _lose_file(found, f"{printable(label_path)}: is not a label file")
                return b""
            content = file.read()
    except FileNotFoundError:
        found.counts.missing += 1
        return b""
    except OSError as error:
        found.counts.missing += 1
        _lose_file(found, f"{printable(label_path)}: cannot be read ({error.strerror})")
        return b""
    if content.strip():
        found.counts.labelled += 1
    else:
        found.counts.empty += 1
    return content


def _lose_file(found: Findings, text: str) -> None:
    found.counts.dropped += 1
    found.problems.append(f"{text}; its image has no labels")
    for kind in ("file", "bad", "all"):
        found.faults.add(kind, 1, 1, text)


def _drop(found: Findings, label_path: str, number: int, line: BadLine, *, told: bool = True) -> None:
    found.counts.dropped += 1
    if told:
        text = f"{printable(label_path)}:{number}: {line.reason}"
        found.problems.append(f"{text}; line dropped")
        found.faults.examples.setdefault(line.kind, text)
        if line.kind != "twice":
            found.faults.examples.setdefault("bad", text)


def _good_rows(chunk: _Chunk, num_classes: int | None) -> Samples:
    """Check all (class, cx, cy, w, h) rows of a chunk at once, report the bad ones and keep the others."""
    table = np.array(chunk.rows, np.float64).reshape(-1, 5)
    images = np.repeat(np.arange(len(chunk.image_paths)), np.diff(chunk.ends))  # of each row
    sizes_hw = np.array(chunk.sizes, np.int32).reshape(-1, 2)
    class_ids, boxes = table[:, 0], table[:, 1:]
    with np.errstate(invalid="ignore", over="ignore"):  # nan and inf are found by the checks
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        clipped = corners.clip(0, 1)
        sides = clipped[:, 2:] - clipped[:, :2]
        overshoot = np.abs(clipped - corners).max(1, initial=0)
    top_class = 2**31 if num_classes is None else num_classes
    checks = {
        BadLine("finite", "nan and inf are not coordinates"): np.isfinite(table).all(1),
        BadLine("class", "class id {0:g} is not a whole number from 0"): (class_ids == np.floor(class_ids))
        & (class_ids >= 0),
        BadLine(
            "unknown", f"class id {{0:.0f}} is not one of the {num_classes} classes, 0 to {top_class - 1}"
        ): class_ids < top_class,
        BadLine("size", "box {1:g} {2:g} {3:g} {4:g} has no width or no height"): (boxes[:, 2:] > 0).all(1),
        BadLine("outside", "box {1:g} {2:g} {3:g} {4:g} is not within 0..1 of the image"): (
            (boxes >= -TOLERANCE) & (boxes <= 1 + TOLERANCE) & (sides.astype(np.float32) > 0).all(1, keepdims=True)
        ).all(1),
    }
    good = np.all(list(checks.values()), axis=0)
    _tell_bad_rows(chunk, checks, good, table, images)
    _look_for_signs(chunk, table, images, overshoot, top_class)
    chunk.found.counts.clipped = int(np.count_nonzero((overshoot > TOLERANCE) & good))
    long_rows = int(np.count_nonzero(good[chunk.long_rows]))
    if chunk.key_point_columns is None:
        chunk.found.counts.polygons = long_rows
    else:
        chunk.found.counts.key_points = long_rows
    cut = (clipped != corners).any(1)[:, None]  # other boxes keep the numbers that the file gives
    boxes = np.where(cut, np.concatenate([(clipped[:, :2] + clipped[:, 2:]) / 2, sides], 1), boxes)[good]
    areas = boxes[:, 2] * boxes[:, 3] * sizes_hw[images[good]].prod(1, dtype=np.float64)
    return Samples.from_rows(chunk.image_paths, sizes_hw, images[good], boxes, class_ids[good], areas)


def _tell_bad_rows(
    chunk: _Chunk, checks: dict[BadLine, np.ndarray], good: np.ndarray, table: np.ndarray, images: np.ndarray
) -> None:
    """Report the rows that fail a check; `images` has the index of each row's image."""
    found, kinds = chunk.found, list(checks)
    failed = np.argmin([*checks.values(), good], axis=0)  # the first check that a bad row fails
    bad = np.flatnonzero(~good)
    in_file = np.arange(len(bad)) - np.searchsorted(images[bad], images[bad])  # how many before it in its file
    for row, before in zip(bad.tolist(), in_file.tolist(), strict=True):
        kind, text = kinds[failed[row]]
        path = label_path_of(chunk.image_paths[images[row]])
        line = BadLine(kind, text.format(*table[row]))
        _drop(found, path, chunk.numbers[row], line, told=before < MOST_TOLD)
        if before == MOST_TOLD:
            more = np.count_nonzero(images[bad] == images[row]) - MOST_TOLD
            found.problems.append(f"{printable(path)}: {more} more lines dropped")
    for index, line in enumerate(kinds):
        found.faults.add_rows(line.kind, ~good & (failed == index), images)
    unknown = ~good & (failed == [line.kind for line in kinds].index("unknown")) & (table[:, 0] < MOST_CLASSES_TOLD)
    for number in np.unique(table[unknown, 0])[:MOST_UNKNOWN].astype(int).tolist():
        found.faults.add_rows(f"class {number}", unknown & (table[:, 0] == number), images)
    bad_files = chunk.bad_files.union(images[bad].tolist())
    found.faults.lines["bad"] += len(bad)
    found.faults.files["bad"] += len(bad_files)
    found.faults.lines["all"] += len(table)
    found.faults.files["all"] += len(chunk.bad_files.union(images.tolist()))


def _look_for_signs(
    chunk: _Chunk, table: np.ndarray, images: np.ndarray, overshoot: np.ndarray, top_class: int
) -> None:
    """Count the rows that a mistake of the whole set would explain; `mgil.datasets.reading.set_faults` weighs them.

    Args:
        chunk: where they are counted.
        table: (M, 5), the rows.
        images: (M,), the index of each row's image.
        overshoot: (M,), how far its box reaches out of the image.
        top_class: class ids must be below this.
    """
    first, a, b, c, d = table.T
    with np.errstate(invalid="ignore", over="ignore"):
        largest = table[:, 1:].max(1, initial=0)
        inside = ((table[:, 1:] >= -TOLERANCE) & (table[:, 1:] <= 1 + TOLERANCE)).all(1)
        whole_first, whole_last = first == np.floor(first), (d == np.floor(d)) & (d >= 0)
        edge = 1 + TOLERANCE
        signs = {
            "class last": np.isfinite(d)
            & whole_last
            & (~whole_first | ((first >= top_class) & (table[:, 1:4].max(1, initial=0) > edge))),
            "pixels": np.isfinite(largest) & (largest > 2),
            "inside": inside,
            "corners": inside & (a < c) & (b < d),
            "spans": inside & (a < b) & (c < d),
            "top left": inside & (a + c <= edge) & (b + d <= edge),
            "at the end": inside & (np.maximum(a + c, b + d) > 1 - GROSS),
            "size first": inside
            & (np.minimum(c - a / 2, d - b / 2) >= -TOLERANCE)
            & (np.maximum(c + a / 2, d + b / 2) <= edge),
            "cut": inside & (overshoot > TOLERANCE),
            "far cut": inside & (overshoot > GROSS),
        }
    for name, rows in signs.items():
        chunk.found.faults.add_rows(f"sign {name}", rows, images)
    if signs["cut"].any():
        row = int(np.argmax(signs["cut"]))
        where = f"{printable(label_path_of(chunk.image_paths[images[row]]))}:{chunk.numbers[row]}"
        chunk.found.faults.examples.setdefault("sign cut", f"{where}: box {' '.join(f'{x:g}' for x in table[row, 1:])}")
