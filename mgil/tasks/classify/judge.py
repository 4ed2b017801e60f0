"""Classification's judge: the probabilities of a split's pictures, held against their labels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from mgil.datasets.batches.batch import EvalBatch
from mgil.datasets.reading.config import DataConfig
from mgil.files.class_names import places_in, same_classes
from mgil.tasks.classify.options import ValOptions
from mgil.tasks.classify.scores import BEST, ClassScores, Guesses, summarise

if TYPE_CHECKING:
    from mgil.tasks.classify.plots import BatchPictures
    from mgil.tasks.classify.split import ClassSplit


class ClassJudge:
    """Collects and scores what one model says of one split; see `mgil.tasks.base.Judge`.

    Args:
        model: Maps (B, 3, S, S) to (B, C): logits, or probabilities where its `probabilities` is true or it has no such
            attribute, as an exported file. Pictures of another side are resized for a network of one size.
        split: The pictures and their classes.
        data: The data set, for messages. Classes are matched by name, whatever their order.
        options: What to write.
        pictures: The folder for pictures of batches; None: none are drawn.

    Raises:
        ValueError: The model has other classes than the split.
    """

    def __init__(
        self,
        model: nn.Module,
        split: ClassSplit,
        data: DataConfig,
        options: ValOptions,
        pictures: Path | None = None,
    ) -> None:
        self.model: Any = model
        self.split, self.options = split, options
        own = tuple(getattr(model, "names", split.names))
        if len(own) != len(split.names):
            raise ValueError(f"the weights have {len(own)} classes, {data.yaml_path} has {len(split.names)}")
        if not same_classes(split.names, own):
            place, name, other = next(
                (place, own[place], split.names[place])
                for place, index in enumerate(places_in(split.names, own))
                if index < 0
            )
            raise ValueError(
                f"class {place} is {name!r} in the weights and {other!r} in {data.yaml_path}; pictures are scored by "
                "the names of classes, so give data that has the weights' names"
            )
        self.class_of_output = np.array(places_in(split.names, own), np.int64)
        self.gives_logits = not getattr(model, "probabilities", True)
        self.parts: list[Guesses] = []
        self.pictures: BatchPictures | None = None
        if pictures is not None:
            from mgil.tasks.classify.plots import BatchPictures  # what draws, for those who want pictures

            self.pictures = BatchPictures(pictures, split)

    def forward(self, images: Tensor, with_loss: bool) -> tuple[Tensor, Tensor | None]:
        """What the model gives, (B, C); logits for the loss too."""
        found = self.model(self._as_wanted(images))
        return found, found.float() if with_loss and self.gives_logits else None

    def finish(self, predictions: Tensor) -> np.ndarray:
        """(B, C) float64 probabilities, in the order of the model's classes."""
        found = predictions.double()
        return (found.softmax(dim=1) if self.gives_logits else found).cpu().numpy()

    def add(self, batch: EvalBatch, found: np.ndarray) -> None:
        """Keep the best classes of a batch's pictures; where a probability is NaN or Inf, nothing was said."""
        guesses = self._guesses(batch.indices, found)
        self.parts.append(guesses)
        if self.pictures is not None:
            self.pictures.add(batch, guesses)

    def scores(self, skipped: Collection[int]) -> ClassScores:
        """Every figure of the split."""
        nothing = self._guesses(np.zeros(0, np.int64), np.zeros((0, len(self.split.names))))
        parts = [nothing, *self.parts]
        names = ("items", "classes", "scores", "true_scores")
        guesses = Guesses(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
        scores = summarise(self.split, guesses, skipped, self.options)
        own_px = None if getattr(self.model, "any_size", True) else self.model.imgsz
        return replace(scores, batch_pictures=self.pictures, network_px=own_px)

    def _as_wanted(self, images: Tensor) -> Tensor:
        side = images.shape[-1]
        wanted = side if getattr(self.model, "any_size", True) else self.model.imgsz
        if side == wanted:
            return images
        return functional.interpolate(
            images, size=(wanted, wanted), mode="bilinear", align_corners=False, antialias=side > wanted
        )

    def _guesses(self, items: np.ndarray, found: np.ndarray) -> Guesses:
        """The five best of (B, C) probabilities; of equal ones that with the lower index in the model comes first."""
        whole = np.isfinite(found).all(axis=1)
        order = best_classes(found)
        wanted = np.empty(len(self.class_of_output), np.int64)
        wanted[self.class_of_output] = np.arange(len(wanted))  # the output of each class
        truth = wanted[self.split.classes[items]]
        return Guesses(
            items=items,
            classes=np.where(whole[:, None], self.class_of_output[order], -1),
            scores=np.where(whole[:, None], np.take_along_axis(found, order, axis=1), np.nan),
            true_scores=np.where(whole, found[np.arange(len(items)), truth], 0.0),
        )


def best_classes(probabilities: np.ndarray) -> np.ndarray:
    """(B, min(5, C)) indices of the likeliest of (B, C), best first; of equal ones the lower index first."""
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :BEST]
