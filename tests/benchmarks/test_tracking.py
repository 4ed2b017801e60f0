"""The command that measures following, on its smallest clip."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks import moving, tracking
from tests.engine.prediction.squares import detector, needs_trackers


@needs_trackers
def test_table_has_a_row_for_each_tracker_and_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "SCENES", ("apart",))
    monkeypatch.setattr(tracking, "SPEEDS", (0.2,))
    monkeypatch.setattr(tracking, "speed", lambda size, predictor: {"pixels": size})
    monkeypatch.setattr(tracking, "make_clip", lambda *values, seed: moving.make_clip(*values, frames=30, seed=seed))
    tracking.main(["--sizes", "64", "--seeds", "1", "--out", str(tmp_path)])
    rows = list(csv.DictReader((tmp_path / "tracking.csv").open()))
    assert [(row["tracker"], row["settings"]) for row in rows] == [
        (kind, name) for kind in ("bytetrack", "botsort") for name in ("default", "original")
    ]
    assert {row["boxes"] for row in rows} == {rows[0]["boxes"]} and int(rows[0]["boxes"]) > 20
    assert all(0 < float(row["IDF1"]) <= 1 for row in rows)
    by_detector = list(tracking.identities(64, [1], detector(), simulated=False))
    assert [(row["boxes"], row["switches"]) for row in by_detector] == [(int(rows[0]["boxes"]), 0)] * 4


def test_truth_of_a_clip_is_what_its_pictures_show() -> None:
    """Where an object is visible, and nothing in front of it, its place has its colour."""
    clip = moving.make_clip("crossing", 64, 10, 2, frames=20, seed=3)
    shown = 0
    for image, boxes, visible in zip(clip.images(), clip.boxes, clip.visible, strict=True):
        for (x1, y1, x2, y2), kind in zip(boxes[visible == 1], clip.classes[visible == 1], strict=True):
            inside = image[int(y1) + 2 : int(y2) - 2, int(x1) + 2 : int(x2) - 2]
            assert np.array_equal(inside, np.broadcast_to(moving.COLOURS[kind], inside.shape))
            shown += 1
    assert shown > 30


def test_scene_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="'rain': there is apart, crossing, hiding, shaking"):
        moving.make_clip("rain", 64, 10, 2)
