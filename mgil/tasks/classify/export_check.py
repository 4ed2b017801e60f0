"""Is the exported file the network that was exported? Both are run on real pictures and their probabilities compared.

Where two classes are almost as likely, the file may well name the other one. So what is judged beside the probabilities
is not which class comes first, but how much less likely the file's is to PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mgil.tasks.exported import Exporting, Limits, check_explained, check_finite

# The largest differences that are no error: of a probability, and between PyTorch's best class and the file's, in
# PyTorch's probabilities.
LIMITS = Limits(exact=(1e-4, 1e-4), exact_gpu=(0.01, 0.01), half=(0.02, 0.02), bfloat16=(0.1, 0.1))
# INT8 is rough: single probabilities may be far off, so means and clear answers are judged.
CLEAR = 0.2  # of probability: a class that is so much likelier than the file's is clearly another
MOST_MISTAKEN, HIGHEST_MEAN_GAP = 0.1, 0.1


@dataclass(frozen=True)
class Difference:
    """What an exported file's probabilities are off by.

    Attributes:
        pictures: That were compared.
        agreeing: Those with the same likeliest class.
        probability: Largest difference of one.
        unlikely: Most that the file's best class is less likely than PyTorch's, in PyTorch's probabilities.
        mistaken: INT8: share of pictures with a class that is clearly another to PyTorch.
        mean_gap: INT8: mean over pictures of the largest difference.
    """

    pictures: int
    agreeing: int
    probability: float
    unlikely: float
    mistaken: float | None = None
    mean_gap: float | None = None

    def __str__(self) -> str:
        text = f"largest difference on {self.pictures} pictures: probability {self.probability:.2g}; "
        text += f"same best class on {self.agreeing} of {self.pictures}"
        if self.agreeing < self.pictures:
            text += f", elsewhere one at most {self.unlikely:.2g} less likely in PyTorch"
        if self.mistaken is not None:
            text += f"; {self.mistaken:.1%} clearly another, mean of the largest differences {self.mean_gap:.3f}"
        return text


def compare(found: Sequence[Tensor], expected: Sequence[Tensor], job: Exporting) -> Difference:
    """Compare a file's outputs with PyTorch's.

    Args:
        found: Of the file, batches of probabilities (B, C).
        expected: Of PyTorch, batches of logits (B, C).
        job: What was exported.

    Raises:
        ValueError: They differ by more than the number type explains.
    """
    own = torch.cat([batch.double().cpu() for batch in found])
    logits = torch.cat([batch.double().cpu() for batch in expected])
    if own.shape != logits.shape:
        raise ValueError(f"its output is {tuple(own.shape)}, PyTorch's is {tuple(logits.shape)}")
    check_finite(own, logits)
    wanted = logits.softmax(dim=1)
    apart = (own - wanted).abs().amax(dim=1)
    best = own.argmax(dim=1)
    behind = wanted.amax(dim=1) - wanted.gather(1, best[:, None])[:, 0]
    difference = Difference(
        pictures=len(own),
        agreeing=int((behind == 0).sum()),
        probability=float(apart.max()),
        unlikely=float(behind.max()),
        mistaken=float((behind > CLEAR).double().mean()) if job.int8 else None,
        mean_gap=float(apart.mean()) if job.int8 else None,
    )
    _judge(job, difference)
    return difference


def _judge(job: Exporting, difference: Difference) -> None:
    probability, unlikely = LIMITS.of(job)
    allowed = f"probability {probability:.2g}, a best class {unlikely:.2g} less likely"
    fits = difference.probability <= probability and difference.unlikely <= unlikely
    if job.int8:
        allowed = f"{MOST_MISTAKEN:.0%} clearly another class, mean of the largest differences {HIGHEST_MEAN_GAP}"
        mistaken, gap = difference.mistaken or 0.0, difference.mean_gap or 0.0
        fits = mistaken <= MOST_MISTAKEN and gap <= HIGHEST_MEAN_GAP
    check_explained(fits, allowed, difference, job)
