"""The aligned loss against a plain loop over boxes and cells, and what it must not do."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torchvision.ops import complete_box_iou_loss

from mgil.networks.detector import build_model
from mgil.networks.head import Detect
from mgil.tasks.detect.aligned_loss import (  # fmt: skip
    LEAST_TARGETS,
    MOST_MATCHES,
    OVERLAP_POWER,
    SCORE_POWER,
    AlignedLoss,
    best_of_each,
    best_value,
)
from mgil.tasks.detect.criterion import make_loss
from mgil.tasks.detect.loss import DetectionLoss, LossGains
from tests.tasks.detect.test_loss import bce, corners, make_head, random_case

GAINS = LossGains(assign="aligned", box=5.0, obj=1.5, cls=2.0)


def claims(
    head: Detect, raws: list[torch.Tensor], targets: torch.Tensor
) -> list[list[tuple[float, float, tuple[int, ...]]]]:
    """For every box its best aligned predictions: alignment, CIoU, place; one box, anchor and cell at a time."""
    result = []
    for image, label, x, y, w, h in targets.double().tolist():
        of_box = []
        for level, raw in enumerate(raws):
            stride = float(head.stride[level])
            _, anchors, rows, columns, _ = raw.shape
            truth = torch.tensor([x, y, w, h]) / stride
            for a in range(anchors):
                anchor = head.anchors[level, a].double()
                if max((truth[2:] / anchor).max(), (anchor / truth[2:]).max()) >= 4:
                    continue
                for row in range(rows):
                    for column in range(columns):
                        offset = truth[:2] - torch.tensor([column, row])
                        if not ((offset >= -0.5) & (offset < 1.5)).all():
                            continue
                        s = raw[int(image), a, row, column].double().sigmoid()
                        predicted = torch.cat(
                            (2 * s[:2] - 0.5 + torch.tensor([column, row]), (2 * s[2:4]) ** 2 * anchor)
                        )
                        overlap = 1 - complete_box_iou_loss(corners(predicted), corners(truth)).item()
                        score = (s[4] * (s[5 + int(label)] if head.num_classes > 1 else 1)).item()
                        alignment = score**SCORE_POWER * max(overlap, 0) ** OVERLAP_POWER
                        of_box.append((alignment, overlap, (level, int(image), a, row, column)))
        result.append(sorted(of_box, reverse=True)[:MOST_MATCHES])
    return result


def reference(
    head: Detect, gains: LossGains, raws: list[torch.Tensor], targets: torch.Tensor
) -> tuple[float, float, float]:
    """The definition in double precision."""
    all_claims = claims(head, raws, targets)
    best: dict[tuple[int, ...], float] = {}
    for of_box in all_claims:
        for _, overlap, place in of_box:
            best[place] = max(best.get(place, -1.0), max(overlap, 0))
    goals: dict[tuple[int, ...], float] = {}
    box = cls = total = 0.0
    for target, of_box in zip(targets.tolist(), all_claims, strict=True):
        kept = [claim for claim in of_box if max(claim[1], 0) >= best[claim[2]]]
        for alignment, overlap, place in kept:
            goal = alignment / max(max(c[0] for c in kept), 1e-12) * max(max(c[1], 0) for c in kept)
            total += goal
            goals[place] = max(goals.get(place, 0.0), goal)
            box += goal * (1 - overlap)
            if head.num_classes > 1:
                logits = raws[place[0]][place[1:]][5:].tolist()
                cls += goal * sum(bce(z, float(c == int(target[1]))) for c, z in enumerate(logits))
    obj = 0.0
    for level, raw in enumerate(raws):
        wanted = torch.zeros(raw.shape[:4])
        for place, goal in goals.items():
            if place[0] == level:
                wanted[place[1:]] = goal
        obj += sum(bce(z, t) for z, t in zip(raw[..., 4].flatten().tolist(), wanted.flatten().tolist(), strict=True))
    total = max(total, LEAST_TARGETS * len(raws[0]))
    return box * gains.box / total, obj * gains.obj / total, cls * gains.cls / total


@pytest.mark.parametrize(("seed", "num_classes", "size_hw"), [(1, 4, (128, 128)), (2, 4, (96, 160)), (3, 1, (160, 64))])
def test_against_the_definition(seed: int, num_classes: int, size_hw: tuple[int, int]) -> None:
    head = make_head(num_classes)
    raws, targets = random_case(seed, num_classes, boxes=25, size_hw=size_hw)  # enough boxes for two to claim one cell
    total, terms = AlignedLoss(head, GAINS)(raws, targets)
    assert terms.tolist() == pytest.approx(reference(head, GAINS, raws, targets), rel=1e-4)
    assert total.item() == pytest.approx(2 * terms.sum().item(), rel=1e-5)


def test_the_candidates_reach_as_far_as_the_decoding() -> None:
    """A prediction of exactly the box exists for every candidate, and for no other cell."""
    head = make_head(4)
    targets = torch.tensor([[1, 0, 60.0, 44.0, 16.0, 30.0]])
    pairs = AlignedLoss(head, GAINS).candidates(targets, [(16, 16), (8, 8), (4, 4)])
    assert (pairs.wanted[:, :2] >= -0.5).all() and (pairs.wanted[:, :2] < 1.5).all()
    assert (pairs.wanted[:, 2:] / pairs.anchor_wh < 4).all()
    fits = [
        sum(4 for w, h in anchors if max(16 / w, w / 16, 30 / h, h / 30) < 4) for anchors in head.anchors_px.tolist()
    ]
    assert len(pairs.box) == sum(fits) and sum(fits) > 4
    assert (pairs.position >= 3 * (256 + 64 + 16)).all()  # of the second image


@pytest.mark.parametrize("x", [0.0, 1e-4, 127.999, 128.0])
def test_boxes_on_the_edge_have_candidates(x: float) -> None:
    raws, _ = random_case(6, 4)
    targets = torch.tensor([[0, 1, x, 128 - x, 20.0, 20.0]])
    loss = AlignedLoss(make_head(4), GAINS)
    pairs = loss.candidates(targets, [(16, 16), (8, 8), (4, 4)])
    assert len(pairs.box) and pairs.position.min() >= 0 and pairs.position.max() < 3 * (256 + 64 + 16)
    assert loss(raws, targets)[0].isfinite()


def test_no_boxes() -> None:
    raws, _ = random_case(3, 4)
    for raw in raws:
        raw.requires_grad_()
    total, terms = AlignedLoss(make_head(4), GAINS)(raws, torch.zeros(0, 6))
    assert terms[0] == 0 and terms[2] == 0 and terms[1] > 0
    total.backward()
    assert all(raw.grad is not None and raw.grad.isfinite().all() for raw in raws)


def test_a_box_that_no_anchor_fits_is_background() -> None:
    raws, _ = random_case(4, 4)
    none = AlignedLoss(make_head(4), GAINS)(raws, torch.zeros(0, 6))[1]
    tiny = AlignedLoss(make_head(4), GAINS)(raws, torch.tensor([[0, 1, 60.0, 60.0, 0.5, 0.5]]))[1]
    assert torch.equal(none, tiny)


def test_the_order_of_the_boxes_does_not_matter() -> None:
    raws, targets = random_case(4, 4, boxes=60)
    loss = AlignedLoss(make_head(4), GAINS)
    assert torch.allclose(loss(raws, targets)[1], loss(raws, targets.flip(0))[1], rtol=1e-5)


def test_a_match_is_worth_more_the_better_it_predicts() -> None:
    """Gradient steps on free maps make one prediction of the box the surest of all, and exact."""
    torch.manual_seed(0)
    head = make_head(4)
    raws = [torch.randn(1, 3, s, s, 9, requires_grad=True) for s in (16, 8, 4)]
    targets = torch.tensor([[0, 2, 61.0, 44.0, 14.0, 22.0]])
    optimizer = torch.optim.Adam(raws, lr=0.1)
    loss = AlignedLoss(head, GAINS)
    for _ in range(500):
        optimizer.zero_grad()
        loss(raws, targets)[0].backward()
        optimizer.step()
    boxes = head.decode([raw.detach() for raw in raws])[0]
    best = boxes[(boxes[:, 4] * boxes[:, 7]).argmax()]
    assert best[:4].tolist() == pytest.approx([61, 44, 14, 22], abs=0.5)
    assert best[4] > 0.9 and best[5:].argmax() == 2
    centre_far = ((boxes[:, :2] - targets[0, 2:4]).abs() > 24).any(1)
    assert boxes[centre_far, 4].max() < 0.1


def test_smoothing_weights_and_focus_have_effect() -> None:
    raws, targets = random_case(7, 4)
    head = make_head(4)

    def terms(**changes: float) -> torch.Tensor:
        return AlignedLoss(head, LossGains(assign="aligned", **changes))(raws, targets)[1]  # type: ignore[arg-type]

    plain = terms()
    assert terms(label_smoothing=0.1)[2] != plain[2]
    assert terms(obj_positive=2.0)[1] > plain[1] and terms(cls_positive=3.0)[2] > plain[2]
    assert (terms(focal_gamma=1.5)[1:] < plain[1:]).all()
    assert terms(anchor_ratio=1.5)[0] != plain[0]


def test_half_precision_maps() -> None:
    raws, targets = random_case(8, 4)
    full = AlignedLoss(make_head(4), GAINS)(raws, targets)[1]
    half = AlignedLoss(make_head(4), GAINS)([raw.half() for raw in raws], targets)[1]
    assert half.dtype == torch.float32 and torch.allclose(full, half, rtol=0.02)


@pytest.mark.parametrize(
    ("groups", "values", "most", "expected"),
    [
        ([], [], 2, []),
        ([0], [1.0], 2, [0]),
        ([1, 0, 1, 0, 1], [1.0, 5.0, 3.0, 7.0, 2.0], 2, [3, 1, 2, 4]),
        ([0, 0, 0], [1.0, 1.0, 1.0], 2, [0, 1]),
        ([2, 2], [0.0, math.inf], 1, [1]),
    ],
)
def test_best_of_each(groups: list[int], values: list[float], most: int, expected: list[int]) -> None:
    found = best_of_each(torch.tensor(groups, dtype=torch.long), torch.tensor(values), most)
    assert found.tolist() == expected


def test_best_value() -> None:
    groups, values = torch.tensor([7, 3, 7, 9, 3]), torch.tensor([0.2, 0.5, 0.6, 0.0, 0.4])
    assert best_value(groups, values, 10).tolist() == pytest.approx([0.6, 0.5, 0.6, 0.0, 0.5])
    assert best_value(groups[:0], values[:0], 0).tolist() == []


def test_background_alone_weighs_no_more_than_a_scene() -> None:
    """YOLOv5's loss has this by being a mean; a sum over matches needs the floor of its divisor."""
    torch.manual_seed(0)
    model = build_model("yolov5n.yaml", num_classes=2, imgsz=64)
    images = torch.rand(8, 3, 64, 64)
    targets = torch.tensor([[i // 4, i % 2, 10.0 + i, 40.0 - i, 12.0, 14.0] for i in range(32)])
    loss = AlignedLoss(model.head, GAINS)
    empty, full = (loss(model(images), boxes)[1][1].item() for boxes in (targets[:0], targets))
    assert empty < 12 * full


def test_two_halves_are_the_whole() -> None:
    """With the targets averaged over processes, unequal halves of a batch add up to the batch."""
    head = make_head(4)
    raws, targets = random_case(9, 4, boxes=30)
    targets = targets[(targets[:, 0] == 0) | (torch.arange(30) > 25)]  # 15 boxes in one image, 2 in the other
    _, whole = AlignedLoss(head, GAINS)(raws, targets)
    sums: list[torch.Tensor] = []

    def note(total: torch.Tensor) -> torch.Tensor:
        sums.append(total)
        return total

    def half(image: int, average: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        boxes = targets[targets[:, 0] == image] * torch.tensor([0.0, 1, 1, 1, 1, 1])
        return AlignedLoss(head, GAINS, average)([raw[image : image + 1] for raw in raws], boxes)[1]

    alone = [half(image, note) for image in (0, 1)]
    mean = torch.stack(sums).mean()
    together = [half(image, lambda _: mean) for image in (0, 1)]
    assert torch.allclose(sum(together) / 2, whole, rtol=1e-5)  # type: ignore[arg-type]
    assert not torch.allclose(sum(alone) / 2, whole, rtol=0.1)  # type: ignore[arg-type]


def test_the_recipe_chooses_the_loss() -> None:
    head = build_model("yolov5n.yaml", num_classes=2).head
    assert isinstance(make_loss(head, GAINS), AlignedLoss)
    assert isinstance(make_loss(head, LossGains()), DetectionLoss)
    with pytest.raises(ValueError, match="assign: 'simota'; choose one of anchor, aligned"):
        make_loss(head, LossGains(assign="simota"))
