"""The size of an image from its header, and a cheap look at whether the file is whole."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, TypeVar

from PIL import Image, UnidentifiedImageError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"})
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # what may be inside, whatever the suffix says
ORIENTATION_TAG = 274  # EXIF: values 5 to 8 show the picture with width and height exchanged
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
        with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
            turned = _is_turned(image)
            if not _ends_well(file, image.format or ""):
                image.load()
            width, height = image.size
    except FileNotFoundError as error:
        raise ImageProblem("no such file") from error
    except UnidentifiedImageError as error:
        raise ImageProblem(_why_unidentified(path)) from error
    except Image.DecompressionBombError as error:
        raise ImageProblem("has too many pixels to be decoded safely") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, TypeError) as error:
        # Pillow's readers raise all of these on damaged headers and data.
        raise ImageProblem(f"cannot be decoded ({' '.join(str(error).split()) or type(error).__name__})") from error
    if width < 1 or height < 1:
        raise ImageProblem(f"has no pixels ({width}x{height})")
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


def _is_turned(image: Image.Image) -> bool:
    if "exif" not in image.info:  # TIFF, too: Pillow has turned it already when it is loaded
        return False
    return image.getexif().get(ORIENTATION_TAG, 1) in (5, 6, 7, 8)


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


def _why_unidentified(path: str) -> str:
    with open(path, "rb") as file:
        return "is not an image file that can be read" if file.read(1) else "is empty (0 bytes)"
