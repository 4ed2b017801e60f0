"""What a task and the engine say to each other about exported files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Inside(Protocol):
    """What an exported file does after the network, e.g. non-maximum suppression."""

    flag: str  # of export.py that asks for it

    def notes(self) -> dict[str, str]:
        """For the file's metadata."""

    def append_onnx(self, graph: Any, num_classes: int) -> None:
        """Put it behind an ONNX network."""

    def traceable(self, network: nn.Module) -> nn.Module:
        """The network with it, as a trace can follow it."""


class Exporting(Protocol):
    """What is exported, and as what."""

    @property
    def model(self) -> Any: ...
    @property
    def size_hw(self) -> tuple[int, int]: ...
    @property
    def half(self) -> bool: ...
    @property
    def in_bfloat16(self) -> bool: ...
    @property
    def int8(self) -> bool: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def inside(self) -> Inside | None: ...


class ExportFacts(Protocol):
    """What an exported file says about itself: the attributes of `Task.export_facts` too."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Limits:
    """The largest differences from PyTorch that are no error, two of a task's own measures for each number type.

    Attributes:
        exact: Float32 on a CPU.
        exact_gpu: Float32 on a GPU, which may round factors to 10 bits on the way (TF32).
        half: Float16.
        bfloat16: Three bits less.
    """

    exact: tuple[float, float]
    exact_gpu: tuple[float, float]
    half: tuple[float, float]
    bfloat16: tuple[float, float]

    def of(self, job: Exporting) -> tuple[float, float]:
        """Those of what was exported; INT8 is judged otherwise."""
        exact = self.exact if job.device.type == "cpu" else self.exact_gpu
        return self.bfloat16 if job.in_bfloat16 else self.half if job.half else exact


def number_type(job: Exporting) -> str:
    """What the file computes in, in words."""
    return "INT8" if job.int8 else "bfloat16" if job.in_bfloat16 else "float16" if job.half else "float32"


def check_explained(fits: bool, allowed: str, difference: object, job: Exporting) -> None:
    """Raise ValueError where a file differs from PyTorch by more than its number type explains."""
    if not fits:
        raise ValueError(f"differs from PyTorch beyond what {number_type(job)} explains ({allowed}): {difference}")


def check_finite(found: Tensor, expected: Tensor) -> None:
    """Raise ValueError where a file's output, or PyTorch's, holds NaN or Inf."""
    for whose, values in (("PyTorch's", expected), ("its", found)):
        if not values.isfinite().all():
            raise ValueError(f"{whose} output holds values that are no finite numbers")
