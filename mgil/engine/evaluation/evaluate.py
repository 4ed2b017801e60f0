"""Evaluation of a detector on one split: predictions mapped to original pixels, then every metric from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from mgil.engine.memory_errors import memory_errors
from mgil.engine.runtimes.model import suppression_of
from mgil.tasks.detect.augmented import predict_augmented
from mgil.tasks.detect.coco import CocoAverages, SizeBin, coco_averages
from mgil.tasks.detect.confusion import confusion_matrix
from mgil.tasks.detect.curves import Curves, confidence_curves
from mgil.tasks.detect.matching import Detections

if TYPE_CHECKING:
    from mgil.datasets.batches.batch import EvalBatch
    from mgil.datasets.reading.samples import Samples

# Receives the batch's number, the batch, and its detections in pixels of the network input, (n, 6) per image.
BatchHook = Callable[[int, "EvalBatch", list[torch.Tensor]], None]
# Maps raw maps and targets to (total, (3,) box, objectness and class loss).
LossFunction = Callable[[list[torch.Tensor], torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class ClassResult:
    """One row of the per-class table; precision, recall and F1 at the confidence of the best mean F1."""

    name: str
    images: int  # with at least one label of the class
    instances: int
    precision: float
    recall: float
    f1: float
    ap50: float
    ap50_95: float


@dataclass(frozen=True)
class EvalResult:
    """What an evaluation found. AP is COCO's; nan where there is no label to be found."""

    map50_95: float
    map50: float
    map75: float
    map_small: float
    map_medium: float
    map_large: float
    precision: float
    recall: float
    f1: float
    best_confidence: float
    images: int
    instances: int
    per_class: tuple[ClassResult, ...]
    size_bins: tuple[SizeBin, ...]
    class_precision: np.ndarray  # (C, 101) at IoU .5 over recall
    curves: Curves
    confusion: np.ndarray  # (C + 1, C + 1), predicted by labelled
    detections: Detections  # original pixels
    left_out: tuple[int, ...]  # indices of images that could not be read; neither their labels nor they are counted
    val_losses: tuple[float, float, float]  # box, objectness, class; zeros when no loss was asked for
    speeds_ms: tuple[float, float, float]  # pre-process, inference, NMS, per image
    size_hw: tuple[int, int]  # largest network input seen


@torch.no_grad()
def evaluate(
    model: torch.nn.Module,
    loader: Iterable[EvalBatch],
    samples: Samples,
    config: Any,
    *,
    conf_thres: float = 0.001,
    iou_thres: float = 0.6,
    max_det: int = 300,
    device: torch.device | None = None,
    half: bool = False,
    loss: LossFunction | None = None,
    progress: bool = False,
    augment: bool = False,
    on_batch: BatchHook | None = None,
) -> EvalResult:
    """Run ``model`` over a split and score it.

    Args:
        model: maps (B, 3, H, W) float 0..1 to (B, N, 5 + classes), or to boxes where it suppresses them itself
            (ExportedModel.has_nms); set to evaluation mode for the run and put back.
        loader: batches of the split; the images that its `left_out` names, if it has that, do not count.
        samples: the split's labels.
        config: anything with ``names`` and ``category_ids`` by class index, such as DataConfig. Where it has one class,
            every detection is of that, whatever classes the model has.
        conf_thres: lowest score kept.
        iou_thres: NMS overlap.
        max_det: boxes kept per image.
        device: where the model is; by default that of its parameters.
        half: float16 arithmetic, CUDA only.
        loss: validation loss, computed from the same forward pass; a model without ``raw`` has none.
        progress: show a progress bar.
        augment: test-time augmentation.
        on_batch: called after each batch, for pictures.

    Raises:
        ValueError: ``half`` on a CPU, a bad threshold, labels beyond the class names, a batch that the GPU cannot hold.
    """
    device = device or next((p.device for p in model.parameters()), torch.device("cpu"))
    _check(samples, config.names, device, half)
    one_class = len(config.names) == 1
    run = _Run(model, device, half, augment, loss)
    limits: dict[str, Any] = {"conf_thres": conf_thres, "iou_thres": iou_thres, "max_det": max_det}
    suppress = partial(suppression_of(model), **limits, multi_label=True, agnostic=one_class)
    was_training = model.training
    model.eval()
    parts = []
    try:
        for number, batch in enumerate(tqdm(loader, desc="val", disable=None if progress else True, leave=False)):
            with memory_errors(f"validation batch {number + 1}", batch.images.shape):
                found = run.step(batch, suppress)
            for boxes in found if one_class else ():
                boxes[:, 5] = 0
            parts.append(to_original(found, batch, samples.sizes_hw))
            if on_batch is not None:
                on_batch(number, batch, found)
    finally:
        model.train(was_training)
    return summarise(Detections.concatenate(parts), samples, getattr(loader, "left_out", ()), config, run)


def _check(samples: Samples, names: Sequence[str], device: torch.device, half: bool) -> None:
    if half and device.type != "cuda":
        raise ValueError(f"half precision needs a CUDA device, not {device}; leave --half out")
    if len(samples.classes) and samples.classes.max() >= len(names):
        raise ValueError(f"a label has class {samples.classes.max()}, but there are only {len(names)} class names")


class _Run:
    """The stages of one batch, their times, and the running loss."""

    def __init__(
        self, model: torch.nn.Module, device: torch.device, half: bool, augment: bool, loss: LossFunction | None
    ) -> None:
        self.model, self.device, self.half, self.augment = model, device, half, augment
        self.loss = loss if hasattr(model, "raw") and not augment else None
        self.images = 0
        self.losses = torch.zeros(3, device=device)
        self.memory = torch.zeros(0, device=device)
        import_module("torchvision.ops")  # suppression needs it; its seconds would count as the first batch's
        self.seconds = [0.0, 0.0, 0.0]
        self.size_hw = (0, 0)

    def step(self, batch: EvalBatch, suppress: Callable[[torch.Tensor], list[torch.Tensor]]) -> list[torch.Tensor]:
        """Pre-process, infer and suppress one batch -> (n, 6) per image, pixels of the network input."""
        clock = [self._now()]
        images = self._scaled(batch.images.to(self.device, non_blocking=True))
        clock.append(self._now())
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.half):
            predictions, raws = self._predict(images)
        clock.append(self._now())
        found = suppress(predictions.float())
        clock.append(self._now())
        for stage in range(3):
            self.seconds[stage] += clock[stage + 1] - clock[stage]
        if self.loss is not None and raws is not None:
            items = self.loss([raw.float() for raw in raws], batch.targets.to(self.device))[1]
            self.losses += items.detach() * len(images)
        self.images += len(images)
        self.size_hw = (max(self.size_hw[0], images.shape[2]), max(self.size_hw[1], images.shape[3]))
        return found

    def _scaled(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 -> float 0..1, in the same memory for every batch: fresh pages cost more than the arithmetic."""
        if len(self.memory) < images.numel():
            self.memory = torch.empty(images.numel(), device=self.device)
        return self.memory[: images.numel()].view(images.shape).copy_(images).div_(255)

    def _predict(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        if self.augment:
            # an ensemble's members one by one: levels are cut out by their place among a single model's predictions
            members: Any = getattr(self.model, "members", (self.model,))
            views = [predict_augmented(member, images, **augment_geometry(member)) for member in members]
            return torch.cat(views, dim=1), None
        if self.loss is None:
            return self.model(images), None
        model: Any = self.model
        raws = model.raw(images)
        return model.head.decode(raws), raws

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def mean_losses(self) -> tuple[float, float, float]:
        box, objectness, classes = (self.losses / max(self.images, 1)).tolist()
        return box, objectness, classes

    def speeds_ms(self) -> tuple[float, float, float]:
        pre, inference, nms = (1000 * seconds / max(self.images, 1) for seconds in self.seconds)
        return pre, inference, nms


def augment_geometry(model: Any) -> dict[str, int]:
    """The largest stride and the number of levels of a model, for predict_augmented."""
    return {"stride": model.max_stride, "levels": len(model.stride)}


def to_original(found: Sequence[torch.Tensor], batch: EvalBatch, sizes_hw: np.ndarray) -> Detections:
    """Map (n, 6) boxes per image from the letterboxed input to original pixels, clipped to the image."""
    counts = [len(boxes) for boxes in found]
    rows = torch.cat(list(found)).cpu().numpy().astype(np.float64) if found else np.zeros((0, 6))
    local = np.repeat(np.arange(len(found)), counts)
    image_index = batch.indices[local].astype(np.int64)
    boxes = (rows[:, :4] - np.tile(batch.pads[local], 2)) / np.tile(batch.gains[local], 2)
    size_wh = sizes_hw[image_index][:, ::-1]
    boxes = np.clip(boxes, 0, np.tile(size_wh, 2))
    return Detections(image_index, boxes, rows[:, 4], rows[:, 5].astype(np.int64))


def summarise(
    detections: Detections, samples: Samples, left_out: Collection[int], config: Any, run: _Run
) -> EvalResult:
    """Every figure from the detections of a whole split, less the images that were left out."""
    if left_out:
        samples = samples.without_labels_of(left_out)
    coco = coco_averages(samples, config.category_ids, detections)
    curves = confidence_curves(detections, samples, len(config.names))
    per_class = _per_class(curves, coco, samples, config.names)
    labelled = [per_class[index] for index in curves.class_index]
    return EvalResult(
        map50_95=coco.ap,
        map50=coco.ap50,
        map75=coco.ap75,
        map_small=coco.ap_small,
        map_medium=coco.ap_medium,
        map_large=coco.ap_large,
        precision=_mean([row.precision for row in labelled]),
        recall=_mean([row.recall for row in labelled]),
        f1=_mean([row.f1 for row in labelled]),
        best_confidence=curves.best_confidence,
        images=len(samples) - len(left_out),
        instances=int((~samples.iscrowd).sum()),
        per_class=per_class,
        size_bins=coco.size_bins,
        class_precision=coco.class_precision,
        curves=curves,
        confusion=confusion_matrix(detections, samples, len(config.names)),
        detections=detections,
        left_out=tuple(left_out),
        val_losses=run.mean_losses(),
        speeds_ms=run.speeds_ms(),
        size_hw=run.size_hw,
    )


def _per_class(curves: Curves, coco: CocoAverages, truth: Samples, names: Sequence[str]) -> tuple[ClassResult, ...]:
    single = ~truth.iscrowd
    instances = np.bincount(truth.classes[single], minlength=len(names))
    seen = np.unique(np.stack((truth.image_index[single], truth.classes[single])), axis=1)
    images = np.bincount(seen[1], minlength=len(names))
    at_best = np.full((3, len(names)), np.nan)
    for values, table in zip(at_best, (curves.precision, curves.recall, curves.f1), strict=True):
        values[curves.class_index] = table[:, curves.best]
    return tuple(
        ClassResult(
            name=name,
            images=int(images[index]),
            instances=int(instances[index]),
            precision=float(at_best[0, index]),
            recall=float(at_best[1, index]),
            f1=float(at_best[2, index]),
            ap50=float(coco.class_ap50[index]),
            ap50_95=float(coco.class_ap[index]),
        )
        for index, name in enumerate(names)
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
