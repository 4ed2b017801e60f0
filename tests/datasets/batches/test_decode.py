from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mgil.datasets.batches.decode import decode_image, decode_resized
from tests.datasets.scenes import smooth_image


@pytest.fixture
def picture() -> np.ndarray:
    return gentle_image(90, 140)


def gentle_image(height: int, width: int) -> np.ndarray:
    """Without detail that JPEG or a reduction would take away."""
    small = smooth_image(np.random.default_rng(0), 16, 24)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path: Path, image: Image.Image, **options: object) -> str:
    image.save(path, **options)
    return str(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation(tmp_path: Path, picture: np.ndarray, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = save(tmp_path / f"turned{suffix}", Image.fromarray(picture), exif=exif, quality=95)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    decoded = decode_image(path)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).mean() < 1
    tile, original_hw = decode_resized(path, 32)
    assert original_hw == expected.shape[:2]
    assert max(tile.shape[:2]) == 32
    reference = cv2.resize(expected, tile.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(tile.astype(int) - reference).mean() < 3


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".gif", ".jp2", ".ppm", ".jpg"])
def test_formats(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {"quality": 95} if suffix == ".jpg" else {}
    decoded = decode_image(save(tmp_path / f"image{suffix}", Image.fromarray(picture), **options))
    tolerance = {".jpg": 3, ".gif": 15}.get(suffix, 0)  # compressed; a palette of 256 colours
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    assert np.abs(decoded.astype(int) - picture).mean() <= tolerance


def test_sixteen_bits_keep_their_high_byte(tmp_path: Path, picture: np.ndarray) -> None:
    deep = picture.astype(np.uint16) * 257
    path = tmp_path / "deep.png"
    path.write_bytes(cv2.imencode(".png", deep[..., ::-1])[1].tobytes())
    assert np.abs(decode_image(str(path)).astype(int) - picture).max() <= 1
    for suffix in (".png", ".tif"):
        grey = tmp_path / f"deep_grey{suffix}"
        grey.write_bytes(cv2.imencode(suffix, deep[..., 0])[1].tobytes())
        assert np.abs(decode_image(str(grey)).astype(int) - picture[..., :1]).max() <= 1


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA"])
def test_modes_become_rgb(tmp_path: Path, picture: np.ndarray, mode: str) -> None:
    image = Image.fromarray(picture).convert(mode)
    decoded = decode_image(save(tmp_path / "image.png", image))
    np.testing.assert_array_equal(decoded, np.asarray(image.convert("RGB")))


def test_alpha_is_dropped_not_blended(tmp_path: Path, picture: np.ndarray) -> None:
    alpha = np.dstack([picture, np.full(picture.shape[:2], 10, np.uint8)])
    decoded = decode_image(save(tmp_path / "clear.png", Image.fromarray(alpha)))
    np.testing.assert_array_equal(decoded, picture)


def test_cmyk_jpeg(tmp_path: Path, picture: np.ndarray) -> None:
    path = save(tmp_path / "print.jpg", Image.fromarray(picture).convert("CMYK"), quality=95)
    assert np.abs(decode_image(path).astype(int) - picture).mean() < 5
    assert decode_resized(path, 20)[1] == (90, 140)


@pytest.mark.parametrize(("size_hw", "expected"), [((1, 1), (32, 32)), ((1, 500), (1, 32)), ((500, 1), (32, 1))])
def test_thin_images(tmp_path: Path, size_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    path = save(tmp_path / "thin.png", Image.fromarray(np.full((*size_hw, 3), 77, np.uint8)))
    tile, original_hw = decode_resized(path, 32)
    assert original_hw == size_hw
    assert tile.shape == (*expected, 3) and (tile == 77).all()


def test_small_images_are_enlarged(tmp_path: Path) -> None:
    path = save(tmp_path / "small.png", Image.fromarray(smooth_image(np.random.default_rng(0), 10, 20)))
    assert decode_resized(path, 64)[0].shape == (32, 64, 3)


@pytest.mark.parametrize(
    ("size", "decoded_side"), [(16, 64), (17, 128), (32, 128), (33, 256), (128, 256), (129, 512), (600, 512)]
)
def test_reduced_scale_keeps_more_than_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, decoded_side: int
) -> None:
    path = save(tmp_path / "large.jpg", Image.fromarray(gentle_image(512, 384)), quality=95)
    decode, sides = cv2.imdecode, []

    def watched(content: np.ndarray, flags: int) -> np.ndarray:
        image = decode(content, flags)
        sides.append(max(image.shape))
        return image

    monkeypatch.setattr(cv2, "imdecode", watched)
    reduced, whole = decode_resized(path, size)[0], decode_resized(path, size, reduced=False)[0]
    assert sides == [decoded_side, 512]
    assert reduced.shape == whole.shape
    assert np.abs(reduced.astype(int) - whole).mean() < 2


def test_names_of_any_bytes(tmp_path: Path, picture: np.ndarray) -> None:
    for name in ("画像 1.png", os.fsdecode(b"\xff\xfe.png")):
        path = os.path.join(tmp_path, name)
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "png")
        try:
            with open(path, "wb") as file:
                file.write(content.getvalue())
        except (OSError, UnicodeError):
            continue  # the file system does not take such names
        np.testing.assert_array_equal(decode_image(path), picture)


def jpeg_bytes(picture: np.ndarray, **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "jpeg", **options)
    return content.getvalue()


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "header", "png", "float", "folder"])
def test_what_cannot_be_decoded_is_named(tmp_path: Path, picture: np.ndarray, kind: str) -> None:
    path = tmp_path / "broken\n.jpg"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("<html>not found</html>")
    elif kind == "truncated":
        path.write_bytes(jpeg_bytes(picture)[:-200])
    elif kind == "header":
        path.write_bytes(jpeg_bytes(picture)[:300])
    elif kind == "png":
        Image.fromarray(picture).save(path, "png")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "float":
        Image.fromarray(picture[..., 0].astype(np.float32)).save(path, "tiff")
    elif kind == "folder":
        path.mkdir()
    for reduced in (True, False):
        with pytest.raises(ValueError, match="broken") as caught:
            decode_resized(str(path), 32, reduced=reduced)
        assert "image" in str(caught.value)


def test_a_whole_jpeg_may_be_followed_by_other_data_and_hold_a_thumbnail(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "phone.jpg"
    path.write_bytes(jpeg_bytes(picture) + b"\0" * 5000)
    assert decode_image(str(path)).shape == picture.shape
    # A thumbnail in the header has an end marker of its own, which must not pass for the picture's.
    whole = jpeg_bytes(picture, comment=jpeg_bytes(picture[:8, :8]))
    path.write_bytes(whole)
    assert decode_image(str(path)).shape == picture.shape
    path.write_bytes(whole[:-300])
    with pytest.raises(ValueError, match="truncated"):
        decode_image(str(path))
