"""Reading YOLOv5's own checkpoints, pickled modules, without running anything they hold."""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# What YOLOv5 pickles beside its layers: options, paths, numbers. All of it becomes inert objects, never the real class.
KNOWN_MODULES = ("models.", "utils.", "torch.nn.modules.", "numpy.", "argparse.", "pathlib.", "datetime.", "yolov5.")
REAL_TORCH = ("torch", "torch._utils", "torch._tensor", "torch.nn.parameter", "collections", "torch.storage")
HARMLESS = {("__builtin__", "set"), ("builtins", "set")}  # the names of unsaved buffers; torch.load knows it
MOST_PICKLE_BYTES = 64 << 20


class Inert:
    """Stands in for any class named in a checkpoint: takes whatever state it is given and does nothing with it."""

    def __init__(self, *_: object, **__: object) -> None:
        """Accept any arguments: pathlib.PosixPath, say, is pickled as a call."""


def read_official(path: Path) -> dict[str, Any]:
    """Read the model of an official-style YOLOv5 checkpoint.

    The pickle's names are listed first without executing it, and every class in it is replaced by `Inert` under
    `torch.load(weights_only=True)`; the module tree that results is walked for its tensors.

    Args:
        path: A .pt file that holds `model` or `ema`, a pickled YOLOv5 detection model.

    Returns:
        `state_dict` (float32), `architecture` (its YAML mapping), `names` (tuple), `stride` (list of pixels).

    Raises:
        ValueError: Not such a file, or one that names code which no YOLOv5 checkpoint needs.
    """
    wanted = _global_names(path)
    strange = sorted(f"{module}.{name}" for module, name in wanted - HARMLESS if not _is_known(module))
    if strange:
        raise ValueError(f"{path}: refused, its pickle would run {strange[0]}, which no YOLOv5 checkpoint needs")
    stubs: list[Any] = [type(name, (Inert,), {"__module__": module}) for module, name in wanted if _is_stubbed(module)]
    with torch.serialization.safe_globals(stubs):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            raise ValueError(f"{path}: cannot be read as a YOLOv5 checkpoint: {_reason(error)}") from error
    models = [content.get(key) for key in ("ema", "model")] if isinstance(content, dict) else []
    module = next((model for model in models if isinstance(model, Inert)), None)
    if module is None or not isinstance(getattr(module, "yaml", None), dict):
        raise ValueError(f"{path}: holds no YOLOv5 detection model")
    try:
        return _describe(module, path)
    except (AttributeError, TypeError, RuntimeError) as error:  # parts of another kind than a model's
        raise ValueError(f"{path}: holds a damaged YOLOv5 model ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """An error in a few words: torch adds advice to load the file without its protection, which nobody should take."""
    found = re.search(r"Unsupported (global|class|operand)\S*( GLOBAL)? \S+", str(error))
    return found[0] if found else (str(error).splitlines() or [type(error).__name__])[0]


def _describe(module: Inert, path: Path) -> dict[str, Any]:
    state_dict: dict[str, Tensor] = {}
    _collect(module, "", state_dict)
    names = getattr(module, "names", None)
    names = list(names.values()) if isinstance(names, dict) else names
    stride = getattr(module, "stride", None)
    anchors = next((value for key, value in state_dict.items() if key.endswith(".anchors")), None)
    if not isinstance(names, list) or not isinstance(stride, Tensor) or anchors is None:
        raise ValueError(f"{path}: holds a model without names, strides or anchors; only detection models load")
    architecture = {key: value for key, value in vars(module)["yaml"].items() if not key.endswith("_file")}
    # a model with fitted anchors keeps only their number in its YAML; the buffer has them
    architecture["anchors"] = (anchors * stride.view(-1, 1, 1)).flatten(1).tolist()
    return {
        "state_dict": state_dict,
        "architecture": architecture,
        "names": tuple(map(str, names)),
        "stride": [float(s) for s in stride],
    }


def _collect(module: Inert, prefix: str, into: dict[str, Tensor]) -> None:
    """What state_dict() would give, from the plain dictionaries of a module."""
    own = vars(module)
    unsaved = own.get("_non_persistent_buffers_set") or set()
    for kind in ("_parameters", "_buffers"):
        for name, value in own.get(kind, {}).items():
            if isinstance(value, Tensor) and name not in unsaved:
                tensor = value.detach()
                into[prefix + name] = tensor.float() if tensor.is_floating_point() else tensor
    for name, child in own.get("_modules", {}).items():
        if isinstance(child, Inert):
            _collect(child, f"{prefix}{name}.", into)


def _is_stubbed(module: str) -> bool:
    return module not in REAL_TORCH and _is_known(module)


def _is_known(module: str) -> bool:
    return module in REAL_TORCH or f"{module}.".startswith(KNOWN_MODULES)


def _global_names(path: Path) -> set[tuple[str, str]]:
    """Every (module, name) that the pickle inside refers to; the pickle is read, not run."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
            if len(entries) != 1 or entries[0].file_size > MOST_PICKLE_BYTES:
                raise ValueError("it holds no model")
            pickle = archive.read(entries[0])
        return _names_in(pickle)
    except Exception as error:  # damaged archives and pickles raise many kinds
        raise ValueError(f"{path}: not a PyTorch checkpoint, or a damaged one ({_reason(error)})") from error


def _names_in(pickle: bytes) -> set[tuple[str, str]]:
    names: set[tuple[str, str]] = set()
    texts: list[str] = []
    for operation, argument, _ in pickletools.genops(pickle):
        if operation.name == "GLOBAL":
            module, name = str(argument).split(" ", 1)
            names.add((module, name))
        elif operation.name == "STACK_GLOBAL":  # takes the two strings before it; memoised ones cannot be followed
            names.add((texts[-2], texts[-1]) if len(texts) > 1 else ("?", "?"))
        elif isinstance(argument, str):
            texts.append(argument)
    return names
