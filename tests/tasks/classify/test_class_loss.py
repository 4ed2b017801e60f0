"""Classification's loss, held against PyTorch's and against timm's formula for mixed pictures."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from mgil.tasks.classify.loss import ClassLoss


def plain(classes: list[int]) -> torch.Tensor:
    """Targets of pictures with one class each."""
    return torch.tensor([[picture, number, 1.0] for picture, number in enumerate(classes)])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_one_class_each_is_pytorchs_cross_entropy(smoothing: float) -> None:
    torch.manual_seed(0)
    logits, classes = torch.randn(5, 7, requires_grad=True), [3, 0, 6, 6, 2]
    loss, terms = ClassLoss(smoothing)(logits, plain(classes))
    cross_entropy = nn.CrossEntropyLoss(label_smoothing=smoothing)
    expected = cross_entropy(logits, torch.tensor(classes))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(terms, expected.detach().reshape(1))
    assert not terms.requires_grad and ClassLoss().terms == ("ce",)
    (own,) = torch.autograd.grad(loss, logits)
    (others,) = torch.autograd.grad(
        nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, torch.tensor(classes)), logits
    )
    torch.testing.assert_close(own, others)


def test_mixed_pictures_are_timms_soft_targets() -> None:
    """timm: off = s / C, on = 1 - s + off; target = lam * y1 + (1 - lam) * y2; mean of -target * log_softmax."""
    torch.manual_seed(1)
    logits, smoothing = torch.randn(3, 4), 0.2
    targets = torch.tensor([[0, 1, 0.75], [0, 3, 0.25], [1, 2, 1.0], [2, 0, 0.4], [2, 0, 0.6]])
    off = smoothing / 4
    first = torch.full((3, 4), off)
    first[[0, 1, 2], [1, 2, 0]] = 1 - smoothing + off
    second = torch.full((3, 4), off)
    second[[0, 1, 2], [3, 2, 0]] = 1 - smoothing + off
    share = torch.tensor([[0.75], [1.0], [0.4]])
    soft = share * first + (1 - share) * second
    expected = -(soft * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(ClassLoss(smoothing)(logits, targets)[0], expected)


def test_timms_own_loss_and_mixup() -> None:
    timm_loss, mixup = pytest.importorskip("timm.loss"), pytest.importorskip("timm.data.mixup")
    torch.manual_seed(2)
    logits, classes = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 1])
    soft = mixup.mixup_target(classes, 5, lam=0.3, smoothing=0.1)  # the partner of a picture is its mirror in the batch
    pairs = zip(range(6), classes.tolist(), classes.flip(0).tolist(), strict=True)
    targets = torch.tensor([row for number, own, other in pairs for row in ([number, own, 0.3], [number, other, 0.7])])
    torch.testing.assert_close(ClassLoss(0.1)(logits, targets)[0], timm_loss.SoftTargetCrossEntropy()(logits, soft))


def test_batches_whose_gradients_are_added_up_make_the_mean() -> None:
    torch.manual_seed(3)
    logits, classes = torch.randn(8, 3), [0, 1, 2, 0, 1, 2, 0, 0]
    whole = ClassLoss(0.1)(logits, plain(classes))[0]
    loss = ClassLoss(0.1, nominal=8)
    parts = [loss(logits[i : i + 2], plain(classes[i : i + 2]))[0] for i in range(0, 8, 2)]
    torch.testing.assert_close(sum(parts), whole)
    torch.testing.assert_close(loss(logits, plain(classes))[1], whole.reshape(1))


def test_pictures_without_rows_teach_nothing() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    loss, _ = ClassLoss(0.1)(logits, torch.tensor([[1, 2, 1.0]]))
    torch.testing.assert_close(loss, nn.CrossEntropyLoss(label_smoothing=0.1)(logits[1:2], torch.tensor([2])))
    loss.backward()
    assert logits.grad is not None and not logits.grad[[0, 2]].any() and logits.grad[1].all()
    nothing = ClassLoss(0.1)(logits, torch.zeros(0, 3))[0]
    assert nothing.item() == 0 and nothing.requires_grad


def test_an_infinite_logit_of_another_class_costs_nothing() -> None:
    logits = torch.tensor([[0.0, -math.inf, 1.0]])
    expected = math.log(1 + math.exp(-1))
    assert ClassLoss(0.0)(logits, plain([2]))[0].item() == pytest.approx(expected)
    assert ClassLoss(0.0)(logits, plain([1]))[0].item() == math.inf
    assert ClassLoss(0.0)(torch.full((1, 3), math.nan), plain([1]))[0].isnan()  # the trainer skips such a step


def test_half_precision_logits_are_compared_in_float32() -> None:
    logits = torch.tensor([[12.0, 11.0, -9.0]], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        loss, terms = ClassLoss(0.0)(logits, plain([1]))
    assert loss.dtype == terms.dtype == torch.float32
    assert loss.item() == pytest.approx(1 + math.log(1 + math.exp(-1) + math.exp(-21)), rel=1e-6)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_impossible_smoothing(smoothing: float) -> None:
    with pytest.raises(ValueError, match="smoothing is"):
        ClassLoss(smoothing)
