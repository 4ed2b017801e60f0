"""Exported files, written by plain calls of the libraries as YOLOv5 does it, for the tests of running them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import DetectionModel, build_model
from tests.engine.tiny import NAMES, TINY

METADATA = {"stride": "32", "names": str(dict(enumerate(NAMES)))}


def save_tiny_detector(path: Path) -> Path:
    """Save an untrained network of three classes that finds something everywhere."""
    torch.manual_seed(0)
    model = build_model(TINY, names=NAMES, imgsz=64)
    with torch.no_grad():
        for layer in model.head.m:
            layer.bias.view(3, -1)[:, 4:] = 1.0
    save_checkpoint(path, model, {})
    return path


def export(
    model: DetectionModel,
    kind: str,
    folder: Path,
    *,
    batch: int = 1,
    size_hw: tuple[int, int] = (64, 64),
    dynamic: bool = False,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a model by plain calls of torch, onnx and openvino, as YOLOv5 does."""
    facts = {"stride": "32", "names": str(dict(enumerate(model.names)))} if metadata is None else metadata
    facts = facts | ({"dynamic": "true"} if dynamic else {})
    images = torch.rand(batch, 3, *size_hw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "torchscript":
            path = folder / "best.torchscript"
            extra = {"config.txt": json.dumps({"shape": list(images.shape), **facts})}
            torch.jit.save(torch.jit.trace(model, images, check_trace=False), str(path), _extra_files=extra)
            return path
        onnx = pytest.importorskip("onnx")
        path = folder / "best.onnx"
        axes = {"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch", 1: "n"}} if dynamic else None
        names: dict[str, Any] = {"input_names": ["images"], "output_names": ["output0"], "dynamic_axes": axes}
        torch.onnx.export(model, (images,), str(path), dynamo=False, **names)
    graph = onnx.load(str(path))
    onnx.helper.set_model_props(graph, facts)
    onnx.save(graph, str(path))
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
        return path
    openvino = pytest.importorskip("openvino")
    target = folder / "best_openvino_model"
    openvino.save_model(openvino.convert_model(str(path)), str(target / "best.xml"), compress_to_fp16=False)
    (target / "metadata.yaml").write_text("\n".join(f"{key}: {value}" for key, value in facts.items()))
    return target
