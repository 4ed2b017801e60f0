"""Reading YOLO label files: a bad line costs that line, a bad image that image, and each is reported."""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from mgil.datasets.reading.image_ids import ids_of
from mgil.datasets.reading.image_probe import ImageProblem, map_chunks, probe_image
from mgil.datasets.reading.samples import Findings, Samples, join_parts
from mgil.files.regular import open_at_once
from mgil.files.text import printable

TOLERANCE = 0.01  # of the image's side: how far a centre or a size may leave 0..1 by rounding
MAX_LABEL_BYTES = 64 << 20  # a larger file is no label file
PLAIN_CHARACTERS = b"0123456789.+-eE"  # what numbers are written with
PLAIN_GAPS = b"    \n"  # what else a line with five numbers has
UNKNOWN_CLASS_CHECK = 2  # which of the checks of a row that is
MOST_TOLD = 100  # bad lines of a file that are told one by one


def label_path_of(image_path: str) -> str:
    """The label file of an image: the last `/images/` of its path becomes `/labels/`, the suffix `.txt`."""
    folder, separator, name = image_path.rpartition(os.sep)
    return f"{_label_folder(folder + separator)}{os.path.splitext(name)[0]}.txt"


@lru_cache(maxsize=1024)
def _label_folder(image_folder: str) -> str:
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return labels.join(image_folder.rsplit(images, 1))


def scan_yolo(image_paths: Sequence[str], num_classes: int | None) -> tuple[Samples, Findings]:
    """Read sizes and labels of images.

    Args:
        image_paths: absolute paths.
        num_classes: class ids must be below this; None accepts every id.

    Returns:
        The images that can be used, with their labels, and what there is to tell.
    """
    # The parts have no name, so that their memory is free before the ids are made.
    samples, found = join_parts(
        map_chunks(lambda paths: _scan_chunk(paths, num_classes), image_paths) or [_scan_chunk((), num_classes)]
    )
    return replace(samples, image_ids=ids_of(image_paths, samples.image_paths)), found


def parse_plain_labels(content: bytes) -> list[float] | None:
    """Parse a label file with nothing unusual in it, three times as fast as `parse_label_file`.

    Returns:
        The five numbers of each line, one line after the other; None if `parse_label_file` must look at it: another
        layout than five numbers between single spaces per line, or two equal lines.
    """
    gaps = content.translate(None, PLAIN_CHARACTERS)
    lines = (len(gaps) + 1) // len(PLAIN_GAPS)
    if gaps != (PLAIN_GAPS * lines)[: len(gaps)]:
        return None
    try:
        values = list(map(float, content.split()))
    except ValueError:
        return None
    columns = iter(values)
    if len(values) != 5 * lines or len(set(zip(columns, columns, columns, columns, columns, strict=True))) != lines:
        return None
    return values


def parse_label_file(content: bytes) -> Iterator[tuple[int, tuple[float, ...] | str]]:
    """Parse `class cx cy w h` lines, and `class x1 y1 x2 y2 x3 y3 ...` polygons, which become their box.

    Yields:
        (line number, numbers) or (line number, what is wrong with the line); empty lines are passed over.
    """
    seen: set[tuple[float, ...]] = set()
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        columns = line.split()
        if not columns:
            continue
        if len(columns) != 5 and (len(columns) < 7 or len(columns) % 2 == 0):
            yield number, f"expected 5 columns (class cx cy w h) or a polygon, found {len(columns)}"
            continue
        try:
            values = tuple(map(float, columns))
        except ValueError:
            values = None
        if values is None or b"_" in line:  # Python reads 1_000 as a number; a label file has no such thing
            yield number, f"{_first_not_a_number(columns)} is not a number"
            continue
        if len(values) > 5:
            values = _box_of_polygon(values)
        if values in seen:
            yield number, "the same box as on an earlier line"
            continue
        seen.add(values)
        yield number, values


def _first_not_a_number(columns: list[bytes]) -> str:
    for column in columns:
        try:
            float(column)
        except ValueError:
            break
        if b"_" in column:
            break
    return repr(column[:20].decode("utf-8", "backslashreplace"))


def _box_of_polygon(values: tuple[float, ...]) -> tuple[float, ...]:
    x1, x2 = min(values[1::2]), max(values[1::2])
    y1, y2 = min(values[2::2]), max(values[2::2])
    if any(value != value for value in values):
        x1 = float("nan")  # min and max may have passed over it
    return (values[0], (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)


def _scan_chunk(image_paths: Sequence[str], num_classes: int | None) -> tuple[Samples, Findings]:
    found = Findings()
    sizes, numbers, ends, rows = array("i"), array("q"), array("q", [0]), array("d")
    usable: list[str] = []
    for image_path in image_paths:
        try:
            sizes.extend(probe_image(image_path))
        except ImageProblem as problem:
            found.counts.bad_images += 1
            found.problems.append(f"{printable(image_path)}: {problem}; image skipped")
            continue
        label_path = label_path_of(image_path)
        content = _read_label_file(label_path, found)
        values = parse_plain_labels(content)
        if values is not None:
            rows.extend(values)
            numbers.extend(range(1, len(values) // 5 + 1))
        else:
            bad_lines = 0
            for number, line in parse_label_file(content):
                if isinstance(line, str):
                    bad_lines += 1
                    _drop(found, label_path, number, line, told=bad_lines <= MOST_TOLD)
                else:
                    rows.extend(line)
                    numbers.append(number)
            if bad_lines > MOST_TOLD:
                found.problems.append(f"{printable(label_path)}: {bad_lines - MOST_TOLD} more lines dropped")
        ends.append(len(numbers))
        usable.append(image_path)
    table = np.array(rows, np.float64).reshape(-1, 5)
    images = np.repeat(np.arange(len(usable)), np.diff(ends))
    sizes_hw = np.array(sizes, np.int32).reshape(-1, 2)
    return _good_rows(found, table, images, np.array(numbers, np.int64), usable, sizes_hw, num_classes), found


def _read_label_file(label_path: str, found: Findings) -> bytes:
    """The bytes of a label file, empty if there are none; counts and tells."""
    try:
        with open(label_path, "rb", buffering=0, opener=open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_LABEL_BYTES:
                found.counts.empty += 1
                found.counts.dropped += 1
                found.problems.append(f"{printable(label_path)}: is not a label file; its image has no labels")
                return b""
            content = file.read()
    except FileNotFoundError:
        found.counts.missing += 1
        return b""
    except OSError as error:
        found.counts.missing += 1
        found.counts.dropped += 1
        found.problems.append(f"{printable(label_path)}: cannot be read ({error.strerror}); its image has no labels")
        return b""
    if content.strip():
        found.counts.labelled += 1
    else:
        found.counts.empty += 1
    return content


def _drop(found: Findings, label_path: str, number: int, reason: str, *, told: bool = True) -> None:
    found.counts.dropped += 1
    if told:
        found.problems.append(f"{printable(label_path)}:{number}: {reason}; line dropped")


def _tell_bad_rows(
    found: Findings,
    checks: dict[str, np.ndarray],
    good: np.ndarray,
    table: np.ndarray,
    images: np.ndarray,
    numbers: np.ndarray,
    image_paths: list[str],
) -> None:
    bad = np.flatnonzero(~good)
    in_file = np.arange(len(bad)) - np.searchsorted(images[bad], images[bad])  # how many before it in its file
    for row, before in zip(bad.tolist(), in_file.tolist(), strict=True):
        failed = next(index for index, passed in enumerate(checks.values()) if not passed[row])
        path = label_path_of(image_paths[images[row]])
        if before < MOST_TOLD:
            _drop(found, path, int(numbers[row]), list(checks)[failed].format(*table[row]))
        else:
            found.counts.dropped += 1
        if before == MOST_TOLD:
            more = np.count_nonzero(images[bad] == images[row]) - MOST_TOLD
            found.problems.append(f"{printable(path)}: {more} more lines dropped")
        if failed == UNKNOWN_CLASS_CHECK:
            found.counts.unknown_class += 1
            found.unknown_classes = found.unknown_classes or found.problems[-1:]


def _good_rows(
    found: Findings,
    table: np.ndarray,
    images: np.ndarray,
    numbers: np.ndarray,
    image_paths: list[str],
    sizes_hw: np.ndarray,
    num_classes: int | None,
) -> Samples:
    """Check all (class, cx, cy, w, h) rows of a chunk at once, report the bad ones and keep the others.

    Args:
        images: the index of each row's image, ascending.
        numbers: the line that each row is from.
    """
    class_ids, boxes = table[:, 0], table[:, 1:]
    with np.errstate(invalid="ignore", over="ignore"):  # nan and inf are found by the checks
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        clipped = corners.clip(0, 1)
        sides = clipped[:, 2:] - clipped[:, :2]
        overshoot = np.abs(clipped - corners).max(1, initial=0) > TOLERANCE
    checks = {
        "nan and inf are not coordinates": np.isfinite(table).all(1),
        "class id {0:g} is not a whole number from 0": (class_ids == np.floor(class_ids)) & (class_ids >= 0),
        f"class id {{0:.0f}} is not one of the {num_classes} classes, 0 to {(num_classes or 0) - 1}": class_ids
        < (2**31 if num_classes is None else num_classes),
        "box {1:g} {2:g} {3:g} {4:g} has no width or no height": (boxes[:, 2:] > 0).all(1),
        "box {1:g} {2:g} {3:g} {4:g} is not within 0..1 of the image": (
            (boxes >= -TOLERANCE) & (boxes <= 1 + TOLERANCE) & (sides.astype(np.float32) > 0).all(1, keepdims=True)
        ).all(1),
    }
    good = np.all(list(checks.values()), axis=0)
    _tell_bad_rows(found, checks, good, table, images, numbers, image_paths)
    found.counts.clipped = int(np.count_nonzero(overshoot & good))
    cut = (clipped != corners).any(1)[:, None]  # other boxes keep the numbers that the file gives
    boxes = np.where(cut, np.concatenate([(clipped[:, :2] + clipped[:, 2:]) / 2, sides], 1), boxes)[good]
    areas = boxes[:, 2] * boxes[:, 3] * sizes_hw[images[good]].prod(1, dtype=np.float64)
    return Samples.from_rows(image_paths, sizes_hw, images[good], boxes, class_ids[good], areas)
