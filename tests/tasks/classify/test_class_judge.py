"""Accuracy, the confusion matrix and the tables against what is counted by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mgil.datasets.batches.batch import EvalBatch
from mgil.tasks.classify.judge import ClassJudge
from mgil.tasks.classify.options import ValOptions
from mgil.tasks.classify.report import result_lines
from mgil.tasks.classify.scores import ClassScores, confusion_matrix
from tests.tasks.classify.glyph_sets import split_of

NAMES = tuple("abcdef")
A, B, C, D, E, F = range(6)
NAN = math.nan
# Of eight pictures the probabilities of a to f, and the labelled class.
TABLE = np.array(
    [
        [0.50, 0.10, 0.10, 0.10, 0.10, 0.10],  # right
        [0.50, 0.30, 0.05, 0.05, 0.05, 0.05],  # b for a, second
        [0.40, 0.20, 0.15, 0.13, 0.12, 0.00],  # f for a, last: not even among five
        [0.05, 0.05, 0.40, 0.40, 0.05, 0.05],  # two alike: the first counts, and is right
        [0.05, 0.05, 0.40, 0.40, 0.05, 0.05],  # and is wrong
        [NAN, 0.20, 0.20, 0.20, 0.20, 0.20],  # nothing was said
        [1 / 6] * 6,  # all alike: a, and f is the sixth
        [0.90, 0.02, 0.02, 0.02, 0.02, 0.02],  # cannot be read
    ]
)
TRUTH = [A, B, F, C, D, E, F, A]


class Says(nn.Module):
    """A network that is never called: its outputs are given."""

    def __init__(self, names: tuple[str, ...], **facts: Any) -> None:
        super().__init__()
        self.names = names
        for key, value in facts.items():
            setattr(self, key, value)


def batch_of(items: list[int]) -> EvalBatch:
    count = len(items)
    images = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
    return EvalBatch(images, torch.zeros(0, 3), np.array(items, np.int64), np.ones((count, 2)), np.zeros((count, 2)))


DATA: Any = SimpleNamespace(yaml_path="set.yaml")


def judged(
    table: np.ndarray = TABLE,
    truth: list[int] = TRUTH,
    names: tuple[str, ...] = NAMES,
    own: tuple[str, ...] | None = None,
    skipped: tuple[int, ...] = (7,),
    options: ValOptions | None = None,
) -> ClassScores:
    judge = ClassJudge(Says(own or names), split_of(truth, names), DATA, options or ValOptions())
    items = list(range(len(truth)))
    for part in (items[3:], items[:3]):  # batches come in any order
        judge.add(batch_of(part), judge.finish(torch.from_numpy(table[part])))
    return judge.scores(skipped)


def test_accuracy_is_what_is_counted_by_hand() -> None:
    found = judged()
    assert found.images == 7
    assert (found.top1, found.top5) == (2 / 7, 4 / 7)
    assert found.class_mean == pytest.approx((1 + 0 + 1 + 0 + 0 + 0) / 6)
    assert found.confidence == pytest.approx((0.5 + 0.5 + 0.4 + 0.4 + 0.4 + 0 + 1 / 6) / 7)
    lowest = np.finfo(np.float32).tiny
    said = [0.5, 0.3, lowest, 0.4, 0.4, lowest, 1 / 6]
    assert found.loss == pytest.approx(-np.log(said).mean())
    rows = [(row.name, row.images, row.top1, row.top5, row.predicted) for row in found.per_class]
    assert rows == [
        ("a", 1, 1.0, 1.0, 4),
        ("b", 1, 0.0, 1.0, 0),
        ("c", 1, 1.0, 1.0, 2),
        ("d", 1, 0.0, 1.0, 0),
        ("e", 1, 0.0, 0.0, 0),
        ("f", 2, 0.0, 0.0, 0),
    ]
    assert found.columns() == {"metrics/accuracy_top1": 2 / 7, "metrics/accuracy_top5": 4 / 7}


def test_classes_in_another_order_are_matched_by_name() -> None:
    order = [3, 5, 0, 4, 1, 2]
    alone = [0, 1, 2, 5]  # those without two classes that are alike, of which the first in the network counts
    truth = [TRUTH[item] for item in alone]
    own = judged(TABLE[alone], truth, skipped=())
    other = judged(TABLE[alone][:, order], truth, own=tuple(NAMES[index] for index in order), skipped=())
    assert (other.top1, other.top5, other.loss) == (own.top1, own.top5, own.loss) == (1 / 4, 2 / 4, own.loss)
    np.testing.assert_array_equal(other.guesses.classes[:, 0], [A, A, A, -1])
    np.testing.assert_array_equal(other.guesses.true_scores, own.guesses.true_scores)


def test_of_few_classes_all_are_among_the_five() -> None:
    table = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    found = judged(table, [A, A], ("x", "y", "z"), skipped=())
    assert (found.top1, found.top5) == (0.5, 1.0)
    assert "top-3 1.0000" in found.lines(32, verbose=False)[-1]


def test_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^the weights have 2 classes, set\.yaml has 6$"):
        ClassJudge(Says(("a", "b")), split_of(TRUTH, NAMES), DATA, ValOptions())
    message = (
        r"^class 2 is 'z' in the weights and 'c' in set\.yaml; pictures are scored by the names of classes, so give"
    )
    for own in (tuple("abzdef"), tuple("fezdba")):  # as many, of which one is called otherwise
        with pytest.raises(ValueError, match=message):
            ClassJudge(Says(own), split_of(TRUTH, NAMES), DATA, ValOptions())


def test_logits_and_probabilities_are_one_figure() -> None:
    logits = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    split = split_of([0] * 5, NAMES)
    of_logits = ClassJudge(Says(NAMES, probabilities=False), split, DATA, ValOptions()).finish(logits)
    of_file = ClassJudge(Says(NAMES), split, DATA, ValOptions()).finish(logits.double().softmax(1))
    np.testing.assert_array_equal(of_logits, of_file)
    np.testing.assert_allclose(of_logits.sum(axis=1), 1)


def test_a_network_of_one_size_gets_it() -> None:
    """Its pictures are resized, and the report says so; logits go to the loss only where it is wanted."""

    class Fixed(Says):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert images.shape[2:] == (16, 16)
            return images.mean(dim=(2, 3))

    model = Fixed(("r", "g", "b"), any_size=False, imgsz=16, probabilities=False)
    judge = ClassJudge(model, split_of([0], ("r", "g", "b")), DATA, ValOptions())
    found, outputs = judge.forward(torch.full((1, 3, 8, 8), 0.5), True)
    assert outputs is not None and torch.equal(found, outputs)
    assert judge.forward(torch.full((1, 3, 8, 8), 0.5), False)[1] is None
    judge.add(batch_of([0]), judge.finish(found))
    assert judge.scores(()).lines(8, False)[0] == "pictures of 8 px were resized to the network's own 16 px"


def test_the_best_epoch_is_that_of_top1_then_top5_then_loss() -> None:
    base = replace(judged(), loss=3.0)
    better = [
        replace(base, loss=base.loss - 1),
        replace(base, top5=base.top5 + 1e-3, loss=base.loss + 5),
        replace(base, top1=base.top1 + 1e-4, top5=0.3, loss=700.0),
    ]
    values = [base.fitness, *(scores.fitness for scores in better)]
    assert values == sorted(set(values)) and min(values) > 0
    assert replace(base, top1=NAN, top5=NAN, loss=NAN).fitness == 0


def test_confusion_is_predicted_by_labelled() -> None:
    matrix = judged().confusion()
    expected = np.zeros((6, 6), int)
    for predicted, labelled in ((A, A), (A, B), (A, F), (A, F), (C, C), (C, D)):
        expected[predicted, labelled] += 1
    np.testing.assert_array_equal(matrix, expected)
    assert confusion_matrix(np.array([-1]), np.array([0]), 2).sum() == 0


def test_the_report_is_yolov5s_table(tmp_path: Path) -> None:
    lines = result_lines(judged(), input_size=32, verbose=False)
    assert lines[0].split() == ["Class", "Images", "top1_acc", "top5_acc"]
    assert lines[1].split() == ["all", "7", "0.286", "0.571"]
    assert [line.split()[0] for line in lines[2:8]] == list(NAMES)
    assert lines[8] == "taken for another most often: f for a (2), b for a (1), d for c (1)"
    assert lines[9] == (
        "accuracy at 32 px: top-1 0.2857, top-5 0.5714, mean of the classes 0.3333; mean confidence 0.3381, loss "
        f"{judged().loss:.4f}"
    )
    judged().write(tmp_path, pictures=False)
    assert {path.name for path in tmp_path.iterdir()} == {"per_class.csv", "confusion_matrix.csv"}
    rows = (tmp_path / "per_class.csv").read_text().splitlines()
    assert rows[0] == "class,images,top1_acc,top5_acc,predicted" and rows[6] == "f,2,0,0,0"
    pairs = (tmp_path / "confusion_matrix.csv").read_text().splitlines()
    assert pairs[:2] == ["labelled,predicted,images", "f,a,2"] and len(pairs) == 6


def test_many_classes_are_listed_on_request() -> None:
    names = tuple(f"class{index}" for index in range(25))
    found = judged(np.eye(25) * 0.5 + 0.02, list(range(25)), names, skipped=())
    short, long = (result_lines(found, input_size=32, verbose=verbose) for verbose in (False, True))
    assert len(long) - len(short) == 24 and short[2].startswith("top1_acc of 25 classes: best class0 1.000, ")
    assert not any("taken for another" in line for line in short)


def test_what_is_saved_of_each_picture(tmp_path: Path) -> None:
    lines: list[str] = []
    found = judged(options=ValOptions(save_txt=True, save_json=True))
    found.save(tmp_path, "best", lines.append)
    labels = sorted(path.name for path in (tmp_path / "labels").iterdir())
    assert labels == [f"set_{index}.txt" for index in (0, 1, 2, 3, 4, 6)]  # of 5 nothing was said, 7 was not read
    assert (tmp_path / "labels" / "set_1.txt").read_text() == "0.50 a\n0.30 b\n0.05 c\n0.05 d\n0.05 e\n"
    entries = json.loads((tmp_path / "best_predictions.json").read_text())
    assert [entry["label"] for entry in entries] == list("abfcdef") and entries[5]["predictions"] == []
    assert entries[1]["predictions"][:2] == [{"name": "a", "probability": 0.5}, {"name": "b", "probability": 0.3}]
    assert lines == [
        f"label files saved to {tmp_path / 'labels'}",
        f"predictions saved to {tmp_path / 'best_predictions.json'}",
    ]
