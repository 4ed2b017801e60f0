"""Bad label files on the way to the targets of training and evaluation.

Which line is dropped for which reason is listed in tests/datasets/reading/test_labels.py; here the rest of the file and
of the set must arrive at the loss and at the evaluation.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from mgil.datasets.batches.augment import AugmentConfig
from mgil.datasets.reading import labels
from mgil.datasets.reading.samples import Samples
from mgil.files.recipe import load_recipe
from mgil.networks.detector import build_model
from mgil.tasks.detect.auto_anchor import check_anchors
from mgil.tasks.detect.batches import detect_eval_loader
from mgil.tasks.detect.criterion import make_loss
from mgil.tasks.detect.recipe import DetectRecipe
from tests.engine.tiny import TINY
from tests.tasks.detect.judging import train_loader
from tests.trust.odd_images import CENTRE_BOX, HEIGHT, PNG, WIDTH, load, write_set

GOOD = (0, 0.5, 0.5, 0.5, 0.5)
CUT = (1, 0.05, 0.5, 0.1, 0.2)
# What the file holds, what is left of it, and how many lines are told as dropped.
FILES: dict[str, tuple[bytes, list[tuple[float, ...]], int]] = {
    "windows line ends": (b"0 0.5 0.5 0.5 0.5\r\n1 0.05 0.5 0.1 0.2\r\n", [GOOD, CUT], 0),
    "old line ends": (b"0 0.5 0.5 0.5 0.5\r1 0.05 0.5 0.1 0.2\r", [GOOD, CUT], 0),
    "byte order mark": (b"\xef\xbb\xbf0 0.5 0.5 0.5 0.5\n", [GOOD], 0),
    "tabs and blanks": (b"\n\t0\t0.5  0.5\t0.5 0.5 \n\n  \n", [GOOD], 0),
    "class 1.0": (b"1.0 0.05 0.5 0.1 0.2\n0.000 0.5 0.5 0.5 0.5", [CUT, GOOD], 0),
    "polygon": (b"0 0.25 0.25 0.75 0.3 0.6 0.75\n1 0 0.4 0.1 0.4 0.1 0.6 0 0.6\n", [GOOD, CUT], 0),
    "score as sixth column": (b"1 0.05 0.5 0.1 0.2 0.93\n" + CENTRE_BOX, [GOOD], 1),
    "nan": (b"1 nan 0.5 0.2 0.2\n" + CENTRE_BOX, [GOOD], 1),
    "infinite": (b"1 0.5 0.5 inf 0.2\n" + CENTRE_BOX, [GOOD], 1),
    "negative": (b"1 -0.2 0.5 0.1 0.1\n1 0.5 0.5 -0.1 0.1\n" + CENTRE_BOX, [GOOD], 2),
    "no area": (b"1 0.5 0.5 0 0.2\n1 0.5 0.5 0.2 0\n" + CENTRE_BOX, [GOOD], 2),
    "outside": (b"1 1.2 0.5 0.1 0.1\n1 0.5 3 0.1 0.1\n" + CENTRE_BOX, [GOOD], 2),
    "pixels": (b"1 32 16 8 8\n" + CENTRE_BOX, [GOOD], 1),
    "partly outside": (b"1 0 0.5 0.2 0.2\n" + CENTRE_BOX, [CUT, GOOD], 0),
    "twice": (CENTRE_BOX * 3 + b"0 0.50 .5 0.5 0.5\n", [GOOD], 3),
    "unknown class": (b"3 0.5 0.5 0.2 0.2\n-1 0.5 0.5 0.2 0.2\n0.7 0.5 0.5 0.2 0.2\n" + CENTRE_BOX, [GOOD], 3),
    "not UTF-8": (b"\xff\xe9 0.5 0.5 0.2 0.2\n" + CENTRE_BOX + b"# caf\xe9\n", [GOOD], 2),
    "UTF-16": ("0 0.5 0.5 0.5 0.5\n".encode("utf-16"), [GOOD], 0),
    "zeros": (b"\0" * 50 + b"\n" + CENTRE_BOX, [GOOD], 1),
    "nothing": (b"", [], 0),
    "blank lines": (b"\n \r\n\t\n", [], 0),
}


def quiet(line: str) -> None:
    """Take what the loaders report."""


def training_targets(samples: Samples, **options: object) -> dict[str, np.ndarray]:
    """(n, 5) targets by file name, in fractions of the image."""
    loader = train_loader(samples, WIDTH, 1, AugmentConfig.none(), rect=True, report=quiet, **options)  # type: ignore[arg-type]
    return by_name(samples, loader.epoch(0))


def evaluation_targets(samples: Samples) -> dict[str, np.ndarray]:
    return by_name(samples, detect_eval_loader(samples, WIDTH, 1, pad=0.0, report=quiet))


def by_name(samples: Samples, batches: object) -> dict[str, np.ndarray]:
    scale = np.array([1, WIDTH, HEIGHT, WIDTH, HEIGHT])
    return {
        os.path.basename(samples.image_paths[int(batch.indices[0])]): batch.targets[:, 1:].numpy() / scale
        for batch in batches  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("kind", FILES)
def test_the_good_lines_reach_the_loss_and_the_evaluation(tmp_path: Path, kind: str) -> None:
    content, rows, dropped = FILES[kind]
    yaml_path = write_set(tmp_path / "set", {"bad.png": PNG, "other.png": PNG}, {"bad.png": content})
    lines: list[str] = []
    samples = load(yaml_path, lines)
    for targets in (training_targets(samples), evaluation_targets(samples)):
        np.testing.assert_allclose(targets["bad.png"], np.array(rows).reshape(-1, 5), atol=1e-6)
        np.testing.assert_allclose(targets["other.png"], [GOOD], atol=1e-6)
    label = tmp_path / "set" / "labels" / "bad.txt"
    told = [line for line in lines if line.startswith(f"{label}:") and line.endswith("; line dropped")]
    assert len(told) == dropped == len(lines) - 1
    if dropped:
        with pytest.raises(
            ValueError, match=rf"train: {dropped} problems?, errors with --strict; the first: .*bad\.txt:"
        ):
            load(yaml_path, strict=True)
    else:
        load(yaml_path, strict=True)


def many_boxes(count: int) -> bytes:
    centres = np.random.default_rng(0).uniform(0.2, 0.8, (count, 2))
    return b"".join(b"1 %.6f %.6f 0.25 0.30\n" % (x, y) for x, y in centres)


@pytest.mark.parametrize("recipe", ["lowres", "scratch-low"])
def test_ten_thousand_boxes_in_one_image(recipe: str, tmp_path: Path) -> None:
    yaml_path = write_set(tmp_path / "set", {"full.png": PNG, "other.png": PNG}, {"full.png": many_boxes(10_000)})
    samples = load(yaml_path, strict=True)
    assert len(samples.classes) == 10_001
    for targets in (training_targets(samples), evaluation_targets(samples)):
        assert targets["full.png"].shape == (10_000, 5)
        expected = np.loadtxt(tmp_path / "set" / "labels" / "full.txt")
        np.testing.assert_allclose(np.sort(targets["full.png"], axis=0), np.sort(expected, axis=0), atol=1e-5)
    model = build_model(TINY, names=("object", "thing", "item"), imgsz=64)
    lines: list[str] = []
    hyp = load_recipe(DetectRecipe, recipe)
    check_anchors(model, samples, 64, hyp.anchor_t, 0, lines.append)
    assert "best possible recall" in lines[0]
    loss = make_loss(model.head, hyp.loss_gains(64, 3, model.head.num_levels))
    with closing(train_loader(samples, 64, 2, AugmentConfig(mixup=1.0), report=quiet)) as loader:
        batch = next(iter(loader.epoch(0)))
    total, _ = loss(model(batch.images.float() / 255), batch.targets)
    total.backward()
    assert len(batch.targets) > 5_000
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("line", [CENTRE_BOX, b"0 nan 0.5 0.5 0.5\n", b"7 0.5 0.5 0.5 0.5 1\n"])
def test_ten_thousand_bad_lines_are_counted_and_a_hundred_are_told(tmp_path: Path, line: bytes) -> None:
    yaml_path = write_set(tmp_path / "set", {"full.png": PNG, "other.png": PNG}, {"full.png": line * 10_000})
    lines: list[str] = []
    samples = load(yaml_path, lines)
    good = 1 + (line == CENTRE_BOX)
    assert len(samples.classes) == good
    assert lines[10] == "... and 91 more problems"
    assert lines[11].startswith(f"train: 2 images, {good} boxes, {10_001 - (line == CENTRE_BOX) - 1} lines or")


def test_numbers_that_differ_in_ten_thousand_bad_boxes(tmp_path: Path) -> None:
    content = b"".join(b"0 %d 0.5 0.5 0.5\n" % number for number in range(2, 10_002))
    yaml_path = write_set(tmp_path / "set", {"full.png": PNG, "other.png": PNG}, {"full.png": content})
    lines: list[str] = []
    load(yaml_path, lines)
    assert lines[10:] == [
        "... and 91 more problems",
        "train: 2 images, 1 boxes, 10000 lines or entries dropped (10000 outside the image)",
    ]
    with pytest.raises(ValueError, match="101 problems, errors with --strict"):
        load(yaml_path, strict=True)


def test_labels_without_an_image_are_passed_over_as_in_yolov5(tmp_path: Path) -> None:
    yaml_path = write_set(tmp_path / "set", {"a.png": PNG})
    (tmp_path / "set" / "labels" / "orphan.txt").write_bytes(b"7 nan nan nan nan\n")
    lines: list[str] = []
    assert len(load(yaml_path, lines, strict=True)) == 1
    assert lines == ["train: 1 images, 1 boxes"]


def test_images_without_a_label_file_are_background(tmp_path: Path) -> None:
    yaml_path = write_set(tmp_path / "set", {"a.png": PNG, "b.png": PNG, "c.png": PNG}, {"c.png": b""})
    (tmp_path / "set" / "labels" / "b.txt").unlink()
    lines: list[str] = []
    samples = load(yaml_path, lines, strict=True)
    assert lines == ["train: 3 images, 1 boxes, 1 images without a label file, 1 images without labels"]
    assert [len(targets) for _, targets in sorted(training_targets(samples).items())] == [1, 0, 0]


def test_a_training_split_without_any_box_is_an_error(tmp_path: Path) -> None:
    yaml_path = write_set(tmp_path / "set", {"a.png": PNG, "b.png": PNG}, {"a.png": b"", "b.png": b"\n"})
    with pytest.raises(ValueError, match=r"train: no box to learn from in 2 images; all are empty \(.*set\.yaml\)"):
        load(yaml_path)
    assert len(load(yaml_path, split="val")) == 2  # nothing to find is a fair question for an evaluation
    (tmp_path / "set" / "labels" / "b.txt").write_bytes(b"0 32 16 8 8\n")
    with pytest.raises(ValueError, match=r"pixels or per cent\?; 1 of 1 labels .*b\.txt:1: box 32 16 8 8 is not with"):
        load(yaml_path)


def test_labels_that_change_after_they_were_read_change_nothing_in_this_run(tmp_path: Path) -> None:
    yaml_path = write_set(tmp_path / "set", {"a.png": PNG, "b.png": PNG})
    samples = load(yaml_path)
    label = tmp_path / "set" / "labels" / "a.txt"
    label.write_bytes(b"2 0.5 0.5 0.25 0.25\n0 0.1 0.1 0.1 0.1\n")
    np.testing.assert_allclose(training_targets(samples, store="streamed")["a.png"], [GOOD])
    assert len(load(yaml_path).classes) == 3  # the next run reads it; the cache is not taken
    label.unlink()
    assert len(load(yaml_path).classes) == 1


def test_a_label_file_larger_than_any_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MAX_LABEL_BYTES", 1000)
    yaml_path = write_set(tmp_path / "set", {"a.png": PNG, "b.png": PNG}, {"a.png": CENTRE_BOX * 60})
    lines: list[str] = []
    assert len(load(yaml_path, lines).classes) == 1
    assert lines[0] == f"{tmp_path / 'set' / 'labels' / 'a.txt'}: is not a label file; its image has no labels"


def test_a_folder_in_the_place_of_a_label_file(tmp_path: Path) -> None:
    yaml_path = write_set(tmp_path / "set", {"a.png": PNG, "b.png": PNG})
    label = tmp_path / "set" / "labels" / "a.txt"
    label.unlink()
    label.mkdir()
    lines: list[str] = []
    assert len(load(yaml_path, lines).classes) == 1
    assert lines[0].startswith(f"{label}: ") and lines[0].endswith("; its image has no labels")
    with pytest.raises(ValueError, match="1 problem, errors with --strict"):
        load(yaml_path, strict=True)
