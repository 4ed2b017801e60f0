"""Exported files, run by the runtime of their format and used like the PyTorch model they came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor, nn

from mgil.engine.devices import select_device
from mgil.engine.runtimes.metadata import one_line, read_metadata
from mgil.engine.runtimes.onnx import OnnxBackend, gpu_provider_installed
from mgil.engine.runtimes.openvino import OpenVinoBackend
from mgil.engine.runtimes.tensorrt import TensorRtBackend
from mgil.engine.runtimes.torchscript import TorchScriptBackend
from mgil.tasks.registry import task_named

RUNNABLE = ".pt, .torchscript, .onnx, OpenVINO folders and TensorRT .engine files"
ELSEWHERE = (".tflite", ".mlpackage", ".mlmodel", ".pb", ".mnn", ".rknn", "_ncnn_model", "_saved_model")
DEFAULT_SIZE = 640  # YOLOv5's, for a file of any size that does not say which it was trained at


class Backend(Protocol):
    """One file, opened by its runtime."""

    metadata: dict[str, Any]
    shape_bhw: tuple[int | None, int | None, int | None]
    output_shape: tuple[int | None, ...] | None
    dtype: torch.dtype

    def run(self, images: Tensor) -> Tensor:
        """Predictions for (B, 3, H, W) of `dtype`, contiguous, on the device."""


OPENERS: Mapping[str, Callable[[Path, torch.device], Backend]] = {
    ".torchscript": TorchScriptBackend,
    ".onnx": OnnxBackend,
    ".engine": TensorRtBackend,
    ".xml": OpenVinoBackend,
}


class ExportedModel(nn.Module):
    """An exported file in the place of the `Network` that it was made of, in evaluation mode.

    Attributes:
        path: the file.
        names: class names by index.
        stride: (1,) float32, stands for the levels' strides, which the file does not say.
        max_stride: the largest of the network in pixels; sides of the input are multiples of it.
        size_hw: the only input size that the file takes, in pixels; None: any.
        imgsz: longest side of the input that it was exported for.
        any_size: its network takes inputs of other sizes too, if only after another export.
        batch_size: the only number of images that the file takes at once; None: any. Others are split and padded.
        device: where it computes.
        in_bfloat16: whether its layers compute in that, though the file says float16.
        note: what a user should know of its numbers, or nothing.

    What its task reads of the metadata are attributes too, see `Task.export_facts`.
    """

    def __init__(self, path: Path, backend: Backend, device: torch.device) -> None:
        """Check that what was opened can stand for a network.

        Raises:
            ValueError: it cannot, or its parts contradict each other.
        """
        super().__init__()
        self.path, self.device = path, device
        self.info = read_metadata(backend.metadata, path)
        self.task = task_named(self.info.task)
        self._backend = backend
        self.in_bfloat16: bool = getattr(backend, "in_bfloat16", False)
        self.note: str = getattr(backend, "note", "")
        self.names = self.info.names
        self.max_stride = self.info.stride
        self.stride = torch.tensor([float(self.max_stride)])
        for name, value in self.info.own.items():
            setattr(self, name, value)
        self.batch_size, height, width = backend.shape_bhw
        if (height is None) != (width is None):
            raise ValueError(f"{path}: its input has a free and a fixed side ({height} x {width}); export it again")
        self.size_hw = None if height is None or width is None else (height, width)
        self.any_size = self.info.any_size
        self.imgsz = max(self.size_hw or self.info.imgsz_hw or (DEFAULT_SIZE,))
        if self.size_hw is not None:
            self._check_size(self.size_hw)
        if backend.output_shape:  # () or None where the file does not say
            self._check_output(backend.output_shape, self.batch_size)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Predict.

        Args:
            images: (B, 3, H, W) float 0..1, RGB.

        Returns:
            The task's predictions, float32.

        Raises:
            ValueError: a size that the file does not take.
        """
        self._check_size((images.shape[2], images.shape[3]))
        images = images.to(self.device, self._backend.dtype, memory_format=torch.contiguous_format)
        parts = [self._run(part) for part in images.split(self.batch_size or max(len(images), 1))]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _run(self, images: Tensor) -> Tensor:
        count = len(images)
        if self.batch_size is not None and count < self.batch_size:
            images = torch.cat((images, images.new_zeros(self.batch_size - count, *images.shape[1:])))
        try:
            found = self._backend.run(images)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # each runtime has exceptions of its own
            shape = "x".join(map(str, images.shape))
            raise ValueError(f"{self.path}: failed on an input of {shape}: {one_line(error)}") from error
        self._check_output(tuple(found.shape), len(images))
        return self.task.cleaned(found[:count].float(), self)

    def _check_size(self, size_hw: tuple[int, int]) -> None:
        height, width = size_hw
        if self.size_hw is not None and size_hw != self.size_hw:
            raise ValueError(
                f"{self.path} takes inputs of {self.size_hw[0]}x{self.size_hw[1]} pixels (height x width) only, not "
                f"{height}x{width}"
            )
        stride = self.max_stride
        if height % stride or width % stride:
            raise ValueError(f"{self.path}: an input of {height}x{width} is no multiple of its stride {stride}")

    def _check_output(self, shape: tuple[int | None, ...], images: int | None) -> None:
        if problem := self.task.output_problem(shape, self):
            raise ValueError(f"{self.path}: {problem}")
        if images is not None and shape[0] not in (images, None):
            raise ValueError(f"{self.path}: gives the results of {shape[0]} images for a batch of {images}")


def is_exported(path: str | Path) -> bool:
    """Whether this names an exported file or folder, as opposed to a checkpoint."""
    path = Path(path)
    return path.name.endswith((*OPENERS, *ELSEWHERE, "_openvino_model")) or path.is_dir()


def load_exported(path: str | Path, device: torch.device) -> ExportedModel:
    """Open an exported file with the runtime of its format.

    Only TorchScript files and TensorRT engines are programs, see `mgil.engine.runtimes.torchscript`.

    Args:
        path: a .torchscript, .onnx or .engine file, an OpenVINO folder, or its .xml.
        device: where to compute.

    Raises:
        FileNotFoundError: no such file or folder.
        MissingPackage: the runtime is not installed; a ValueError.
        ValueError: the file is damaged, none of ours or YOLOv5's, or of no use on this device.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"weights {path} do not exist")
    if path.name.endswith(ELSEWHERE):
        raise ValueError(f"{path}: this format is run by other programs; here run {RUNNABLE}")
    return ExportedModel(path, OPENERS[_kind(path)](path, device), device)


def device_for(weights: Sequence[str | Path], text: str) -> torch.device:
    """The device of `--device`; without it the CPU for files whose runtime has no GPU support here."""
    kinds = {_kind(Path(path)) for path in weights if is_exported(path)}
    if text or not torch.cuda.is_available():
        return select_device(text)
    cpu_only = ".xml" in kinds or (".onnx" in kinds and not gpu_provider_installed())
    return select_device("cpu" if cpu_only else text)


def fixed_size_hw(model: nn.Module) -> tuple[int, int] | None:
    """The only input size that a model takes; None for those that take any."""
    size_hw: tuple[int, int] | None = getattr(model, "size_hw", None)
    return size_hw


def check_fixed_size(model: nn.Module, sizes: Sequence[int], source: object) -> None:
    """Raise ValueError if sides in pixels are asked for that a model of one input size does not have.

    Args:
        model: any network.
        sizes: one side for both, or height and width.
        source: what to call the model.
    """
    size_hw = fixed_size_hw(model)
    if size_hw is not None and (sizes[0], sizes[-1]) != size_hw:
        wanted = " ".join(map(str, dict.fromkeys(sizes)))
        again = f", or export again with --imgsz {wanted} or --dynamic" if getattr(model, "any_size", True) else ""
        raise ValueError(
            f"--imgsz {wanted}: {source} was exported for {size_hw[0]}x{size_hw[1]} pixels (height x width) only; "
            f"leave --imgsz out{again}"
        )


def refuse_numbers(source: object, flag: str) -> NoReturn:
    """Raise ValueError for a flag that asks an exported model for another number type."""
    again = "without --half" if flag == "--amp off" else "with --half"
    raise ValueError(f"{flag}: {source} computes in the numbers it was exported with; export again {again}")


def _kind(path: Path) -> str:
    """The key of OPENERS for a path."""
    return ".xml" if path.is_dir() or path.suffix not in OPENERS else path.suffix
