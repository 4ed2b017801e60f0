"""Reading YOLO labels and images: each bad line and each bad file is reported, and costs only itself."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.label_text import BadLine, parse_label_file
from mgil.datasets.reading.labels import label_path_of
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples

GOOD_LINE = "1 0.5 0.5 0.25 0.5"


class Split:
    """A data set with a train split of small pictures, and what `load_samples` reports about it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[str] = []
        (root / "images" / "train").mkdir(parents=True)
        (root / "labels" / "train").mkdir(parents=True)
        self.yaml("train: images/train\nnames: [cat, dog, bird]\n")

    def yaml(self, text: str) -> None:
        (self.root / "set.yaml").write_text(text)

    def add(self, name: str, label: str | bytes | None = GOOD_LINE, size: tuple[int, int] = (40, 20)) -> Path:
        path = self.root / "images" / "train" / name
        Image.new("RGB", size, (90, 120, 60)).save(path)
        if label is not None:
            content = label if isinstance(label, bytes) else label.encode()
            Path(label_path_of(str(path))).write_bytes(content)
        return path

    def load(self, one_class: bool = False, **options: bool) -> Samples:
        self.lines.clear()
        config = load_data_config(self.root / "set.yaml")
        config = config.as_one_class() if one_class else config
        cache = self.root / "cache"
        return load_samples(config, "train", cache_dir=cache, report=self.lines.append, **options)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return Split(tmp_path)


def boxes_of(samples: Samples, index: int) -> np.ndarray:
    return samples.boxes_cxcywh[samples.offsets[index] : samples.offsets[index + 1]]


def test_arrays_hold_what_the_files_say(split: Split) -> None:
    split.add("a.png", "0 0.5 0.5 0.25 0.5\n2 .25 .75 .5 .5\n", size=(40, 20))
    split.add("b.jpg", None, size=(10, 30))
    split.add("c.bmp", "", size=(8, 8))
    split.add("d.webp", "1.0\t0.5  0.5 1 1\r\n", size=(64, 32))
    samples = split.load()
    assert [os.path.basename(path) for path in samples.image_paths] == ["a.png", "b.jpg", "c.bmp", "d.webp"]
    assert samples.sizes_hw.tolist() == [[20, 40], [30, 10], [8, 8], [32, 64]]
    assert samples.offsets.tolist() == [0, 2, 2, 2, 3]
    assert samples.classes.tolist() == [0, 2, 1]
    assert boxes_of(samples, 0).tolist() == [[0.5, 0.5, 0.25, 0.5], [0.25, 0.75, 0.5, 0.5]]
    assert samples.areas.tolist() == [10 * 10, 20 * 10, 64 * 32]
    assert samples.iscrowd.tolist() == [False] * 3
    assert samples.image_ids.tolist() == [1, 2, 3, 4]
    dtypes = [
        samples.sizes_hw,
        samples.boxes_cxcywh,
        samples.classes,
        samples.areas,
        samples.offsets,
        samples.image_ids,
    ]
    assert [array.dtype.name for array in dtypes] == ["int32", "float32", "int32", "float32", "int64", "int64"]
    assert split.lines == ["train: 4 images, 3 boxes, 1 images without a label file, 1 images without labels"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("1 0.5 0.5 0.25", "expected 5 columns (class cx cy w h) or a polygon, found 4"),
        ("1 0.5 0.5 0.25 0.5 0.9", "found 6"),
        ("1 .1 .1 .2 .2 .3 .3 .4", "found 8"),
        ("1", "found 1"),
        ("1|0.5|0.5|0.2|0.2", "found 1"),
        ("cat 0.5 0.5 0.2 0.2", "'cat' is not a number"),
        ("1 0.5 O.5 0.2 0.2", "'O.5' is not a number"),
        ("1 0.5 1_0 0.2 0.2", "'1_0' is not a number"),
        ("1 nan 0.5 0.2 0.2", "nan and inf are not coordinates"),
        ("1 0.5 0.5 inf 0.2", "nan and inf"),
        ("nan 0.5 0.5 0.2 0.2", "nan and inf"),
        ("1 .1 .1 nan .2 .3 .3", "nan and inf"),
        ("3 0.5 0.5 0.2 0.2", "class id 3 is not one of the 3 classes, 0 to 2"),
        ("99999999999999999999 0.5 0.5 0.2 0.2", "is not one of the 3 classes"),
        ("-1 0.5 0.5 0.2 0.2", "class id -1 is not a whole number from 0"),
        ("0.5 0.5 0.5 0.2 0.2", "class id 0.5 is not a whole number"),
        ("1 0.5 0.5 0 0.2", "no width or no height"),
        ("1 0.5 0.5 0.2 -0.2", "no width or no height"),
        ("1 0.5 0.5 1e-60 0.2", "is not within 0..1"),
        ("1 1.5 0.5 0.2 0.2", "box 1.5 0.5 0.2 0.2 is not within 0..1 of the image"),
        ("1 -0.2 0.5 0.2 0.2", "is not within 0..1"),
        ("1 320 240 64 64", "is not within 0..1"),
        ("1 1.009 0.5 0.01 0.2", "is not within 0..1"),
        (GOOD_LINE, "the same box as on an earlier line"),
        ("1 0.50 5e-1 0.250 0.5", "the same box as on an earlier line"),
    ],
)
def test_only_the_bad_line_is_dropped(split: Split, bad: str, reason: str) -> None:
    split.add("a.png", f"{GOOD_LINE}\n\n{bad}\n0 0.25 0.25 0.5 0.5\n")
    samples = split.load()
    assert samples.classes.tolist() == [1, 0]
    assert boxes_of(samples, 0).tolist() == [[0.5, 0.5, 0.25, 0.5], [0.25, 0.25, 0.5, 0.5]]
    label = split.root / "labels" / "train" / "a.txt"
    assert split.lines[0].startswith(f"{label}:3: ")
    assert reason in split.lines[0]
    assert split.lines[0].endswith("; line dropped")
    assert split.lines[1] == "train: 1 images, 2 boxes, 1 lines or entries dropped"
    with pytest.raises(ValueError, match=r"train: 1 problem, errors with --strict; the first: .*a\.txt:3: "):
        split.load(strict=True)


def test_rounding_over_the_edge_is_cut_and_inner_boxes_keep_their_numbers(split: Split) -> None:
    split.add("a.png", "0 0.05 0.5 0.2 0.5\n1 0.9995 0.5 0.002 1.001\n2 0.1 0.2 0.15 0.3\n")
    samples = split.load(strict=True)
    expected = [[0.075, 0.5, 0.15, 0.5], [0.99925, 0.5, 0.0015, 1.0], [0.1, 0.2, 0.15, 0.3]]
    np.testing.assert_allclose(samples.boxes_cxcywh, expected, rtol=1e-5)
    assert samples.boxes_cxcywh[2].tolist() == np.float32([0.1, 0.2, 0.15, 0.3]).tolist()
    assert split.lines == ["train: 1 images, 3 boxes, 1 boxes cut at the image's edge"]


def test_polygons_become_their_boxes(split: Split) -> None:
    split.add("a.png", "2 0.1 0.2 0.5 0.3 0.4 0.8\n0 0.5 0.5 0.2 0.2\n1 .2 .2 .4 .2 .4 .6 .2 .6\n")
    samples = split.load(strict=True)
    expected = [[0.3, 0.5, 0.4, 0.6], [0.5, 0.5, 0.2, 0.2], [0.3, 0.4, 0.2, 0.4]]
    np.testing.assert_allclose(samples.boxes_cxcywh, expected, rtol=1e-6)
    assert samples.classes.tolist() == [2, 0, 1]


def test_all_class_ids_unknown_is_an_error_that_names_file_id_and_classes(split: Split) -> None:
    split.add("a.png", "7 0.5 0.5 0.2 0.2\n")
    split.add("b.png", "9 0.5 0.5 0.2 0.2\n")
    with pytest.raises(ValueError, match=r"set\.yaml names \(3 names\); 2 of 2 labels .*a\.txt:1: class id 7 "):
        split.load()
    assert split.load(one_class=True).classes.tolist() == [0, 0]


def test_one_class_makes_every_class_zero(split: Split) -> None:
    split.add("a.png", "2 0.5 0.5 0.2 0.2\n1 0.4 0.5 0.2 0.2\n")
    assert split.load(one_class=True).classes.tolist() == [0, 0]
    assert split.load().classes.tolist() == [2, 1]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def cut_tail(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("name", ["bad.jpg", "bad.png", "bad.bmp", "bad.webp", "bad.tif"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, ""),
        (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
        (
            lambda path: path.write_bytes(b"not an image at all"),
            "cannot be read (not a JPEG, PNG, BMP, TIFF, WebP, GIF, JPEG 2000 or PNM file)",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:9]), ""),
        (lambda path: (path.unlink(), path.symlink_to("nowhere")), "no such file"),
    ],
    ids=["truncated", "empty", "text", "header-cut", "dangling-link"],
)
def test_bad_images_are_reported_and_skipped(
    split: Split, name: str, damage: Callable[[Path], object], reason: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)
    path = split.add(name)
    Image.fromarray(noise).save(path)
    damage(path)
    split.add("good.png")
    samples = split.load()
    assert [os.path.basename(path) for path in samples.image_paths] == ["good.png"]
    assert samples.offsets.tolist() == [0, 1]
    assert split.lines[0].startswith(f"{path}: ") and reason in split.lines[0]
    assert split.lines[0].endswith("; image skipped")
    assert split.lines[1] == "train: 1 images, 1 boxes, 1 images skipped"
    with pytest.raises(ValueError, match="errors with --strict; the first: .*image skipped"):
        split.load(strict=True)


def test_a_jpeg_with_bytes_after_its_end_is_whole(split: Split) -> None:
    path = split.add("a.jpg")
    path.write_bytes(path.read_bytes() + b"maker's trailer")
    assert len(split.load(strict=True)) == 1


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_after_exif_rotation_as_the_decoder_shows_them(split: Split, suffix: str, orientation: int) -> None:
    decode = pytest.importorskip("mgil.datasets.batches.decode")
    path = split.add(f"a.{suffix}", size=(40, 20))
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    sizes = split.load().sizes_hw.tolist()
    assert sizes == [[40, 20] if orientation >= 5 else [20, 40]]
    assert list(decode.decode_image(str(path)).shape[:2]) == sizes[0]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16", "CMYK"])
def test_every_common_kind_of_pixel_is_accepted(split: Split, mode: str) -> None:
    path = split.add("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (40, 20)).save(path)
    assert split.load(strict=True).sizes_hw.tolist() == [[20, 40]]


def test_many_problems_are_counted_after_the_first_ten(split: Split) -> None:
    split.add("a.png", GOOD_LINE + "\nx" * 25 + "\n1 0.5" * 3)
    split.add("b.png")
    split.load()
    assert len(split.lines) == 12
    assert split.lines[10] == "... and 18 more problems"
    assert split.lines[11] == (
        "train: 2 images, 2 boxes, 28 lines or entries dropped (25 with 1 columns, 3 with 2 columns)"
    )


def test_an_empty_split_names_its_folder(split: Split) -> None:
    with pytest.raises(ValueError, match=rf"{split.root}/images/train: no images found \(train of .*set\.yaml\)"):
        split.load()
    (split.root / "images" / "train" / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="no images found"):
        split.load()
    split.add("a.jpg").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"images/train: none of the images can be used; the first: .*a\.jpg: is empty"
    ):
        split.load()


def test_training_images_without_any_label_file_say_where_labels_are_expected(split: Split) -> None:
    split.add("a.png", None)
    expected = split.root / "labels" / "train" / "a.txt"
    with pytest.raises(ValueError, match=f"no image has a label file; expected e.g. {expected}"):
        split.load()


def test_missing_data_names_the_folder_and_the_download_entry(split: Split) -> None:
    split.yaml("train: images/gone\nnames: [a]\n")
    with pytest.raises(
        FileNotFoundError, match=rf"data set not found: {split.root}/images/gone \(train of .*set.yaml\)"
    ):
        split.load()
    split.yaml("train: images/gone\nnames: [a]\ndownload: https://example.org/pets.zip\n")
    with pytest.raises(FileNotFoundError, match="https://example.org/pets.zip; pass --download to fetch it"):
        split.load()
    split.yaml("train: images/gone\nnames: [a]\ndownload: |\n  import os\n  os.mkdir('x')\n")
    with pytest.raises(FileNotFoundError, match=r"import os os.mkdir\('x'\); pass --download") as caught:
        split.load()
    assert "\n" not in str(caught.value)


def test_a_split_that_the_yaml_does_not_give(split: Split) -> None:
    config = load_data_config(split.root / "set.yaml")
    with pytest.raises(ValueError, match="set.yaml: gives no val split"):
        load_samples(config, "val")


def test_a_split_that_is_neither_folder_nor_list(split: Split) -> None:
    (split.root / "images.zip").write_bytes(b"PK")
    split.yaml("train: images.zip\nnames: [a]\n")
    with pytest.raises(ValueError, match="images.zip: a split is a folder of images, a .txt list or a COCO .json"):
        split.load()


def test_lists_folders_and_both_together(split: Split) -> None:
    paths = [split.add(f"{name}.png") for name in "abcd"]
    elsewhere = split.root / "lists"
    elsewhere.mkdir()
    (elsewhere / "own.png").write_bytes(paths[0].read_bytes())
    lines = ["images/train/b.png", "./images/train/a.png", str(paths[3]), "", "own.png", "images/train/b.png"]
    (elsewhere / "train.txt").write_text(
        "\n".join(lines) + "\nimages/train/gone.png\nlist.csv\n../images/train/c.png\n"
    )
    split.yaml("train: lists/train.txt\nnames: [a, b]\n")
    samples = split.load()
    assert samples.image_paths == (*map(str, (paths[1], paths[0], paths[3])), str(elsewhere / "own.png"), str(paths[2]))
    where = elsewhere / "train.txt"
    assert split.lines[0] == f"{where}:7: images/train/gone.png: no such image; line dropped"
    assert split.lines[1] == f"{where}:8: list.csv: not the name of an image file; line dropped"
    split.yaml("train: [lists/train.txt, images/train, images]\nnames: [a, b]\n")
    assert len(split.load()) == 5  # an image that is named twice is one image


def test_names_that_are_not_utf8_and_links_are_read(split: Split) -> None:
    source = split.add("plain.png")
    folder = os.fsencode(split.root / "images" / "train")
    labels = os.fsencode(split.root / "labels" / "train")
    try:
        shutil.copy(os.fsencode(source), folder + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with open(labels + b"/caf\xe9.txt", "wb") as file:
        file.write(b"0 0.5 0.5 0.2 0.2 0.2\n1 0.5 0.5 0.2 0.2\n")
    (split.root / "images" / "train" / "loop").symlink_to(split.root / "images" / "train")
    (split.root / "images" / "train" / "zz.png").symlink_to(source)
    samples = split.load()
    assert len(samples) == 3 and len(samples.classes) == 2
    assert any(r"caf\udce9.txt:1: expected 5 columns" in line for line in split.lines)
    for line in split.lines:
        line.encode("utf-8")
    assert split.load().image_paths == samples.image_paths  # through the cache


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe1\x00 \x000\x00", b"\x00" * 64, b"\x80\x81\n\xe9 0 0 0 0\n", b"\xef\xbb\xbf0 0.5 0.5 0.2 0.2\n"],
)
def test_label_bytes_that_are_no_text_do_not_crash(split: Split, content: bytes) -> None:
    split.add("a.png", content)
    split.add("b.png")
    assert len(split.load()) == 2
    for line in split.lines:
        line.encode("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in the file system")
def test_a_label_that_is_a_pipe_or_a_folder_does_not_hang(split: Split) -> None:
    split.add("good.png")
    split.add("pipe.png", None)
    split.add("folder.png", None)
    os.mkfifo(split.root / "labels" / "train" / "pipe.txt")
    (split.root / "labels" / "train" / "folder.txt").mkdir()
    samples = split.load()
    assert len(samples) == 3 and len(samples.classes) == 1
    assert sum("its image has no labels" in line for line in split.lines) == 2


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("/d/images/train/a.jpg", "/d/labels/train/a.txt"),
        ("/images/set/images/a.b.png", "/images/set/labels/a.b.txt"),
        ("/d/train/images/x/a.jpg", "/d/train/labels/x/a.txt"),
        ("/d/pictures/a.jpg", "/d/pictures/a.txt"),
    ],
)
def test_label_paths(image: str, label: str) -> None:
    assert label_path_of(image) == label


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text("0123456789.-+einfa_ \n\t\r", max_size=200).map(str.encode))
def test_any_bytes_are_parsed_or_reported(content: bytes) -> None:
    for number, found in parse_label_file(content):
        assert number >= 1
        assert isinstance(found, BadLine) or len(found) == 5


def test_labels_equal_a_plain_reading_of_coco128(shared_data: Path, tmp_path: Path) -> None:
    config = load_data_config(shared_data / "coco128" / "coco128.yaml")
    samples = load_samples(config, "train", cache_dir=tmp_path, report=lambda line: None)
    assert len(samples) == 128 and len(samples.classes) == 929
    for index, path in enumerate(samples.image_paths):
        label = Path(path.replace("/images/", "/labels/")).with_suffix(".txt")
        rows = np.loadtxt(label, ndmin=2) if label.exists() else np.empty((0, 5))
        with Image.open(path) as image:
            assert samples.sizes_hw[index].tolist() == [image.height, image.width]
        part = slice(samples.offsets[index], samples.offsets[index + 1])
        assert samples.classes[part].tolist() == rows[:, 0].tolist()
        np.testing.assert_allclose(samples.boxes_cxcywh[part], rows[:, 1:], atol=2e-6)
        assert samples.image_ids[index] == int(label.stem)
