"""Checkpoints: tensors, numbers and strings, written whole, read without running code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.official import read_official
from engine.runs import write_atomic
from models import DetectionModel

FORMAT = "mgil-yolov5"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a weights file.

    Attributes:
        path: The file it came from.
        architecture: Mapping that rebuilds the network.
        names: Class names by index.
        imgsz: Side in pixels that it was trained at.
        state_dict: Tensors by name.
        info: Further plain values: epoch, fitness, data, stride, ...
        training: What resuming needs; empty in a file made for inference.
    """

    path: Path
    architecture: dict[str, Any]
    names: tuple[str, ...]
    imgsz: int
    state_dict: dict[str, Tensor]
    info: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Transfer:
    """What `transfer_weights` did.

    Attributes:
        loaded: Names of the tensors that were copied.
        left: Names of the model's tensors that the file does not have in that shape.
        total: Number of the model's tensors.
    """

    loaded: tuple[str, ...]
    left: tuple[str, ...]
    total: int

    def __str__(self) -> str:
        if not self.left:
            return f"all {self.total} tensors loaded"
        return f"{len(self.loaded)} of {self.total} tensors loaded; not loaded: {', '.join(self.left)}"


def save_checkpoint(
    path: str | Path, model: DetectionModel, info: Mapping[str, Any], training: Mapping[str, Any] | None = None
) -> None:
    """Write a model, and in `training` whatever resuming needs, atomically.

    Args:
        path: File to make or replace.
        model: Its weights are saved in float32, on the CPU.
        info: Plain values about the run.
        training: Tensors and plain values in any nesting of dicts and lists.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "task": "detect",
        "architecture": model.architecture,
        "names": list(model.names),
        "imgsz": model.imgsz,
        "stride": model.stride.tolist(),
        "state_dict": {key: value.detach().cpu() for key, value in model.state_dict().items()},
        "info": dict(info),
    }
    if training is not None:
        content["training"] = dict(training)
    write_atomic(path, lambda file: torch.save(content, file))


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a weights file: this project's, or an official YOLOv5 detection checkpoint.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Damaged, of another kind, or one that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights {path} do not exist; nothing is downloaded, give the path of a .pt file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds; the other reader says what is wrong
        content = None
    if isinstance(content, dict) and content.get("format") == FORMAT:
        return _own(content, path)
    official = read_official(path)
    return Checkpoint(
        path=path,
        architecture=official["architecture"],
        names=official["names"],
        imgsz=640,
        state_dict=official["state_dict"],
        info={"stride": official["stride"]},
    )


def model_from_checkpoint(
    source: str | Path | Checkpoint, device: torch.device | str = "cpu", fuse: bool = True, half: bool = False
) -> DetectionModel:
    """Rebuild the network of a checkpoint, ready for inference.

    Args:
        source: A weights file, or one already read.
        device: Where to put it.
        fuse: Fold BatchNorm and re-parameterise, which changes nothing but the speed.
        half: Turn the weights to float16 (GPUs only).

    Raises:
        FileNotFoundError: No such file.
        ValueError: As `load_checkpoint`, or tensors that do not fit the architecture.
    """
    checkpoint = source if isinstance(source, Checkpoint) else load_checkpoint(source)
    architecture = {**checkpoint.architecture, "nc": len(checkpoint.names)}
    try:
        model = DetectionModel(architecture, checkpoint.names, checkpoint.imgsz)
    except ValueError as error:
        raise ValueError(f"{checkpoint.path}: {error}") from error
    transfer = transfer_weights(model, checkpoint.state_dict)
    if transfer.left:
        raise ValueError(f"{checkpoint.path}: its weights do not fit its architecture: {transfer}")
    model.eval().requires_grad_(False)
    model = (model.fused() if fuse else model).to(device)
    return model.half() if half else model


@torch.no_grad()
def transfer_weights(model: nn.Module, state_dict: Mapping[str, Tensor], skip: tuple[str, ...] = ()) -> Transfer:
    """Copy the tensors whose name and shape agree, and say which did not.

    Args:
        model: The receiver; its other tensors stay.
        state_dict: The giver.
        skip: Endings of names that are not to be copied, e.g. ".anchors".
    """
    own = model.state_dict()
    fitting = [
        key
        for key, value in own.items()
        if key in state_dict and state_dict[key].shape == value.shape and not key.endswith(skip or ("\0",))
    ]
    for key in fitting:
        own[key].copy_(state_dict[key])
    left = tuple(key for key in own if key not in set(fitting))
    return Transfer(tuple(fitting), left, len(own))


def _own(content: dict[str, Any], path: Path) -> Checkpoint:
    version = content.get("version")
    if version != VERSION:
        raise ValueError(f"{path}: format version {version!r}; this program reads version {VERSION}")
    try:
        checkpoint = Checkpoint(
            path=path,
            architecture=dict(content["architecture"]),
            names=tuple(map(str, content["names"])),
            imgsz=int(content["imgsz"]),
            state_dict=dict(content["state_dict"]),
            info=dict(content["info"]),
            training=dict(content.get("training", {})),
        )
        if checkpoint.imgsz < 1 or not all(isinstance(value, Tensor) for value in checkpoint.state_dict.values()):
            raise ValueError(f"imgsz {checkpoint.imgsz}, or a weight that is no tensor")
        return checkpoint
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: incomplete checkpoint ({type(error).__name__}: {error})") from error
