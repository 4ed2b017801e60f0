"""Is the exported file the model that was exported? Both are run on real crops and compared joint by joint.

A file gives places, PyTorch's network the probabilities of all places. Where two places are almost as likely, the file
may well choose the other one, pixels away. So what is judged is not the distance, but how much less likely the file's
place is to PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mgil.tasks.exported import Exporting, Limits, check_explained, check_finite
from mgil.tasks.pose.simcc import bins_at

# The largest differences that are no error: in logits, between PyTorch's best place and the file's, and in scores.
LIMITS = Limits(exact=(0.001, 0.001), exact_gpu=(0.02, 0.01), half=(0.1, 0.02), bfloat16=(1.0, 0.1))
# INT8 is rough: single joints may move, so shares and means are judged.
MISPLACED = 1.0  # logits: a place that is e times less likely
MOST_MISPLACED, HIGHEST_MEAN_SCORE_GAP = 0.1, 0.05


@dataclass(frozen=True)
class Difference:
    """What an exported file's joints are off by.

    Attributes:
        crops: That were compared.
        joints: Of them all.
        moved: Joints at another place than PyTorch's.
        pixels: Largest distance of one along x or y, in input pixels.
        unlikely: Largest difference, in logits, between PyTorch's best place and the file's.
        scores: Largest difference of a joint's score.
        misplaced: INT8: share of places that PyTorch finds much less likely than its own.
        mean_score_gap: INT8: mean difference of the scores.
    """

    crops: int
    joints: int
    moved: int
    pixels: float
    unlikely: float
    scores: float
    misplaced: float | None = None
    mean_score_gap: float | None = None

    def __str__(self) -> str:
        text = f"largest difference on {self.crops} crops: scores {self.scores:.2g}, "
        if self.moved:
            text += f"places {self.pixels:.2g} px ({self.moved} of {self.joints} joints elsewhere, at places whose "
            text += f"logits in PyTorch are at most {self.unlikely:.2g} below the best)"
        else:
            text += f"places 0 px ({self.joints} joints)"
        if self.misplaced is not None:
            text += f"; {self.misplaced:.1%} of the places much less likely, "
            text += f"mean score difference {self.mean_score_gap:.3f}"
        return text


def compare(found: Sequence[Tensor], expected: Sequence[Tensor], job: Exporting) -> Difference:
    """Compare a file's outputs with PyTorch's.

    Args:
        found: Of the file, batches of (B, K, 3).
        expected: Of PyTorch, batches of logits (B, 2, K, n).
        job: What was exported; its model is a `PoseNetwork`.

    Raises:
        ValueError: They differ by more than the number type explains.
    """
    model = job.model
    joints = torch.cat([batch.float().cpu() for batch in found])
    logits = torch.cat([batch.float().cpu() for batch in expected])
    check_finite(joints, logits)
    wanted = model.decode(logits)
    if joints.shape != wanted.shape:
        raise ValueError(f"its output is {tuple(joints.shape)}, joints of PyTorch's are {tuple(wanted.shape)}")
    count = logits.shape[-1]
    places = bins_at(joints[..., :2], count, model.split, model.bins).transpose(1, 2)  # (B, 2, K)
    if (places < 0).any():
        raise ValueError("it gives places that are no middles of bins, so that it is not decoded as PyTorch's output")
    behind = logits.amax(dim=-1) - logits.gather(-1, places[..., None])[..., 0]
    apart = (joints - wanted).abs()
    difference = Difference(
        crops=len(joints),
        joints=joints.shape[0] * joints.shape[1],
        moved=int((apart[..., :2].amax(dim=-1) > 0.5 / model.split).sum()),
        pixels=float(apart[..., :2].max()),
        unlikely=float(behind.max()),
        scores=float(apart[..., 2].max()),
        misplaced=float((behind > MISPLACED).float().mean()) if job.int8 else None,
        mean_score_gap=float(apart[..., 2].mean()) if job.int8 else None,
    )
    _judge(job, difference)
    return difference


def _judge(job: Exporting, difference: Difference) -> None:
    unlikely, scores = LIMITS.of(job)
    allowed = f"places {unlikely:.2g} below the best logit, scores {scores:.2g}"
    fits = difference.unlikely <= unlikely and difference.scores <= scores
    if job.int8:
        allowed = f"{MOST_MISPLACED:.0%} of the places, mean score difference {HIGHEST_MEAN_SCORE_GAP}"
        misplaced, gap = difference.misplaced or 0.0, difference.mean_score_gap or 0.0
        fits = misplaced <= MOST_MISPLACED and gap <= HIGHEST_MEAN_SCORE_GAP
    check_explained(fits, allowed, difference, job)
