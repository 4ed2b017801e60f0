"""A classification network at work on pictures: crops, forward pass, probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mgil.networks.stopwatch import Stopwatch
from mgil.tasks.classify.crops import eval_crop
from mgil.tasks.classify.options import CROP_MODES, PredictOptions
from mgil.tasks.classify.results import ClassResults

STAGES = ("preprocess", "inference", "softmax")


class ClassPredictor:
    """Says of pictures what they show; see `mgil.tasks.base.Predictor`.

    Args:
        model: In evaluation mode, on `device`: a `ClassNetwork`, or an exported file, which maps (B, 3, S, S) in 0..1
            to probabilities (B, C).
        options: Which part of a picture is looked at.
        device: Where to compute.
        size_hw: Height and width of its input, which are equal.
        half: float16 arithmetic; the model's weights are float16.

    Raises:
        ValueError: An input that is no square, or of a size that the network does not have.
    """

    def __init__(
        self,
        model: Any,
        options: PredictOptions,
        *,
        device: torch.device,
        size_hw: tuple[int, int],
        half: bool = False,
    ) -> None:
        self.model, self.options, self.device, self.half = model, options, device, half
        self.size_hw = check_size(model, size_hw)
        self.names: tuple[str, ...] = tuple(model.names)
        own: str = getattr(model, "crop", CROP_MODES[0])
        self.crop = options.crop_mode or own
        self.gives_logits = not getattr(model, "probabilities", True)

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray], paths: Sequence[str]) -> list[ClassResults]:
        """Look at (H, W, 3) uint8 RGB pictures, all of them at once."""
        if not images:
            return []
        watch = Stopwatch(self.device, STAGES)
        crops = np.stack([eval_crop(image, self.size_hw[0], self.crop) for image in images])
        batch = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2)
        batch = (batch.half() if self.half else batch.float()).div_(255)
        watch.done("preprocess")
        found = self.model(batch)
        watch.done("inference")
        found = found.double()
        probs = (found.softmax(dim=1) if self.gives_logits else found).float().cpu().numpy()
        watch.done("softmax")
        speed = watch.milliseconds(len(images))
        return [
            ClassResults(own, image, self.names, path, dict(speed), self.size_hw)
            for own, image, path in zip(np.where(_whole(probs), probs, np.nan), images, paths, strict=True)
        ]


def _whole(probs: np.ndarray) -> np.ndarray:
    """(B, 1): whether all of (B, C) are numbers; of a damaged network they may not be."""
    return np.isfinite(probs).all(axis=1, keepdims=True)


def check_size(model: Any, size_hw: tuple[int, int]) -> tuple[int, int]:
    """The input size.

    Raises:
        ValueError: It is no square, or not the one that the network was made for.
    """
    height, width = size_hw
    if height != width:
        raise ValueError(f"--imgsz {height} {width}: a network for classes sees squares; give one side")
    if not getattr(model, "any_size", True) and height != model.imgsz:
        raise ValueError(f"--imgsz {height}: the network takes {model.imgsz} px alone; leave --imgsz out")
    return size_hw
