"""A detector at work on pictures: letterbox, forward pass, suppression, back to the picture's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch

from mgil.datasets.batches.letterbox import letterbox_image
from mgil.networks.stopwatch import Stopwatch
from mgil.tasks.detect.augmented import check_augment, predict_views
from mgil.tasks.detect.options import DEFAULT_CONF, DEFAULT_IOU, PredictOptions
from mgil.tasks.detect.results import Results
from mgil.tasks.detect.suppression import suppression_of

STAGES = ("preprocess", "inference", "nms")
WEAK_CONF = 0.1  # lowest score of a detection that goes on a track; ByteTrack's value


class Detector:
    """Finds objects in pictures; see `mgil.tasks.base.Predictor`.

    Args:
        model: in evaluation mode, on `device`.
        options: thresholds, and which classes are kept.
        device: where to compute.
        size_hw: room for the picture in the network's input, multiples of the model's stride. A model that takes one
            input size gets exactly that.
        half: float16 arithmetic; the model's weights are float16.

    Raises:
        ValueError: a class that the model does not have, or thresholds that a file which suppresses boxes itself cannot
            honour.
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
        self.model = model
        self.options = options
        self.device = device
        self.size_hw = size_hw
        self.half = half
        self.names: tuple[str, ...] = tuple(model.names)
        self.stride: int = model.max_stride
        self.is_fixed = getattr(model, "size_hw", None) is not None
        self.suppress = suppression_of(model)
        self.classes = check_classes(options.classes, len(self.names))
        check_augment(model, options.augment)
        check_own_suppression(model, options)
        import_module("torchvision.ops")  # suppression needs it; its seconds would count as the first picture's

    @property
    def sure_score(self) -> float:
        """A detection of at least this may begin a track."""
        return self.options.conf_thres

    def __call__(self, images: Sequence[np.ndarray], paths: Sequence[str]) -> list[Results]:
        """Look at (H, W, 3) uint8 RGB arrays; those that need the same input shape go through the network together."""
        return self._detect(images, paths, self.options.conf_thres)

    def candidates(self, images: Sequence[np.ndarray], paths: Sequence[str]) -> list[Results]:
        """As the call, with boxes of low scores too, for a tracker."""
        return self._detect(images, paths, min(self.options.conf_thres, WEAK_CONF))

    def _detect(self, images: Sequence[np.ndarray], paths: Sequence[str], conf_thres: float) -> list[Results]:
        watch = Stopwatch(torch.device("cpu"), ())
        boxed = [letterbox_image(image, self.size_hw, stride=self.stride, auto=not self.is_fixed) for image in images]
        watch.done("preprocess")
        letterbox_ms = watch.milliseconds(len(images))["preprocess"]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, (pixels, _, _) in enumerate(boxed):
            groups.setdefault(pixels.shape[:2], []).append(index)
        results: list[Results | None] = [None] * len(images)
        for shape_hw, members in groups.items():
            found, speed = self._forward(np.stack([boxed[index][0] for index in members]), conf_thres)
            speed["preprocess"] += letterbox_ms
            for index, rows in zip(members, found, strict=True):
                results[index] = self._results(rows, images[index], boxed[index][1:], paths[index], shape_hw, speed)
        return [result for result in results if result is not None]

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in 0..1 -> the network's (B, N, nc + 5) predictions, of all views with `augment`."""
        return predict_views(self.model, batch) if self.options.augment else self.model(batch)

    @torch.inference_mode()
    def _forward(self, pixels: np.ndarray, conf_thres: float) -> tuple[list[np.ndarray], dict[str, float]]:
        """(B, H, W, 3) uint8 -> (n, 6) x1 y1 x2 y2 score class in input pixels of each, and milliseconds per image."""
        watch = Stopwatch(self.device, STAGES)
        batch = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)  # (B, 3, H, W)
        batch = (batch.half() if self.half else batch.float()).div_(255)
        watch.done("preprocess")
        predictions = self.predict(batch)
        watch.done("inference")
        options = self.options
        found = self.suppress(
            predictions,
            conf_thres,
            options.iou_thres,
            classes=self.classes,
            agnostic=options.agnostic_nms,
            max_det=options.max_det,
        )
        rows = [boxes.cpu().numpy() for boxes in found]
        watch.done("nms")
        return rows, watch.milliseconds(len(pixels))

    def _results(
        self,
        rows: np.ndarray,
        image: np.ndarray,
        placing: Sequence[np.ndarray],
        path: str,
        input_hw: tuple[int, ...],
        speed: dict[str, float],
    ) -> Results:
        gain, pad = placing
        boxes = (rows[:, :4].astype(np.float64) - np.tile(pad, 2)) / np.tile(gain, 2)
        height, width = image.shape[:2]
        return Results(
            boxes_xyxy=np.clip(boxes, 0, (width, height, width, height)).astype(np.float32),
            scores=rows[:, 4].copy(),
            classes=rows[:, 5].astype(np.int64),
            names=self.names,
            image=image,
            path=path,
            speed=dict(speed),
            input_hw=(input_hw[0], input_hw[1]),
        )


def check_classes(classes: Sequence[int] | None, count: int) -> tuple[int, ...] | None:
    """Raise ValueError for a class index that the model does not have."""
    if classes is None:
        return None
    wrong = [index for index in classes if not 0 <= index < count]
    if wrong or not len(classes):
        given = f"--classes {' '.join(map(str, classes))}".rstrip()
        own = "1 class; give 0" if count == 1 else f"{count} classes; give indices from 0 to {count - 1}"
        raise ValueError(f"{given}: the model has {own}")
    return tuple(int(index) for index in classes)


def check_own_suppression(model: Any, options: PredictOptions) -> None:
    """Raise ValueError for thresholds that a file which suppresses boxes itself cannot honour.

    Thresholds left at their defaults give way to the file's own.
    """
    if not getattr(model, "has_nms", False):
        return
    own_conf, own_iou = model.own_conf_thres, model.own_iou_thres
    what, again = f"{model.path} suppresses boxes itself", "export it again with --nms"
    conf, iou = options.conf_thres, options.iou_thres
    if own_conf is not None and conf < own_conf and conf != DEFAULT_CONF:
        raise ValueError(
            f"--conf-thres {conf}: {what} and keeps none below {own_conf}; "
            f"give {own_conf} or more, or {again} --conf-thres {conf}"
        )
    if own_iou is not None and iou not in (own_iou, DEFAULT_IOU):
        raise ValueError(f"--iou-thres {iou}: {what}, at {own_iou}; leave the flag out, or {again} --iou-thres {iou}")
    if options.agnostic_nms and not model.own_agnostic:
        raise ValueError(
            f"--agnostic-nms: {what}, each class apart; leave the flag out, or export it again with --agnostic-nms"
        )
