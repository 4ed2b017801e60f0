"""From an image file to pixels: always uint8 RGB, upright, at the size that is needed."""

from __future__ import annotations

import io
import warnings

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
from mgil.files.regular import open_regular
from mgil.files.text import printable

# OpenCV decodes these as Pillow shows them; CMYK, Lab and rarer formats are left to Pillow.
OPENCV_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "WEBP", "TIFF")
# Pillow knows more, but some of those run other programs to decode.
READABLE_FORMATS = (*FORMATS, "GIF", "JPEG2000", "PPM")
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


def decode_resized(path: str, size: int, *, reduced: bool = True) -> tuple[np.ndarray, tuple[int, int]]:
    """Read an image and bring its longer side to `size` pixels.

    Args:
        path: image file.
        size: longer side of the result; smaller images are enlarged, as in YOLOv5.
        reduced: let a JPEG be decoded at 1/2 of its size when that is still at least twice the result's, at 1/4 or 1/8
            when it is four times as much: faster, and hardly different from decoding all of it.

    Returns:
        (H, W, 3) uint8 RGB and the original (height, width), after EXIF rotation.

    Raises:
        ValueError: the file is missing or cannot be decoded.
    """
    image, original_hw = _decode(path, size if reduced else None)
    height, width = fitted_size_hw(original_hw, size).tolist()
    return resize_image(image, (height, width)), original_hw


def decode_scanned(
    path: str, size: int, size_hw: np.ndarray | tuple[int, int], *, reduced: bool = True
) -> tuple[np.ndarray, tuple[int, int]]:
    """As `decode_resized`, for an image that was `size_hw` pixels large when its labels were read.

    Raises:
        ValueError: the image is gone, cannot be decoded, or has another size now, so that its labels are not its own.
    """
    image, original_hw = decode_resized(path, size, reduced=reduced)
    height, width = int(size_hw[0]), int(size_hw[1])
    if original_hw != (height, width):
        found, before = f"{original_hw[0]}x{original_hw[1]}", f"{height}x{width} (height x width)"
        raise ValueError(f"{printable(path)}: image is {found}, but was {before} when the labels were read")
    return image, original_hw


def decode_image(path: str) -> np.ndarray:
    """Read an image at its own size: (H, W, 3) uint8 RGB, after EXIF rotation.

    Raises:
        ValueError: the file is missing or cannot be decoded.
    """
    return _decode(path, None)[0]


def _decode(path: str, needed: int | None) -> tuple[np.ndarray, tuple[int, int]]:
    content = b""
    try:
        with open_regular(path) as file:
            content = file.read()
        with Image.open(io.BytesIO(content), formats=READABLE_FORMATS) as header:
            check_brightness(header)
            width, height = header.size
            orientation = _orientation(header)
            pixels = _decode_opencv(content, header, orientation, needed)
            if pixels is None:
                pixels = _decode_pillow(header)
                orientation = _orientation(header)  # again: loading a TIFF turns it upright
                height, width = pixels.shape[:2]
    except FileNotFoundError as error:
        raise ValueError(f"{printable(path)}: image not found") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{printable(path)}: image {why_unidentified(content[:16])}") from error
    except (Image.DecompressionBombError, cv2.error, *READER_ERRORS) as error:
        raise ValueError(f"{printable(path)}: image {why_unreadable(error)}") from error
    pixels = _upright(pixels, orientation)
    return pixels, ((width, height) if orientation >= 5 else (height, width))


def _decode_opencv(content: bytes, header: Image.Image, orientation: int, needed: int | None) -> np.ndarray | None:
    """Decode with OpenCV, several times faster than Pillow; None where OpenCV cannot, or would show something else."""
    is_jpeg = header.format in ("JPEG", "MPO")
    is_turned_tiff = header.format == "TIFF" and orientation != 1
    if header.format not in OPENCV_FORMATS or header.mode in ("CMYK", "LAB") or is_turned_tiff:
        return None
    if is_jpeg and not _jpeg_is_whole(content):
        raise ValueError("the file is truncated")
    flags = cv2.IMREAD_COLOR_RGB
    if is_jpeg and needed is not None:
        longer = max(header.size)
        flags = next((flag for step, flag, left in JPEG_REDUCTIONS if longer >= left * needed * step), flags)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None or flags == cv2.IMREAD_COLOR_RGB:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _decode_pillow(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255 instead of scaling
        return np.repeat((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


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
