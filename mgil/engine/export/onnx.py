"""ONNX files, and the ONNX graphs that OpenVINO and TensorRT read."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from mgil.engine.export.int8 import quantise_onnx
from mgil.engine.export.job import ExportJob
from mgil.engine.export.network import deployed
from mgil.files.packages import import_package

LOWEST_OPSET = 13  # of quantisation, and of what follows the network inside a file
OPSETS = range(11, 21)  # what torch's exporter writes, from the first that can resize by a factor


def write_onnx(job: ExportJob, path: Path) -> None:
    """Write an ONNX file: input `images` (B, 3, H, W) float32 RGB 0..1, output `output0`, the task's.

    In float16 and INT8 too, input and output are float32.
    """
    save_graph(onnx_graph(job, "onnx"), path)


def save_graph(model: Any, path: Path) -> None:
    """Check a graph and write it."""
    onnx = import_package("onnx")
    onnx.checker.check_model(model, full_check=False)
    onnx.save(model, str(path))


def onnx_graph(job: ExportJob, runtime: str) -> Any:
    """The job's model as an ONNX graph with metadata, in the form chosen for `runtime`."""
    onnx = import_package("onnx")
    check_opset(job)
    half = job.half and runtime != "openvino"  # OpenVINO stores float16 by itself
    network = deployed(job.task, job.model, runtime, job.fixed_hw, half)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "traced.onnx")
        _trace(network, job, path)
        model = onnx.load(str(path))
        _drop_identities(model.graph)
        if job.simplify:
            model = import_package("onnxslim").slim(model)
        if job.int8 and runtime == "onnx":
            model = quantise_onnx(model, job.calibration(), Path(folder))
    if job.inside is not None:
        job.inside.append_onnx(model, len(job.model.names))
    onnx.helper.set_model_props(model, job.metadata())
    if job.verbose:
        counts = Counter(node.op_type for node in model.graph.node).most_common()
        print(f"{len(model.graph.node)} nodes: {', '.join(f'{count} {kind}' for kind, count in counts)}")
    return model


def check_opset(job: ExportJob) -> None:
    """Raise ValueError for an opset that cannot be written."""
    if job.opset not in OPSETS:
        raise ValueError(f"--opset {job.opset}: give {OPSETS[0]} to {OPSETS[-1]}")
    if job.inside is not None and job.opset < LOWEST_OPSET:
        raise ValueError(f"--opset {job.opset}: {job.inside.flag} needs {LOWEST_OPSET} or more")
    if job.int8 and job.opset < LOWEST_OPSET:
        raise ValueError(f"--opset {job.opset}: --int8 needs {LOWEST_OPSET} or more")


def _trace(network: torch.nn.Module, job: ExportJob, path: Path) -> None:
    """The tracing exporter: it follows one forward pass, which for this network is the same at every size."""
    free = {"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch", 1: "rows"}}
    if job.fixed_hw is not None:
        free = {"images": {0: "batch"}, "output0": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch recommends its other exporter, and warns of sizes read in Python
        torch.onnx.export(
            network,
            (job.example(),),
            str(path),
            dynamo=False,
            opset_version=job.opset,
            input_names=["images"],
            output_names=["output0"],
            dynamic_axes=free if job.dynamic else None,
        )


def _drop_identities(graph: Any) -> None:
    """Let nodes read equal weights directly; the exporter gives them through Identity, which OpenCV cannot follow."""
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    sources = {name: source for name, source in sources.items() if name not in {out.name for out in graph.output}}
    kept = [node for node in graph.node if not (node.op_type == "Identity" and node.output[0] in sources)]
    for node in kept:
        node.input[:] = [_followed(name, sources) for name in node.input]
    del graph.node[:]
    graph.node.extend(kept)


def _followed(name: str, sources: dict[str, str]) -> str:
    while name in sources:
        name = sources[name]
    return name
