"""The rows of a YOLOv5 classifier: its checkpoints have no YAML, but modules that say what they are."""

from __future__ import annotations

from typing import Any

PARAMETERS = ("out_channels", "kernel_size", "stride", "padding", "groups", "dilation")


def classifier_rows(module: Any) -> dict[str, Any]:
    """The architecture of a pickled ClassificationModel, as a YAML would have it.

    Args:
        module: Stands in for the model; nothing of it is run.

    Raises:
        ValueError: It has layers of other kinds than YOLOv5's classifiers.
    """
    layers = list(_parts(_parts(module).get("model")).values())
    rows = [_row(index, layer) for index, layer in enumerate(layers)]
    if len(rows) < 2 or rows[-1][2] != "Classify":
        raise ValueError("its last layer is not Classify")
    first = _parts(layers[0]).get("act")
    return {
        "nc": _number(getattr(_parts(layers[-1]).get("linear"), "out_features", None)),
        "depth_multiple": 1.0,
        "width_multiple": 1.0,
        "activation": type(first).__name__,
        "backbone": rows[:-1],
        "head": rows[-1:],
    }


def _row(index: int, layer: Any) -> list[Any]:
    kind, parts, came_from = type(layer).__name__, _parts(layer), getattr(layer, "f", None)
    number = 1
    arguments: list[Any]
    if kind == "Conv":
        arguments = _conv(parts.get("conv"))
    elif kind == "C3":
        bottlenecks = list(_parts(parts.get("m")).values())
        number = len(bottlenecks)
        shortcuts = {bool(getattr(each, "add", None)) for each in bottlenecks}
        if len(shortcuts) != 1:
            raise ValueError(f"its layer {index} has bottlenecks of two kinds")
        arguments = [_conv(_parts(parts.get("cv3")).get("conv"))[0], *shortcuts]
    elif kind == "SPPF":
        pool = _number(getattr(parts.get("m"), "kernel_size", None))
        arguments = [_conv(_parts(parts.get("cv2")).get("conv"))[0], pool]
    elif kind == "Classify":
        channels, kernel, *_ = _conv(_parts(parts.get("conv")).get("conv"))
        if kernel != 1:
            raise ValueError(f"its Classify has a convolution of {kernel}x{kernel}")
        arguments = ["nc", channels]
    else:
        raise ValueError(f"its layer {index} is {kind[:60]}, which no classifier of YOLOv5 has")
    return [came_from, number, kind, arguments]


def _conv(conv: Any) -> list[int]:
    """Output channels, kernel, stride, padding and groups of a convolution."""
    found = []
    for name in PARAMETERS:
        value = getattr(conv, name, None)
        if isinstance(value, tuple) and len(set(value)) == 1:  # of rows and columns
            value = value[0]
        found.append(_number(value))
    if found.pop() != 1:
        raise ValueError("it has a dilated convolution")
    return found


def _number(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r:.60} where a layer has a number")
    return value


def _parts(module: Any) -> dict[str, Any]:
    parts = vars(module).get("_modules") if hasattr(module, "__dict__") else None
    if not isinstance(parts, dict):
        raise ValueError("it has a layer without parts")
    return parts
