"""OpenVINO folders, run by OpenVINO on the CPU.

The .xml is a graph of known operators and the .bin its numbers; no extension is registered here, so no code is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mgil.engine.devices import onednn_may_use
from mgil.engine.runtimes.metadata import is_half, one_line
from mgil.files.packages import import_package
from mgil.files.yaml_file import read_yaml_mapping


class OpenVinoBackend:
    """An OpenVINO network; the attributes are those of TorchScriptBackend.

    What was exported with `--half` computes in bfloat16 on CPUs that have it. All else computes in float32, also where
    OpenVINO would choose bfloat16 by itself. There are as many threads as PyTorch has.

    Attributes:
        in_bfloat16: Whether it computes in that.
        note: What a user should know of its numbers, or nothing.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        if device.type != "cpu":
            raise ValueError(f"{path}: OpenVINO models run on the CPU here, not on {device}; use --device cpu")
        xml = find_xml(path)
        self.metadata = _metadata(xml)
        openvino = import_package("openvino")
        half = is_half(self.metadata)
        settings = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            core = openvino.Core()
            native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") and onednn_may_use()
            settings["INFERENCE_PRECISION_HINT"] = "bf16" if half and native else "f32"
            graph = core.read_model(xml)
            self._compiled = core.compile_model(graph, "CPU", settings)
            self.in_bfloat16 = self._compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.bf16
        except Exception as error:  # OpenVINO raises RuntimeError and kinds of its own
            raise ValueError(
                f"{path}: OpenVINO cannot open it; copy or export it again if it is damaged: {one_line(error)}"
            ) from error
        self.note = "computes in float32, since this CPU has no bfloat16" if half and not self.in_bfloat16 else ""
        self._tensor = openvino.Tensor
        kinds = {"f32": torch.float32, "f16": torch.float16}
        if len(graph.inputs) != 1 or not graph.outputs:
            counts = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
            raise ValueError(f"{path}: has {counts}; a network here has one input")
        shape, kind = _numbers(graph.inputs[0]), graph.inputs[0].get_element_type().get_type_name()
        if len(shape) != 4 or shape[1] not in (3, None) or kind not in kinds:
            raise ValueError(f"{path}: takes {kind} {shape}, not one float tensor (batch, 3, height, width)")
        self.shape_bhw = shape[0], shape[2], shape[3]
        self.output_shape: tuple[int | None, ...] | None = _numbers(graph.outputs[0])
        self.dtype = kinds[kind]

    def run(self, images: torch.Tensor) -> torch.Tensor:
        """Predictions for (B, 3, H, W); OpenVINO reads the tensor where it lies."""
        found = self._compiled([self._tensor(images.numpy(), shared_memory=True)], share_inputs=True)
        return torch.from_numpy(found[0])


def find_xml(path: Path) -> Path:
    """The graph of an OpenVINO folder, or the .xml itself.

    Raises:
        ValueError: the folder holds no .xml or several, or the .bin is not beside it.
    """
    graphs = [path] if path.suffix == ".xml" else sorted(path.glob("*.xml"))
    if len(graphs) != 1:
        held = "no .xml file" if not graphs else f"{len(graphs)} .xml files"
        raise ValueError(f"{path}: a folder with {held}; an OpenVINO folder holds one .xml, its .bin and metadata.yaml")
    if not graphs[0].with_suffix(".bin").is_file():
        raise ValueError(f"{graphs[0]}: its weights {graphs[0].stem}.bin are not beside it")
    return graphs[0]


def _metadata(xml: Path) -> dict[str, Any]:
    """From metadata.yaml, or as YOLOv5 names it, from the .yaml of the graph's name; empty where there is neither."""
    for path in (xml.with_name("metadata.yaml"), xml.with_suffix(".yaml")):
        if not path.is_file():
            continue
        return read_yaml_mapping(path)
    return {}


def _numbers(port: Any) -> tuple[int | None, ...]:
    """The shape of an input or output with None for free sides; empty where even the rank is free."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return ()
    return tuple(None if side.is_dynamic else side.get_length() for side in shape)
