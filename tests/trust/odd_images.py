"""Pictures of odd kinds and damaged ones, made byte by byte where no program would write them, and sets of them."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples

WIDTH, HEIGHT = 64, 32
CENTRE_BOX = b"0 0.5 0.5 0.5 0.5\n"
ORIENTATION = 274  # EXIF


def pixels(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(H, W, 3) uint8 RGB, smooth and with no symmetry that could hide a turn."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, image_format, **options)
    return content.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(Image.fromarray(pixels()), "JPEG", quality=95, exif=exif)


def in_mode(mode: str, image_format: str = "PNG", **options: object) -> bytes:
    return encoded(Image.fromarray(pixels()).convert(mode), image_format, **options)


def sixteen_bits(suffix: str, channels: str = "RGB") -> bytes:
    """Every value of `pixels` times 257, so that the high byte is the 8-bit value; alpha is nearly transparent."""
    rgb = pixels()
    bgr, alpha = rgb[..., ::-1], np.full_like(rgb[..., 0], 3)
    planes = {"grey": rgb[..., 0], "RGB": bgr, "RGBA": np.dstack([bgr, alpha])}
    return cv2.imencode(suffix, planes[channels].astype(np.uint16) * 257)[1].tobytes()


def moving(image_format: str, **options: object) -> bytes:
    """Three frames, of which the first is `pixels`."""
    frames = [Image.fromarray(np.roll(pixels(), 9 * number, axis=1)) for number in range(3)]
    return encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **options)


def png_of(width: int, height: int, rows: bytes, depth: int = 8) -> bytes:
    """A grey PNG with these size and rows, each row after a filter byte, whether they fit or not."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def damaged_within(png: bytes) -> bytes:
    """A PNG whose header and end are good and whose picture is not."""
    place = png.index(b"IDAT") + 40
    return png[:place] + bytes([png[place] ^ 0x55]) + png[place + 1 :]


def as_pillow_shows(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def high_byte(content: bytes) -> np.ndarray:
    return pixels()


def grey_high_byte(content: bytes) -> np.ndarray:
    return pixels()[..., :1].repeat(3, axis=2)


TURNED = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # EXIF of orientation 6

# What is legal and odd: file name, content, and the pixels that it must give.
LEGAL: dict[str, tuple[Callable[[], bytes], Callable[[bytes], np.ndarray]]] = {
    **{f"exif-{number}.jpg": (lambda number=number: turned(number), as_pillow_shows) for number in range(1, 9)},
    "exif-of-a-png.png": (lambda: in_mode("RGB", exif=TURNED), as_pillow_shows),
    "exif-9.jpg": (lambda: turned(9), as_pillow_shows),
    "exif-damaged.png": (lambda: in_mode("RGB", exif=b"MM\0*\0\0"), high_byte),
    "progressive.jpg": (lambda: in_mode("RGB", "JPEG", progressive=True, quality=95), as_pillow_shows),
    "grey.jpg": (lambda: in_mode("L", "JPEG"), as_pillow_shows),
    "cmyk.jpg": (lambda: in_mode("CMYK", "JPEG", quality=95), as_pillow_shows),
    "cmyk.tif": (lambda: in_mode("CMYK", "TIFF"), as_pillow_shows),
    "lab.tif": (lambda: in_mode("LAB", "TIFF"), as_pillow_shows),
    "grey-and-alpha.png": (lambda: in_mode("LA"), as_pillow_shows),
    "alpha.png": (lambda: encoded(Image.fromarray(np.dstack([pixels(), pixels()[..., 0]])), "PNG"), as_pillow_shows),
    "palette.png": (lambda: in_mode("P"), as_pillow_shows),
    "palette-and-alpha.png": (lambda: in_mode("P", transparency=3), as_pillow_shows),
    "four-colours.png": (lambda: encoded(Image.fromarray(pixels()).quantize(4), "PNG", bits=2), as_pillow_shows),
    "bilevel.png": (lambda: in_mode("1"), as_pillow_shows),
    "16-bit.png": (lambda: sixteen_bits(".png"), high_byte),
    "16-bit-alpha.png": (lambda: sixteen_bits(".png", "RGBA"), high_byte),
    "16-bit-grey.png": (lambda: sixteen_bits(".png", "grey"), grey_high_byte),
    "16-bit-grey.tif": (lambda: sixteen_bits(".tif", "grey"), grey_high_byte),
    "moving.png": (lambda: moving("PNG"), high_byte),
    "moving.webp": (lambda: moving("WEBP", lossless=True), high_byte),
    "pages.tif": (lambda: moving("TIFF"), high_byte),
    "two-pictures.jpg": (lambda: moving("MPO", quality=95), as_pillow_shows),
    "moving.jpg": (lambda: moving("GIF"), as_pillow_shows),
    "png-inside.jpg": (lambda: in_mode("RGB"), high_byte),
    "without-its-end.png": (lambda: in_mode("RGB")[:-12], high_byte),
    "jpeg-inside.png": (lambda: in_mode("RGB", "JPEG", quality=95), as_pillow_shows),
    "data-after-its-end.jpg": (lambda: in_mode("RGB", "JPEG", quality=95) + b"\0" * 3000, as_pillow_shows),
}

JPEG, PNG, WEBP = in_mode("RGB", "JPEG"), in_mode("RGB"), in_mode("RGB", "WEBP", lossless=True)
TOO_LARGE = "has more than 178,956,970 pixels, too many to be decoded safely; cut it into tiles"
NO_IMAGE = "cannot be read (not a JPEG, PNG, BMP, TIFF, WebP, GIF, JPEG 2000 or PNM file"

# What no run can use, and the reason that is told.
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", "is empty (0 bytes)"),
    "text.jpg": (b"not found", f"{NO_IMAGE})"),
    "page.jpg": (b"<html>not found</html>", f"{NO_IMAGE}; it looks like HTML or XML)"),
    "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", f"{NO_IMAGE}; it looks like HEIC)"),
    "new.jpg": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", f"{NO_IMAGE}; it looks like AVIF)"),
    "cut-2.jpg": (JPEG[:2], f"{NO_IMAGE})"),
    "cut-20.jpg": (JPEG[:20], "cannot be decoded (damaged JPEG header)"),
    "cut-300.jpg": (JPEG[:300], "cannot be decoded"),
    "cut-half.jpg": (JPEG[: (len(JPEG) + 600) // 2], "cannot be decoded"),
    "cut-end.jpg": (JPEG[:-2], "cannot be decoded"),
    "cut-last-byte.jpg": (JPEG[:-1], "cannot be decoded"),
    "cut-20.png": (PNG[:20], "cannot be decoded"),
    "cut-half.png": (PNG[: len(PNG) // 2], "cannot be decoded"),
    "cut-half.webp": (WEBP[: len(WEBP) // 2], "cannot be decoded"),
    "cut-half.bmp": (in_mode("RGB", "BMP")[:3000], "cannot be decoded"),
    "cut-half.tif": (in_mode("RGB", "TIFF")[:3000], ""),
    "no-pixels.png": (png_of(0, 5, b""), "cannot be decoded (damaged PNG header)"),
    "20000x20000.png": (png_of(20_000, 20_000, b"\0" * 9, depth=1), TOO_LARGE),
    "floats.tif": (encoded(Image.fromarray(pixels()[..., 0].astype(np.float32)), "TIFF"), "no fixed brightness"),
    "32-bit.tif": (encoded(Image.fromarray(pixels()[..., 0].astype(np.int32)), "TIFF"), "no fixed brightness"),
}


def fingerprint(folder: Path) -> dict[bytes, tuple[int, int, int, str]]:
    """Name, time, size, rights and content of everything in a folder, and of the folder itself."""
    found = {}
    for parent, folders, files in os.walk(os.fsencode(folder)):
        for path in [parent, *(os.path.join(parent, name) for name in folders + files)]:
            status = os.lstat(path)
            content = b""
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
            found[path] = (status.st_mtime_ns, status.st_size, status.st_mode, hashlib.sha256(content).hexdigest())
    return found


def write_set(root: Path, contents: dict[str, bytes], labels: dict[str, bytes] | None = None) -> Path:
    """A data set of these files; returns its YAML.

    Args:
        contents: images by file name.
        labels: label files by the image's file name; the others have a box in the middle.
    """
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    for name, content in contents.items():
        (root / "images" / name).write_bytes(content)
        (root / "labels" / name).with_suffix(".txt").write_bytes((labels or {}).get(name, CENTRE_BOX))
    path = root / "set.yaml"
    path.write_text("train: images\nval: images\nnames: [object, thing, item]\n")
    return path


def load(yaml_path: Path, lines: list[str] | None = None, *, split: str = "train", **options: bool) -> Samples:
    """The set's samples; what is reported goes to `lines`."""
    report = (lambda line: None) if lines is None else lines.append
    config = load_data_config(yaml_path)
    return load_samples(config, split, cache_dir=yaml_path.parent.parent / "cache", report=report, **options)
