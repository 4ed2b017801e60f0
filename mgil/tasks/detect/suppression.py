"""From a detector's predictions to boxes, whether this program suppresses them or the exported file did."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from mgil.tasks.detect.nms import non_max_suppression
from mgil.tasks.detect.options import DEFAULT_CONF, DEFAULT_IOU


def suppression_of(model: nn.Module) -> Callable[..., list[Tensor]]:
    """What turns a model's predictions into boxes: non_max_suppression, unless the model did that itself."""
    return take_boxes if getattr(model, "has_nms", False) else non_max_suppression


def notes_on_suppression(model: nn.Module, source: str) -> list[str]:
    """What a user should know before the scores of a file that suppresses boxes itself: its AP is lower."""
    if not getattr(model, "has_nms", False):
        return []
    return [
        f"warning: {source} suppresses boxes itself and gives only those that it keeps; --conf-thres and "
        "--iou-thres bring back no others, so AP is lower than that of the same model without --nms"
    ]


def take_boxes(
    boxes: Tensor,
    conf_thres: float = DEFAULT_CONF,
    *_: object,
    classes: Sequence[int] | None = None,
    max_det: int = 300,
    **__: object,
) -> list[Tensor]:
    """Filter boxes that are suppressed already; takes the arguments of non_max_suppression and ignores those of NMS.

    Args:
        boxes: (B, n, 6): x1, y1, x2, y2 in pixels, score, class index; unused rows have score 0.
        conf_thres: scores kept are above.
        classes: keep these class indices only.
        max_det: boxes kept per image.

    Returns:
        B tensors (m, 6), best score first.
    """
    found = []
    for rows in boxes:
        keep = (rows[:, 4] > conf_thres) & torch.isfinite(rows).all(dim=1)
        if classes is not None:
            keep &= torch.isin(rows[:, 5], torch.as_tensor(list(classes), dtype=rows.dtype, device=rows.device))
        rows = rows[keep]
        found.append(rows[rows[:, 4].argsort(descending=True, stable=True)[:max_det]])
    return found


@dataclass(frozen=True)
class Suppression:
    """Non-maximum suppression inside an exported file; see `mgil.tasks.base.Inside`.

    Attributes:
        conf_thres: Lowest score that is kept.
        iou_thres: Of two boxes of a class that overlap more than this, the lower score goes.
        agnostic: Boxes of different classes suppress each other too.
        per_class: Most boxes of a class in an image.
        total: Rows of the output: most boxes in an image.
    """

    conf_thres: float = DEFAULT_CONF
    iou_thres: float = DEFAULT_IOU
    agnostic: bool = False
    per_class: int = 100
    total: int = 100
    flag = "--nms"

    def notes(self) -> dict[str, str]:
        """That it is there, and its thresholds, for the file's metadata."""
        return {
            "nms": "true",
            "conf_thres": str(self.conf_thres),
            "iou_thres": str(self.iou_thres),
            "agnostic": json.dumps(self.agnostic),
        }

    def append_onnx(self, graph: Any, num_classes: int) -> None:
        """Put it behind an ONNX network."""
        from mgil.tasks.detect.export_nms import append_suppression

        append_suppression(graph, self, num_classes)

    def traceable(self, network: nn.Module) -> nn.Module:
        """The network with it, as a trace can follow it."""
        return _Suppressed(network, self)


class _Suppressed(nn.Module):
    """A detector and what remains of its predictions."""

    def __init__(self, detector: nn.Module, rule: Suppression) -> None:
        super().__init__()
        self.detector = detector
        self.rule = rule
        import_module("torchvision.ops")  # registers the operator that `suppress` names
        self.suppress = torch.jit.script(suppress)  # a trace cannot follow loops over what was found

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, total, 6)."""
        rule = self.rule
        return self.suppress(
            self.detector(images), rule.conf_thres, rule.iou_thres, rule.agnostic, rule.per_class, rule.total
        )


def suppress(
    predictions: Tensor, conf_thres: float, iou_thres: float, agnostic: bool, per_class: int, total: int
) -> Tensor:
    """`non_max_suppression`, one class a box, in what TorchScript understands.

    Args:
        predictions: (B, N, nc+5).
        conf_thres: lowest objectness, and lowest objectness times class score.
        iou_thres: overlap from which the lower score goes.
        agnostic: boxes suppress each other across classes.
        per_class: most boxes of a class in an image.
        total: rows of the output.

    Returns:
        (B, total, 6): x1, y1, x2, y2, score, class; best first, rows past the found ones zero.
    """
    found = torch.zeros(predictions.shape[0], total, 6, device=predictions.device)
    for image in range(predictions.shape[0]):
        rows = predictions[image]
        best, index = (rows[:, 5:] * rows[:, 4:5]).max(dim=1)
        keep = (rows[:, 4] > conf_thres) & (best > conf_thres)
        rows, best, index = rows[keep], best[keep], index[keep]
        half = rows[:, 2:4] / 2
        boxes = torch.cat((rows[:, :2] - half, rows[:, :2] + half), dim=1)
        apart = boxes.double()
        if not agnostic and rows.shape[0] > 0:  # classes side by side, so that none meets another
            apart = apart + index[:, None] * (apart.max() - apart.min() + 1)
        kept = torch.ops.torchvision.nms(apart, best.double(), iou_thres)
        same = index[kept][:, None] == index[kept][None]
        rank = torch.tril(same).sum(dim=1)  # place among the kept boxes of the class, from 1
        kept = kept[rank <= per_class][:total]
        rows = torch.cat((boxes[kept], best[kept][:, None], index[kept][:, None].to(boxes.dtype)), dim=1)
        found[image, : rows.shape[0]] = rows
    return found
