"""The views of a split against plain loops over its boxes."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from mgil.datasets.reading.samples import Counts, Findings, Samples, join_parts
from tests.datasets.scenes import make_samples

BOXES = [  # class, cx, cy, w, h
    [(2, 0.5, 0.25, 0.5, 0.5), (0, 0.125, 0.5, 0.25, 1.0)],
    [],
    [(1, 0.5, 0.5, 1.0, 0.5)],
]
CROWDS = (False, True, False)


def split() -> Samples:
    return make_samples(["a.png", "b.png", "c.png"], [(40, 80), (10, 10), (20, 60)], BOXES, CROWDS)


def test_boxes_in_pixels() -> None:
    samples = split()
    assert samples.image_index.tolist() == [0, 0, 2]
    assert samples.boxes_xyxy_px().tolist() == [[20, 0, 60, 20], [0, 0, 20, 40], [0, 5, 60, 15]]
    assert samples.areas.tolist() == [800, 800, 600]
    assert samples.boxes_xyxy_px().dtype == np.float64 and samples.boxes_cxcywh.dtype == np.float32


def test_without_crowds() -> None:
    samples = split().without_crowds()
    assert len(samples) == 3 and samples.offsets.tolist() == [0, 1, 1, 2] and samples.classes.tolist() == [2, 1]
    assert samples.without_crowds() is samples  # nothing is copied where there is none


def test_without_labels_of_some_images() -> None:
    samples = split().without_labels_of({0, 1})
    assert len(samples) == 3 and samples.offsets.tolist() == [0, 0, 0, 1] and samples.areas.tolist() == [600]


def test_joined_parts_are_the_whole() -> None:
    whole = split()
    parts = [
        (make_samples(["a.png"], [(40, 80)], BOXES[:1], CROWDS[:2]), Findings(Counts(labelled=1, clipped=2), ["x"])),
        (make_samples(["b.png", "c.png"], [(10, 10), (20, 60)], BOXES[1:], CROWDS[2:]), Findings(Counts(1, 0, 1))),
    ]
    samples, found = join_parts(parts)
    for field in fields(Samples):
        one, other = getattr(samples, field.name), getattr(whole, field.name)
        assert list(one) == list(other) if field.name == "image_paths" else np.array_equal(one, other)
    assert found == Findings(Counts(labelled=2, empty=1, clipped=2), ["x"])
