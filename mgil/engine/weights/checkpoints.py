"""Checkpoints: tensors, numbers and strings, written whole, read without running code."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from mgil.datasets.reading.value_range import ValueRange, range_from_file
from mgil.engine.weights.archive import check_archive, check_values, is_old_format, load_plain
from mgil.engine.weights.finite import first_not_finite
from mgil.engine.weights.official import read_official
from mgil.engine.weights.pickle_names import Global
from mgil.engine.weights.released import absent
from mgil.files.atomic import write_atomic
from mgil.files.limits import MOST_SIDE
from mgil.files.text import check_class_names, printable
from mgil.networks.network import Network
from mgil.tasks.registry import DEFAULT_TASK, check_task, task_named

FORMAT = "mgil-yolov5"
VERSION = 1
NAMES_SHOWN = 20  # tensors


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
        task: What the network is for, a name of `mgil.tasks.registry`.
    """

    path: Path
    architecture: dict[str, Any]
    names: tuple[str, ...]
    imgsz: int
    state_dict: dict[str, Tensor]
    info: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    task: str = DEFAULT_TASK

    @property
    def values(self) -> ValueRange | None:
        """What the values of pictures of more than 8 bits meant in training; None: all 16 bits.

        Raises:
            ValueError: The file says something else.
        """
        return range_from_file(self.info, self.path)


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
        return f"{len(self.loaded)} of {self.total} tensors loaded; not loaded: {some_of(self.left)}"


def some_of(names: Sequence[str]) -> str:
    """Names as a list, cut where it gets long."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def save_checkpoint(
    path: str | Path,
    model: Network,
    info: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    task: str = DEFAULT_TASK,
) -> None:
    """Write a model, and in `training` whatever resuming needs, atomically.

    Args:
        path: File to make or replace.
        model: Its weights are saved in float32, on the CPU.
        info: Plain values about the run.
        training: Tensors and plain values in any nesting of dicts and lists.
        task: What the network is for.

    Raises:
        FloatingPointError: A tensor holds NaN or Inf; the file stays as it was.
    """
    where = first_not_finite({"weights": model.state_dict(), "training": training or {}})
    if where:
        raise FloatingPointError(f"{path}: not written, {where} holds NaN or Inf")
    content = {
        "format": FORMAT,
        "version": VERSION,
        "task": task,
        "architecture": model.architecture,
        "names": list(model.names),
        "imgsz": model.imgsz,
        "stride": model.stride.tolist(),
        "state_dict": {key: value.detach().cpu() for key, value in model.state_dict().items()},
        "info": dict(info),
    }
    if training is not None:
        content["training"] = dict(training)
    write_atomic(path, lambda file: _save(content, file))


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a weights file: this project's, or a detector or classifier of YOLOv5.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Damaged, of another kind, or one that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(absent(path))
    if is_old_format(path):
        raise ValueError(f"{path}: in PyTorch's old format; load and save it again with PyTorch 1.6 or newer")
    try:
        names = check_archive(path)
    except ValueError as error:
        raise ValueError(f"{path}: not a PyTorch checkpoint, or a damaged one ({error})") from error
    try:
        content = load_plain(path)
    except Exception:  # torch raises many kinds; the other reader says what is wrong
        content = None
    checkpoint = _own(content, path) if _is_own(content) else _official(path, names)
    try:
        check_class_names(checkpoint.names)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return checkpoint


def model_from_checkpoint(
    source: str | Path | Checkpoint, device: torch.device | str = "cpu", fuse: bool = True, half: bool = False
) -> Network:
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
    check_weights(checkpoint)
    try:
        model = task_named(checkpoint.task).build(checkpoint.architecture, checkpoint.names, checkpoint.imgsz)
    except ValueError as error:
        raise ValueError(f"{checkpoint.path}: {error}") from error
    transfer = transfer_weights(model, checkpoint.state_dict)
    if transfer.left:
        raise ValueError(f"{checkpoint.path}: its weights do not fit its architecture: {transfer}")
    model.eval().requires_grad_(False)
    model = (model.fused() if fuse else model).to(device)
    return model.half() if half else model


def check_weights(checkpoint: Checkpoint) -> None:
    """Refuse weights that hold NaN or Inf, which would find nothing and could not be trained.

    Raises:
        ValueError: They do; the first such tensor is named.
    """
    where = first_not_finite(checkpoint.state_dict)
    if where:
        raise ValueError(f"{checkpoint.path}: {where} holds NaN or Inf; the run it comes from diverged")


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


class _Sink:
    """The file that PyTorch writes into: it answers a write that fails with an error of its own, which hides why."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, or remember why not."""
        try:
            if self.error is None:
                self.file.write(data)
        except OSError as error:
            self.error = error
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Nothing: `write_atomic` does it."""


def _save(content: dict[str, Any], file: BinaryIO) -> None:
    sink = _Sink(file)
    torch.save(content, sink)  # type: ignore[arg-type]
    if sink.error is not None:
        raise sink.error


def _is_own(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("format"), str) and content["format"] == FORMAT


def _official(path: Path, names: Collection[Global]) -> Checkpoint:
    official = read_official(path, names)
    return Checkpoint(
        path=path,
        architecture=official["architecture"],
        names=official["names"],
        imgsz=official["imgsz"],
        state_dict=official["state_dict"],
        info={"stride": official["stride"]},
        task=official["task"],
    )


def _own(content: dict[str, Any], path: Path) -> Checkpoint:
    try:
        check_values(content)
    except ValueError as error:
        raise ValueError(f"{path}: refused, it holds {error}") from error
    version = content.get("version")
    if type(version) is not int or version != VERSION:
        raise ValueError(f"{path}: format version {version!r:.40}; this program reads version {VERSION}")
    task = check_task(content.get("task", DEFAULT_TASK), path)
    try:
        checkpoint = Checkpoint(
            path=path,
            architecture=dict(content["architecture"]),
            names=tuple(map(str, content["names"])),
            imgsz=int(content["imgsz"]),
            state_dict=dict(content["state_dict"]),
            info=dict(content["info"]),
            training=dict(content.get("training", {})),
            task=task,
        )
        if not 1 <= checkpoint.imgsz <= MOST_SIDE:
            raise ValueError(f"imgsz {checkpoint.imgsz}")
        if not all(isinstance(value, Tensor) for value in checkpoint.state_dict.values()):
            raise ValueError("a weight that is no tensor")
        return checkpoint
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        reason = printable(" ".join(str(error).split()))[:300]
        raise ValueError(f"{path}: incomplete checkpoint ({type(error).__name__}: {reason})") from error
