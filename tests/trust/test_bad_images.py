"""Odd, damaged and vanishing images on the way through training, evaluation and detection."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.decode import quiet_decoders
from mgil.engine.sources.sources import open_source
from mgil.tasks.detect.batches import detect_eval_loader
from tests.tasks.detect.judging import train_loader
from tests.trust.odd_images import HEIGHT, LEGAL, PNG, REFUSED, WIDTH, in_mode, load, pixels, png_of, write_set

SIZE = 32


# Odd and legal -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def odd_set(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[np.ndarray]]:
    """The pixels of every legal file as the training, the evaluation and the detection see them."""
    yaml_path = write_set(tmp_path_factory.mktemp("odd") / "set", {name: make() for name, (make, _) in LEGAL.items()})
    samples = load(yaml_path, strict=True)
    names = [os.path.basename(path) for path in samples.image_paths]
    seen: dict[str, list[np.ndarray]] = {name: [] for name in names}
    quiet = {"report": lambda line: None}
    plain = AugmentConfig.none()
    for store in ("resident", "streamed"):
        for batch in train_loader(samples, WIDTH, 1, plain, rect=True, store=store, strict=True, **quiet).epoch(0):
            seen[names[batch.indices[0]]].append(batch.images[0].numpy().transpose(1, 2, 0))
            assert batch.targets[:, 1:4].tolist() == [[0, *(side / 2 for side in batch.images.shape[:1:-1])]]
    for batch in detect_eval_loader(samples, WIDTH, 1, pad=0.0, strict=True, **quiet):
        seen[names[batch.indices[0]]].append(batch.images[0].numpy().transpose(1, 2, 0))
    for (frame,) in open_source(str(yaml_path.parent / "images"), **quiet):
        seen[os.path.basename(frame.path)].append(frame.image)
    return seen


@pytest.mark.parametrize("name", LEGAL)
def test_an_odd_picture_has_the_right_pixels_everywhere(odd_set: dict[str, list[np.ndarray]], name: str) -> None:
    make, reference = LEGAL[name]
    expected = reference(make()).astype(int)
    assert len(odd_set[name]) == 4
    is_jpeg = make().startswith(b"\xff\xd8")  # decoders may differ by rounding
    for image in odd_set[name]:
        assert image.shape == expected.shape
        assert np.abs(image - expected).max() <= (3 if is_jpeg else 0)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20_000, 1), (1, 20_000), (3, 1)])
def test_images_of_one_pixel_and_of_twenty_thousand(tmp_path: Path, width: int, height: int) -> None:
    yaml_path = write_set(tmp_path / "set", {"thin.png": png_of(width, height, (b"\0" + b"\x4d" * width) * height)})
    samples = load(yaml_path, strict=True)
    assert samples.sizes_hw.tolist() == [[height, width]]
    longest = max(width, height)
    shown_hw = (-(-height * SIZE // longest), -(-width * SIZE // longest))
    quiet = {"report": lambda line: None}
    (batch,) = train_loader(samples, SIZE, 1, AugmentConfig.none(), strict=True, **quiet).epoch(0)
    (checked,) = detect_eval_loader(samples, SIZE, 1, strict=True, **quiet)
    for images in (batch.images, checked.images):
        assert (images == 0x4D).sum() == 3 * shown_hw[0] * shown_hw[1]
        assert ((images == 0x4D) | (images == 114)).all()
    assert np.isfinite(checked.targets.numpy()).all() and len(checked.targets) == 1
    ((frame,),) = open_source(str(tmp_path / "set" / "images"))
    assert frame.image.shape == (height, width, 3) and (frame.image == 0x4D).all()


def test_a_jpeg_with_damage_that_nobody_can_see_is_used_as_it_is_decoded(tmp_path: Path) -> None:
    whole = in_mode("RGB", "JPEG", quality=95)
    place = len(whole) - 60  # JPEG has no checksums: what follows is merely another picture
    damaged = whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :]
    yaml_path = write_set(tmp_path / "set", {"a.jpg": damaged})
    samples = load(yaml_path, strict=True)
    (batch,) = train_loader(samples, WIDTH, 1, AugmentConfig.none(), rect=True, strict=True).epoch(0)
    assert np.abs(batch.images[0, :, :8].numpy().transpose(1, 2, 0).astype(int) - pixels()[:8]).mean() < 3


# Refused when the labels are read ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", REFUSED)
def test_an_image_that_cannot_be_used_is_told_and_skipped(tmp_path: Path, name: str) -> None:
    content, reason = REFUSED[name]
    yaml_path = write_set(tmp_path / "set", {name: content, "good-1.png": PNG, "good-2.png": PNG})
    path = tmp_path / "set" / "images" / name
    lines: list[str] = []
    samples = load(yaml_path, lines)
    assert [os.path.basename(used) for used in samples.image_paths] == ["good-1.png", "good-2.png"]
    assert lines[0].startswith(f"{path}: ") and reason in lines[0] and lines[0].endswith("; image skipped")
    assert lines[1:] == ["train: 2 images, 2 boxes, 1 images skipped"]
    with pytest.raises(ValueError, match=r"train: 1 problem, errors with --strict; the first: .*image skipped"):
        load(yaml_path, strict=True)
    told: list[str] = []
    source = open_source(str(tmp_path / "set" / "images"), report=told.append)
    assert [os.path.basename(frame.path) for (frame,) in source] == ["good-1.png", "good-2.png"]
    (line,) = told
    assert (
        line.startswith(f"skipped: {path}: image ") and reason in line and "\n" not in line and "object at" not in line
    )


def test_pictures_of_kinds_that_are_not_read_are_counted(tmp_path: Path) -> None:
    others = {"a.heic": b"", "b.HEIC": b"", "c.gif": LEGAL["moving.jpg"][0]()}
    yaml_path = write_set(tmp_path / "set", {"good.png": PNG, **others})
    lines: list[str] = []
    assert len(load(yaml_path, lines)) == 1
    folder = tmp_path / "set" / "images"
    assert lines[:2] == [
        f"{folder}: 1 .gif file is not read; convert to JPEG or PNG",
        f"{folder}: 2 .heic files are not read; convert to JPEG or PNG",
    ]
    with pytest.raises(ValueError, match="2 problems, errors with --strict"):
        load(yaml_path, strict=True)


def test_a_split_of_nothing_but_bad_images_is_an_error_that_names_the_first(tmp_path: Path) -> None:
    bad = {name: REFUSED[name][0] for name in ("cut-half.jpg", "empty.jpg", "text.jpg")}
    with pytest.raises(ValueError, match=r"none of the images can be used; the first: .*cut-half\.jpg: cannot be"):
        load(write_set(tmp_path / "set", bad))


def test_what_is_wrong_is_said_once_and_not_by_the_libraries_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT - 1)  # Pillow warns from here on
    contents = {"good.png": PNG, "page.tif": in_mode("RGB", "TIFF"), "cut.png": PNG[:-200]}
    yaml_path = write_set(tmp_path / "set", contents)
    lines: list[str] = []
    level = cv2.utils.logging.getLogLevel()
    with warnings.catch_warnings(record=True) as caught:
        quiet_decoders()  # as every script does
        load(yaml_path, lines)
        list(open_source(str(tmp_path / "set" / "images"), report=lines.append))
    cv2.utils.logging.setLogLevel(level)
    assert not caught and capfd.readouterr() == ("", "")
    assert [line for line in lines if "cut.png" in line] == [lines[0], lines[-1]]
