"""Learning from another detector's answers, beside the labels: one that is larger, or sees the pictures finer.

Training pictures are made at the teacher's input size; the network that learns sees the same ones, reduced by area to
its own. Two things are compared, neither of which asks that both networks have the same maps or channels:

- score maps: at every place of the finest map the best score of each class, over anchors and levels;
- attention: on maps of like size how strongly each place answers, the mean square over channels (Zagoruyko and
  Komodakis, Paying More Attention to Attention, ICLR 2017), by Pearson's correlation over places.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgil.files.class_names import places_in
from mgil.files.text import Report
from mgil.networks.detector import DetectionModel
from mgil.tasks.base import Average
from mgil.tasks.detect.batches import rescaled
from mgil.tasks.detect.criterion import Criterion
from mgil.tasks.detect.recipe import DetectRecipe

LEAST_SCORES = 0.5  # of a picture, in the divisor, as `aligned_loss.LEAST_TARGETS`
LEAST_PLACES = 4  # of a map whose attention is compared
LEAST_VARIANCE = 1e-2  # of attention relative to its mean: flatter maps attend to nothing, and are not compared
TINY = 1e-6


@dataclass(frozen=True)
class Gains:
    """Weights of what is learned from the teacher."""

    scores: float
    attention: float


class TaughtLoss:
    """The loss of labels, and how far the network is from its teacher.

    Args:
        loss: Of the labels.
        model: Learns.
        teacher: In evaluation mode, on the same device; it has the same classes.
        order: Teacher's index of each of the model's classes.
        gains: Weights.
        size, teacher_size: Side of the input of either, in pixels.
        average: The mean over processes of what scores are divided by, see `AlignedLoss`; None: one process.
    """

    def __init__(
        self,
        loss: Criterion,
        model: DetectionModel,
        teacher: DetectionModel,
        order: Sequence[int],
        gains: Gains,
        size: int,
        teacher_size: int,
        average: Average | None = None,
    ) -> None:
        self.loss, self.model, self.teacher = loss, model, teacher
        self.order, self.gains = list(order), gains
        self.size, self.teacher_size, self.average = size, teacher_size, average
        self.terms = (*loss.terms, "teacher")
        self._recorded: _Recorded | None = None
        self._scores = torch.zeros(0)
        self._features: list[Tensor] = []

    def shown(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Let the teacher look at a batch; what the model is to see of it, for the next call.

        Args:
            images: (B, 3, T, T) in 0..1, T the teacher's size.
            targets: (t, 6) in pixels of these.

        Returns:
            (B, 3, S, S) at the model's size, and their targets.
        """
        with torch.no_grad():
            recorded = _Recorded(self.teacher.head)
            raws = self.teacher.raw(images)
            recorded.end()
            self._scores = log_score_map(raws).exp()[:, self.order]
            self._features = recorded.features
        self._recorded = _Recorded(self.model.head)
        if self.teacher_size == self.size:
            return images, targets
        images = F.interpolate(images, size=(self.size, self.size), mode="area")
        return images, rescaled(targets, self.size / self.teacher_size)

    def __call__(self, raws: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        """As the loss of labels, of what `shown` gave; arguments and results as for `AlignedLoss`."""
        assert self._recorded is not None
        self._recorded.end()
        features, self._recorded = self._recorded.features, None
        total, terms = self.loss(raws, targets)
        extra = total.new_zeros(())
        if self.gains.scores:
            extra = extra + self.gains.scores * score_loss(log_score_map(raws), self._scores, self.average)
        if self.gains.attention:
            extra = extra + self.gains.attention * self._attention_loss(features)
        self._scores, self._features = torch.zeros(0), []
        return total + extra * len(raws[0]), torch.cat((terms, extra.detach()[None]))

    def _attention_loss(self, features: Sequence[Tensor]) -> Tensor:
        """Mean over the levels whose maps have some places."""
        found = []
        for feature in features:
            if feature.shape[2] * feature.shape[3] < LEAST_PLACES:
                continue
            # the teacher's map whose places are as large, as a share of the picture
            theirs = min(self._features, key=lambda other: abs(_log_places(other) - _log_places(feature)))
            found.append(attention_distance(feature, theirs))
        return torch.stack(found).mean() if found else features[0].new_zeros(())


def with_teacher(
    options: Any, teacher: DetectionModel, names: Sequence[str], recipe: DetectRecipe, report: Report
) -> Any:
    """Training options with the teacher's full path, and its input size, rounded up to its stride.

    Raises:
        ValueError: It lacks a class, would see less than the network that learns, or the recipe asks it nothing.
    """
    what = f"--teacher {options.teacher}"
    missing = [name for name, place in zip(names, places_in(teacher.names, names), strict=True) if place < 0]
    if missing:
        known = ", ".join(map(repr, teacher.names[:5])) + ", ..." * (len(teacher.names) > 5)
        why = "; --single-cls needs one of one class" if options.single_cls else ""
        raise ValueError(f"{what}: does not know the class {missing[0]!r}; it knows {known}{why}")
    if not (recipe.teach_scores or recipe.teach_attention):
        raise ValueError(f"{what}: teach_scores and teach_attention of the recipe are 0, so it would teach nothing")
    if recipe.degrade:
        raise ValueError(
            f"{what}: pictures are made at its size, where degrade {recipe.degrade:g} of the recipe does less; set it 0"
        )
    given = options.teacher_img or max(teacher.imgsz, options.imgsz)
    size = -(-given // teacher.max_stride) * teacher.max_stride
    if size != given:
        report(f"the teacher sees {size} px: {given} is not a multiple of its stride of {teacher.max_stride}")
    if size < options.imgsz:
        raise ValueError(f"--teacher-img {size}: a teacher that sees less than --img {options.imgsz}; give more")
    report(f"{options.teacher} teaches at {size} px what is learned at {options.imgsz} px")
    return replace(options, teacher=os.path.abspath(options.teacher), teacher_img=size)


class _Recorded:
    """Keeps what a head is given, until `end`."""

    def __init__(self, head: nn.Module) -> None:
        self.features: list[Tensor] = []
        self._handle = head.register_forward_pre_hook(self._keep)

    def _keep(self, _head: nn.Module, inputs: tuple[Sequence[Tensor], ...]) -> None:
        self.features = list(inputs[0])

    def end(self) -> None:
        self._handle.remove()


def log_score_map(raws: Sequence[Tensor]) -> Tensor:
    """Logarithm of the best score of each class at every place, on the finest map.

    Args:
        raws: (B, anchors, h, w, classes + 5) of every level.

    Returns:
        (B, classes, H, W) float32.
    """
    maps = []
    for raw in raws:
        objectness, classes = F.logsigmoid(raw[..., 4:5].float()), F.logsigmoid(raw[..., 5:].float())
        scores = objectness + classes if classes.shape[-1] > 1 else objectness  # of one class it says all there is
        maps.append(scores.amax(1).permute(0, 3, 1, 2))
    finest = max((scores.shape[2:] for scores in maps), key=lambda hw: hw[0] * hw[1])
    return torch.stack([F.interpolate(scores, size=finest, mode="nearest") for scores in maps]).amax(0)


def score_loss(own_log: Tensor, theirs: Tensor, average: Average | None = None) -> Tensor:
    """Cross entropy of scores against a teacher's, of which the best of each place is taken.

    Every entry is weighted by the squared difference (quality focal loss, Li et al. 2020), and the sum is divided by
    that of the teacher's scores.

    Args:
        own_log: (B, C, h, w) logarithms of scores.
        theirs: (B, C, H, W) scores.
        average: As `TaughtLoss` has it.
    """
    goal = F.adaptive_max_pool2d(theirs, (own_log.shape[2], own_log.shape[3]))
    rest_log = (-torch.expm1(own_log)).clamp(min=TINY).log()
    entropy = -(goal * own_log + (1 - goal) * rest_log)
    weights = (goal - own_log.detach().exp()).square()
    total = goal.sum()
    total = (average(total) if average else total).clamp(min=LEAST_SCORES * len(goal))
    return (weights * entropy).sum() / total


def attention_distance(own: Tensor, theirs: Tensor) -> Tensor:
    """1 - the correlation over places of what (B, C, h, w) and (B, D, H, W) features attend to; 0 to 2, mean of B.

    Pictures in which either attends to nothing more than to the rest count 0.
    """
    first = own.float().square().mean(1)
    second = F.adaptive_avg_pool2d(theirs.float().square().mean(1), (first.shape[1], first.shape[2]))
    first, second = (
        each - each.mean(1, keepdim=True) for each in (_relative(first.flatten(1)), _relative(second.flatten(1)))
    )
    variances = first.square().mean(1), second.square().mean(1)
    compared = torch.minimum(*variances) > LEAST_VARIANCE
    spread = torch.where(compared, variances[0] * variances[1], 1.0).sqrt()
    return torch.where(compared, 1 - (first * second).mean(1) / spread, 0.0).mean()


def _relative(values: Tensor) -> Tensor:
    """(B, N) values of 0 or more, as multiples of the mean of their row."""
    return values / values.mean(1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)


def _log_places(feature: Tensor) -> float:
    return math.log(feature.shape[2] * feature.shape[3])
