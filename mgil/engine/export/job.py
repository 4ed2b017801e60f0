"""What every converter is handed: the model, its input, and the facts that travel in the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import mgil
from mgil.engine.runtimes.metadata import DEFAULT_TASK
from mgil.networks.detector import DetectionModel


@dataclass(frozen=True)
class Suppression:
    """Non-maximum suppression inside the graph.

    Attributes:
        conf_thres: Lowest score that is kept.
        iou_thres: Of two boxes of a class that overlap more than this, the lower score goes.
        agnostic: Boxes of different classes suppress each other too.
        per_class: Most boxes of a class in an image.
        total: Rows of the output: most boxes in an image.
    """

    conf_thres: float = 0.25
    iou_thres: float = 0.45
    agnostic: bool = False
    per_class: int = 100
    total: int = 100


@dataclass(frozen=True)
class ExportJob:
    """One model, ready to be written in several formats.

    Attributes:
        model: As trained, in evaluation mode, float32, on the CPU.
        stem: Name of the weights without their suffix.
        size_hw: Input size in pixels.
        task: What the model is for, as its weights say.
        batch_size: Images in one run.
        device: Where the formats that ask for it are traced and checked.
        half: Float16 where the format knows it.
        int8: Whole numbers of 8 bits.
        dynamic: Batch, height and width are free.
        simplify: Tidy up the ONNX graph.
        opset: Version of ONNX's operators.
        suppression: None leaves non-maximum suppression to the consumer.
        workspace: GiB that TensorRT may use while it builds; None: all there is.
        verbose: Say more.
        calibration: Makes the float32 batches, each (batch_size, 3, H, W), that INT8 ranges are read from.
    """

    model: DetectionModel
    stem: str
    size_hw: tuple[int, int]
    task: str = DEFAULT_TASK
    batch_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    half: bool = False
    int8: bool = False
    dynamic: bool = False
    simplify: bool = False
    opset: int = 17
    suppression: Suppression | None = None
    workspace: float | None = None
    verbose: bool = False
    calibration: Callable[[], list[Tensor]] = list

    @property
    def fixed_hw(self) -> tuple[int, int] | None:
        """The only input size, or None where it is free."""
        return None if self.dynamic else self.size_hw

    def example(self) -> Tensor:
        """A grey input to trace with."""
        return torch.full((self.batch_size, int(self.model.architecture["ch"]), *self.size_hw), 0.5)

    def metadata(self) -> dict[str, str]:
        """What travels in the file: YOLOv5's keys `stride` and `names`, then this project's; every value is text."""
        return {
            "stride": str(self.model.max_stride),
            "names": str(dict(enumerate(self.model.names))),
            "task": self.task,
            "imgsz": json.dumps(list(self.size_hw)),
            "batch": str(self.batch_size),
            "dynamic": json.dumps(self.dynamic),
            "half": json.dumps(self.half),
            "nms": json.dumps(self.suppression is not None),
            "int8": json.dumps(self.int8),
            **self._suppression_notes(),
            "version": mgil.__version__,
            "description": f"MGIL-YOLOv5 {self.stem}",
        }

    def _suppression_notes(self) -> dict[str, str]:
        if self.suppression is None:
            return {}
        return {
            "conf_thres": str(self.suppression.conf_thres),
            "iou_thres": str(self.suppression.iou_thres),
            "agnostic": json.dumps(self.suppression.agnostic),
        }

    def metadata_values(self) -> dict[str, Any]:
        """The same for formats that keep numbers and mappings: `shape`, `stride` and `names` as such."""
        return {
            **self.metadata(),
            "shape": list(self.example().shape),
            "stride": self.model.max_stride,
            "names": dict(enumerate(self.model.names)),
        }
