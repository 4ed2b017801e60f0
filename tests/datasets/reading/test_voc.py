"""PASCAL VOC's XML files become COCO json that the reader takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.voc import convert_voc

XML = """<annotation><size><width>50</width><height>40</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name>{difficult}
<bndbox><xmax>{x2}</xmax><xmin>{x1}</xmin><ymin>{y1}</ymin><ymax>{y2}</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"""


def make_voc(root: Path) -> None:
    sets = {
        "2007": {"train": ["000001"], "val": ["000002"], "test": ["000003"]},
        "2012": {"train": [], "val": ["2008_1"]},
    }
    for year, parts in sets.items():
        folder = root / "VOCdevkit" / f"VOC{year}"
        for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
            (folder / name).mkdir(parents=True)
        for part, stems in parts.items():
            (folder / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(stems))
            for stem in stems:
                Image.new("RGB", (50, 40)).save(folder / "JPEGImages" / f"{stem}.jpg")
                objects = OBJECT.format(name="dog", difficult="<difficult>0</difficult>", x1=1, y1=1, x2=50, y2=20)
                objects += OBJECT.format(name="cat", difficult="<difficult>1</difficult>", x1=11, y1=11, x2=20, y2=12)
                objects += OBJECT.format(name="ufo", difficult="", x1=11, y1=11, x2=20, y2=12)
                (folder / "Annotations" / f"{stem}.xml").write_text(XML.format(objects=objects))


def test_boxes_count_from_zero_and_difficult_objects_are_not_trained_on(tmp_path: Path) -> None:
    make_voc(tmp_path)
    convert_voc(tmp_path, ["cat", "dog"])
    (tmp_path / "voc.yaml").write_text(
        "train: annotations/voc_train.json\nval: annotations/voc_test.json\nnames: [cat, dog]\n"
    )
    config = load_data_config(tmp_path / "voc.yaml")
    train = load_samples(config, "train", strict=True, cache_dir=tmp_path / "cache", report=lambda line: None)
    val = load_samples(config, "val", strict=True, cache_dir=tmp_path / "cache", report=lambda line: None)
    assert [Path(path).stem for path in train.image_paths] == ["000001", "000002", "2008_1"]
    assert [Path(path).stem for path in val.image_paths] == ["000003"]
    np.testing.assert_allclose(val.boxes_cxcywh * [50, 40, 50, 40], [[25, 10, 50, 20], [15, 11, 10, 2]], rtol=1e-6)
    assert val.classes.tolist() == [1, 0]
    assert val.iscrowd.tolist() == [False, True]
    assert val.areas.tolist() == [1000, 20]


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train.txt"):
        convert_voc(tmp_path, ["cat"])
    make_voc(tmp_path)
    path = tmp_path / "VOCdevkit" / "VOC2007" / "Annotations" / "000001.xml"
    for text in ("<annotation>", XML.format(objects="").replace("50", "wide"), "<annotation/>"):
        path.write_text(text)
        with pytest.raises(ValueError, match="000001.xml: not a VOC annotation"):
            convert_voc(tmp_path, ["cat"])


def test_a_name_that_is_spelt_otherwise_in_the_files_is_named(tmp_path: Path) -> None:
    make_voc(tmp_path)
    with pytest.raises(ValueError, match=r"VOCdevkit: no object is called 'Dog'; names that are not used: dog, ufo"):
        convert_voc(tmp_path, ["cat", "Dog"])
    assert not list((tmp_path / "annotations").iterdir())
