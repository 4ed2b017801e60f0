"""A picture has the same pixels through every door: path, array, Pillow, folder, training, evaluation, export."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.decode import decode_image, decode_resized
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.depths import DepthTally
from mgil.datasets.reading.value_range import ValueRange
from mgil.engine.export.images import data_inputs
from mgil.engine.prediction.inputs import as_images
from mgil.engine.sources.sources import open_source
from mgil.tasks.detect.batches import detect_eval_loader
from mgil.tasks.registry import task_named
from tests.datasets.deep_pictures import pgm, png, tiff
from tests.tasks.detect.judging import train_loader
from tests.trust.odd_images import TURNED, encoded, load, write_set

SIDE = 64
RANDOM = np.random.default_rng(0)
RGBA = RANDOM.integers(0, 256, (32, SIDE, 4)).astype(np.uint8)
RGB, GREY = RGBA[..., :3], RGBA[..., 0]
DEEP = RANDOM.integers(0, 65536, (32, SIDE, 4)).astype(np.uint16)
TWELVE = DEEP[..., 0] >> 4
PALETTE = Image.fromarray(RGB).quantize(200)

STRIDE_32 = SimpleNamespace(max_stride=32)  # all that the task asks of a network here


def three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def pillow(array: np.ndarray, mode: str, image_format: str, **options: Any) -> bytes:
    """Pixels as a file in a mode of Pillow."""
    return encoded(Image.fromarray(array).convert(mode), image_format, **options)


def turned(array: np.ndarray, turn: int) -> np.ndarray:
    """As Pillow turns it."""
    image = Image.fromarray((array >> 8).astype(np.uint8))
    exif = Image.Exif()
    exif[274] = turn
    image.info["exif"] = exif.tobytes()
    return np.asarray(ImageOps.exif_transpose(image))


LA, LIT = RGBA[..., :2], (GREY > 127) * np.uint8(255)
EXACT = {"WEBP": {"lossless": True, "exact": True}}
# File name, content, and what 8 bits of it must be: worked out from the array that was saved.
SHALLOW: dict[str, tuple[bytes, np.ndarray]] = {
    **{f"1.{end}": (encoded(Image.fromarray(GREY > 127), kind), three(LIT)) for end, kind in
       (("png", "PNG"), ("tif", "TIFF"), ("bmp", "BMP"), ("pbm", "PPM"))},
    **{f"L.{end}": (pillow(GREY, "L", kind), three(GREY)) for end, kind in
       (("png", "PNG"), ("tif", "TIFF"), ("bmp", "BMP"), ("pgm", "PPM"), ("jp2", "JPEG2000"))},
    **{f"LA.{end}": (encoded(Image.fromarray(LA, "LA"), kind), three(GREY)) for end, kind in
       (("png", "PNG"), ("tif", "TIFF"), ("jp2", "JPEG2000"))},
    **{f"P.{end}": (encoded(PALETTE, kind), np.array(PALETTE.convert("RGB"))) for end, kind in
       (("png", "PNG"), ("tif", "TIFF"), ("bmp", "BMP"))},
    "P-gif.jpg": (encoded(PALETTE, "GIF"), np.array(PALETTE.convert("RGB"))),
    "P-one-clear.png": (encoded(PALETTE, "PNG", transparency=7), np.array(PALETTE.convert("RGB"))),
    "P-clear.png": (encoded(PALETTE, "PNG", transparency=bytes(range(200))), np.array(PALETTE.convert("RGB"))),
    "L-clear.png": (pillow(GREY, "L", "PNG", transparency=100), three(GREY)),
    **{f"RGB.{end}": (pillow(RGB, "RGB", kind, **EXACT.get(kind, {})), RGB) for end, kind in
       (("png", "PNG"), ("tif", "TIFF"), ("bmp", "BMP"), ("ppm", "PPM"), ("jp2", "JPEG2000"), ("webp", "WEBP"))},
    "RGB-lzw.tif": (pillow(RGB, "RGB", "TIFF", compression="tiff_lzw"), RGB),
    **{f"RGBA.{end}": (pillow(RGBA, "RGBA", kind, **EXACT.get(kind, {})), RGB) for end, kind in
       (("png", "PNG"), ("tif", "TIFF"), ("jp2", "JPEG2000"), ("webp", "WEBP"))},
    "white-is-zero.tif": (tiff(255 - GREY, bits=8, photometric=0), three(GREY)),
    # of inks and of brightness and colour, Pillow's own conversion to RGB counts
    **{f"{mode}.tif": (pillow(RGB, mode, "TIFF"), np.array(Image.fromarray(RGB).convert(mode).convert("RGB")))
       for mode in ("CMYK", "YCbCr", "LAB")},
}  # fmt: skip
# Content, 16-bit values (0 to 65535, or 0 to 4095 where the file says so), and whether a range of the user's counts.
DEEPER: dict[str, tuple[bytes, np.ndarray, bool]] = {
    "grey.png": (png(DEEP[..., :1]), three(DEEP[..., 0]), True),
    "grey-alpha.png": (png(DEEP[..., :2]), three(DEEP[..., 0]), True),
    "rgb.png": (png(DEEP[..., :3]), DEEP[..., :3], True),
    "rgba.png": (png(DEEP), DEEP[..., :3], True),
    "grey.tif": (tiff(DEEP[..., 0]), three(DEEP[..., 0]), True),
    "grey-big-endian.tif": (tiff(DEEP[..., 0], order=">"), three(DEEP[..., 0]), True),
    "rgb.tif": (tiff(DEEP[..., :3]), DEEP[..., :3], True),
    "rgba-big-endian.tif": (tiff(DEEP, order=">"), DEEP[..., :3], True),
    "grey.pgm": (pgm(DEEP[..., 0], 65535), three(DEEP[..., 0]), True),
    "grey.jp2": (encoded(Image.fromarray(DEEP[..., 0]), "JPEG2000"), three(DEEP[..., 0]), False),
}
RANGES = [None, ValueRange.of_bits(12), ValueRange.of_bits(16), ValueRange(20000, 41000)]


def in_8_bits(deep: np.ndarray, values: ValueRange | None) -> np.ndarray:
    if values is None:
        return (deep // 256).astype(np.uint8)
    low, high = values.ends
    return np.round((np.clip(deep.astype(float), low, high) - low) * 255 / (high - low)).astype(np.uint8)


def seen_by_loaders(yaml_path: Path, values: ValueRange | None) -> Iterator[tuple[str, str, np.ndarray]]:
    """Door, file name and pixels of training with both stores, of evaluation and of export."""
    samples = load(yaml_path, strict=True)
    names = [os.path.basename(path) for path in samples.image_paths]
    quiet: dict[str, Any] = {"report": lambda line: None}
    for store in ("resident", "streamed"):
        options = {"rect": True, "store": store, "strict": True, "values": values}
        for batch in train_loader(samples, SIDE, 1, AugmentConfig.none(), **options, **quiet).epoch(0):
            yield store, names[batch.indices[0]], batch.images[0].numpy().transpose(1, 2, 0)
    loader = detect_eval_loader(samples, SIDE, 1, strict=True, **quiet)
    loader.depths = DepthTally(values)
    for batch in loader:
        yield "evaluation", names[batch.indices[0]], batch.images[0].numpy().transpose(1, 2, 0)
    config = load_data_config(yaml_path)
    assert config.values == values
    inputs = data_inputs(task_named("detect"), STRIDE_32, config, ("val",), (SIDE, SIDE), len(names), print)
    for name, image in zip(names, inputs, strict=True):
        yield "export", name, (image[:, 16:48] * 255).round().byte().numpy().transpose(1, 2, 0)


def seen_by_models(folder: Path, values: ValueRange | None) -> Iterator[tuple[str, str, np.ndarray]]:
    """Door, file name and pixels of detect.py's folders and of everything that a loaded model takes."""
    paths = sorted(folder.iterdir())
    for (frame,) in open_source(str(folder), depths=DepthTally(values), report=print):
        yield "folder", os.path.basename(frame.path), frame.image
    tally = DepthTally(values)
    for path, (image, _) in zip(paths, as_images(list(map(str, paths)), tally), strict=True):
        yield "list", path.name, image
    for path in paths:
        yield "reduced", path.name, decode_resized(str(path), SIDE, values=values)[0]
        with Image.open(path) as opened:
            place = opened.fp.tell()  # type: ignore[union-attr]
            ((image, _),) = as_images(opened, tally)
            assert opened.fp is None or opened.fp.tell() == place or opened.tile == []
            yield "opened", path.name, image
            opened.load()
            if "16" not in opened.mode and path.name in DEEPER and opened.mode != "I":
                continue  # Pillow has thrown away the other 8 bits
            if path.suffix == ".pgm" and path.name in DEEPER:
                continue  # nor does it say any more how it was scaled
            ((image, _),) = as_images(opened, tally)
            yield "loaded", path.name, image
            if opened.mode in ("1", "L", "LA", "RGB", "RGBA", "I;16") and path.suffix != ".jp2":
                ((image, _),) = as_images(np.asarray(opened), tally)
                yield "array", path.name, image


@pytest.mark.parametrize("values", RANGES)
def test_a_picture_is_the_same_through_every_door(values: ValueRange | None, tmp_path: Path) -> None:
    files = {name: content for name, (content, _) in SHALLOW.items()}
    expected = {name: pixels for name, (_, pixels) in SHALLOW.items()}
    if values is not None:
        files = dict(list(files.items())[:4])  # a range changes no 8 bits, whatever holds them
    files |= {name: content for name, (content, _, _) in DEEPER.items()}
    expected |= {name: in_8_bits(deep, values if has else None) for name, (_, deep, has) in DEEPER.items()}
    yaml_path = write_set(tmp_path / "set", files)
    if values:
        yaml_path.write_text(f"{yaml_path.read_text()}{values}\n")
    doors: dict[str, set[str]] = {name: set() for name in files}
    folder = tmp_path / "set" / "images"
    for door, name, pixels in (*seen_by_loaders(yaml_path, values), *seen_by_models(folder, values)):
        assert pixels.dtype == np.uint8 and (pixels.flags.writeable or door == "array")
        np.testing.assert_array_equal(pixels, expected[name], err_msg=f"{door}: {name}")
        doors[name].add(door)
    usual = {"resident", "streamed", "evaluation", "export", "folder", "list", "reduced", "opened"}
    assert all(usual <= used for used in doors.values())
    assert all("loaded" in doors[name] for name in files if name in SHALLOW)


@pytest.mark.parametrize(("store", "workers"), [("resident", 0), ("streamed", 0), ("streamed", 1)])
def test_training_counts_what_it_decodes_once(store: str, workers: int, tmp_path: Path) -> None:
    contents = {f"{number}.png": png(DEEP[:, :, :3] >> 4) for number in range(3)}
    samples = load(write_set(tmp_path / "set", {**contents, "8.png": encoded(Image.fromarray(RGB), "PNG")}))
    lines: list[str] = []
    options: dict[str, Any] = {"store": store, "workers": workers, "report": lines.append}
    loader = train_loader(samples, SIDE, 2, AugmentConfig.none(), **options)
    loader.batch(0, 0)  # as for a picture of it
    for epoch in range(2):
        assert len(list(loader.epoch(epoch))) == 2
    (line,) = [line for line in lines if line.startswith("warning: ")]
    assert "3 of 3 pictures of more than 8 bits use only 12 of their 16 bits (values " in line


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "CMYK", "RGBX", "RGBa", "La", "PA", "LAB", "P", "I;16B"])
def test_a_picture_made_with_pillow(mode: str) -> None:
    """Of modes that no file may have."""
    image = Image.fromarray(RGBA)
    if mode == "I;16B":
        image, expected = Image.fromarray(DEEP[..., 0].astype(">u2")), three(DEEP[..., 0] >> 8)
    elif mode in ("RGBa", "La"):
        image = (image.convert("LA") if mode == "La" else image).convert(mode)
        expected = np.array(image.convert(mode[:-1] + "A").convert("RGB"))
    else:
        image = image.convert("LA").convert("PA") if mode == "PA" else image.convert("RGB").convert(mode)
        expected = np.array(image.convert("RGB"))
    ((found, name),) = as_images(image, DepthTally())
    assert image.mode == mode and name == "image0"
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_tiff_of_any_depth_is_upright(turn: int, tmp_path: Path) -> None:
    for deep, order in ((DEEP[..., :3], "<"), (DEEP[..., :3], ">"), (DEEP[..., 0], ">")):
        path = tmp_path / "turned.tif"
        path.write_bytes(tiff(deep, turn=turn, order=order))
        rgb = turned(deep, turn)
        with Image.open(path) as opened:
            for given in (str(path), opened):
                ((found, _),) = as_images(given, DepthTally())
                np.testing.assert_array_equal(found, rgb if deep.ndim == 3 else three(rgb))


def test_a_file_that_says_how_many_bits_it_has_is_scaled_by_them(tmp_path: Path) -> None:
    expected = three(in_8_bits(TWELVE, ValueRange.of_bits(12)))
    contents = {"a.tif": tiff(TWELVE, bits=12), "b.pgm": pgm(TWELVE, 4095)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        for values in (None, ValueRange.of_bits(12)):
            tally, lines = DepthTally(values), list[str]()
            found = decode_image(str(tmp_path / name), values, tally.add)
            tally.close(lines.append)
            assert lines == []
            assert np.abs(found.astype(int) - expected).max() <= 1, name  # Pillow scales a PGM by itself
    (tmp_path / "c.tif").write_bytes(tiff(65535 - DEEP[..., 0], photometric=0))
    np.testing.assert_array_equal(decode_image(str(tmp_path / "c.tif")), three(DEEP[..., 0] >> 8))


LOSSY: dict[str, Callable[[], bytes]] = {
    "colours.jpg": lambda: pillow(RGB, "RGB", "JPEG", quality=90),
    "grey.jpg": lambda: pillow(GREY, "L", "JPEG"),
    "inks.jpg": lambda: pillow(RGB, "CMYK", "JPEG", quality=90),
    "two.mpo": lambda: encoded(
        Image.fromarray(RGB), "MPO", save_all=True, append_images=[Image.fromarray(255 - RGB)], quality=90
    ),
    "lossy.webp": lambda: pillow(RGB, "RGB", "WEBP", quality=80),
    "turned.jpg": lambda: pillow(RGB, "RGB", "JPEG", exif=b"Exif\0\0" + TURNED),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSY)
def test_a_picture_that_loses_detail_loses_the_same_everywhere(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(LOSSY[name]())
    with Image.open(path) as opened:
        shown = np.asarray(ImageOps.exif_transpose(opened).convert("RGB")).astype(int)
    whole = decode_image(str(path))
    assert whole.shape == shown.shape and np.abs(whole - shown).max() <= 3  # decoders may differ by rounding
    with Image.open(path) as opened:
        ((image, _),) = as_images(opened, DepthTally())
    np.testing.assert_array_equal(image, whole)


def test_of_several_frames_the_first_and_in_pillow_the_current(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(RGB, 9 * number, axis=1)) for number in range(3)]
    for name, options in {"a.tif": {}, "a.png": {}, "a.webp": EXACT["WEBP"]}.items():
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(decode_image(str(tmp_path / name)), RGB)
        with Image.open(tmp_path / name) as opened:
            for number in (0, 2, 1):
                opened.seek(number)
                ((found, _),) = as_images(opened, DepthTally())
                np.testing.assert_array_equal(found, np.asarray(frames[number]), err_msg=name)


REFUSED: dict[str, tuple[Any, str, str]] = {
    "float": (np.float32, "TIFF", "floating point pixels have no fixed brightness; convert the image to 8 or 16 bits"),
    "whole": (np.int32, "TIFF", "32-bit pixels have no fixed brightness; convert the image to 8 or 16 bits"),
    "pfm": (np.float32, "PPM", "floating point pixels have no fixed brightness; convert the image to 8 or 16 bits"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_one_door_refuses_all_refuse_with_the_same_words(kind: str, tmp_path: Path) -> None:
    dtype, image_format, words = REFUSED[kind]
    image = Image.fromarray(GREY.astype(dtype))
    content = encoded(image, image_format)
    yaml_path = write_set(tmp_path / "set", {"odd.tif": content, "good.png": encoded(Image.fromarray(RGB), "PNG")})
    path = tmp_path / "set" / "images" / "odd.tif"
    for given in (str(path), path, image, [image], Image.open(io.BytesIO(content)), np.asarray(image)):
        with pytest.raises(ValueError, match=words):
            list(as_images(given, DepthTally()))
    lines: list[str] = []
    assert len(load(yaml_path, lines)) == 1
    assert len(list(open_source(str(path.parent), report=lines.append))) == 1
    assert [words in line for line in lines] == [True, False, True]


def test_an_image_of_pillow_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(RGB), "PNG")
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    opened = Image.open(tmp_path / "cut.png")
    with pytest.raises(ValueError, match=r"cut.png: image cannot be decoded \("):
        list(as_images(opened, DepthTally()))
    opened.close()
    for image in (opened, Image.open(io.BytesIO(content[:3000]))):
        with pytest.raises(ValueError, match="image cannot be decoded"):
            list(as_images([image], DepthTally()))
    Image.fromarray(RGB).save(tmp_path / "closed.ppm")
    with Image.open(tmp_path / "closed.ppm") as opened:
        pass
    with pytest.raises(ValueError, match=r"closed.ppm: image cannot be decoded \("):
        list(as_images(opened, DepthTally()))
    with pytest.raises(ValueError, match=r"image1: image cannot be decoded \(has no pixels \(0x5\)\)"):
        list(as_images([Image.fromarray(RGB), Image.new("RGB", (5, 0))], DepthTally()))


def test_an_opened_picture_that_was_made_smaller_or_changed_is_taken_as_it_is() -> None:
    content = encoded(Image.fromarray(cv2.resize(RGB, (512, 256))), "JPEG")
    small = Image.open(io.BytesIO(content))
    small.draft("RGB", (64, 32))
    ((found, _),) = as_images(small, DepthTally())
    assert found.shape == (32, 64, 3)
    changed = Image.open(io.BytesIO(content))
    changed.paste((9, 9, 9), (0, 0, 512, 256))
    ((found, _),) = as_images(changed, DepthTally())
    assert (found == 9).all()


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.from_numpy(RGB.copy()).permute(2, 0, 1), RGB),
        (torch.from_numpy(RGB.copy()).permute(2, 0, 1).float() / 255, RGB),
        (torch.from_numpy(RGBA.copy()).permute(2, 0, 1), RGB),
        (torch.from_numpy(GREY.copy())[None], three(GREY)),
        (torch.from_numpy(GREY.copy())[None] > 127, three(LIT)),
        (torch.from_numpy(DEEP[..., :3].copy()).permute(2, 0, 1), DEEP[..., :3] >> 8),
        (torch.from_numpy(RGB.copy()).permute(2, 0, 1)[:, ::2, ::3].half().div(255), RGB[::2, ::3]),
        (torch.ones(3, 4, 5, dtype=torch.bfloat16, requires_grad=True), np.full((4, 5, 3), 255)),
    ],
)
def test_tensors(tensor: torch.Tensor, expected: np.ndarray) -> None:
    ((found, _),) = as_images(tensor, DepthTally())
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)
