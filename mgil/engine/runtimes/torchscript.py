"""TorchScript files, run by PyTorch.

A TorchScript file is a program, and parts of it run while it is loaded: load only files of people you trust. Its code
can call any operator of PyTorch, of which some read and write files, and nothing here looks for that.

What is checked is the archive around it, so that a damaged one ends in one line and a bomb does not fill the memory.
"""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from mgil.engine.runtimes.metadata import is_half, one_line, read_metadata
from mgil.engine.weights.archive import PRINTED, check_archive

METADATA_FILE = "config.txt"  # YOLOv5's name


class TorchScriptBackend:
    """A TorchScript network.

    Attributes:
        metadata: what the file says about itself.
        shape_bhw: batch, height and width that it takes; None where free.
        output_shape: of its predictions; None where unknown.
        dtype: of its input.
    """

    output_shape: tuple[int | None, ...] | None = None

    def __init__(self, path: Path, device: torch.device) -> None:
        import_module("torchvision.ops")  # files that suppress boxes themselves use its operator
        extra_files: dict[str, Any] = {METADATA_FILE: ""}
        try:
            check_archive(path, pickles=("data", "constants"), compressed=PRINTED)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch prefers other formats; users have this one
                self._module = torch.jit.load(str(path), map_location=device, _extra_files=extra_files)
        except Exception as error:  # PyTorch raises many kinds
            raise ValueError(
                f"{path}: PyTorch cannot open it as TorchScript; copy or export it again if it is damaged: "
                f"{one_line(error)}"
            ) from error
        self._module.eval()
        self.metadata = _metadata(extra_files[METADATA_FILE], path)
        self.shape_bhw = _shape(self.metadata, path)
        parameter = next(self._module.parameters(), None)
        own = torch.float32 if parameter is None else parameter.dtype
        self.dtype = torch.float16 if is_half(self.metadata) else own

    def run(self, images: torch.Tensor) -> torch.Tensor:
        """Predictions for (B, 3, H, W)."""
        found = self._module(images)
        return found[0] if isinstance(found, list | tuple) else found


def _metadata(content: bytes | str, path: Path) -> dict[str, Any]:
    """The JSON object of the extra file, empty where there is none."""
    try:
        values = json.loads(content or "{}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: its {METADATA_FILE} is no JSON ({one_line(error)})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: its {METADATA_FILE} is no JSON object")
    return values


def _shape(metadata: dict[str, Any], path: Path) -> tuple[int | None, int | None, int | None]:
    """Batch, height and width; a trace holds for those of its example unless it was exported as dynamic."""
    info = read_metadata(metadata, path)
    if info.dynamic:
        return None, *((None, None) if info.any_size else info.imgsz_hw or (None, None))
    shape = metadata.get("shape")
    if isinstance(shape, list) and len(shape) == 4 and all(type(side) is int and side > 0 for side in shape):
        return shape[0], shape[2], shape[3]
    if shape is None and info.imgsz_hw is not None:
        return info.batch, *info.imgsz_hw
    raise ValueError(f"{path}: its metadata names no input shape [batch, 3, height, width]")
