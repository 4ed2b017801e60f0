"""A loaded model that turns images into `Results`: letterbox, forward pass, suppression, back to the image's pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import islice
from typing import Any

import numpy as np
import torch

from mgil.datasets.batches.letterbox import letterbox_image
from mgil.engine.input_size import input_size_hw, warn
from mgil.engine.prediction.inputs import as_images, is_many
from mgil.engine.runtimes.model import ExportedModel, fixed_size_hw, suppression_of
from mgil.networks.detector import DetectionModel
from mgil.tasks.detect.augmented import predict_augmented
from mgil.tasks.detect.results import Results

BATCH_SIZE = 16  # images of one list that go through the network together


class Detector:
    """Finds objects in images.

    Args:
        model: in evaluation mode, on `device`.
        device: where to compute.
        size_hw: room for the image in the network's input; its sides are rounded up to the model's stride. An exported
            model of one input size takes exactly that.
        conf: lowest score that is kept, 0..1.
        iou: of two boxes of one class that overlap more than this, the lower score goes.
        max_det: boxes kept per image.
        classes: keep these class indices only.
        agnostic: boxes suppress each other across classes.
        augment: look at each image at three sizes, once mirrored.
        half: float16 arithmetic; the model's weights are float16.
        report: told when `size_hw` is rounded up; by default that is a Python warning.

    Raises:
        ValueError: a threshold, class or size that makes no sense.
    """

    def __init__(
        self,
        model: DetectionModel | ExportedModel,
        *,
        device: torch.device,
        size_hw: tuple[int, int],
        conf: float = 0.25,
        iou: float = 0.45,
        max_det: int = 1000,
        classes: Sequence[int] | None = None,
        agnostic: bool = False,
        augment: bool = False,
        half: bool = False,
        report: Callable[[str], None] = warn,
    ) -> None:
        check_thresholds(conf, iou, max_det)
        self.model = model
        self.device = device
        self.names = tuple(model.names)
        self.stride = model.max_stride
        self.is_fixed = fixed_size_hw(model) is not None
        self.size_hw = fixed_size_hw(model) or input_size_hw(size_hw, self.stride, report)
        self.suppress = suppression_of(model)
        self.conf, self.iou, self.max_det, self.agnostic, self.augment, self.half = (
            conf, iou, max_det, agnostic, augment, half,
        )  # fmt: skip
        self.classes = check_classes(classes, len(self.names))
        import_module("torchvision.ops")  # suppression needs it; its seconds would count as the first image's

    def __call__(self, images: Any) -> Results | list[Results]:
        """Look at one image or several.

        Args:
            images: a path; a (H, W, 3) or (H, W) uint8 NumPy array, **RGB** as everywhere in this project (an array of
                cv2.imread must be turned round: `image[..., ::-1]`); a PIL image; a (3, H, W) tensor, RGB, float 0..1
                or uint8; or a list or tuple of these, or a (B, 3, H, W) tensor.

        Returns:
            `Results` for one image, a list of them in the same order for several.

        Raises:
            ValueError: an array, tensor or file that is no such image.
            FileNotFoundError: no such file.
        """
        stream = as_images(images)
        results: list[Results] = []
        while chunk := list(islice(stream, BATCH_SIZE)):
            results += self.detect([image for image, _ in chunk], [path for _, path in chunk])
        return results if is_many(images) else results[0]

    def detect(self, images: Sequence[np.ndarray], paths: Sequence[str]) -> list[Results]:
        """Look at (H, W, 3) uint8 RGB arrays; those that need the same input shape go through the network together."""
        start = time.perf_counter()
        boxed = [letterbox_image(image, self.size_hw, stride=self.stride, auto=not self.is_fixed) for image in images]
        letterbox_ms = (time.perf_counter() - start) * 1e3 / max(len(images), 1)
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, (pixels, _, _) in enumerate(boxed):
            groups.setdefault(pixels.shape[:2], []).append(index)
        results: list[Results | None] = [None] * len(images)
        for shape_hw, members in groups.items():
            found, speed = self._forward(np.stack([boxed[index][0] for index in members]))
            speed["preprocess"] += letterbox_ms
            for index, rows in zip(members, found, strict=True):
                results[index] = self._results(rows, images[index], boxed[index][1:], paths[index], shape_hw, speed)
        return [result for result in results if result is not None]

    @torch.inference_mode()
    def _forward(self, pixels: np.ndarray) -> tuple[list[np.ndarray], dict[str, float]]:
        """(B, H, W, 3) uint8 -> (n, 6) x1 y1 x2 y2 score class in input pixels of each, and milliseconds per image."""
        clock = [self._now()]
        batch = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)  # (B, 3, H, W)
        batch = (batch.half() if self.half else batch.float()).div_(255)
        clock.append(self._now())
        if self.augment:
            levels = len(self.model.stride)
            predictions = predict_augmented(self.model, batch, stride=self.stride, levels=levels)
        else:
            predictions = self.model(batch)
        clock.append(self._now())
        found = self.suppress(
            predictions, self.conf, self.iou, classes=self.classes, agnostic=self.agnostic, max_det=self.max_det
        )
        rows = [boxes.cpu().numpy() for boxes in found]
        clock.append(self._now())
        spent = [(after - before) * 1e3 / len(pixels) for before, after in zip(clock, clock[1:], strict=False)]
        return rows, dict(zip(("preprocess", "inference", "nms"), spent, strict=True))

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

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def check_thresholds(conf: float, iou: float, max_det: int) -> None:
    """Raise ValueError for a threshold outside 0..1 or a maximum below 1."""
    for name, value in (("confidence threshold", conf), ("IoU threshold", iou)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} {value} must lie between 0 and 1")
    if max_det < 1:
        raise ValueError(f"maximum of detections {max_det} must be 1 or more")


def check_classes(classes: Sequence[int] | None, count: int) -> tuple[int, ...] | None:
    """Raise ValueError for a class index that the model does not have."""
    if classes is None:
        return None
    wrong = [index for index in classes if not 0 <= index < count]
    if wrong or not len(classes):
        raise ValueError(f"classes {list(classes)}: give indices from 0 to {count - 1}, the model has {count} classes")
    return tuple(int(index) for index in classes)
