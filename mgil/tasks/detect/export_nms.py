"""Non-maximum suppression as nodes at the end of an ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from mgil.files.packages import import_package
from mgil.tasks.detect.suppression import Suppression

# Split and Squeeze take their numbers as inputs: opset 13 or newer, see `mgil.engine.export.onnx.LOWEST_OPSET`.


class _Tail:
    """Nodes to append, with names made up as they come."""

    def __init__(self) -> None:
        self.onnx = import_package("onnx")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, *inputs: str, outputs: int = 1, name: str | None = None, **attributes: Any) -> Any:
        """Append a node; return the name of its output, or a tuple of names."""
        made = [name or f"nms/{kind}_{len(self.nodes)}_{index}" for index in range(outputs)]
        node = self.onnx.helper.make_node(kind, inputs, made, name=f"/nms/{kind}_{len(self.nodes)}", **attributes)
        self.nodes.append(node)
        return made[0] if outputs == 1 else tuple(made)

    def constant(self, values: Any, kind: type = np.int64) -> str:
        """Store an array; return its name."""
        name = f"nms/constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.array(values, kind), name))
        return name


def append_suppression(model: Any, suppression: Suppression, num_classes: int) -> None:
    """Replace the output (B, N, nc+5) of an ONNX model by the boxes that survive suppression.

    The rule is that of `mgil.tasks.detect.nms.non_max_suppression` with one class a box: objectness and objectness
    times the best class score exceed the threshold, boxes of a class suppress each other.

    Args:
        model: ONNX model with one output `output0`, changed in place; its output becomes (B, total, 6): x1, y1, x2, y2
            in input pixels, score, class; best first, rows past the found ones zero.
        suppression: thresholds and limits.
        num_classes: number of classes.
    """
    graph, tail = model.graph, _Tail()
    for node in graph.node:
        node.output[:] = ["predictions" if name == "output0" else name for name in node.output]
        node.input[:] = ["predictions" if name == "output0" else name for name in node.input]
    boxes, score, index = _candidates(tail, suppression.conf_thres, num_classes)
    if suppression.agnostic or num_classes == 1:
        by_class = tail.add("Unsqueeze", score, tail.constant([1]))  # (B, 1, N)
    else:
        classes = tail.constant(np.arange(num_classes).reshape(1, -1, 1))
        chosen = tail.add("Equal", tail.add("Unsqueeze", index, tail.constant([1])), classes)  # (B, nc, N)
        zero = tail.constant(0, np.float32)
        by_class = tail.add("Where", chosen, tail.add("Unsqueeze", score, tail.constant([1])), zero)
    limits = (
        tail.constant([suppression.per_class]),
        tail.constant([suppression.iou_thres], np.float32),
        tail.constant([suppression.conf_thres], np.float32),
    )
    kept = tail.add("NonMaxSuppression", boxes, by_class, *limits)  # (M, 3): image, class, box
    _best_rows(tail, kept, boxes, score, index, suppression.total)
    graph.node.extend(tail.nodes)
    graph.initializer.extend(tail.constants)
    batch = graph.output[0].type.tensor_type.shape.dim[0]
    shape = [batch.dim_param or batch.dim_value, suppression.total, 6]
    del graph.output[:]
    graph.output.append(tail.onnx.helper.make_tensor_value_info("output0", tail.onnx.TensorProto.FLOAT, shape))


def _candidates(tail: _Tail, conf_thres: float, num_classes: int) -> tuple[str, str, str]:
    """Corner boxes (B, N, 4); scores (B, N), zero where the objectness is too low; class indices (B, N)."""
    parts = tail.constant([2, 2, 1, num_classes])
    centre, size, objectness, classes = tail.add("Split", "predictions", parts, outputs=4, axis=2)
    half = tail.add("Mul", size, tail.constant(0.5, np.float32))
    boxes = tail.add("Concat", tail.add("Sub", centre, half), tail.add("Add", centre, half), axis=2)
    best, index = tail.add("TopK", classes, tail.constant([1]), outputs=2, axis=2)  # (B, N, 1)
    found = tail.add("Greater", objectness, tail.constant(conf_thres, np.float32))
    score = tail.add("Where", found, tail.add("Mul", objectness, best), tail.constant(0, np.float32))
    last = tail.constant([2])
    return boxes, tail.add("Squeeze", score, last), tail.add("Squeeze", index, last)


def _best_rows(tail: _Tail, kept: str, boxes: str, score: str, index: str, total: int) -> None:
    """From the indices that were kept to `output0`; every image has `total` rows, so that nothing has to be counted."""
    places = tail.add("Gather", kept, tail.constant([0, 2]), axis=1)  # (M, 2): image, box
    # Scores of the kept boxes at their place, zeros elsewhere; `total` more places, should there be fewer boxes.
    nothing = tail.add("Sub", score, score)
    only_kept = tail.add("ScatterND", nothing, places, tail.add("GatherND", score, places))
    room = tail.constant([0, 0, 0, total])
    best, order = tail.add("TopK", tail.add("Pad", only_kept, room), tail.constant([total]), outputs=2, axis=1)
    last = tail.constant([2])
    real = tail.add("Cast", tail.add("Unsqueeze", index, last), to=tail.onnx.TensorProto.FLOAT)
    rows = tail.add("Concat", boxes, tail.add("Unsqueeze", score, last), real, axis=2)  # (B, N, 6)
    rows = tail.add("Pad", rows, tail.constant([0, 0, 0, 0, total, 0]))
    wide = tail.add("Expand", tail.add("Unsqueeze", order, last), tail.constant([1, 1, 6]))  # (B, total, 6)
    rows = tail.add("GatherElements", rows, wide, axis=1)
    found = tail.add("Greater", tail.add("Unsqueeze", best, last), tail.constant(0, np.float32))
    tail.add("Where", found, rows, tail.constant(0, np.float32), name="output0")
