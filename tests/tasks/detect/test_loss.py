"""The loss against a plain loop over boxes, anchors and cells, and against YOLOv5's own values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.ops import complete_box_iou_loss

from mgil.networks.detector import build_model
from mgil.networks.head import Detect
from mgil.tasks.detect.loss import DetectionLoss, LossGains
from mgil.tasks.detect.overlap import complete_iou
from tests.engine.tiny import TINY


def make_head(num_classes: int = 80) -> Detect:
    return build_model("yolov5n.yaml", num_classes=num_classes).head


def random_case(
    seed: int, num_classes: int = 80, boxes: int = 12, size_hw: tuple[int, int] = (128, 128)
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Raw maps of two images, and boxes in pixels."""
    random = np.random.default_rng(seed)
    height, width = size_hw
    raws = [
        torch.tensor(random.normal(size=(2, 3, height // s, width // s, 5 + num_classes)), dtype=torch.float32)
        for s in (8, 16, 32)
    ]
    columns = [
        np.arange(boxes)[:, None] % 2,
        random.integers(0, num_classes, (boxes, 1)),
        random.uniform(0.1, 0.9, (boxes, 2)) * [width, height],
        random.uniform(0.02, 0.5, (boxes, 2)) * 128,
    ]
    return raws, torch.tensor(np.concatenate(columns, 1), dtype=torch.float32)


def test_equal_to_yolov5() -> None:
    # yolov5 7.0.14's ComputeLoss on these raw maps and boxes, official anchors, scratch-low gains
    raws, targets = random_case(0)
    total, terms = DetectionLoss(make_head(), LossGains())(raws, targets)
    assert terms.tolist() == pytest.approx([0.13443, 4.46687, 1.21586], rel=1e-4)
    assert total.item() == pytest.approx(11.63432, rel=1e-4)


def reference(
    head: Detect, gains: LossGains, raws: list[torch.Tensor], targets: torch.Tensor
) -> tuple[float, float, float]:
    """The definition, one box, one anchor, one cell at a time, in double precision."""
    box = obj = cls = 0.0
    for level, raw in enumerate(raws):
        raw = raw.double()
        stride = float(head.stride[level])
        _, _, rows, columns, _ = raw.shape
        overlaps, class_losses = [], []
        wanted = torch.zeros(raw.shape[:4], dtype=torch.float64)
        for image, label, x, y, w, h in targets.double().tolist():
            for a, (aw, ah) in enumerate(head.anchors[level].double().tolist()):
                rw, rh = w / stride / aw, h / stride / ah
                if max(rw, 1 / rw, rh, 1 / rh) >= gains.anchor_ratio:
                    continue
                gx, gy = x / stride, y / stride
                cells = [(0, 0)]
                if gx % 1 < 0.5 and gx > 1:
                    cells.append((-1, 0))
                if gy % 1 < 0.5 and gy > 1:
                    cells.append((0, -1))
                if (columns - gx) % 1 < 0.5 and columns - gx > 1:
                    cells.append((1, 0))
                if (rows - gy) % 1 < 0.5 and rows - gy > 1:
                    cells.append((0, 1))
                for dx, dy in cells:
                    column, row = int(gx) + dx, int(gy) + dy
                    cell = raw[int(image), a, row, column]
                    s = cell.sigmoid()
                    predicted = torch.tensor(
                        [2 * s[0] - 0.5 + column, 2 * s[1] - 0.5 + row, (2 * s[2]) ** 2 * aw, (2 * s[3]) ** 2 * ah]
                    )
                    truth = torch.tensor([gx, gy, w / stride, h / stride])
                    overlap = 1 - complete_box_iou_loss(corners(predicted), corners(truth)).item()
                    overlaps.append(overlap)
                    wanted[int(image), a, row, column] = max(wanted[int(image), a, row, column].item(), overlap, 0)
                    class_losses += [bce(float(z), float(c == int(label))) for c, z in enumerate(cell[5:])]
        if overlaps:
            box += 1 - sum(overlaps) / len(overlaps)
            cls += sum(class_losses) / len(class_losses)
        weight = (4.0, 1.0, 0.4)[level]
        cells_loss = [bce(float(z), float(t)) for z, t in zip(raw[..., 4].flatten(), wanted.flatten(), strict=True)]
        obj += weight * sum(cells_loss) / len(cells_loss)
    return box * gains.box, obj * gains.obj, cls * gains.cls


def corners(cxcywh: torch.Tensor) -> torch.Tensor:
    centre, size = cxcywh.double().split(2)
    return torch.cat((centre - size / 2, centre + size / 2))[None]


def bce(logit: float, target: float) -> float:
    return max(logit, 0) - logit * target + math.log1p(math.exp(-abs(logit)))


@pytest.mark.parametrize(("seed", "size_hw"), [(1, (128, 128)), (2, (96, 160))])
def test_against_the_definition(seed: int, size_hw: tuple[int, int]) -> None:
    head, gains = make_head(4), LossGains(box=0.07, obj=1.3, cls=0.4)
    raws, targets = random_case(seed, 4, boxes=25, size_hw=size_hw)  # enough boxes for two to claim one cell
    _, terms = DetectionLoss(head, gains)(raws, targets)
    assert terms.tolist() == pytest.approx(reference(head, gains, raws, targets), rel=1e-4)


def test_no_boxes() -> None:
    raws, _ = random_case(3, 4)
    for raw in raws:
        raw.requires_grad_()
    total, terms = DetectionLoss(make_head(4), LossGains())(raws, torch.zeros(0, 6))
    assert terms[0] == 0 and terms[2] == 0 and terms[1] > 0
    total.backward()
    assert all(raw.grad is not None and raw.grad.isfinite().all() for raw in raws)


def test_the_order_of_the_boxes_does_not_matter() -> None:
    raws, targets = random_case(4, 4, boxes=60)
    loss = DetectionLoss(make_head(4), LossGains())
    first = loss(raws, targets)[1]
    assert torch.allclose(first, loss(raws, targets.flip(0))[1], rtol=1e-5)


def test_one_class_has_no_class_term() -> None:
    raws, targets = random_case(5, 1)
    assert DetectionLoss(make_head(1), LossGains())(raws, targets)[1][2] == 0


@pytest.mark.parametrize("x", [0.0, 1e-4, 127.999, 128.0])
def test_boxes_on_the_edge_stay_inside_the_map(x: float) -> None:
    raws, _ = random_case(6, 4)
    targets = torch.tensor([[0, 1, x, 128 - x, 20.0, 20.0]])
    loss = DetectionLoss(make_head(4), LossGains())
    matches = loss.assign(targets, 0, (16, 16))
    assert len(matches.image) and matches.row.max() <= 15 and matches.column.min() >= 0
    assert loss(raws, targets)[0].isfinite()


def test_a_perfect_prediction_has_no_box_loss() -> None:
    head = make_head(1)
    targets = torch.tensor([[0, 0, 60.0, 44.0, 16.0, 30.0]])
    raws = [torch.zeros(1, 3, s, s, 6) for s in (16, 8, 4)]
    loss = DetectionLoss(head, LossGains())
    for level, raw in enumerate(raws):
        m = loss.assign(targets, level, (raw.shape[2], raw.shape[3]))
        xy = ((m.offset_xy + 0.5) / 2).clamp(1e-6, 1 - 1e-6)
        wh = ((m.size_wh / m.anchor_wh).sqrt() / 2).clamp(1e-6, 1 - 1e-6)
        raw[m.image, m.anchor, m.row, m.column, :4] = torch.logit(torch.cat((xy, wh), 1))
    assert loss(raws, targets)[1][0] == pytest.approx(0, abs=1e-5)


def test_label_smoothing_and_positive_weights() -> None:
    raws, targets = random_case(7, 4)
    head = make_head(4)
    plain = DetectionLoss(head, LossGains())(raws, targets)[1]
    smooth = DetectionLoss(head, LossGains(label_smoothing=0.1))(raws, targets)[1]
    heavy = DetectionLoss(head, LossGains(obj_positive=2.0, cls_positive=3.0))(raws, targets)[1]
    assert smooth[2] != plain[2] and smooth[1] == plain[1]
    assert heavy[1] > plain[1] and heavy[2] > plain[2]


def test_focal_loss_in_closed_form() -> None:
    loss = DetectionLoss(make_head(2), LossGains(focal_gamma=1.5))
    logit, target = torch.tensor([0.7]), torch.tensor([1.0])
    p = 1 / (1 + math.exp(-0.7))
    assert loss._cross_entropy(logit, target, 1.0).item() == pytest.approx(
        0.25 * (1 - p) ** 1.5 * -math.log(p), rel=1e-5
    )


def test_complete_iou_against_torchvision() -> None:
    torch.manual_seed(0)
    first, second = torch.rand(200, 4) * 10 + 0.5, torch.rand(200, 4) * 10 + 0.5
    first[:5] = second[:5]

    def to_corners(boxes: torch.Tensor) -> torch.Tensor:
        return torch.cat((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), 1)

    expected = 1 - complete_box_iou_loss(to_corners(first), to_corners(second), reduction="none")
    assert torch.allclose(complete_iou(first, second), expected, atol=1e-5)
    assert complete_iou(torch.zeros(1, 4), torch.zeros(1, 4)).isfinite().all()


def test_complete_iou_of_equal_boxes_is_one() -> None:
    torch.manual_seed(1)
    boxes = (torch.rand(20_000, 4) * 5 + 0.1).requires_grad_()
    overlap = complete_iou(boxes, boxes.detach())
    overlap.sum().backward()
    assert torch.allclose(overlap, torch.ones(()), atol=1e-5)
    assert boxes.grad is not None and boxes.grad.isfinite().all()


def test_gains_of_another_assignment_are_refused() -> None:
    with pytest.raises(ValueError, match="assign: 'aligned'"):
        DetectionLoss(make_head(4), LossGains(assign="aligned"))


@pytest.mark.parametrize(
    ("levels", "weights"),
    [
        ([2, 3, 4], [4.0, 1.0, 0.4]),
        ([4, 2, 3], [0.4, 4.0, 1.0]),
        ([3, 4], [4.0, 1.0]),
        ([1, 2, 3, 4], [4.0, 1.0, 0.25, 0.06]),
        ([4, 3, 2, 1, 0], [0.02, 0.06, 0.25, 1.0, 4.0]),
    ],
)
def test_the_finest_level_weighs_most_in_any_order(levels: list[int], weights: list[float]) -> None:
    """YOLOv5's weights by number of levels, which there go by the order in the YAML."""
    head = build_model(TINY | {"anchors": 1, "nc": 2, "head": [[levels, 1, "Detect", ["nc", "anchors"]]]}).head
    loss = DetectionLoss(head, LossGains())
    assert [loss.balance[level] for level in range(len(levels))] == weights


def test_more_levels_than_yolov5_has_weights_for() -> None:
    rows = [[[0, 1, 2, 3, 4, 4], 1, "Detect", ["nc", "anchors"]]]
    with pytest.raises(ValueError, match="6 feature levels; assign: anchor knows at most 5, assign: aligned any"):
        DetectionLoss(build_model(TINY | {"anchors": 1, "nc": 2, "head": rows}).head, LossGains())
