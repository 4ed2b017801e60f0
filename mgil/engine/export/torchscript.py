"""TorchScript files, with YOLOv5's `config.txt` inside."""

from __future__ import annotations

import io
import json
import warnings
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from mgil.engine.export.job import ExportJob, Suppression
from mgil.engine.export.network import deployed


def write_torchscript(job: ExportJob, path: Path) -> None:
    """Trace the network and save it; metadata as JSON in the extra file `config.txt`."""
    save_quietly(traced(job), path, {"config.txt": json.dumps(job.metadata_values())})


def save_quietly(module: torch.jit.ScriptModule, path: Path, extra_files: dict[str, str]) -> None:
    """Save a module without torch's advice to use its newer formats."""
    content = io.BytesIO()  # given a path, PyTorch ends the whole process when the disk is full
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(module, content, _extra_files=extra_files)
    path.write_bytes(content.getbuffer())


def traced(job: ExportJob, runtime: str = "torchscript") -> torch.jit.ScriptModule:
    """The job's model as a TorchScript module on the job's device."""
    network: nn.Module = deployed(job.model, runtime, job.fixed_hw, job.half)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers its newer formats, and warns of sizes read in Python
        if job.suppression is not None:
            network = _Suppressed(network, job.suppression)
        return torch.jit.trace(network.to(job.device), job.example().to(job.device), check_trace=False)


class _Suppressed(nn.Module):
    """A detector and what remains of its predictions."""

    def __init__(self, detector: nn.Module, suppression: Suppression) -> None:
        super().__init__()
        self.detector = detector
        self.rule = suppression
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
    """`mgil.tasks.detect.nms.non_max_suppression`, one class a box, in what TorchScript understands.

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
