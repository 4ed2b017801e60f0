"""TensorRT engines: a 4-byte length, JSON metadata, the serialized engine."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from mgil.engine.export.job import ExportJob
from mgil.engine.export.onnx import onnx_graph, save_graph
from mgil.files.packages import import_package

DYNAMIC_BATCHES = 16  # most images in one run of a dynamic engine, unless --batch-size asks for more


def write_engine(job: ExportJob, path: Path) -> None:
    """Build an engine for the GPU of the job's device; it runs on that kind of GPU and version of TensorRT only.

    The network is strongly typed: TensorRT follows the types of the ONNX graph, so that a float16 network still
    decodes its outputs in float32.
    """
    tensorrt = import_package("tensorrt")
    logger = tensorrt.Logger(tensorrt.Logger.VERBOSE if job.verbose else tensorrt.Logger.WARNING)
    with torch.cuda.device(job.device), tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "graph.onnx")
        save_graph(onnx_graph(job, "engine"), graph)
        builder = tensorrt.Builder(logger)
        flags = tensorrt.NetworkDefinitionCreationFlag
        network = builder.create_network(1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0)
        parser = tensorrt.OnnxParser(network, logger)
        if not parser.parse_from_file(str(graph)):
            reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
            raise ValueError(f"TensorRT cannot read the graph: {reasons}")
        config = builder.create_builder_config()
        if job.workspace is not None:
            config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, int(job.workspace * (1 << 30)))
        if job.dynamic:
            config.add_optimization_profile(_profile(builder, job))
        engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ValueError("TensorRT built no engine; --verbose shows its log")
    gpu = torch.cuda.get_device_name(job.device)
    facts = {**job.metadata_values(), "tensorrt": f"TensorRT {tensorrt.__version__}", "gpu": gpu}
    metadata = json.dumps(facts).encode()
    path.write_bytes(len(metadata).to_bytes(4, "little") + metadata + bytes(memoryview(engine)))


def _profile(builder: Any, job: ExportJob) -> Any:
    """From one image of the smallest size to `DYNAMIC_BATCHES` of twice the wanted one; sizes only where any is taken."""
    height, width = job.size_hw
    least, largest = job.fixed_hw or (job.model.max_stride,) * 2, job.fixed_hw or (2 * height, 2 * width)
    most = max(job.batch_size, DYNAMIC_BATCHES)
    profile = builder.create_optimization_profile()
    profile.set_shape("images", (1, 3, *least), (job.batch_size, 3, height, width), (most, 3, *largest))
    return profile
