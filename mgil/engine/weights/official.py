"""Reading YOLOv5's own checkpoints, pickled modules, without running anything they hold."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mgil.engine.weights.archive import MOST_SHARED, check_tensor, check_values, load_plain
from mgil.engine.weights.official_rows import classifier_rows
from mgil.engine.weights.pickle_names import Global
from mgil.files.limits import MOST_SIDE

# What YOLOv5 pickles beside its layers: options, paths, numbers. All of it becomes inert objects, never the real class.
KNOWN_MODULES = (
    *("models.", "utils.", "yolov5.", "torch.nn.modules.", "numpy.", "argparse.", "pathlib.", "datetime."),
    "torchvision.transforms.",  # a classifier comes with how its pictures are made
)
REAL_TORCH = ("torch", "torch._utils", "torch._tensor", "torch.nn.parameter", "collections", "torch.storage")
HARMLESS = {
    Global("__builtin__", "set"),
    Global("builtins", "set"),
}  # the names of unsaved buffers; torch.load knows it
MOST_MODULES = 20_000
CLASSIFIER = "ClassificationModel"
DETECTOR_PX, CLASSIFIER_PX = 640, 224  # that YOLOv5's released weights were trained at


class Inert:
    """Stands in for any class named in a checkpoint: takes whatever state it is given and does nothing with it."""

    def __init__(self, *_: object, **__: object) -> None:
        """Accept any arguments: pathlib.PosixPath, say, is pickled as a call."""


def read_official(path: Path, wanted: Collection[Global]) -> dict[str, Any]:
    """Read the model of an official-style YOLOv5 checkpoint.

    Every class in its pickle is replaced by `Inert` under `torch.load(weights_only=True)`; the module tree that results
    is walked for its tensors.

    Args:
        path: A .pt file that holds `model` or `ema`, a pickled detector or classifier of YOLOv5.
        wanted: The names in its pickle, from `mgil.engine.weights.archive.check_archive`.

    Returns:
        `state_dict` (float32), `architecture` (its YAML mapping), `names` (tuple), `stride` (list of pixels), `task`
        and `imgsz` (pixels).

    Raises:
        ValueError: Not such a file, or one that names code which no YOLOv5 checkpoint needs.
    """
    strange = sorted(f"{one.module}.{one.name}" for one in wanted if one not in HARMLESS and not _is_known(one.module))
    if strange:
        raise ValueError(f"{path}: refused, its pickle would run {strange[0][:200]}, which no YOLOv5 checkpoint needs")
    try:
        stubs: list[Any] = [_stub(one) for one in wanted if _is_stubbed(one.module)]
        with torch.serialization.safe_globals(stubs):
            content = load_plain(path)
        check_values(content, Inert, MOST_SHARED)  # the head's grid is an expanded tensor after inference
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ValueError(f"{path}: cannot be read as a YOLOv5 checkpoint: {_reason(error)}") from error
    models = [content.get(key) for key in ("ema", "model")] if isinstance(content, dict) else []
    module = next((model for model in models if isinstance(model, Inert)), None)
    classifies = type(module).__name__ == CLASSIFIER
    if module is None or not (classifies or isinstance(getattr(module, "yaml", None), dict)):
        raise ValueError(f"{path}: holds no YOLOv5 model")
    try:
        described = _classifier(module) if classifies else _describe(module)
        return {**described, "imgsz": _trained_at(content.get("opt")) or (CLASSIFIER_PX if classifies else DETECTOR_PX)}
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:  # parts of another kind than a model's
        raise ValueError(f"{path}: holds no YOLOv5 model, or a damaged one ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """An error in a few words: torch adds advice to load the file without its protection, which nobody should take."""
    found = re.search(r"Unsupported (global|class|operand)\S*( GLOBAL)? \S+", str(error))
    return found[0] if found else (str(error).splitlines() or [type(error).__name__])[0]


def _trained_at(options: Any) -> int:
    """The side of the training's pictures in pixels, by its options; 0: they do not say."""
    options = vars(options) if isinstance(options, Inert) else options
    imgsz = options.get("imgsz") if isinstance(options, dict) else None
    return imgsz if type(imgsz) is int and 1 <= imgsz <= MOST_SIDE else 0


def _classifier(module: Inert) -> dict[str, Any]:
    """A ClassificationModel."""
    state_dict: dict[str, Tensor] = {}
    _collect(module, "", state_dict)
    names, architecture = _names(module), classifier_rows(module)
    if len(names) != architecture["nc"]:
        raise ValueError(f"it has {len(names)} names for {architecture['nc']} classes")
    return {
        "state_dict": state_dict,
        "architecture": architecture,
        "names": names,
        "stride": [],
        "task": "classify",
    }


def _names(module: Inert) -> tuple[str, ...]:
    names = getattr(module, "names", None)
    names = list(names.values()) if isinstance(names, dict) else names
    if not isinstance(names, list):
        raise ValueError("it lacks names")
    return tuple(map(str, names))


def _describe(module: Inert) -> dict[str, Any]:
    state_dict: dict[str, Tensor] = {}
    _collect(module, "", state_dict)
    names = _names(module)
    stride = getattr(module, "stride", None)
    anchors = next((value for key, value in state_dict.items() if key.endswith(".anchors")), None)
    if not isinstance(stride, Tensor) or anchors is None:
        raise ValueError("it lacks strides or anchors; only detectors and classifiers load")
    check_tensor(stride)
    if anchors.shape[:1] != stride.shape:  # would be spread over one another
        raise ValueError("its head has another number of strides than of rows of anchors")
    architecture = {key: value for key, value in vars(module)["yaml"].items() if not key.endswith("_file")}
    # a model with fitted anchors keeps only their number in its YAML; the buffer has them
    architecture["anchors"] = (anchors * stride.view(-1, 1, 1)).flatten(1).tolist()
    return {
        "state_dict": state_dict,
        "architecture": architecture,
        "names": names,
        "stride": [float(s) for s in stride],
        "task": "detect",
    }


def _collect(module: Inert, prefix: str, into: dict[str, Tensor]) -> None:
    """What state_dict() would give, from the plain dictionaries of a module."""
    own = vars(module)
    if len(into) > MOST_MODULES:
        raise TypeError(f"more than {MOST_MODULES} tensors")
    unsaved = own.get("_non_persistent_buffers_set") or set()
    for kind in ("_parameters", "_buffers"):
        for name, value in own.get(kind, {}).items():
            if isinstance(value, Tensor) and name not in unsaved:
                check_tensor(value)
                tensor = value.detach()
                into[prefix + name] = tensor.float() if tensor.is_floating_point() else tensor
    for name, child in own.get("_modules", {}).items():
        if isinstance(child, Inert):
            _collect(child, f"{prefix}{name}.", into)


def _stub(named: Global) -> type[Inert]:
    return type(named.name, (Inert,), {"__module__": named.module})


def _is_stubbed(module: str) -> bool:
    return module not in REAL_TORCH and _is_known(module)


def _is_known(module: str) -> bool:
    return module in REAL_TORCH or f"{module}.".startswith(KNOWN_MODULES)
