"""Sizes from headers: where the quick look gives an answer, Pillow gives the same, also for damaged files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.image_header import HEAD_BYTES, plain_size_hw
from data.image_probe import FORMATS, ImageProblem, probe_image


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (40, 20), **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 4 if "A" in mode else 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    content = Image.Exif()
    content[274] = orientation
    return content.tobytes()


def pillow_size_hw(content: bytes) -> tuple[int, int] | None:
    """Pillow's answer without decoding, or None where it refuses."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            assert "exif" not in image.info or image.getexif().get(274, 1) == 1
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


@pytest.mark.parametrize(
    "content",
    [
        encoded("JPEG"),
        encoded("JPEG", "L"),
        encoded("JPEG", progressive=True, quality=30),
        encoded("JPEG", size=(1, 1)),
        encoded("JPEG", comment=b"a comment", icc_profile=b"profile" * 99, dpi=(300, 300)),
        encoded("PNG"),
        encoded("PNG", "RGBA"),
        encoded("PNG", "LA"),
        encoded("PNG", "P", size=(3, 500)),
        encoded("PNG", dpi=(72, 72)),
    ],
    ids=["rgb", "grey", "progressive", "1x1", "comment-and-profile", "png", "rgba", "la", "palette", "png-dpi"],
)
def test_plain_files_are_read_without_pillow(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    expected = pillow_size_hw(content)
    monkeypatch.setattr(Image, "open", None)
    assert plain_size_hw(str(path)) == probe_image(str(path)) == expected


@pytest.mark.parametrize(
    "content",
    [
        encoded("JPEG", exif=exif(6)),
        encoded("PNG", exif=exif(6)),
        encoded("JPEG", "CMYK"),
        encoded("PNG", "1"),
        encoded("PNG", "I;16"),
        encoded("WEBP"),
        encoded("TIFF"),
        encoded("BMP"),
        encoded("MPO", save_all=True, append_images=[Image.new("RGB", (40, 20))]),
        encoded("PNG", save_all=True, append_images=[Image.new("RGB", (40, 20))]),
        encoded("JPEG", comment=b"x" * HEAD_BYTES),
        encoded("JPEG") + b"trailer",
        encoded("JPEG")[:-1],
        encoded("PNG")[:-1],
    ],
    ids=[
        *("jpeg-exif", "png-exif", "cmyk", "1-bit", "16-bit", "webp", "tiff", "bmp", "mpo", "apng", "long-header"),
        *("jpeg-trailer", "jpeg-cut", "png-cut"),
    ],
)
def test_everything_else_is_left_to_pillow(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    assert plain_size_hw(str(path)) is None


def test_a_file_shorter_than_any_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    with pytest.raises(OSError):
        plain_size_hw(str(tmp_path / "a.jpg"))
    with pytest.raises(ImageProblem, match="is not an image file"):
        probe_image(str(tmp_path / "a.jpg"))


def test_too_many_pixels_are_left_to_pillow(tmp_path: Path) -> None:
    content = bytearray(encoded("PNG"))
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    assert plain_size_hw(str(tmp_path / "a.png")) is None
    with pytest.raises(ImageProblem, match="too many pixels"):
        probe_image(str(tmp_path / "a.png"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "content",
    [
        encoded("JPEG", icc_profile=b"profile", comment=b"comment"),
        encoded("JPEG", progressive=True),
        encoded("JPEG", exif=exif(1)),
        encoded("PNG", dpi=(72, 72)),
        encoded("PNG", "P"),
    ],
    ids=["jpeg", "progressive", "exif", "png", "palette"],
)
def test_damaged_headers_never_get_another_size_than_pillow_gives(content: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    header = max(content.find(b"\xff\xda"), content.find(b"IDAT"))
    path = tmp_path / "image"
    answered = 0
    for _ in range(1000):
        damaged = bytearray(content)
        for position in rng.integers(2, header, rng.integers(1, 4)):
            damaged[position] = rng.choice([0, 1, 0xFF, 0xC0, 0xDA, 0xD8, rng.integers(256)])
        if rng.random() < 0.3:  # lengths and names that fit, too
            cut = int(rng.integers(2, header))
            del damaged[cut : cut + int(rng.integers(1, 30))]
        if content.startswith(b"\x89PNG"):
            damaged = repair_checksums(damaged)
        path.write_bytes(damaged)
        found = plain_size_hw(str(path))
        if found is not None:
            answered += 1
            assert found == pillow_size_hw(bytes(damaged))
    assert answered or b"Exif" in content  # what has EXIF is always left to Pillow


def repair_checksums(content: bytearray) -> bytearray:
    """So that what damaged chunks say is believed."""
    start = 8
    while start + 12 <= len(content):
        end = start + 8 + int.from_bytes(content[start : start + 4], "big")
        if end + 4 > len(content):
            break
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[start + 4 : end]))
        start = end + 4
    return content
