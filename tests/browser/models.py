"""A detector that knows two pictures by heart, and ONNX files with and without something wrong in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from mgil.engine.export.job import ExportJob
from mgil.engine.export.onnx import write_onnx
from mgil.networks.detector import DetectionModel, build_model
from mgil.tasks.detect.loss import DetectionLoss, LossGains
from tests.engine.tiny import COLOURS_RGB, NAMES, TINY

SIZE = 64  # pixels of the network's input
SQUARES = (  # class, left, top, side
    ((0, 6, 8, 14), (1, 40, 10, 18), (2, 22, 40, 16)),
    ((2, 8, 34, 20), (0, 44, 42, 12)),
)


def squares_picture(number: int) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8 RGB: coloured squares on grey noise."""
    noise = np.random.default_rng(number).integers(90, 140, (SIZE, SIZE, 1), np.uint8)
    picture = noise.repeat(3, axis=2)
    for kind, left, top, side in SQUARES[number]:
        picture[top : top + side, left : left + side] = COLOURS_RGB[kind]
    return picture


def write_picture(path: Path, picture: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), picture[..., ::-1])
    return path


def learned_model(steps: int = 250) -> DetectionModel:
    """Train a tiny network on the two pictures for a second or two."""
    torch.manual_seed(2)
    model = build_model(TINY, names=NAMES, imgsz=SIZE)
    pictures = np.stack([squares_picture(number) for number in range(len(SQUARES))])
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    targets = torch.tensor(
        [
            (number, kind, left + side / 2, top + side / 2, side, side)
            for number, squares in enumerate(SQUARES)
            for kind, left, top, side in squares
        ]
    )
    loss = DetectionLoss(model.head, LossGains())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.015)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, steps)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(images), targets)[0].backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def export(model: DetectionModel, path: Path, **options: Any) -> Path:
    """What export.py writes with these options of `ExportJob`."""
    write_onnx(ExportJob(model=model, stem=path.stem, size_hw=(SIZE, SIZE), **options), path)
    return path


def write_constant(path: Path, output: np.ndarray, *, float16: bool = False) -> Path:
    """An ONNX file, without metadata, that gives the same for every picture."""
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT16 if float16 else onnx.TensorProto.FLOAT
    images = helper.make_tensor_value_info("images", kind, (1, 3, SIZE, SIZE))
    output0 = helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, output.shape)
    value = onnx.numpy_helper.from_array(output.astype(np.float32), "value")
    graph = helper.make_graph([helper.make_node("Identity", ["value"], ["output0"])], "g", [images], [output0], [value])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def change_metadata(source: Path, path: Path, **values: str) -> Path:
    """A copy of an ONNX file that says something else about itself."""
    import onnx

    proto = onnx.load(str(source))
    metadata = {prop.key: prop.value for prop in proto.metadata_props} | values
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, str(path))
    return path


def split_weights(source: Path, path: Path) -> Path:
    """A copy of an ONNX file with its weights in a second file."""
    import onnx

    onnx.save(onnx.load(str(source)), str(path), save_as_external_data=True, location="weights.data", size_threshold=0)
    return path
