"""OpenVINO folders: <stem>.xml, <stem>.bin, metadata.yaml."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import yaml

from mgil.engine.export.job import ExportJob
from mgil.engine.export.onnx import onnx_graph, save_graph
from mgil.files.packages import import_package


def write_openvino(job: ExportJob, folder: Path) -> None:
    """Write a folder that holds graph, weights and metadata.

    With `half` the weights are stored in float16; OpenVINO computes in bfloat16 or float32, see `OpenVinoBackend`.
    """
    openvino = import_package("openvino")
    if job.int8:
        import_package("nncf")
    folder.mkdir()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "graph.onnx")
        save_graph(onnx_graph(job, "openvino"), path)
        model = openvino.Core().read_model(str(path))  # convert_model rewrites sizes, and fails on upsampling
        if job.int8:
            model = _quantised(model, job)
        openvino.save_model(model, str(folder / f"{job.stem}.xml"), compress_to_fp16=job.half)
    text = yaml.safe_dump(job.metadata(), sort_keys=False, allow_unicode=True)
    (folder / "metadata.yaml").write_text(text, encoding="utf-8")


def _quantised(model: Any, job: ExportJob) -> Any:
    nncf = import_package("nncf")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    batches = [batch.numpy() for batch in job.calibration()]
    return nncf.quantize(
        model,
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset.MIXED,  # SiLU has a short negative side and a long positive one
        subset_size=len(batches),
        ignored_scope=nncf.IgnoredScope(names=_after_convolutions(model), validate=False),
    )


def _after_convolutions(model: Any) -> list[str]:
    """Names of the operations between the last convolutions and the output: the decoding stays in float."""
    waiting, found = [result.get_node() for result in model.outputs], []
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if node.get_type_name() != "Convolution" and name not in found:
            found.append(name)
            waiting += [source.get_source_output().get_node() for source in node.inputs()]
    return found
