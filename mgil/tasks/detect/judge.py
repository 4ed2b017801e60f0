"""Detection's judge: a network's boxes on a split, mapped to the original images, then scored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mgil.datasets.batches.batch import EvalBatch
from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.samples import Samples
from mgil.files.class_names import places_in, same_classes
from mgil.tasks.detect.augmented import check_augment, predict_views
from mgil.tasks.detect.matching import Detections
from mgil.tasks.detect.options import ValOptions
from mgil.tasks.detect.scores import DetectScores, summarise
from mgil.tasks.detect.suppression import suppression_of


class DetectJudge:
    """Suppresses, collects and scores the boxes of one model on one split; see `mgil.tasks.base.Judge`.

    Args:
        model: Maps (B, 3, H, W) to (B, N, 5 + classes), or to boxes where it suppresses them itself (`has_nms`).
        samples: The split.
        data: Names and category ids by class index. Where it has one class, every detection is of that, whatever
            classes the model has. Where the model has the same classes in another order, they are matched by name.
        options: Thresholds, and what to write.
        pictures: The folder for pictures of batches; None: none are drawn.

    Raises:
        ValueError: Labels beyond the class names.
    """

    def __init__(
        self, model: nn.Module, samples: Samples, data: DataConfig, options: ValOptions, pictures: Path | None = None
    ) -> None:
        if len(samples.classes) and samples.classes.max() >= len(data.names):
            raise ValueError(f"a label has class {samples.classes.max()}, but there are only {len(data.names)} names")
        check_augment(model, options.augment)
        self.model: Any = model
        self.samples = samples
        self.data = data
        self.options = options
        self.one_class = len(data.names) == 1
        own = getattr(model, "names", data.names)
        other_order = own != data.names and same_classes(data.names, own)
        self.class_of_output = torch.tensor(places_in(data.names, own)) if other_order else None
        limits: dict[str, Any] = {
            "conf_thres": options.conf_thres,
            "iou_thres": options.iou_thres,
            "max_det": options.max_det,
        }
        self.suppress = partial(suppression_of(model), **limits, multi_label=True, agnostic=self.one_class)
        self.parts: list[Detections] = []
        self.pictures = None
        if pictures is not None:
            from mgil.tasks.detect.plots import BatchPictures  # matplotlib, for those who want pictures

            self.pictures = BatchPictures(pictures, data.names, len(samples))
        import_module("torchvision.ops")  # suppression needs it; its seconds would count as the first batch's

    def forward(self, images: Tensor, with_loss: bool) -> tuple[Tensor, list[Tensor] | None]:
        """Predictions (B, N, 5 + classes), and the raw maps where the loss wants them and the model has them."""
        if self.options.augment:
            return predict_views(self.model, images), None
        if not with_loss or not hasattr(self.model, "raw"):
            return self.model(images), None
        raws = self.model.raw(images)
        return self.model.head.decode(raws), [raw.float() for raw in raws]

    def finish(self, predictions: Tensor) -> list[Tensor]:
        """Boxes (n, 6) of each image, pixels of the network input."""
        return self.suppress(predictions.float())

    def add(self, batch: EvalBatch, found: list[Tensor]) -> None:
        """Keep a batch's boxes in original pixels."""
        for boxes in found if self.one_class else ():
            boxes[:, 5] = 0
        if self.class_of_output is not None:
            for boxes in found:
                boxes[:, 5] = self.class_of_output.to(boxes.device)[boxes[:, 5].long()].to(boxes)
        self.parts.append(to_original(found, batch, self.samples.sizes_hw))
        if self.pictures is not None:
            self.pictures.add(batch, found)

    def scores(self, skipped: Collection[int]) -> DetectScores:
        """Every figure of the split."""
        scores = summarise(Detections.concatenate(self.parts), self.samples, skipped, self.data, self.options)
        return replace(scores, batch_pictures=self.pictures)


def to_original(found: Sequence[Tensor], batch: EvalBatch, sizes_hw: np.ndarray) -> Detections:
    """Map (n, 6) boxes per image from the letterboxed input to original pixels, clipped to the image."""
    counts = [len(boxes) for boxes in found]
    rows = torch.cat(list(found)).cpu().numpy().astype(np.float64) if found else np.zeros((0, 6))
    local = np.repeat(np.arange(len(found)), counts)
    image_index = batch.indices[local].astype(np.int64)
    boxes = (rows[:, :4] - np.tile(batch.pads[local], 2)) / np.tile(batch.gains[local], 2)
    size_wh = sizes_hw[image_index][:, ::-1]
    boxes = np.clip(boxes, 0, np.tile(size_wh, 2))
    return Detections(image_index, boxes, rows[:, 4], rows[:, 5].astype(np.int64))
