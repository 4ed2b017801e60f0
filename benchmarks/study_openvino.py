"""A network's ONNX file in OpenVINO: in float32, in bf16 where the CPU has it, in INT8 where nncf is installed.

INT8 is calibrated on noise: its outputs mean nothing, but the layers are those that real pictures would quantise, and
so is the time that they take.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mgil.files.packages import MissingPackage, import_package

F32, BF16, INT8 = "OpenVINO ms", "OpenVINO bf16 ms", "OpenVINO INT8 ms"
CALIBRATED_ON = 16  # images of noise
Forward = Callable[[torch.Tensor], Any]


def openvino_versions() -> str:
    """Of OpenVINO and what quantises for it; "" where it is not installed."""
    found = []
    for name in ("openvino", "nncf"):
        try:
            found.append(f"{name} {import_package(name).__version__}")
        except MissingPackage:
            break
    return ", ".join(found)


def openvino_forwards(exported: Path, size: int) -> dict[str, Forward]:
    """The forward pass of an ONNX file by column; nothing where OpenVINO is not installed.

    What cannot be quantised is timed without that, and a line says so.

    Args:
        exported: the file, for (1, 3, size, size).
        size: in pixels.
    """
    if not openvino_versions():
        return {}
    core = import_package("openvino").Core()
    graph = core.read_model(exported)
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    found = {F32: _compiled(core, graph, "f32")}
    if "BF16" in able:
        found[BF16] = _compiled(core, graph, "bf16")
    try:
        nncf = import_package("nncf")
    except MissingPackage:
        return found
    noise = torch.Generator().manual_seed(0)
    images = [torch.rand(1, 3, size, size, generator=noise).numpy() for _ in range(CALIBRATED_ON)]
    try:
        quantised = nncf.quantize(graph, nncf.Dataset(images), subset_size=CALIBRATED_ON)
        return found | {INT8: _compiled(core, quantised, "f32")}
    except (RuntimeError, ValueError) as error:
        print(f"{exported}: not timed in INT8: {error}", flush=True)
        return found


def _compiled(core: Any, graph: Any, precision: str) -> Forward:
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    network = core.compile_model(graph, "CPU", settings)
    return lambda images: network([images.numpy()], share_inputs=True)
