"""Pose's judge: a network's joints on crops of people, mapped to their pictures, then scored."""

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
from mgil.tasks.pose.crops import CropMaps
from mgil.tasks.pose.oks import Poses
from mgil.tasks.pose.options import ValOptions
from mgil.tasks.pose.people import People
from mgil.tasks.pose.scores import PoseScores, summarise

if TYPE_CHECKING:
    from mgil.tasks.pose.plots import BatchPictures


class PoseJudge:
    """Decodes, collects and scores the joints of one model on one split; see `mgil.tasks.base.Judge`.

    Args:
        model: Maps (B, 3, S, S) to logits (B, 2, K, n), or to decoded joints (B, K, 3) as an exported file does; these
            have no flip test. Pictures of another side are enlarged or shrunk to its `imgsz`.
        people: The split.
        data: Names of the key points. Where the model has the same in another order, they are matched by name.
        options: Flip test, thresholds, and what to write.
        pictures: The folder for pictures of batches; None: none are drawn.

    Raises:
        ValueError: The model has other key points than the people.
    """

    def __init__(
        self, model: nn.Module, people: People, data: DataConfig, options: ValOptions, pictures: Path | None = None
    ) -> None:
        self.model: Any = model
        self.people = people
        self.options = options
        own, wanted = tuple(getattr(model, "names", data.names)), people.skeleton.names
        if len(own) != len(wanted):
            raise ValueError(f"the weights have {len(own)} key points, the data set has {len(wanted)}")
        other_order = own != wanted and same_classes(own, wanted)
        self.joint_of_output = places_in(own, wanted) if other_order else None
        self.parts: list[Poses] = []
        self.pictures: BatchPictures | None = None
        if pictures is not None:
            from mgil.tasks.pose.plots import BatchPictures  # what draws, for those who want pictures

            self.pictures = BatchPictures(pictures, people)

    def forward(self, images: Tensor, with_loss: bool) -> tuple[tuple[Tensor, float], Tensor | None]:
        """Logits or decoded joints with the side of the network's pixels in those of `images`; logits for the loss.

        A loss is that of pictures of the network's own size: of others there are no logits for it.
        """
        side = images.shape[-1]
        wanted = getattr(self.model, "imgsz", side)
        if side != wanted:
            images = functional.interpolate(
                images, size=(wanted, wanted), mode="bilinear", align_corners=False, antialias=side > wanted
            )
        found = self.model(images)
        if found.ndim == 3:
            return (found, side / wanted), None
        outputs = found.float() if with_loss and side == wanted else None
        if not self.options.no_flip_test:
            found = self.model.with_mirrored(found.float(), self.model(images.flip(3)).float())
        return (found, side / wanted), outputs

    def finish(self, predictions: tuple[Tensor, float]) -> np.ndarray:
        """Joints (B, K, 3): X, Y in edge coordinates of the batch's pixels, and score."""
        found, pixel = predictions
        joints = found if found.ndim == 3 else self.model.decode(found)
        joints = joints.double().cpu().numpy()
        return joints * np.array([pixel, pixel, 1.0])

    def add(self, batch: EvalBatch, found: np.ndarray) -> None:
        """Keep a batch's joints in pixels of the pictures; people with a number that is none are not found."""
        if self.joint_of_output is not None:
            found = found[:, self.joint_of_output]
        places = CropMaps(batch.gains[:, 0], batch.pads).to_picture(found[..., :2])
        key_points = np.concatenate((places, found[..., 2:]), axis=-1)
        whole = np.isfinite(key_points).all(axis=(1, 2))
        self.parts.append(Poses(batch.indices, key_points, np.ones(len(key_points))).rows(whole))
        if self.pictures is not None:
            self.pictures.add(batch, found)

    def scores(self, skipped: Collection[int]) -> PoseScores:
        """Every figure of the split."""
        count = len(self.people.skeleton)
        nothing = Poses(np.zeros(0, np.int64), np.zeros((0, count, 3)), np.zeros(0))
        parts = [nothing, *self.parts]
        found = Poses(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("items", "key_points", "scores"))
        )
        found = found.rows(np.argsort(found.items, kind="stable"))  # of equal scores, the first counts as the better
        scores = summarise(self.people, found, skipped, self.options, self.pictures)
        return replace(scores, network_px=getattr(self.model, "imgsz", None))


def notes_on_flip_test(model: nn.Module, source: str) -> list[str]:
    """A line where a model gives no logits, so that there is no flip test: its figures are lower."""
    if hasattr(model, "with_mirrored"):
        return []
    return [
        f"{source} gives joints, not logits: it is scored without the flip test, whose figures are a little higher; "
        "give the .pt for those, or val.py --no-flip-test with the .pt to compare"
    ]
