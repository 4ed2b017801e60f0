"""SimCC's bins, decoding, flip test and loss against written-out formulas."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mgil.tasks.pose.recipe import PoseRecipe
from mgil.tasks.pose.simcc import SimCCLoss, averaged, bins_of, decode, flipped, points_of
from mgil.tasks.registry import task_named


def one_hot(bins: Tensor, size: int) -> Tensor:
    """Logits (B, 2, K, size) that are sure of bins (B, 2, K)."""
    return 20.0 * functional.one_hot(bins, size).float()


def target_rows(points: Tensor, visible: Tensor) -> Tensor:
    """(B, 1 + 3K) targets of (B, K, 2) points and (B, K) visibilities."""
    joints = torch.cat((points, visible[..., None].float()), dim=-1).flatten(1)
    return torch.cat((torch.arange(len(points))[:, None].float(), joints), dim=1)


def test_bins_by_hand() -> None:
    """At 3 bins a pixel the first pixel has bins 0, 1, 2; SimCC's own bins begin in its middle."""
    points = torch.tensor([0.0, 0.33, 0.34, 0.5, 0.99, 1.0, 63.99, 64.0, -0.01])
    assert bins_of(points, 3).tolist() == [0, 0, 1, 1, 2, 3, 191, 192, -1]
    # round(x * k) of centre coordinates 0, 0.1, 0.2, 1
    assert bins_of(torch.tensor([0.5, 0.6, 0.7, 1.5]), 3, "round").tolist() == [0, 0, 1, 3]
    assert points_of(torch.tensor([0, 4]), 3).tolist() == pytest.approx([1 / 6, 1.5])
    assert points_of(torch.tensor([0, 4]), 2, "round").tolist() == [0.5, 2.5]


@pytest.mark.parametrize("bins", ["half", "round"])
@pytest.mark.parametrize("split", [1, 2, 3, 5])
def test_decoding_undoes_the_bins_to_half_a_bin(split: int, bins: str) -> None:
    points = torch.rand(4, 2, 6, generator=torch.Generator().manual_seed(0)) * 31 + 0.5
    found = decode(one_hot(bins_of(points, split, bins), 32 * split), split, False, bins)
    assert found.shape == (4, 6, 3)
    assert (found[..., :2].transpose(1, 2) - points).abs().max() <= 0.5 / split + 1e-5


def test_the_score_is_the_larger_probability_with_one_bin_and_the_smaller_with_gaussians() -> None:
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 0, 0, 1], logits[0, 1, 0, 2] = math.log(3), math.log(9)  # 3/6 and 9/12
    assert decode(logits, 1, False)[0, 0].tolist() == pytest.approx([1.5, 2.5, 0.75])
    assert decode(logits, 1, True)[0, 0].tolist() == pytest.approx([1.5, 2.5, 0.5])


@pytest.mark.parametrize("bins", ["half", "round"])
@pytest.mark.parametrize("split", [1, 2, 3, 4])
def test_a_mirrored_picture_has_mirrored_logits(split: int, bins: str) -> None:
    """Sure of a place in every pixel: what comes back is the very same. Half-pixel bins at borders are ambiguous."""
    size, flip = 16, (1, 0, 2)
    middles = torch.arange(size) + (0.5 if bins == "round" else 0.4)
    points = torch.stack((middles, middles.roll(3), middles.roll(7)), dim=1)  # (16, K): 16 pictures
    places = torch.stack((points, torch.full_like(points, 4.5)), dim=1)  # (16, 2, K)
    mirrored = torch.stack((size - points[:, list(flip)], places[:, 1]), dim=1)
    logits = one_hot(bins_of(places, split, bins), size * split)
    back = flipped(one_hot(bins_of(mirrored, split, bins), size * split), flip, split, bins)
    assert torch.equal(decode(back, split, False, bins)[..., :2], decode(logits, split, False, bins)[..., :2])


@pytest.mark.parametrize("split", [1, 2, 3])
def test_half_pixel_bins_mirror_exactly_wherever_a_joint_is(split: int) -> None:
    points = torch.rand(500, generator=torch.Generator().manual_seed(split)).double() * 64
    assert torch.equal(bins_of(64 - points, split), 64 * split - 1 - bins_of(points, split))


def test_twice_flipped_is_as_before() -> None:
    logits = torch.randn(2, 2, 3, 12, generator=torch.Generator().manual_seed(1))
    assert torch.equal(flipped(flipped(logits, (2, 1, 0)), (2, 1, 0)), logits)


def test_averages() -> None:
    """Of probabilities with one bin, of logits with Gaussians."""
    one, other = torch.randn(2, 1, 2, 3, 8, generator=torch.Generator().manual_seed(2))
    expected = (one.softmax(-1) + other.softmax(-1)) / 2
    assert torch.allclose(averaged(one, other, False).softmax(-1), expected, atol=1e-6)
    assert torch.equal(averaged(one, other, True), (one + other) / 2)


@pytest.mark.parametrize(("size", "split", "cost"), [(32, 3, 3.7839), (64, 3, 4.4072), (128, 2, 4.6660)])
def test_what_a_uniform_prediction_costs(size: int, split: int, cost: float) -> None:
    """Per joint and axis, with SimCC's label smoothing of 0.1."""
    targets = target_rows(torch.full((2, 5, 2), 7.3), torch.full((2, 5), 2))
    total, terms = SimCCLoss(split)(torch.zeros(2, 2, 5, size * split), targets)
    assert total.item() == pytest.approx(cost, abs=5e-5)
    assert terms[0].item() == pytest.approx(cost * 2 * 5, rel=1e-4)  # summed over axes and joints


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.2])
def test_the_loss_is_cross_entropy_but_for_a_constant(smoothing: float) -> None:
    """torch's smoothing gives the bin itself a share too: e here is e n / (n - 1) there."""
    generator = torch.Generator().manual_seed(3)
    points = torch.rand(3, 4, 2, generator=generator) * 16
    logits = torch.randn(3, 2, 4, 48, generator=generator, requires_grad=True)
    total = 24 * SimCCLoss(3, smoothing=smoothing)(logits, target_rows(points, torch.ones(3, 4)))[0]
    indices = (points * 3).floor().long().permute(0, 2, 1)
    reference = functional.cross_entropy(
        logits.flatten(0, 2), indices.flatten(), reduction="sum", label_smoothing=smoothing * 48 / 47
    )
    entropy = -sum(p * math.log(p) for p in (1 - smoothing, *[smoothing / 47] * 47) if p)
    assert total.item() == pytest.approx(reference.item() - 24 * entropy, rel=1e-5)
    (ours,), (theirs,) = torch.autograd.grad(total, logits), torch.autograd.grad(reference, logits)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_divergence_of_a_perfect_prediction_is_zero() -> None:
    """The logarithm of the target itself, with smoothing and with Gaussians."""
    points = torch.tensor([[[8.1, 3.3]]])
    targets = target_rows(points, torch.ones(1, 1))
    smooth = torch.full((1, 2, 1, 32), 0.1 / 31)
    for axis, place in enumerate((16, 6)):
        smooth[0, axis, 0, place] = 0.9
    assert float(SimCCLoss(2)(smooth.log(), targets)[0]) == pytest.approx(0, abs=1e-5)
    far = torch.arange(32)[None] - (points[0, 0] * 2 - 0.5)[:, None]
    density = (-(far**2) / 8).exp() / (2 * math.sqrt(2 * math.pi))
    loss = SimCCLoss(2, sigma=2.0)
    assert float(loss(density.log().reshape(1, 2, 1, 32), targets)[0]) == pytest.approx(0, abs=1e-3)
    uniform = float(loss(torch.zeros(1, 2, 1, 32), targets)[1])
    assert uniform == pytest.approx(float((density * (density.log() + math.log(32))).sum()), rel=1e-5)


def test_gaussians_are_around_the_exact_place() -> None:
    """Half-pixel bins: bin b's middle is (b + 1/2) / split; SimCC's own: x * split."""
    logits = torch.zeros(1, 2, 1, 64, requires_grad=True)
    for bins, middle in (("half", 20.25), ("round", 19.75)):
        targets = target_rows(torch.full((1, 1, 2), 10.375), torch.ones(1, 1))
        (grad,) = torch.autograd.grad(SimCCLoss(2, sigma=3.0, bins=bins)(logits, targets)[0], logits)
        density = (1 / 64 - 2 * grad[0, 0, 0]).detach()
        assert float((density * torch.arange(64)).sum() / density.sum()) == pytest.approx(middle, abs=1e-3)


def test_joints_without_label_or_outside_do_not_count() -> None:
    """Hidden joints (1) count like visible ones (2); outside on one axis is outside."""
    points = torch.tensor([[[5.0, 5.0], [5.0, 5.0], [5.0, 5.0], [-0.1, 5.0], [5.0, 16.0], [5.0, 15.9]]])
    targets = target_rows(points, torch.tensor([[0, 1, 2, 2, 2, 2]]))
    logits = torch.randn(1, 2, 6, 32, requires_grad=True)
    (grad,) = torch.autograd.grad(SimCCLoss(2)(logits, targets)[0], logits)
    assert grad.abs().sum(dim=(0, 1, 3)).ne(0).tolist() == [False, True, True, False, False, True]
    nan = points.clone()
    nan[0, 0] = torch.nan  # no label: its place means nothing
    for loss in (SimCCLoss(2), SimCCLoss(2, sigma=2.0)):
        total, _ = loss(logits, target_rows(nan, targets[:, 3::3]))
        assert torch.equal(total, loss(logits, targets)[0])
        assert torch.autograd.grad(total, logits)[0].isfinite().all()


def test_batches_whose_gradients_are_added_up_make_the_mean() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(8, 2, 3, 32, generator=generator)
    points, visible = torch.rand(8, 3, 2, generator=generator) * 16, torch.ones(8, 3)
    whole, mean = SimCCLoss(2)(logits, target_rows(points, visible))
    loss = SimCCLoss(2, nominal=8)
    rows = [slice(start, start + 2) for start in range(0, 8, 2)]
    parts = [loss(logits[part], target_rows(points[part], visible[part]))[0] for part in rows]
    torch.testing.assert_close(sum(parts), whole)
    torch.testing.assert_close(loss(logits, target_rows(points, visible))[1], mean)


@pytest.mark.parametrize(("batch", "step"), [(4, 16), (6, 18), (16, 16), (64, 64)])
def test_a_step_is_the_mean_over_all_its_pictures(batch: int, step: int) -> None:
    """Of all processes: --batch-size is theirs together. Recipes have nbs 16."""
    task: Any = task_named("pose")
    model: Any = SimpleNamespace(split=2, gaussian=False, bins="half")
    assert task.loss(model, PoseRecipe(nbs=16), 32, SimpleNamespace(batch_size=batch)).nominal == step


def test_rows_name_their_pictures() -> None:
    """A picture without a row adds nothing but counts in the mean; no row at all is 0, with a gradient."""
    logits = torch.randn(3, 2, 2, 32, requires_grad=True)
    points, visible = torch.rand(3, 2, 2) * 16, torch.ones(3, 2)
    rows = target_rows(points, visible)
    single = [SimCCLoss(2)(logits[[i]], target_rows(points[[i]], visible[:1]))[0].item() for i in range(3)]
    total, terms = SimCCLoss(2)(logits, rows[[2, 0]])
    assert total.item() == pytest.approx((single[0] + single[2]) / 3, rel=1e-5)
    assert terms.shape == (1,) and not terms.requires_grad and terms[0].item() == pytest.approx(total.item() * 4)
    nothing, terms = SimCCLoss(2)(logits, rows[:0])
    nothing.backward()
    assert nothing.item() == 0 == terms[0].item() and SimCCLoss(2).terms == ("kl",)


def test_half_precision_logits_cost_what_float32_ones_do() -> None:
    logits = torch.randn(2, 2, 3, 96, generator=torch.Generator().manual_seed(4)).bfloat16()
    rows = target_rows(torch.full((2, 3, 2), 9.0), torch.ones(2, 3))
    total, _ = SimCCLoss(3)(logits, rows)
    assert total.dtype == torch.float32 and torch.equal(total, SimCCLoss(3)(logits.float(), rows)[0])


@pytest.mark.parametrize("options", [{"smoothing": 1.0}, {"smoothing": -0.1}, {"sigma": 0.0}, {"sigma": math.inf}])
def test_impossible_options(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        SimCCLoss(3, **options)
