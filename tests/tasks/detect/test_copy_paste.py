"""Objects pasted a second time, mirrored along their outlines: which, where, and with which labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.batches.geometry import Plan
from mgil.datasets.batches.kernel_opencv import Painter
from mgil.datasets.batches.kernel_torch import render_torch
from mgil.datasets.batches.letterbox import FILL
from mgil.datasets.batches.loader import TrainLoader
from mgil.datasets.reading.coco_json import scan_coco
from mgil.datasets.reading.labels import scan_yolo
from mgil.datasets.reading.polygons import read_polygons
from mgil.datasets.reading.samples import JsonKeys, Samples
from mgil.tasks.detect.batches import DetectComposer
from mgil.tasks.detect.targets import enclose_outlines
from tests.datasets.scenes import smooth_image, write_image

SIZE = 64
STILL = AugmentConfig(translate=0.0, scale=0.0, fliplr=0.0, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0, copy_paste=1.0)
SQUARE = "1 0.125 0.25 0.375 0.25 0.375 0.5 0.125 0.5"  # pixels 8 to 24 and 16 to 32
TRIANGLE = "2 0.5 0.5 0.9375 0.5 0.5 0.9375"  # the half of pixels 32 to 60


def write_set(folder: Path, labels: list[str]) -> Samples:
    """A set of smooth pictures with these label files."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir()
    paths = []
    for number, text in enumerate(labels):
        paths.append(write_image(folder / "images" / f"{number}.png", smooth_image(rng, SIZE, SIZE)))
        (folder / "labels" / f"{number}.txt").write_text(text)
    return scan_yolo(paths, 5)[0]


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    return write_set(tmp_path, [SQUARE, f"{TRIANGLE}\n0 0.2 0.2 0.1 0.1", "", f"{SQUARE}\n{TRIANGLE}"])


def plan_of(composer: DetectComposer, count: int = 40, seed: int = 0) -> Plan:
    rng = np.random.default_rng(seed)
    primaries = np.arange(count) % len(composer)
    partners = np.zeros(count, int), np.full(count, len(composer))
    plan = composer.plan(rng, primaries, partners, np.arange(len(composer)), (SIZE, SIZE))
    return composer.with_pastes(rng, plan, plan.positions)


def tiles_of(composer: DetectComposer) -> np.ndarray:
    loader = TrainLoader(composer, 1, store="resident", report=lambda line: None)
    tiles = loader.store.tiles_of(np.arange(len(composer)).reshape(1, -1))[0]
    assert isinstance(tiles, np.ndarray)
    return tiles


def test_every_label_finds_its_outline(tmp_path: Path) -> None:
    beyond = "3 0.5 0.5 1.005 0.5 0.75 0.8"  # cut at the edge
    broken = "1 0.1 0.1 0.2 x 0.3 0.3"
    split = write_set(
        tmp_path, [f"0 0.2 0.2 0.1 0.1\n{TRIANGLE}\n{broken}\n{SQUARE}\n{SQUARE}", beyond, "0 0.5 0.5 0.2 0.2\n", ""]
    )
    assert split.classes.tolist() == [0, 2, 1, 3, 0]
    polygons = read_polygons(split)
    assert len(polygons) == 3 and np.diff(polygons.ends).tolist() == [0, 3, 4, 3, 0]
    np.testing.assert_allclose(polygons.of(1), [[0.5, 0.5], [0.9375, 0.5], [0.5, 0.9375]])
    np.testing.assert_allclose(polygons.of(3), [[0.5, 0.5], [1, 0.5], [0.75, 0.8]])
    (tmp_path / "labels" / "1.txt").write_bytes(beyond.replace(" ", ";").encode("utf-16"))
    assert len(read_polygons(split)) == 3
    (tmp_path / "labels" / "0.txt").unlink()
    assert len(read_polygons(split)) == 1


def test_polygons_of_a_coco_json(tmp_path: Path) -> None:
    """Of one part, found by the annotation's own box; the label files beside the images do not count."""
    paths = write_set(tmp_path, [SQUARE, SQUARE]).image_paths
    square, triangle = [8, 16, 24, 16, 24, 32, 8, 32], [32.0, 32, 60, 32, 32, 70]
    segmentations: list[tuple[Any, list[float]]] = [
        ([triangle], [31, 31, 30, 40]),  # a box that is not the polygon's, cut at the edge
        ([square], [8, 16, 16, 16]),
        ([square, triangle], [8, 16, 52, 44]),
        ({"counts": "abc", "size": [SIZE, SIZE]}, [1, 1, 9, 9]),
        *(
            ([bad], [2, 2, 9, 9])
            for bad in ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], ["x"] * 6, "abcdef", [float("nan")] * 6)
        ),
        ([], [3, 3, 9, 9]),
        (None, [4, 4, 9, 9]),
    ]
    annotations = [
        {"id": number, "image_id": 7, "category_id": 1, "bbox": bbox, "segmentation": segmentation}
        for number, (segmentation, bbox) in enumerate(segmentations)
    ]
    images = [{"id": number, "file_name": Path(path).name} for number, path in zip((9, 7), paths, strict=True)]
    others = [None, {"image_id": [], "segmentation": [square]}, {"image_id": 5, "segmentation": [square]}]
    content = {"images": images, "annotations": annotations + others, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "set.json").write_text(json.dumps(content))
    split, _ = scan_coco(content, "set.json", str(tmp_path / "images"), {1: 0})
    polygons = read_polygons(replace(split, json=JsonKeys(str(tmp_path / "set.json"), "", (1,), ())))
    assert np.diff(polygons.ends).tolist() == [3, 4] + [0] * 9
    np.testing.assert_allclose(polygons.of(0) * SIZE, [[32, 32], [60, 32], [32, 64]])
    np.testing.assert_allclose(polygons.of(1) * SIZE, np.reshape(square, (-1, 2)))


def test_pasted_pixels_and_boxes(samples: Samples) -> None:
    """Against canvases put together here, flipped and masked by the shapes' formulas."""
    composer = DetectComposer(samples, SIZE, STILL)
    plan, tiles = plan_of(composer), tiles_of(composer)
    assert plan.pastes is not None and len(plan.pastes.layers) > 40
    targets = composer.targets(plan, plan.positions, ())
    without = composer.targets(replace(plan, pastes=None), plan.positions, ())
    drawn = Painter(plan, plan.positions).draw(tiles, 0, plan.picture_count).numpy()
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    inner = {1: (rows > 17) & (rows < 31) & (columns > 9) & (columns < 23), 2: (rows > 33) & (columns > 33)}
    outer = {1: (rows > 15) & (rows < 33) & (columns > 7) & (columns < 25), 2: (rows > 31) & (columns > 31)}
    inner[2] &= rows + columns < 90
    outer[2] &= rows + columns < 94
    for picture in range(plan.picture_count):
        canvas = np.full((2 * SIZE, 2 * SIZE, 3), FILL, np.uint8)
        surely, perhaps = (np.zeros((2 * SIZE, 2 * SIZE), bool) for _ in range(2))
        pasted = plan.pastes.only(plan.pastes.layers == picture)
        for slot in range(4):
            x, y = plan.origins_xy[picture, slot]
            target = tuple(slice(max(each, 0), max(each + SIZE, 0)) for each in (y, x))
            source = tuple(slice(max(-each, 0), min(SIZE, 2 * SIZE - each)) for each in (y, x))
            canvas[target] = tiles[plan.positions[picture, slot]][source]
            for place in np.flatnonzero(pasted.slots == slot):
                surely[target] |= inner[int(pasted.classes[place])][source]
                perhaps[target] |= outer[int(pasted.classes[place])][source]
        flipped = canvas[:, ::-1]
        centre = slice(SIZE // 2, 3 * SIZE // 2)
        surely, perhaps = surely[:, ::-1][centre, centre], perhaps[:, ::-1][centre, centre]
        picture_hwc = drawn[picture].transpose(1, 2, 0)
        np.testing.assert_array_equal(picture_hwc[surely], flipped[centre, centre][surely])
        np.testing.assert_array_equal(picture_hwc[~perhaps], canvas[centre, centre][~perhaps])
        mine = targets[targets[:, 0] == picture]
        assert len(mine) >= (without[:, 0] == picture).sum()
    assert len(targets) > len(without)
    new = [row for row in targets.tolist() if row not in without.tolist()]
    # A pasted square that is seen whole is 16 px large.
    assert {tuple(row[4:]) for row in new if row[1] == 1} >= {(16.0, 16.0)}


def test_what_would_hide_a_third_of_a_box_is_not_pasted(samples: Samples) -> None:
    plan = plan_of(DetectComposer(samples, SIZE, STILL))
    assert plan.pastes is not None
    refused = 0
    for picture in range(plan.picture_count):
        there, outlined = [], []  # boxes on the canvas, cut at its edge
        for slot, image in enumerate(plan.positions[picture].tolist()):
            for row in range(samples.offsets[image], samples.offsets[image + 1]):
                cx, cy, w, h = samples.boxes_cxcywh[row] * SIZE
                corners = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                box = (corners + np.tile(plan.origins_xy[picture, slot], 2)).clip(0, 2 * SIZE)
                if (box[2:] > box[:2]).all():
                    there.append(box)
                    outlined += [box] if samples.classes[row] > 0 else []
        pasted = [box.clip(0, 2 * SIZE) for box in plan.pastes.boxes_xyxy[plan.pastes.layers == picture]]
        for number, box in enumerate(pasted):
            assert hidden(there + pasted[:number], box).max(initial=0) < 0.3
        for box in outlined:
            mirrored = np.array([2 * SIZE - box[2], box[1], 2 * SIZE - box[0], box[3]])
            if not any(np.allclose(mirrored, each, atol=1e-3) for each in pasted):
                assert hidden(there + pasted, mirrored).max() >= 0.3
                refused += 1
    assert refused > 10


def hidden(boxes: list[np.ndarray], cover: np.ndarray) -> np.ndarray:
    shares = []
    for x1, y1, x2, y2 in boxes:
        width = max(0.0, min(x2, cover[2]) - max(x1, cover[0]))
        shares.append(width * max(0.0, min(y2, cover[3]) - max(y1, cover[1])) / (x2 - x1) / (y2 - y1))
    return np.array(shares)


def test_boxes_enclose_mapped_outlines(samples: Samples) -> None:
    """A triangle's hull, which is smaller than that of its box's corners when it is turned."""
    augment = replace(STILL, mosaic=0.0, copy_paste=0.0, perspective=0.004, degrees=90, translate=0.0, min_area_ratio=0)
    composer = DetectComposer(samples, SIZE, augment)
    plan = plan_of(composer)
    assert plan.pastes is None
    targets = composer.targets(plan, plan.positions, ())
    triangles = targets[targets[:, 1] == 2]
    assert len(triangles) == 20
    smaller = 0
    for picture, _, cx, cy, w, h in triangles.tolist():
        hulls = []
        for corners in ([[32, 32], [60, 32], [32, 60]], [[32, 32], [60, 32], [60, 60], [32, 60]]):
            x, y, depth = plan.maps[int(picture)] @ np.column_stack([corners, np.ones(len(corners))]).T
            ends = np.array([[x / depth, y / depth]]).clip(0, SIZE)
            hulls.append(np.concatenate([ends.min(axis=2)[0], ends.max(axis=2)[0]]))
        np.testing.assert_allclose([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], hulls[0], atol=1e-3)
        smaller += not np.allclose(hulls[0], hulls[1], atol=1)
    assert smaller > 10


def test_boxes_enclose_what_a_picture_shows_of_outlines() -> None:
    """Against OpenCV's intersection of convex polygons: inside, cut, around the picture, outside."""
    rng = np.random.default_rng(0)
    height, width = 40, 60
    picture = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    outlines, expected = [], []
    for number in range(300):
        corners = rng.uniform(-90, 150, (rng.integers(3, 7), 2)) / (4 if number % 3 == 0 else 1)
        outlines.append(cv2.convexHull(corners.astype(np.float32))[:, 0])
        area, common = cv2.intersectConvexConvex(outlines[-1], picture)
        expected.append([*common[:, 0].min(axis=0), *common[:, 0].max(axis=0)] if area > 0 else [0.0] * 4)
    boxes = enclose_outlines(
        np.concatenate(outlines, dtype=np.float64), np.array([len(each) for each in outlines]), (height, width)
    )
    shown = np.any(expected, axis=1)
    np.testing.assert_allclose(boxes[shown], np.array(expected)[shown], atol=0.01)
    assert 200 < shown.sum() < 290 and (boxes[:, 2:] - boxes[:, :2])[~shown].prod(axis=1).max() == 0
    around = np.array([[-1.0, -1], [61, -1], [61, 41], [-1, 41]])
    left = np.array([[-9.0, -1], [50, -1], [20, 41], [-9, 41]])  # two corners of the picture lie within it
    np.testing.assert_allclose(
        enclose_outlines(np.concatenate([around, left]), np.array([4, 4]), (height, width)),
        [[0, 0, 60, 40], [0, 0, 20 + 30 * 41 / 42, 40]],
    )


@pytest.mark.parametrize(
    "augment",
    [
        AugmentConfig(copy_paste=0.5, mixup=0.5),
        AugmentConfig(copy_paste=1.0, scale=0.9, mosaic=0.7, degrees=20, perspective=0.005),
    ],
    ids=["windows", "warps"],
)
def test_kernels_agree(samples: Samples, augment: AugmentConfig) -> None:
    composer = DetectComposer(samples, SIZE, augment)
    plan, tiles = plan_of(composer), tiles_of(composer)
    opencv = Painter(plan, plan.positions).draw(tiles, 0, plan.picture_count)
    on_torch = render_torch(plan, torch.from_numpy(tiles), plan.positions)
    difference = (opencv.int() - on_torch.int()).abs().float()
    assert difference.mean() < 1.0 and difference.quantile(0.999) <= 12
    bare = Painter(replace(plan, pastes=None), plan.positions).draw(tiles, 0, plan.picture_count)
    assert not torch.equal(bare, opencv)
    part = plan.part(7, 19)
    assert torch.equal(Painter(part, part.positions).draw(tiles, 0, 12), opencv[7:19])


def test_all_else_is_drawn_as_without(samples: Samples) -> None:
    plain, pasting = (DetectComposer(samples, SIZE, AugmentConfig(copy_paste=share)) for share in (0.0, 0.7))
    without, plan = plan_of(plain), plan_of(pasting)
    assert without.pastes is None and plan.pastes is not None and len(plan.pastes.layers)
    for name in ("positions", "centres_xy", "matrices", "weights", "colours"):
        np.testing.assert_array_equal(getattr(plan, name), getattr(without, name))
    few = plan_of(DetectComposer(samples, SIZE, AugmentConfig(copy_paste=0.2)))
    assert few.pastes is not None and 0 < len(few.pastes.layers) < len(plan.pastes.layers)


def test_an_image_that_cannot_be_read_is_pasted_without_label(samples: Samples) -> None:
    composer = DetectComposer(samples, SIZE, STILL)
    plan = plan_of(composer)
    assert set(composer.targets(plan, plan.positions, ())[:, 1]) == {0, 1, 2}
    assert set(composer.targets(plan, plan.positions, (1, 3))[:, 1]) == {1}


@pytest.mark.parametrize(
    ("labels", "rect", "words"),
    [
        (["0 0.5 0.5 0.2 0.2"], False, "no label has a polygon"),
        ([SQUARE], True, "within mosaics"),
        ([SQUARE], False, ""),
    ],
)
def test_it_is_said_once_where_it_does_nothing(tmp_path: Path, labels: list[str], rect: bool, words: str) -> None:
    composer = DetectComposer(write_set(tmp_path, labels), SIZE, STILL, rect=rect)
    told: list[str] = []
    loader = TrainLoader(composer, 1, report=told.append)
    batches = [list(loader.epoch(epoch)) for epoch in range(2)]
    assert [line for line in told if "copy_paste" in line] == (told[:1] if words else [])
    assert words in told[0] and all(len(each) == 1 for each in batches)
    assert torch.equal(loader.batch(1, 0).images, batches[1][0].images)
