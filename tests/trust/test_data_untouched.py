"""train.py, val.py and detect.py on a set full of faults: they come through, and the set stays the same to a bit."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.run import run_detect
from mgil.engine.training.run import run_train
from tests.engine.tiny import Playground
from tests.trust.odd_images import LEGAL, PNG, REFUSED, damaged_within, fingerprint, png_of

LABEL = b"0 0.5 0.5 0.5 0.5\n1 0.25 0.25 0.4 0.4\n"
THIN = {"pixel.png": (1, 1), "wide.png": (20_000, 1), "tall.png": (1, 20_000)}


def add_faults(data: Path, split: str) -> int:
    """Put every kind of bad file among the good ones; returns how many images can be used besides these."""
    images, labels = (os.fsencode(data / kind / split) for kind in ("images", "labels"))
    random = np.random.default_rng(0)
    count = 10_000 if split == "train" else 500  # pycocotools would take half a minute for more
    boxes = random.uniform(0.2, 0.8, (count, 2))
    crowded = b"".join(b"2 %.6f %.6f 0.3 0.3\n" % (x, y) for x, y in boxes)
    good: dict[bytes, tuple[bytes, bytes]] = {
        **{name.encode(): (make(), LABEL) for name, (make, _) in LEGAL.items()},
        **{name.encode(): (png_of(w, h, (b"\0" + b"\1" * w) * h), LABEL) for name, (w, h) in THIN.items()},
        (b"caf\xe9\n, \"'.png" if sys.platform == "linux" else b"cafe.png"): (PNG, LABEL),
        b"crowded.png": (PNG, crowded),
        b"bad lines.png": (PNG, b"\xef\xbb\xbf0 nan 0.5 1 1\r\n\xff\xfe\n7 0.5 0.5 1 1\n-1 2 2 2 2\n" + LABEL * 2),
        b"no label.png": (PNG, b""),
    }
    bad = {name.encode(): (content, LABEL) for name, (content, _) in REFUSED.items()}
    late = {b"damaged within.png": (damaged_within(PNG), LABEL)}
    for name, (content, label) in {**good, **bad, **late}.items():
        with open(images + b"/" + name, "wb") as file:
            file.write(content)
        with open(labels + b"/" + os.path.splitext(name)[0] + b".txt", "wb") as file:
            file.write(label)
    os.mkdir(images + b"/folder.jpg")
    os.mkdir(labels + b"/no label.d")
    os.symlink(b"nowhere", images + b"/dangling.png")
    os.symlink(b".", images + b"/loop")
    with open(labels + b"/orphan.txt", "wb") as file:
        file.write(b"5 5 5 5 5\n")
    return len(good)


def test_a_set_full_of_faults_is_used_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "cache"))
    playground = Playground(tmp_path / "playground")
    data = Path(playground.data).parent
    good = {split: add_faults(data, split) for split in ("train", "val")}
    before = fingerprint(data)
    lines: list[str] = []
    config = playground.config(tmp_path / "runs", noplots=False, noautoanchor=False, epochs=1, cache="none")
    run = run_train(config, report=lines.append)
    assert f"train: {16 + good['train'] + 1} images, " in " ".join(lines)
    with open(run / "results.csv", newline="") as file:
        (row,) = csv.DictReader(file, skipinitialspace=True)
    assert all(math.isfinite(float(value)) for value in row.values())
    weights = str(run / "weights" / "last.pt")
    options = {"weights": (weights,), "data": playground.data, "imgsz": (32,), "workers": 0, "batch_size": 4}
    result = run_val(
        ValConfig(**options, save_txt=True, save_json=True, project=str(tmp_path / "val")), report=lines.append
    )[32]
    scores = result.scores
    assert scores.images == 4 + good["val"] and math.isfinite(scores.map50_95)
    (predictions,) = (tmp_path / "val").rglob("last_predictions.json")
    assert json.loads(predictions.read_text())
    summary = run_detect(
        DetectConfig(
            weights=weights,
            source=str(data / "images" / "train"),
            imgsz=(32,),
            conf_thres=0.001,
            max_det=2,
            save_txt=True,
            save_csv=True,
            save_crop=True,
            project=str(tmp_path / "detect"),
        ),
        report=lines.append,
    )
    # what is refused for training is refused here too
    assert summary.frames == 16 + good["train"] and len(summary.skipped) == len(REFUSED) + 1
    capfd.readouterr()
    assert all(line.isprintable() and line.encode() for line in lines)
    left_out = [line for line in lines if line.endswith("; skipped")]
    assert len(left_out) == 3 and all("damaged within.png: image cannot be" in line for line in left_out)
    assert fingerprint(data) == before
    with pytest.raises(ValueError, match="problems?, errors with --strict; the first: "):
        run_train(playground.config(tmp_path / "runs", strict=True), report=lines.append)
    with pytest.raises(ValueError, match="problems?, errors with --strict; the first: "):
        run_val(ValConfig(**options, strict=True, project=str(tmp_path / "val")), report=lines.append)
    assert fingerprint(data) == before
