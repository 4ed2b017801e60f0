"""The size of an image from its header, and a cheap look at whether the file is whole."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, TypeVar

from PIL import Image, UnidentifiedImageError

from mgil.datasets.reading.pixels import no_brightness, no_pixels
from mgil.files.regular import open_regular

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
# What may be inside, whatever the suffix says. Pillow knows more, but some of those run other programs to decode.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")
ORIENTATION_TAG = 274  # EXIF: values 5 to 8 show the picture with width and height exchanged
# What Pillow's readers raise on damaged headers and data.
READER_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error),
    *(IndexError, KeyError, TypeError, AttributeError, ArithmeticError, MemoryError),
)
# How files begin that people rename to .jpg, or that were cut off early: (offset, bytes, name).
KNOWN_STARTS = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG", "PNG"),
    (0, b"GIF8", "GIF"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"%PDF", "PDF"),
    (0, b"<", "HTML or XML"),
)
CHUNK = 256  # files read in one go
THREADS = 16  # that wait for a slow disk
WAITING_RATIO = 4  # wall time to processor time from which reading counts as waiting

Result = TypeVar("Result")


class ImageProblem(ValueError):
    """Why an image file cannot be used."""


def probe_image(path: str) -> tuple[int, int]:
    """Read an image's size without decoding it.

    A JPEG, PNG or WebP file must also end as its format ends; one that does not, and every file of another format, is
    decoded once to be sure, so a truncated file is found here and not in the middle of training.

    Returns:
        (height, width) in pixels as shown, that is after EXIF rotation.

    Raises:
        ImageProblem: missing, empty, not an image, or truncated.
    """
    try:
        with open_regular(path) as file, Image.open(file, formats=FORMATS) as image:
            turned = "exif" in image.info and orientation_of(image) >= 5  # TIFF: turned by Pillow when it is loaded
            if not _ends_well(file, image.format or ""):
                image.load()
            width, height = image.size
            check_brightness(image)
    except FileNotFoundError as error:
        raise ImageProblem("no such file") from error
    except UnidentifiedImageError as error:
        with open_regular(path) as file:
            raise ImageProblem(why_unidentified(file.read(16))) from error
    except (Image.DecompressionBombError, *READER_ERRORS) as error:
        raise ImageProblem(why_unreadable(error)) from error
    if width < 1 or height < 1:
        raise ImageProblem(no_pixels(height, width))
    return (width, height) if turned else (height, width)


def probe_images(paths: Sequence[str]) -> list[tuple[int, int] | str]:
    """`probe_image` for many files: (height, width), or what is wrong with the file, for each."""
    return [result for results in map_chunks(_probe_chunk, paths) for result in results]


def _probe_chunk(paths: Sequence[str]) -> list[tuple[int, int] | str]:
    results: list[tuple[int, int] | str] = []
    for path in paths:
        try:
            results.append(probe_image(path))
        except ImageProblem as problem:
            results.append(str(problem))
    return results


def map_chunks(read: Callable[[Sequence[str]], Result], paths: Sequence[str]) -> list[Result]:
    """Apply `read` to the paths, `CHUNK` at a time and in order.

    Threads hide the latency of a slow disk or network, but where the files are in memory they only contend for the
    interpreter (four take twice as long as one), so they are used when reading the first chunk was mostly waiting.
    """
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    if not chunks:
        return []
    wall, work = time.perf_counter(), time.thread_time()
    first = read(chunks[0])
    waited = time.perf_counter() - wall > WAITING_RATIO * (time.thread_time() - work)
    if not waited:
        return [first, *map(read, chunks[1:])]
    with ThreadPoolExecutor(THREADS) as pool:
        return [first, *pool.map(read, chunks[1:])]


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 where there is none or it is damaged, as viewers show it."""
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except READER_ERRORS:
        return 1
    return orientation if orientation in range(1, 9) else 1


def check_brightness(image: Image.Image) -> None:
    """Refuse pixels of which nobody knows how bright white is.

    Raises:
        ValueError: floating point or 32-bit pixels.
    """
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):  # whose I has 16 bits
        raise ValueError(no_brightness("floating point" if image.mode == "F" else "32-bit"))


def _ends_well(file: BinaryIO, image_format: str) -> bool:
    position = file.tell()
    try:
        if image_format == "JPEG":
            file.seek(-2, 2)
            return file.read(2) == b"\xff\xd9"
        if image_format == "PNG":
            file.seek(-12, 2)
            return file.read(8) == b"\0\0\0\0IEND"
        if image_format == "WEBP":
            file.seek(4)
            (size,) = struct.unpack("<I", file.read(4))
            return file.seek(0, 2) >= size + 8
        return False
    finally:
        file.seek(position)


def why_unidentified(head: bytes) -> str:
    """Why a file that begins with `head` is no image that is read."""
    if not head:
        return "is empty (0 bytes)"
    kind = next((name for offset, start, name in KNOWN_STARTS if head[offset:].startswith(start)), None)
    if kind in ("JPEG", "PNG", "GIF", "JPEG 2000"):
        return f"cannot be decoded (damaged {kind} header)"
    if kind == "TIFF":
        return "cannot be decoded (a damaged header, or a kind of TIFF that is not read; save it anew)"
    hint = f"; it looks like {kind}" if kind else ""
    return f"cannot be read (not a JPEG, PNG, BMP, TIFF, WebP, GIF, JPEG 2000 or PNM file{hint})"


def why_unreadable(error: BaseException) -> str:
    """What went wrong with a file that is an image."""
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return f"has more than {limit:,} pixels, too many to be decoded safely; cut it into tiles"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    return f"cannot be decoded ({reason or type(error).__name__})"
