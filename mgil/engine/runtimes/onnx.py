"""ONNX files, run by ONNX Runtime.

An ONNX file is a graph of known operators: it can call no code of its own, since no library of custom operators is
registered here. Weights may lie in files beside it; ONNX Runtime refuses a path that leaves the model's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mgil.engine.runtimes.metadata import one_line
from mgil.files.packages import import_package

GPU_PROVIDER = "CUDAExecutionProvider"
_DTYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


def gpu_provider_installed() -> bool:
    """Whether the ONNX Runtime that is installed was built for CUDA."""
    return GPU_PROVIDER in import_package("onnxruntime").get_available_providers()


class OnnxBackend:
    """An ONNX network; the attributes are those of TorchScriptBackend.

    On the CPU it takes as many threads as PyTorch.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        onnxruntime = import_package("onnxruntime")
        self._device = device
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong comes as an exception
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=_providers(device))
        except Exception as error:  # its exceptions share no other base class
            raise ValueError(
                f"{path}: ONNX Runtime cannot open it; copy or export it again if it is damaged: {one_line(error)}"
            ) from error
        if device.type == "cuda" and GPU_PROVIDER not in self._session.get_providers():
            raise ValueError(
                f"{path}: ONNX Runtime found no usable CUDA and cuDNN for {device}; install those that onnxruntime-gpu "
                f"{onnxruntime.__version__} asks for, or use --device cpu"
            )
        self.metadata: dict[str, Any] = dict(self._session.get_modelmeta().custom_metadata_map)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or not outputs:
            raise ValueError(
                f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; a network here has one input"
            )
        output = outputs[0]
        self._input, self._output = inputs[0].name, output.name
        shape = _numbers(inputs[0].shape)
        if len(shape) != 4 or shape[1] not in (3, None) or inputs[0].type not in _DTYPES:
            raise ValueError(
                f"{path}: takes {inputs[0].type} {inputs[0].shape}, not one float tensor (batch, 3, height, width)"
            )
        self.shape_bhw = shape[0], shape[2], shape[3]
        self.output_shape: tuple[int | None, ...] | None = _numbers(output.shape)
        self.dtype = _DTYPES[inputs[0].type]

    def run(self, images: torch.Tensor) -> torch.Tensor:
        """Predictions for (B, 3, H, W); ONNX Runtime reads the tensor where it lies."""
        if self._device.type == "cuda":
            return self._run_on_gpu(images)
        return torch.from_numpy(self._session.run([self._output], {self._input: images.numpy()})[0])

    def _run_on_gpu(self, images: torch.Tensor) -> torch.Tensor:
        index = images.device.index or 0
        kind = np.float16 if self.dtype == torch.float16 else np.float32
        torch.cuda.current_stream(images.device).synchronize()  # ONNX Runtime works on a stream of its own
        binding = self._session.io_binding()
        binding.bind_input(self._input, "cuda", index, kind, tuple(images.shape), images.data_ptr())
        binding.bind_output(self._output, "cuda", index)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        found = binding.get_outputs()[0]
        if hasattr(found, "__dlpack__"):
            return torch.from_dlpack(found).clone()  # the memory is the binding's
        return torch.from_numpy(found.numpy()).to(images.device)


def _providers(device: torch.device) -> list[Any]:
    if device.type == "cpu":
        return ["CPUExecutionProvider"]
    if device.type != "cuda":
        raise ValueError(f"ONNX files run on the CPU or on CUDA, not on {device}; use --device cpu")
    if not gpu_provider_installed():
        raise ValueError(
            f"the ONNX Runtime that is installed has no CUDA, which {device} needs: "
            "pip install onnxruntime-gpu instead of onnxruntime, or use --device cpu"
        )
    return [(GPU_PROVIDER, {"device_id": device.index or 0}), "CPUExecutionProvider"]


def _numbers(shape: Sequence[Any]) -> tuple[int | None, ...]:
    """A shape with None for the sides that have a name instead of a number."""
    return tuple(side if isinstance(side, int) and side > 0 else None for side in shape)
