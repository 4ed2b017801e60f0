"""Fuzz: more than a thousand damaged texts and tables, and no crash, no hang, no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mgil.datasets.reading.coco_json import annotated_categories, categories_of, find_image_folder, read_json, scan_coco
from mgil.datasets.reading.config import SHIPPED_FOLDER, load_data_config
from mgil.datasets.reading.digits import NAMES as DIGITS
from mgil.datasets.reading.download import read_sources
from mgil.datasets.reading.image_list import list_images
from mgil.datasets.reading.labels import scan_yolo
from mgil.engine.runtimes.metadata import read_metadata
from mgil.engine.runtimes.tensorrt import read_engine
from mgil.files.recipe import FOLDER as HYPS
from mgil.files.recipe import load_recipe
from mgil.networks.detector import build_model
from mgil.tasks.detect.recipe import DetectRecipe
from tests.engine.tiny import TINY
from tests.trust.mutations import Edit, edits, examples, mutated, scalars, survives, values

LABELS = [
    b"0 0.5 0.5 0.2 0.2\n1 0.25 0.25 0.1 0.1\n2 1 1 0.5 0.5\n",
    b"0 0.1 0.1 0.9 0.1 0.5 0.9\n",
    b"0 5e-1 .5 0.2 1.\r\n\r\n  3   0.5\t0.5 0.2 0.2\n",
    b"",
]
# Where the labels' class, centre and size stand there may be anything.
label_lines = st.lists(
    st.lists(st.one_of(st.floats(), st.integers(), st.sampled_from(["nan", "x", "", "1e400", "0x1"])), max_size=7),
    max_size=5,
).map(lambda rows: "\n".join(" ".join(map(str, row)) for row in rows).encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    cv2.imwrite(str(folder / "images" / "a.png"), np.zeros((20, 30, 3), np.uint8))
    return folder


@examples(350)
@given(content=st.one_of(st.tuples(st.sampled_from(LABELS), edits).map(lambda pair: mutated(*pair)), label_lines))
def test_labels(folder: Path, content: bytes) -> None:
    """A label file is never refused as a whole: good lines are kept, each bad one is told."""
    (folder / "labels" / "a.txt").write_bytes(content)
    samples, found = scan_yolo([str(folder / "images" / "a.png")], 3)
    assert all(line.isprintable() for line in found.problems)
    boxes = samples.boxes_cxcywh
    assert np.isfinite(boxes).all() and (boxes[:, 2:] > 0).all() and (np.abs(boxes - 0.5) <= 0.5 + 1e-6).all()
    assert ((samples.classes >= 0) & (samples.classes < 3)).all() and np.isfinite(samples.areas).all()
    lines = [line for line in content.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()]
    assert len(samples.classes) + found.counts.dropped == len(lines)


def texts(paths: list[Path]) -> list[bytes]:
    return [path.read_bytes()[:3000] for path in paths]


DATA_YAMLS = [
    b"path: .\ntrain: images\nval: [images, images/a.png]\nnames: {0: a, 1: b}\nnc: 2\nimgsz: 64\nhyp: {fliplr: 0.0}\n",
    b"train: images\nnames: &n [a, b, c]\ncategory_ids: [1, 2, 7]\ninfo: *n\ndownload: https://example.org/a.zip\n",
    *texts([SHIPPED_FOLDER / "coco128.yaml"]),
]
HYP_YAMLS = [b"lr0: 0.01\nmosaic: 1.0\nscale: 5e-1\noptimizer: Adam\nnbs: 64\n", *texts([HYPS / "hyp.lowres.yaml"])]
MODEL_YAMLS = [
    yaml.safe_dump(TINY | {"nc": 3, "scale": "n", "scales": {"n": [0.33, 0.5]}}).encode(),
    yaml.safe_dump(TINY).encode(),
]


def read_data(path: Path) -> None:
    config = load_data_config(path)
    if config.download is not None:
        read_sources(config.download, path)
    for split in ("train", "val"):
        list_images(config.split(split), str(config.root))


YAML_READERS: dict[str, tuple[list[bytes], Callable[[Path], Any]]] = {
    "data": (DATA_YAMLS, read_data),
    "hyp": (HYP_YAMLS, partial(load_recipe, DetectRecipe)),
    "model": (MODEL_YAMLS, build_model),
}


@pytest.mark.parametrize("kind", YAML_READERS)
@examples(125)
@given(which=st.integers(0, 9), changes=edits)
def test_yaml_texts(folder: Path, kind: str, which: int, changes: list[Edit]) -> None:
    seeds, read = YAML_READERS[kind]
    path = folder / f"{kind}.yaml"
    path.write_bytes(mutated(seeds[which % len(seeds)], changes))
    survives(lambda: read(path))


@examples(100)
@given(key=st.sampled_from([*TINY, "nc", "scale", "scales", "activation", "width_multiple", "ch"]), value=values)
def test_architecture_values(key: str, value: Any) -> None:
    survives(lambda: build_model(TINY | {"nc": 3, key: value}))


@examples(125)
@given(row=st.integers(0, 5), column=st.integers(0, 4), value=values, arguments=st.lists(scalars, max_size=5))
def test_architecture_rows(row: int, column: int, value: Any, arguments: list[Any]) -> None:
    """One cell of the table, or one layer's arguments, replaced."""
    rows = [list(cells) for cells in [*TINY["backbone"], *TINY["head"]]]
    if column < 4:
        rows[row][column] = value
    else:
        rows[row][3] = [rows[row][3][0], *arguments]
    survives(lambda: build_model(TINY | {"nc": 3, "backbone": rows[:-1], "head": rows[-1:]}))


@examples(50)
@given(
    content=st.dictionaries(st.sampled_from(["lr0", "momentum", "mosaic", "optimizer", "nbs", "degrees", "x"]), scalars)
)
def test_hyp_values(content: dict[str, Any]) -> None:
    survives(lambda: load_recipe(DetectRecipe, content))


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0}],
    "categories": [{"id": 1, "name": "a"}, {"id": 7, "name": "b"}],
}


def read_coco(path: Path) -> None:
    content = read_json(str(path))
    classes = {number: index for index, number in enumerate(categories_of(content, str(path)))}
    annotated_categories(content)
    _, found = scan_coco(content, str(path), find_image_folder(content, str(path), str(path.parent), "train"), classes)
    assert all(line.isprintable() for line in found.problems), found.problems


@examples(100)
@given(changes=edits)
def test_coco_texts(folder: Path, changes: list[Edit]) -> None:
    path = folder / "coco.json"
    path.write_bytes(mutated(json.dumps(COCO).encode(), changes))
    survives(lambda: read_coco(path))


@examples(100)
@given(
    part=st.sampled_from(list(COCO)),
    key=st.sampled_from(["id", "file_name", "bbox", "name", "image_id", "area", "width"]),
    value=values,
)
def test_coco_values(folder: Path, part: str, key: str, value: Any) -> None:
    entry = {**COCO[part][0], key: value}
    (folder / "coco.json").write_text(json.dumps(COCO | {part: [entry, *COCO[part][1:]]}))
    survives(lambda: read_coco(folder / "coco.json"))


@examples(50)
@given(changes=edits)
def test_lists_of_images(folder: Path, changes: list[Edit]) -> None:
    (folder / "list.txt").write_bytes(mutated(b"images/a.png\n./images/a.png\nimages/b.jpg\n/etc/passwd\n", changes))
    problems: list[str] = []
    survives(lambda: problems.extend(list_images([str(folder / "list.txt")], str(folder))[1]))
    assert all(line.isprintable() for line in problems)


METADATA = {"stride": "32", "names": str(dict(enumerate(DIGITS))), "imgsz": "[64, 64]", "batch": "1", "half": "false"}


@examples(125)
@given(key=st.sampled_from(list(METADATA)), changes=edits, value=values, as_text=st.booleans())
def test_metadata_of_exported_files(key: str, changes: list[Edit], value: Any, as_text: bool) -> None:
    text = mutated(METADATA[key].encode(), changes).decode("latin-1")
    survives(lambda: read_metadata(METADATA | {key: text if as_text else value}, Path("best.onnx")))


@examples(50)
@given(changes=edits)
def test_headers_of_tensorrt_engines(folder: Path, changes: list[Edit]) -> None:
    header = json.dumps(METADATA).encode()
    (folder / "best.engine").write_bytes(mutated(len(header).to_bytes(4, "little") + header + b"engine", changes))
    survives(lambda: read_metadata(read_engine(folder / "best.engine")[0], folder / "best.engine"))
