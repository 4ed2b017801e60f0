"""SimCC: a joint's place as two classifications, one over bins along x, one over bins along y (Li et al., ECCV 2022).

Places are edge coordinates X of the input, in pixels: its left border is 0, the middle of its first pixel 1/2. Two
ways to cut an axis into bins, `split` of them a pixel:

    half   bin b covers [b, b + 1) / split, so that a mirrored picture has the mirrored bins for every split
    round  bin b is the place b / split beyond the first pixel's middle: what SimCC's own weights were trained with
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

BINS = ("half", "round")
SAME_BIN = 0.05  # of a bin: what rounding adds to its middle


def bins_of(points: Tensor, split: int, bins: str = "half") -> Tensor:
    """The bins, int64, that edge coordinates in pixels fall into; of any shape, and not bounded by the input."""
    return (points * split if bins == "half" else (points - 0.5) * split + 0.5).floor().long()


def exact_bins(points: Tensor, split: int, bins: str = "half") -> Tensor:
    """Edge coordinates in pixels as bins with a fraction: b is the middle of bin b."""
    return points * split - 0.5 if bins == "half" else (points - 0.5) * split


def points_of(indices: Tensor, split: int, bins: str = "half") -> Tensor:
    """The edge coordinates in pixels of the middles of bins."""
    return (indices + 0.5) / split if bins == "half" else indices / split + 0.5


def bins_at(points: Tensor, count: int, split: int, bins: str = "half") -> Tensor:
    """The bins, int64, of which `points_of` gives these edge coordinates; -1 where it gives them of none of `count`."""
    exact = exact_bins(points, split, bins)
    nearest = exact.round()
    there = ((exact - nearest).abs() < SAME_BIN) & (nearest >= 0) & (nearest < count)
    return torch.where(there, nearest, -1).long()


def decode(logits: Tensor, split: int, gaussian: bool, bins: str = "half") -> Tensor:
    """The likeliest place of each joint.

    Args:
        logits: (B, 2, K, n), x axis first.
        split: Bins of a pixel.
        gaussian: The network learnt Gaussians. A joint's score is then the smaller of the probabilities of its two
            bins, else the larger, as in SimCC.
        bins: How the axes are cut.

    Returns:
        (B, K, 3) float32: X and Y in pixels, edge coordinates, and the score in 0..1.
    """
    best, indices = logits.float().softmax(dim=-1).max(dim=-1)
    points = points_of(indices.to(best.dtype), split, bins)
    score = best.amin(dim=1) if gaussian else best.amax(dim=1)
    return torch.cat((points.transpose(1, 2), score[..., None]), dim=-1)


def flipped(logits: Tensor, flip: Sequence[int], split: int = 1, bins: str = "half") -> Tensor:
    """What the logits of a mirrored picture say about the picture itself.

    Args:
        logits: (B, 2, K, n), x axis first.
        flip: (K,) the joint that each becomes in a mirrored picture.
        split: Bins of a pixel; of use with `round` bins alone, which mirror onto others `split` - 1 further.
        bins: How the axes are cut.
    """
    logits = logits[:, :, list(flip)]
    across = logits[:, 0].flip(-1)
    if bins == "round" and split > 1:
        last = across[..., -1:].expand(*across.shape[:-1], split - 1)
        across = torch.cat((across[..., split - 1 :], last), dim=-1)
    return torch.stack((across, logits[:, 1]), dim=1)


def averaged(logits: Tensor, others: Tensor, gaussian: bool) -> Tensor:
    """The logits (B, 2, K, n) that two predictions have together: the mean of logits that learnt Gaussians, else of
    probabilities, as in SimCC."""
    if gaussian:
        return (logits + others) / 2
    both = torch.stack((logits, others)).float().log_softmax(dim=-1)
    return both.logsumexp(dim=0) - math.log(2)


class SimCCLoss:
    """Kullback-Leibler divergence between targets over bins and what the network says of them, in float32.

    Summed over bins, axes and joints, and meant over pictures, as SimCC's `NMTCritierion`. A joint counts where it is
    labelled (visibility above 0) and both its bins are inside of the input.

    Args:
        split: Bins of a pixel.
        smoothing: The target is 1 - smoothing on the joint's bin, and the rest shared evenly among the others.
        sigma: Gaussian targets (SimCC*): the standard deviation in bins, in place of one bin and smoothing; the
            density is neither rounded to bins nor cut off, so that it sums to less than 1 near a border. None: one bin.
        bins: How the axes are cut.
        nominal: Pictures of a whole optimizer step: what is minimised is then the sum over the pictures divided by
            this, so that batches whose gradients are added up make the mean of all of them. None: the batch's own mean.
    """

    def __init__(
        self,
        split: int,
        *,
        smoothing: float = 0.1,
        sigma: float | None = None,
        bins: str = "half",
        nominal: int | None = None,
    ) -> None:
        if not 0 <= smoothing < 1:
            raise ValueError(f"label smoothing is {smoothing!r}, must be at least 0 and below 1")
        if sigma is not None and not 0 < sigma < math.inf:
            raise ValueError(f"sigma is {sigma!r} bins, must be above 0")
        self.split, self.smoothing, self.sigma, self.bins, self.nominal = split, smoothing, sigma, bins, nominal

    @property
    def terms(self) -> tuple[str, ...]:
        """One: the divergence."""
        return ("kl",)

    def __call__(self, outputs: Tensor, targets: Tensor, /) -> tuple[Tensor, Tensor]:
        """Compare predictions with labels.

        Args:
            outputs: (B, 2, K, n) logits, x axis first.
            targets: (T, 1 + 3K): picture, then X, Y in pixels, edge coordinates, and visibility of each joint.

        Returns:
            What is minimised, and (1,) the mean over the B pictures, detached. The former is divided by axes and joints
            too, so that gradients are not clipped, as SimCC's are not; Adam's steps do not see the factor.
        """
        logits = outputs[targets[:, 0].long()].float()
        joints = targets[:, 1:].float().unflatten(1, (-1, 3))
        points = joints[..., :2].permute(0, 2, 1)  # (T, 2, K)
        indices = bins_of(points, self.split, self.bins)
        size = logits.shape[-1]
        counts = (joints[..., 2] > 0) & ((indices >= 0) & (indices < size)).all(dim=1)  # (T, K)
        if self.sigma is None:
            costs = self._smoothed(logits, indices.clamp(0, size - 1))
        else:  # the places of joints without a label may be NaN
            costs = self._gauss(logits, points.masked_fill(~counts[:, None], 0))
        total = costs.sum(dim=1).masked_fill(~counts, 0).sum()
        mean = total / max(len(outputs), 1)
        minimised = mean if self.nominal is None else total / self.nominal
        return minimised / logits.shape[1:3].numel(), mean.detach().reshape(1)

    def _smoothed(self, logits: Tensor, indices: Tensor) -> Tensor:
        """(T, 2, K) divergences from one-hot targets with smoothing."""
        logs = logits.log_softmax(dim=-1)
        others = self.smoothing / (logits.shape[-1] - 1)
        entropy = _x_log_x(1 - self.smoothing) + (_x_log_x(others) * (logits.shape[-1] - 1))
        hit = logs.gather(-1, indices[..., None])[..., 0]
        return entropy - (1 - self.smoothing - others) * hit - others * logs.sum(dim=-1)

    def _gauss(self, logits: Tensor, points: Tensor) -> Tensor:
        """(T, 2, K) divergences from Gaussian targets."""
        assert self.sigma is not None
        places = torch.arange(logits.shape[-1], device=logits.device, dtype=torch.float32)
        away = (places - exact_bins(points, self.split, self.bins)[..., None]) / self.sigma
        density = (-away.square() / 2).exp() / (self.sigma * math.sqrt(2 * math.pi))
        return functional.kl_div(logits.log_softmax(dim=-1), density, reduction="none").sum(dim=-1)


def _x_log_x(value: float) -> float:
    return value * math.log(value) if value > 0 else 0.0
