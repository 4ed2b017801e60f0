"""Lists of images, file names and COCO json files with mistakes in them, up to the batches that come out.

Single entries of a COCO json are listed in tests/datasets/reading/test_coco_json.py.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.reading.samples import Samples
from mgil.engine.prediction.writers import VideoFile
from mgil.engine.sources.sources import StreamSource, open_source
from mgil.tasks.detect.batches import detect_eval_loader
from tests.tasks.detect.judging import train_loader
from tests.trust.odd_images import CENTRE_BOX, HEIGHT, PNG, WIDTH, fingerprint, load, write_set

# File names that are legal and awkward, as bytes.
NAMES = [
    b"two words.png",
    "ünï 画像 \U0001f642.png".encode(),
    b"caf\xe9.png",  # Latin-1: not UTF-8
    b"\xff\xfe\xfd.png",
    b"new\nline.png",
    b"tab\there.png",
    b"bell\x07.png",
    "\u202egnp.right-to-left.png".encode(),
    b"-starts-with-a-dash.png",
    b"# hash.png",
    b"%d %s {0}.png",
    b"[a-z]*?.png",
    b"comma, \"quote\" and 'quote'.png",
    b"back\\slash.png",
    b"UPPER.PNG",
    b"two.dots.png",
    b"x" * 240 + b".png",
]


def quiet(line: str) -> None:
    """Take what the loaders report."""


def visited(samples: Samples) -> list[str]:
    """The file names of the images that training and evaluation go through, each with one box."""
    train = train_loader(samples, WIDTH, 1, AugmentConfig.none(), rect=True, store="streamed", report=quiet)
    batches = [*train.epoch(0), *detect_eval_loader(samples, WIDTH, 1, report=quiet)]
    assert all(len(batch.targets) == 1 for batch in batches)
    names = [os.path.basename(samples.image_paths[int(batch.indices[0])]) for batch in batches]
    assert sorted(names[: len(names) // 2]) == sorted(names[len(names) // 2 :])
    return sorted(names[: len(names) // 2])


# Names ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES, ids=[repr(name)[2:-1][:24] for name in NAMES])
def test_awkward_names(tmp_path: Path, name: bytes) -> None:
    yaml_path = write_set(tmp_path / "set", {"plain.png": PNG})
    images, labels = (os.fsencode(tmp_path / "set" / kind) for kind in ("images", "labels"))
    try:
        shutil.copy(images + b"/plain.png", images + b"/" + name)
    except OSError:
        pytest.skip("this file system does not take the name")
    with open(labels + b"/" + os.path.splitext(name)[0] + b".txt", "wb") as file:
        file.write(b"9 0.5 0.5 0.5 0.5\n" + CENTRE_BOX)  # one bad line, so that the name is told
    lines: list[str] = []
    samples = load(yaml_path, lines)
    assert visited(samples) == sorted(["plain.png", os.fsdecode(name)])
    assert load(yaml_path).image_paths == samples.image_paths  # through the cache
    told: list[str] = []
    seen = [frame for (frame,) in open_source(str(tmp_path / "set" / "images"), report=told.append)]
    assert os.fsdecode(name) in [os.path.basename(frame.path) for frame in seen] and not told
    for line in [*lines, *(frame.title for frame in seen), *(frame.stem for frame in seen)]:
        assert line.isprintable() and line.encode()
    assert len({frame.stem for frame in seen}) == 2
    assert all(len(frame.stem.encode()) <= 200 and "/" not in frame.stem for frame in seen)


# Lists ---------------------------------------------------------------------------------------------------------------
def write_list(tmp_path: Path, content: bytes) -> Path:
    """A set of a.png, b.png, c.png and, where names may be so, caf\\xe9.png, trained on by a list."""
    yaml_path = write_set(tmp_path / "set", {f"{name}.png": PNG for name in "abc"})
    (tmp_path / "set" / "list.txt").write_bytes(content)
    yaml_path.write_text("train: list.txt\nval: images\nnames: [object, thing, item]\n")
    return yaml_path


@pytest.mark.parametrize(
    ("content", "names", "problem"),
    [
        (b"images/a.png\nimages/b.png\n", "ab", ""),
        (b"\xef\xbb\xbfimages/a.png\r\n\r\n  images/b.png  \r\n", "ab", ""),
        (b"./images/../images/a.png\nimages/b.png", "ab", ""),
        (b"images/a.png\nimages/gone.png\n", "a", "2: images/gone.png: no such image; line dropped"),
        (b"images/a.png\nimages\n", "a", "2: images: not the name of an image file; line dropped"),
        (b"images/a.png\nhttp://h/b.png\n", "a", "2: http://h/b.png: no such image; line dropped"),
        (b"images/a.png\nimages/caf\xe9.png\n", "a", r"2: images/caf\udce9.png: no such image; line dropped"),
        (
            b"images/a.png images/b.png\nimages/c.png\n",
            "c",
            "1: images/a.png images/b.png: no such image; line dropped",
        ),
        (b"\x89PNG\r\n\x1a\n\0\0\nimages/a.png\n", "a", r"1: \udc89PNG: not the name of an image file; line dropped"),
        (b"images/a.png\n" * 3 + b"./images/a.png\nimages/b.png\n", "ab", ""),
    ],
)
def test_lists(tmp_path: Path, content: bytes, names: str, problem: str) -> None:
    yaml_path = write_list(tmp_path, content)
    lines: list[str] = []
    assert visited(load(yaml_path, lines)) == [f"{name}.png" for name in names]
    where = tmp_path / "set" / "list.txt"
    if problem:
        assert lines[0] == f"{where}:{problem}"
    elif content.count(b"a.png") > 1:
        assert lines[0] == f"{where}: 3 lines name an image again; each image is used once"
    else:
        assert lines == [f"train: {len(names)} images, {len(names)} boxes"]
        load(yaml_path, strict=True)
        return
    with pytest.raises(ValueError, match="problems?, errors with --strict; the first: .*list.txt:"):
        load(yaml_path, strict=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"list\.txt: no images found \(train of .*set\.yaml\)"),
        (b"\n\n", "list.txt: no images found"),
        (b"images/x.png\nimages/y.png\n", r"no images found; the first problem: .*list\.txt:1: images/x\.png: no such"),
    ],
)
def test_lists_without_an_image(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(write_list(tmp_path, content))


def test_a_folder_in_the_place_of_a_listed_image_or_among_the_images(tmp_path: Path) -> None:
    yaml_path = write_list(tmp_path, b"images/a.png\nimages/d.png\n")
    (tmp_path / "set" / "images" / "d.png").mkdir()
    lines: list[str] = []
    assert visited(load(yaml_path, lines)) == ["a.png"]
    assert lines[0].endswith("list.txt:2: images/d.png: no such image; line dropped")
    assert visited(load(yaml_path, split="val", strict=True)) == ["a.png", "b.png", "c.png"]


# COCO json -----------------------------------------------------------------------------------------------------------
def coco(images: int = 3) -> dict[str, Any]:
    return {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT} for number in range(images)
        ],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 7, "bbox": [16, 8, 32, 16]} for number in range(images)
        ],
        "categories": [{"id": 7, "name": "object"}],
    }


def write_coco(tmp_path: Path, content: Any, images: int = 3) -> Path:
    yaml_path = write_set(tmp_path / "set", {f"{number}.png": PNG for number in range(images)})
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "set" / "objects.json").write_text(text)
    yaml_path.write_text("train: objects.json\nval: objects.json\n")
    return yaml_path


BAD_ENTRIES: list[tuple[str, int, dict[str, Any], str]] = [
    ("annotations", 0, {"bbox": [16, 8, 32]}, "bbox [16, 8, 32] is not four numbers; dropped"),
    ("annotations", 0, {"bbox": None}, "bbox None is not four numbers"),
    ("annotations", 0, {"bbox": {"x": 1}}, "is not four numbers"),
    ("annotations", 0, {"bbox": [16, 8, float("nan"), 16]}, "bbox [16, 8, nan, 16] is not four numbers"),
    ("annotations", 0, {"bbox": [16, 8, -32, 16]}, "has no area inside the image of 32x64 pixels"),
    ("annotations", 0, {"bbox": [16, 8, 0, 16]}, "has no area inside"),
    ("annotations", 0, {"bbox": [600, 8, 5, 5]}, "has no area inside"),
    ("annotations", 0, {"category_id": 8}, "category_id 8 is no category of this file"),
    ("annotations", 0, {"category_id": "x" * 500}, "category_id 'xxxx"),
    ("annotations", 0, {"image_id": 55}, "image_id 55 is no image of this file"),
    ("annotations", 0, {"image_id": ["\n"] * 500}, r"image_id ['\n', '\n'"),
    ("annotations", 0, {"area": float("inf")}, "area inf is not a number from 0"),
    ("images", 0, {"file_name": "gone.png"}, "gone.png: no such file; image skipped"),
    ("images", 0, {"file_name": None}, "file_name None does not name a file inside the image folder; image skipped"),
    ("images", 0, {"file_name": "half \ud83d pair.png"}, r"file_name 'half \ud83d pair.png' does not name a file"),
    ("images", 0, {"id": 1}, "id 1 is not a whole number of its own; image skipped"),
    ("images", 0, {"width": 9}, "0.png: the json says 32x9 pixels, the file 32x64 (height x width); image skipped"),
    ("images", 0, {"height": "\n" * 500}, r"the json says \n\n"),
]


@pytest.mark.parametrize(("part", "place", "change", "problem"), BAD_ENTRIES)
def test_a_bad_entry_costs_itself_alone(
    tmp_path: Path, part: str, place: int, change: dict[str, Any], problem: str
) -> None:
    content = coco()
    content[part][place] |= change
    content["images"].reverse()  # so that a doubled id comes second
    yaml_path = write_coco(tmp_path, content)
    lines: list[str] = []
    samples = load(yaml_path, lines)
    assert len(samples) == (3 if part == "annotations" else 2) and len(samples.classes) == 2
    batches = list(train_loader(samples, WIDTH, 1, AugmentConfig.none(), rect=True, report=quiet).epoch(0))
    assert sorted(len(batch.targets) for batch in batches) == [0] * (len(samples) - 2) + [1, 1]
    assert problem in lines[0] and lines[0].startswith(str(tmp_path / "set" / "objects.json"))
    assert all(line.isprintable() and len(line) < 400 for line in lines)
    count = 2 if change == {"id": 1} else 1  # the first image's annotation has no image then
    assert len(lines) == count + 1
    with pytest.raises(ValueError, match=f"{count} problems?, errors with --strict"):
        load(yaml_path, strict=True)


@pytest.mark.parametrize("missing", ["images", "annotations", "categories"])
@pytest.mark.parametrize("instead", [None, {}, "text", 5])
def test_missing_lists_and_wrong_types(tmp_path: Path, missing: str, instead: Any) -> None:
    content = coco()
    if instead is None:
        del content[missing]
    else:
        content[missing] = instead
    with pytest.raises(ValueError, match=f"objects.json: not a COCO json, it has no list '{missing}'"):
        load(write_coco(tmp_path, content))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9" * 5000, r"objects\.json: not a COCO json"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a\\nb"}]}', "needs a name and an id"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "\\ud83d"}]}', "needs a name and an id"),
        ('{"images": [{}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "none of the images can be"),
    ],
)
def test_json_files_that_are_refused_whole(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load(write_coco(tmp_path, text))
    assert str(caught.value).isprintable()


def test_sizes_that_are_null_are_those_of_the_files(tmp_path: Path) -> None:
    content = coco()
    content["images"][0] |= {"width": None, "height": None}
    del content["images"][1]["width"], content["images"][1]["height"]
    assert load(write_coco(tmp_path, content), strict=True).sizes_hw.tolist() == [[HEIGHT, WIDTH]] * 3


def test_the_same_annotation_twice_counts_twice_as_for_pycocotools(tmp_path: Path) -> None:
    content = coco()
    content["annotations"].append(content["annotations"][0] | {"id": 99})
    content["annotations"].append(content["annotations"][1])  # the id, too, for the second time
    yaml_path = write_coco(tmp_path, content)
    samples = load(yaml_path, strict=True)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(str(tmp_path / "set" / "objects.json"))
    assert np.diff(samples.offsets).tolist() == [len(reference.imgToAnns[number]) for number in range(3)] == [2, 2, 1]


def test_images_that_are_absent_at_the_start_of_a_json(tmp_path: Path) -> None:
    content = coco(60)
    yaml_path = write_coco(tmp_path, content, 60)
    for number in range(40):
        (tmp_path / "set" / "images" / f"{number}.png").unlink()
    lines: list[str] = []
    assert load(yaml_path, lines).image_ids.tolist() == list(range(40, 60))
    assert lines[-1] == "train: 20 images, 20 boxes, 40 images skipped"


# Videos --------------------------------------------------------------------------------------------------------------
def write_video(folder: Path, name: bytes) -> None:
    """Five frames, each brighter than the one before."""
    plain = folder / "plain.mp4"
    writer = cv2.VideoWriter(str(plain), cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 32))
    for number in range(5):
        writer.write(np.full((32, 64, 3), 40 * number + 20, np.uint8))
    writer.release()
    try:
        os.rename(plain, os.fsencode(folder) + b"/" + name)
    except OSError:
        pytest.skip("this file system does not take the name")


@pytest.mark.skipif(sys.platform == "win32", reason="such names are not of Windows")
@pytest.mark.parametrize("name", [b"caf\xe9.mp4", b"new\nline.mp4", b"a*?[b].mp4"])
def test_videos_with_awkward_names_are_read(tmp_path: Path, name: bytes) -> None:
    write_video(tmp_path, name)  # OpenCV ends the process when it is given bytes that are not UTF-8
    (tmp_path / os.fsdecode(b"damaged \xe9.mp4")).write_bytes(b"no video" * 50)
    before = fingerprint(tmp_path)
    told: list[str] = []
    frames = [frame for (frame,) in open_source(str(tmp_path), report=told.append)]
    assert [round(float(frame.image.mean()) / 40 - 0.5) for frame in frames] == list(range(5))
    assert len(told) == 1 and r"damaged \udce9.mp4: cannot be read as a video" in told[0]
    assert all(line.isprintable() for line in [*told, *(frame.title for frame in frames)])
    assert fingerprint(tmp_path) == before


def test_a_video_is_not_written_where_opencv_would_crash(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"caf\\udce9/a\.mp4: OpenCV writes no video where a name is not UTF-8"):
        VideoFile(tmp_path / os.fsdecode(b"caf\xe9") / "a.mp4", 5.0, (32, 64))
    with pytest.raises(ValueError, match="OpenCV opens no stream whose name is not UTF-8"):
        StreamSource(os.fsdecode(b"rtsp://caf\xe9"))
