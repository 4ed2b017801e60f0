"""From an image file or a Pillow image to pixels: always uint8 RGB, upright, at the size that is needed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mgil.datasets.batches.letterbox import fitted_size_hw, resize_image
from mgil.datasets.reading.image_probe import (
    FORMATS,
    READER_ERRORS,
    check_brightness,
    orientation_of,
    why_unidentified,
    why_unreadable,
)
from mgil.datasets.reading.pixels import Seen, no_pixels, rgb_of
from mgil.datasets.reading.value_range import ValueRange
from mgil.files.regular import open_regular
from mgil.files.text import printable

Change = Callable[[np.ndarray], np.ndarray]  # of (H, W, 3) uint8 RGB pictures, which keep their size

# OpenCV decodes these as Pillow shows them; CMYK and rarer formats are left to Pillow. So are TIFFs, where OpenCV
# multiplies colours by alpha, but for those of 16-bit colours, of which Pillow keeps 8.
OPENCV_FORMATS = ("JPEG", "MPO", "PNG", "WEBP")
COLOURS = ("RGB", "RGBA", "RGBX", "LA")  # modes that Pillow has in 8 bits only
# EXIF tags of a TIFF.
BITS_TAG, PHOTOMETRIC_TAG, WHITE_IS_ZERO = 258, 262, 0
# By how much a JPEG can be reduced while it is decoded, OpenCV's name for that, and what multiple of the pixels that
# are needed along a side must be left. At 64, 96, 128, 160 px and `val.py --pad 0.5` official yolov5n has on coco128 an
# AP of .0330, .0926, .1212, .1610 with images decoded in full, and of .0325, .0920, .1208, .1609 like this; with 2 for
# all, .0292 at 64 px.
JPEG_REDUCTIONS = (
    (8, cv2.IMREAD_REDUCED_COLOR_8, 4),
    (4, cv2.IMREAD_REDUCED_COLOR_4, 4),
    (2, cv2.IMREAD_REDUCED_COLOR_2, 2),
)


def quiet_decoders() -> None:
    """Keep Pillow's warnings and OpenCV's log off the console: what is wrong with a file is said with its name."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode_resized(
    path: str,
    size: int,
    *,
    reduced: bool = True,
    values: ValueRange | None = None,
    seen: Seen | None = None,
    change: Change | None = None,
) -> tuple[np.ndarray, tuple[int, int]]:
    """Read an image and bring its longer side to `size` pixels.

    Args:
        path: image file.
        size: longer side of the result; smaller images are enlarged, as in YOLOv5.
        reduced: let a JPEG be decoded at 1/2 of its size when that is still at least twice the result's, at 1/4 or 1/8
            when it is four times as much: faster, and hardly different from decoding all of it.
        values, seen: as in `mgil.datasets.reading.pixels.rgb_of`.
        change: made to the picture at its own size, which nothing reduces then.

    Returns:
        (H, W, 3) uint8 RGB and the original (height, width), after EXIF rotation.

    Raises:
        ValueError: the file is missing or cannot be decoded.
    """
    image, original_hw = _changed(path, size if reduced else None, values, seen, change)
    height, width = fitted_size_hw(original_hw, size).tolist()
    return resize_image(image, (height, width)), original_hw


def decode_scanned(
    path: str,
    size: int,
    size_hw: np.ndarray | tuple[int, int],
    *,
    reduced: bool = True,
    resized: bool = True,
    values: ValueRange | None = None,
    seen: Seen | None = None,
    change: Change | None = None,
) -> tuple[np.ndarray, tuple[int, int]]:
    """As `decode_resized`, for an image that was `size_hw` pixels large when its labels were read.

    Without `resized` the image stays as it was decoded: at its own size, or as a reduced JPEG.

    Raises:
        ValueError: the image is gone, cannot be decoded, or has another size now, so that its labels are not its own.
    """
    if resized:
        image, original_hw = decode_resized(path, size, reduced=reduced, values=values, seen=seen, change=change)
    else:
        image, original_hw = _changed(path, size if reduced else None, values, seen, change)
    height, width = int(size_hw[0]), int(size_hw[1])
    if original_hw != (height, width):
        found, before = f"{original_hw[0]}x{original_hw[1]}", f"{height}x{width} (height x width)"
        raise ValueError(f"{printable(path)}: image is {found}, but was {before} when the labels were read")
    return image, original_hw


def decode_image(path: str, values: ValueRange | None = None, seen: Seen | None = None) -> np.ndarray:
    """Read an image at its own size: (H, W, 3) uint8 RGB, after EXIF rotation; of several frames or pages the first.

    Args:
        path: image file.
        values, seen: as in `mgil.datasets.reading.pixels.rgb_of`.

    Raises:
        ValueError: the file is missing or cannot be decoded.
    """
    return _decode(path, None, values, seen)[0]


def decode_opened(
    image: Image.Image, name: str, values: ValueRange | None = None, seen: Seen | None = None
) -> np.ndarray:
    """The pixels of a Pillow image as `decode_image` gives those of a file, of several frames the current one.

    What Pillow has not decoded yet is decoded as its file is: of 16-bit colours Pillow itself keeps 8 bits.

    Args:
        image: stays as it is.
        name: what an error calls it.
        values, seen: as in `mgil.datasets.reading.pixels.rgb_of`.

    Raises:
        ValueError: it cannot be decoded.
    """
    with _named(name):
        check_brightness(image)
        if 0 in image.size:
            raise ValueError(no_pixels(image.height, image.width))
        content = _undecoded(image)
        if content is not None:
            return _decode_content(content, None, values, seen)[0]
        try:
            image.load()
        except AssertionError as error:  # Pillow's way to say so, for some formats
            raise ValueError("its file is closed") from error
        pixels = _decode_pillow(image, values, seen)
        return _upright(pixels, _orientation(image))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say what is wrong with an image together with its name."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{printable(name)}: image not found") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{printable(name)}: image {error}") from error
    except (Image.DecompressionBombError, cv2.error, *READER_ERRORS) as error:
        raise ValueError(f"{printable(name)}: image {why_unreadable(error)}") from error


def _changed(
    path: str, needed: int | None, values: ValueRange | None, seen: Seen | None, change: Change | None
) -> tuple[np.ndarray, tuple[int, int]]:
    if change is None:
        return _decode(path, needed, values, seen)
    image, original_hw = _decode(path, None, values, seen)
    return change(image), original_hw


def _decode(
    path: str, needed: int | None, values: ValueRange | None, seen: Seen | None
) -> tuple[np.ndarray, tuple[int, int]]:
    with _named(path):
        with open_regular(path) as file:
            content = file.read()
        return _decode_content(content, needed, values, seen)


def _open(content: bytes) -> Image.Image:
    """The header of a file; what is wrong with one that is no image is said."""
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise UnidentifiedImageError(why_unidentified(content[:16])) from error


def _decode_content(
    content: bytes, needed: int | None, values: ValueRange | None, seen: Seen | None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Pixels, upright, and (height, width) before a reduction."""
    with _open(content) as header:
        check_brightness(header)
        width, height = header.size
        orientation = _orientation(header)
        decoded = _decode_opencv(content, header, needed)
        pixels = _decode_pillow(header, values, seen) if decoded is None else rgb_of(decoded, values, seen)
        if header.format == "TIFF":  # loading turns it upright
            orientation = 1
        if decoded is None or header.format == "TIFF":
            height, width = pixels.shape[:2]
    pixels = _upright(pixels, orientation)
    return pixels, ((width, height) if orientation >= 5 else (height, width))


def _undecoded(image: Image.Image) -> bytes | None:
    """The file of an image that Pillow opened and has not decoded yet, nor made smaller; None for all others."""
    file = getattr(image, "fp", None)
    if not getattr(image, "tile", None) or file is None or image.format not in (*FORMATS, "MPO") or image.tell():
        return None
    place = file.tell()
    try:
        file.seek(0)
        content: bytes = file.read()
    finally:
        file.seek(place)
    with _open(content) as header:
        return content if (header.size, header.mode) == (image.size, image.mode) else None


def _decode_opencv(content: bytes, header: Image.Image, needed: int | None) -> np.ndarray | None:
    """Decode with OpenCV, several times faster than Pillow; None where OpenCV cannot, or would show something else.

    Returns:
        (H, W, C) uint8 or uint16, RGB or grey.
    """
    if header.format == "TIFF" and header.mode in COLOURS and max(_bits_of(header)) > 8:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH  # in this order of colours, whatever is asked for
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        return None if image is None or image.dtype != np.uint16 else image[..., ::-1]
    if header.format not in OPENCV_FORMATS or header.mode == "CMYK":
        return None
    is_jpeg = header.format in ("JPEG", "MPO")
    if is_jpeg and not _jpeg_is_whole(content):
        raise ValueError("the file is truncated")
    flags = cv2.IMREAD_COLOR_RGB
    if is_jpeg and needed is not None:
        longer = max(header.size)
        flags = next((flag for step, flag, left in JPEG_REDUCTIONS if longer >= left * needed * step), flags)
    is_reduced = flags != cv2.IMREAD_COLOR_RGB
    flags |= cv2.IMREAD_IGNORE_ORIENTATION | (0 if is_jpeg else cv2.IMREAD_ANYDEPTH)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if image is not None and is_reduced:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return image if image is None or not header.mode.startswith("I") else image[..., :1]


def _decode_pillow(image: Image.Image, values: ValueRange | None, seen: Seen | None) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255 instead of scaling
        stated = max(_bits_of(image))
        if image.format == "JPEG2000" or (image.format == "PPM" and not _is_raw(image)):
            values = seen = None  # the file says where white is, and Pillow has scaled to it
        elif values is None and 8 < stated < 16:
            values, seen = ValueRange.of_bits(stated), None
        grey = rgb_of(np.asarray(image).astype(np.uint16), values, seen)
        return 255 - grey if _tag(image, PHOTOMETRIC_TAG) == WHITE_IS_ZERO else grey
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])  # the colours themselves, not times alpha
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # Pillow warns of the way to RGB
    return rgb_of(np.array(image.convert("RGB")))


def _tag(image: Image.Image, tag: int) -> Any:
    """A tag of a TIFF; None of all others."""
    return getattr(image, "tag_v2", {}).get(tag) if image.format == "TIFF" else None


def _bits_of(image: Image.Image) -> tuple[int, ...]:
    """Bits of each channel, as a TIFF says; (0,) where nothing does."""
    bits = _tag(image, BITS_TAG)
    return bits if isinstance(bits, tuple) and bits and all(type(number) is int for number in bits) else (0,)


def _is_raw(image: Image.Image) -> bool:
    """Whether Pillow takes the values as they are in the file, as far as it can be told."""
    return [tile[0] for tile in getattr(image, "tile", [])] == ["raw"]


def _orientation(header: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8."""
    return orientation_of(header) if header.format == "TIFF" or "exif" in header.info else 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _jpeg_is_whole(content: bytes) -> bool:
    """Whether the end marker follows the picture's data; libjpeg would fill what is missing with grey."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xDA:  # start of the picture's data
            return content.rfind(b"\xff\xd9") > position
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return False
