"""Whatever a Python user hands to a model, as images: uint8 RGB arrays with a name each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from mgil.datasets.batches.decode import decode_image
from mgil.files.paths import find, glob_paths


def is_many(images: Any) -> bool:
    """Whether this asks for a list of results: a list, a tuple, or a tensor with a batch dimension."""
    return isinstance(images, list | tuple) or (isinstance(images, torch.Tensor) and images.ndim == 4)


def as_images(images: Any) -> Iterator[tuple[np.ndarray, str]]:
    """Yield (H, W, 3) uint8 RGB and a name for each image, one at a time so that a long list is not held in memory.

    See `mgil.engine.prediction.predictor.Model.__call__` for what may be given.
    """
    for index, image in enumerate(images if is_many(images) else [images]):
        name = f"image{index}"
        if isinstance(image, str | os.PathLike):
            path = os.fspath(image)
            yield _from_file(path), path
        elif isinstance(image, Image.Image):
            yield np.array(ImageOps.exif_transpose(image).convert("RGB")), getattr(image, "filename", "") or name
        elif isinstance(image, torch.Tensor):
            yield _from_tensor(image), name
        elif isinstance(image, np.ndarray):
            yield _from_array(image), name
        else:
            raise ValueError(f"{type(image).__name__} is no image: give a path, NumPy array, PIL image or tensor")


def _from_file(path: str) -> np.ndarray:
    found = find(path)
    if found is None and glob_paths(path):
        raise ValueError(f"{path} is a pattern; give a list of its files, or use detect.py --source")
    if found is None:
        raise FileNotFoundError(f"{path}: no such file")
    if os.path.isdir(found):
        raise ValueError(f"{path} is a folder; give a list of its files, or use detect.py --source")
    return decode_image(found)


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or not array.size:
        raise ValueError(f"array of shape {array.shape}: an image is (height, width, 3) RGB or (height, width) grey")
    if array.dtype != np.uint8:
        raise ValueError(f"array of {array.dtype}: an image is uint8, 0..255")
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _from_tensor(tensor: torch.Tensor) -> np.ndarray:
    if tensor.ndim != 3 or tensor.shape[0] != 3 or not tensor.numel():
        raise ValueError(
            f"tensor of shape {tuple(tensor.shape)}: images are (3, height, width) or (batch, 3, height, width)"
        )
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        low, high = float(tensor.min()), float(tensor.max())
        if not 0 <= low <= high <= 1:
            raise ValueError(f"float tensor with values from {low:g} to {high:g}: give 0..1, or uint8 0..255")
        tensor = (tensor.float() * 255).round().to(torch.uint8)
    if tensor.dtype != torch.uint8:
        raise ValueError(f"tensor of {tensor.dtype}: give float 0..1 or uint8")
    return np.ascontiguousarray(tensor.permute(1, 2, 0).numpy())
