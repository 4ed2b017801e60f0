"""NMS against a plain double loop and against torchvision."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision

from mgil.tasks.detect.nms import _candidates, cxcywh_to_xyxy, non_max_suppression


def random_predictions(
    batch: int = 3, count: int = 300, num_classes: int = 4, size: float = 64.0, seed: int = 0
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(batch, count, 5 + num_classes, generator=generator, dtype=torch.float64).float()
    values[..., :2] = values[..., :2] * size * 1.2 - size * 0.1
    values[..., 2:4] = values[..., 2:4] * size * 0.4 + 1
    return values


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def plain_nms(
    rows: np.ndarray,
    conf: float,
    overlap: float,
    *,
    multi_label: bool,
    agnostic: bool,
    max_det: int = 300,
    max_nms: int = 30000,
    classes: tuple[int, ...] | None = None,
) -> np.ndarray:
    """YOLOv5's rule for one image, one box at a time, in float64."""
    candidates = []
    for row in rows:
        if not row[4] > conf:
            continue
        scores = row[5:] * row[4]
        chosen = range(len(scores)) if multi_label and len(scores) > 1 else [int(scores.argmax())]
        for class_index in chosen:
            if scores[class_index] > conf and (classes is None or class_index in classes):
                x, y, w, h = row[:4]
                candidates.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2, scores[class_index], class_index])
    candidates.sort(key=lambda box: -box[4])
    kept: list[list[float]] = []
    for box in candidates[:max_nms]:
        if all(iou(box, other) <= overlap or (not agnostic and box[5] != other[5]) for other in kept):
            kept.append(box)
    return np.array(kept[:max_det]).reshape(-1, 6)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("num_classes", [1, 4, 80])
def test_equals_plain_double_loop(multi_label: bool, agnostic: bool, num_classes: int) -> None:
    predictions = random_predictions(count=40 if num_classes == 80 else 120, num_classes=num_classes)
    found = non_max_suppression(predictions, 0.4, 0.5, multi_label=multi_label, agnostic=agnostic)
    assert len(found) == 3
    for rows, boxes in zip(predictions.double().numpy(), found, strict=True):
        expected = plain_nms(rows, 0.4, 0.5, multi_label=multi_label, agnostic=agnostic)
        np.testing.assert_allclose(boxes.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(
    "options", [{"classes": (1, 3)}, {"classes": ()}, {"max_det": 5}, {"max_nms": 20}, {"max_nms": 20, "max_det": 7}]
)
def test_limits_and_class_filter(options: dict) -> None:
    predictions = random_predictions(seed=3)
    found = non_max_suppression(predictions, 0.2, 0.45, multi_label=True, **options)
    for rows, boxes in zip(predictions.double().numpy(), found, strict=True):
        expected = plain_nms(rows, 0.2, 0.45, multi_label=True, agnostic=False, **options)
        np.testing.assert_allclose(boxes.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [50, 3000])  # a few calls, and many
def test_equals_torchvision(seed: int, count: int) -> None:
    predictions = random_predictions(batch=1, count=count, num_classes=6, size=160, seed=seed)
    found = non_max_suppression(predictions, 0.1, 0.6, multi_label=True, max_det=10**6)[0]
    rows = predictions[0]
    scores = rows[:, 5:] * rows[:, 4:5]
    box, label = ((scores > 0.1) & (rows[:, 4:5] > 0.1)).nonzero(as_tuple=True)
    boxes, values = cxcywh_to_xyxy(rows[box, :4]), scores[box, label]
    keep = torchvision.ops.boxes._batched_nms_vanilla(boxes, values, label, 0.6)
    expected = torch.cat((boxes, values[:, None], label[:, None].float()), dim=1)[keep]
    # Equal scores may come in any order.
    np.testing.assert_array_equal(in_full_order(found), in_full_order(expected))


@pytest.mark.parametrize("together", [1, 7, 200, 10**9])  # cells one by one, and all in one call, as on a GPU
@pytest.mark.parametrize("step", [1, 8])
@pytest.mark.parametrize("agnostic", [False, True])
def test_steps_and_calls_do_not_show(monkeypatch: pytest.MonkeyPatch, together: int, step: int, agnostic: bool) -> None:
    predictions = random_predictions(count=200, num_classes=5, seed=together % 11)
    predictions[1, 3:, 4] = 0  # few candidates there, so that the images need different numbers of steps
    monkeypatch.setattr("mgil.tasks.detect.nms._TOGETHER_ON_CPU", together)
    monkeypatch.setattr("mgil.tasks.detect.nms._FIRST_TRIED", step)
    options = {"multi_label": True, "agnostic": agnostic, "max_det": 12, "max_nms": 90}
    found = non_max_suppression(predictions, 0.05, 0.3, **options)
    for rows, boxes in zip(predictions.double().numpy(), found, strict=True):
        np.testing.assert_allclose(boxes.numpy(), plain_nms(rows, 0.05, 0.3, **options), atol=1e-4)


def test_images_in_chunks_equal_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = random_predictions(batch=5, count=50)
    monkeypatch.setattr("mgil.tasks.detect.nms._ROWS_IN_CACHE", 100)
    together = non_max_suppression(predictions, 0.1, 0.5, multi_label=True)
    for image, boxes in zip(predictions, together, strict=True):
        assert torch.equal(boxes, non_max_suppression(image[None], 0.1, 0.5, multi_label=True)[0])


def test_a_box_far_out_does_not_blur_the_others() -> None:
    predictions = random_predictions(batch=2, count=60)
    clean = non_max_suppression(predictions, 0.1, 0.5)
    predictions = torch.cat((predictions, torch.tensor([1e30, 0, 3, 3, 1, 1, 0, 0, 0]).expand(2, 1, 9)), dim=1)
    for expected, found in zip(clean, non_max_suppression(predictions, 0.1, 0.5), strict=True):
        assert torch.equal(expected, found[found[:, 0] < 1e6])
        assert len(found) == len(expected) + 1


def test_importing_it_does_not_import_torchvision() -> None:
    """torchvision takes longer to import than `val.py --help` should take."""
    code = "import sys, mgil.tasks.detect.nms; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def in_full_order(rows: torch.Tensor) -> np.ndarray:
    table = rows.numpy()
    return table[np.lexsort(table.T)]


def test_classes_never_meet_even_with_negative_coordinates() -> None:
    # A plain class offset of max + 1 would lay the far negative box of class 1 over the box of class 0.
    predictions = torch.zeros(1, 2, 7)
    predictions[0, 0] = torch.tensor([50.0, 50.0, 100.0, 100.0, 1.0, 0.9, 0.0])
    predictions[0, 1] = torch.tensor([-51.0, -51.0, 100.0, 100.0, 1.0, 0.0, 0.8])
    assert len(non_max_suppression(predictions, 0.25, 0.0)[0]) == 2


def test_small_boxes_of_high_classes_keep_precision() -> None:
    """Two 2-px boxes of class 999 whose IoU straddles the threshold by one percent of a pixel."""
    predictions = torch.zeros(2, 2, 1005)
    for image, shift in enumerate((1.0 - 0.01, 1.0 + 0.01)):  # IoU just above, just below 1/3
        predictions[image, 0, :5] = torch.tensor([30.0, 30.0, 2.0, 2.0, 1.0])
        predictions[image, 1, :5] = torch.tensor([30.0 + shift, 30.0, 2.0, 2.0, 1.0])
        predictions[image, 0, 1004], predictions[image, 1, 1004] = 0.9, 0.8
    found = non_max_suppression(predictions, 0.25, 1 / 3)
    assert [len(boxes) for boxes in found] == [1, 2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_broken_values_are_dropped(bad: float) -> None:
    predictions = random_predictions(batch=2, count=40)
    clean = non_max_suppression(predictions, 0.1, 0.5)
    spoiled = torch.cat((predictions, predictions[:, :20]), dim=1)
    for row in range(20):
        spoiled[:, 40 + row, row % spoiled.shape[2]] = bad
    for expected, found in zip(clean, non_max_suppression(spoiled, 0.1, 0.5), strict=True):
        assert torch.equal(expected, found)


def test_empty_inputs() -> None:
    assert non_max_suppression(torch.zeros(0, 10, 7)) == []
    for predictions in (torch.zeros(2, 0, 7), torch.zeros(2, 10, 7)):
        found = non_max_suppression(predictions, multi_label=True)
        assert [tuple(boxes.shape) for boxes in found] == [(0, 6), (0, 6)]


def test_half_precision_input_and_no_side_effects() -> None:
    predictions = random_predictions().half()
    before = predictions.clone()
    found = non_max_suppression(predictions)
    assert found[0].dtype == torch.float32
    assert torch.equal(before, predictions)


@pytest.mark.parametrize(("conf", "overlap"), [(-0.1, 0.5), (1.5, 0.5), (0.5, 45.0), (float("nan"), 0.5)])
def test_wrong_thresholds_are_named(conf: float, overlap: float) -> None:
    with pytest.raises(ValueError, match=r"must lie between 0 and 1"):
        non_max_suppression(torch.zeros(1, 1, 6), conf, overlap)


def test_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 5\)"):
        non_max_suppression(torch.zeros(1, 1, 5))


def test_candidates_are_in_order_of_image_then_score_then_place() -> None:
    """Against numpy's sort of both columns, with equal, tiny and infinite scores."""
    predictions = random_predictions(batch=4, count=90, num_classes=3, seed=5)
    predictions[..., 4:] = (predictions[..., 4:] * 4).round() / 4
    predictions[1, 5:9, 4:] = torch.tensor([1e-30, 1e-12, 1.0, 3e38]).repeat(4, 1)
    predictions[2, :, 4] = 0
    boxes, image = _candidates(predictions, 0.0, None, True)
    scores = predictions[..., 5:] * predictions[..., 4:5]
    at = ((scores > 0) & (predictions[..., 4:5] > 0)).nonzero().numpy()
    values = scores[tuple(at.T)].numpy()
    order = np.lexsort((at[:, 2], at[:, 1], -values, at[:, 0]))
    assert len(values) > 300 and np.isinf(-values).sum() == 0 and (values < 1e-38).any()
    np.testing.assert_array_equal(image.numpy(), at[order, 0])
    np.testing.assert_array_equal(boxes[:, 4].numpy(), values[order])
    np.testing.assert_array_equal(boxes[:, 5].numpy(), at[order, 2])
