"""TensorRT engines: a 4-byte little-endian length, that many bytes of JSON metadata, and the engine.

An engine holds machine code for one kind of GPU and one version of TensorRT. It is a program: run engines that you
built, or whose maker you trust.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from mgil.engine.runtimes.metadata import one_line
from mgil.files.packages import import_package

MOST_METADATA_BYTES = 4 << 20
_CAPTION = "an engine of export.py begins with its metadata"


class TensorRtBackend:
    """A TensorRT network; the attributes are those of TorchScriptBackend.

    An engine with free sides takes what its optimisation profile allows; larger batches are split.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.metadata, plan = read_engine(path)
        if device.type != "cuda":
            raise ValueError(f"{path}: TensorRT engines need an NVIDIA GPU, not {device}; use the .onnx or .pt file")
        tensorrt = import_package("tensorrt")
        self._path = path
        with torch.cuda.device(device):
            self._logger = tensorrt.Logger(tensorrt.Logger.INTERNAL_ERROR)  # it must outlive the engine
            self._engine = tensorrt.Runtime(self._logger).deserialize_cuda_engine(plan)
            if self._engine is None:
                raise ValueError(_refusal(path, self.metadata, tensorrt.__version__, device))
            self._context = self._engine.create_execution_context()
        self._read_tensors(tensorrt)

    def _read_tensors(self, tensorrt: Any) -> None:
        """Names, shapes and types of the input and the output."""
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = [engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT for name in names]
        inputs = [name for name, given in zip(names, is_input, strict=True) if given]
        outputs = [name for name, given in zip(names, is_input, strict=True) if not given]
        kinds = {tensorrt.DataType.FLOAT: torch.float32, tensorrt.DataType.HALF: torch.float16}
        floats = all(engine.get_tensor_dtype(name) in kinds for name in (inputs + outputs))
        if len(inputs) != 1 or len(outputs) != 1 or not floats or len(engine.get_tensor_shape(inputs[0])) != 4:
            raise ValueError(f"{self._path}: its tensors {', '.join(names)} are not one input and one output of floats")
        self._input, self._output = inputs[0], outputs[0]
        self.dtype = kinds[engine.get_tensor_dtype(self._input)]
        self._output_dtype = kinds[engine.get_tensor_dtype(self._output)]
        shape = _numbers(engine.get_tensor_shape(self._input))
        self.shape_bhw = shape[0], shape[2], shape[3]
        self.output_shape: tuple[int | None, ...] | None = _numbers(engine.get_tensor_shape(self._output))
        limits = [shape, shape, shape] if None not in shape else engine.get_tensor_profile_shape(self._input, 0)
        self._least, _, self._most = (tuple(sides) for sides in limits)

    def run(self, images: torch.Tensor) -> torch.Tensor:
        """Predictions for (B, 3, H, W) on the GPU."""
        return torch.cat([self._run(part) for part in images.split(self._most[0])])

    def _run(self, images: torch.Tensor) -> torch.Tensor:
        with torch.cuda.device(images.device):
            if not self._context.set_input_shape(self._input, tuple(images.shape)):
                raise ValueError(f"it was built for inputs from {self._least} to {self._most}")
            shape = tuple(self._context.get_tensor_shape(self._output))
            found = torch.empty(shape, dtype=self._output_dtype, device=images.device)
            self._context.set_tensor_address(self._input, images.data_ptr())
            self._context.set_tensor_address(self._output, found.data_ptr())
            # on PyTorch's own stream, so that neither side has to wait for the other
            if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
                raise ValueError("TensorRT could not run it")
        return found


def read_engine(path: Path) -> tuple[dict[str, Any], bytes]:
    """The metadata and the serialized engine of a file.

    Raises:
        ValueError: the file does not begin with metadata.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[:4], "little")
    if not 2 <= length <= min(MOST_METADATA_BYTES, len(content) - 4):
        raise ValueError(f"{path}: no metadata found; {_CAPTION}")
    try:
        values = json.loads(content[4 : 4 + length].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no metadata found ({one_line(error)}); {_CAPTION}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: no metadata found; {_CAPTION}")
    return values, content[4 + length :]


def _refusal(path: Path, metadata: dict[str, Any], version: str, device: torch.device) -> str:
    built = " and ".join(str(metadata[key])[:80] for key in ("tensorrt", "gpu") if key in metadata)
    made_for = f" (built with {built})" if built else ""
    return (
        f"{path}: TensorRT {version} on {torch.cuda.get_device_name(device)} cannot use this engine{made_for}; an "
        "engine runs on the kind of GPU and the TensorRT version it was built with: export it again here"
    )


def _numbers(shape: Any) -> tuple[int | None, ...]:
    return tuple(side if side > 0 else None for side in shape)
