"""What every converter is handed: the model, its input, and the facts that travel in the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import mgil
from mgil.datasets.reading.value_range import ValueRange
from mgil.networks.network import Network
from mgil.tasks.base import Task
from mgil.tasks.exported import Inside
from mgil.tasks.registry import DEFAULT_TASK, task_named


@dataclass(frozen=True)
class ExportJob:
    """One model, ready to be written in several formats.

    Attributes:
        model: As trained, in evaluation mode, float32, on the CPU.
        stem: Name of the weights without their suffix.
        size_hw: Input size in pixels.
        task: What the model is for.
        batch_size: Images in one run.
        device: Where the formats that ask for it are traced and checked.
        half: Float16 where the format knows it.
        in_bfloat16: What was written computes in that here, in place of float16.
        int8: Whole numbers of 8 bits.
        dynamic: The number of images is free, and where the network takes any size, height and width too.
        simplify: Tidy up the ONNX graph.
        opset: Version of ONNX's operators.
        inside: What the file does after the network, e.g. suppression; None leaves it to the consumer.
        workspace: GiB that TensorRT may use while it builds; None: all there is.
        verbose: Say more.
        values: What the values of pictures of more than 8 bits meant in training; None: all 16 bits.
        calibration: Makes the float32 batches, each (batch_size, 3, H, W), that INT8 ranges are read from.
    """

    model: Network
    stem: str
    size_hw: tuple[int, int]
    task: Task = field(default_factory=lambda: task_named(DEFAULT_TASK))
    batch_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    half: bool = False
    in_bfloat16: bool = False
    int8: bool = False
    dynamic: bool = False
    simplify: bool = False
    opset: int = 17
    inside: Inside | None = None
    workspace: float | None = None
    verbose: bool = False
    values: ValueRange | None = None
    calibration: Callable[[], list[Tensor]] = list

    @property
    def fixed_hw(self) -> tuple[int, int] | None:
        """The only input size, or None where it is free."""
        return None if self.dynamic and self.model.any_size else self.size_hw

    def example(self) -> Tensor:
        """A grey input to trace with."""
        return torch.full((self.batch_size, int(self.model.architecture.get("ch", 3)), *self.size_hw), 0.5)

    def metadata(self) -> dict[str, str]:
        """What travels in the file: YOLOv5's keys `stride` and `names`, then this project's; every value is text."""
        return {
            "stride": str(self.model.max_stride),
            "names": str(dict(enumerate(self.model.names))),
            "task": self.task.name,
            "imgsz": json.dumps(list(self.size_hw)),
            "batch": str(self.batch_size),
            "dynamic": json.dumps(self.dynamic),
            "half": json.dumps(self.half),
            "int8": json.dumps(self.int8),
            **({} if self.model.any_size else {"any_size": "false"}),
            **self.task.export_notes(self.model),
            **(self.inside.notes() if self.inside else {}),
            **({"range": json.dumps(self.values.ends)} if self.values else {}),
            "version": mgil.__version__,
            "description": f"MGIL-YOLOv5 {self.stem}",
        }

    def metadata_values(self) -> dict[str, Any]:
        """The same for formats that keep numbers and mappings: `shape`, `stride` and `names` as such."""
        return {
            **self.metadata(),
            "shape": list(self.example().shape),
            "stride": self.model.max_stride,
            "names": dict(enumerate(self.model.names)),
        }
