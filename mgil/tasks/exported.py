"""What a task and the engine say to each other about exported files."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn


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
