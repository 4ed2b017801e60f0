"""Whatever a Python user hands to a model, as images: uint8 RGB arrays with a name each.

What values mean is not decided here, but in `mgil.datasets.reading.pixels` for all that gives pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image

from mgil.datasets.batches.decode import decode_image, decode_opened
from mgil.datasets.reading.depths import DepthTally
from mgil.datasets.reading.pixels import rgb_of
from mgil.files.paths import find, glob_paths


def is_many(images: Any) -> bool:
    """Whether this asks for a list of results: a list, a tuple, or a tensor with a batch dimension."""
    return isinstance(images, list | tuple) or (isinstance(images, torch.Tensor) and images.ndim == 4)


def as_images(images: Any, depths: DepthTally) -> Iterator[tuple[np.ndarray, str]]:
    """Yield (H, W, 3) uint8 RGB and a name for each image, one at a time so that a long list is not held in memory.

    See `mgil.engine.prediction.predictor.Model.__call__` for what may be given. `depths` says what the values of
    pictures of more than 8 bits mean, and counts these.
    """
    for index, image in enumerate(images if is_many(images) else [images]):
        name = f"image{index}"
        if isinstance(image, str | os.PathLike):
            path = os.fspath(image)
            yield _from_file(path, depths), path
        elif isinstance(image, Image.Image):
            name = getattr(image, "filename", "") or name
            yield decode_opened(image, name, depths.values, depths.add), name
        elif isinstance(image, torch.Tensor | np.ndarray):
            try:
                array = _from_tensor(image) if isinstance(image, torch.Tensor) else image
                yield rgb_of(array, depths.values, depths.add), name
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        else:
            raise ValueError(f"{type(image).__name__} is no image: give a path, NumPy array, PIL image or tensor")


def _from_file(path: str, depths: DepthTally) -> np.ndarray:
    found = find(path)
    if found is None and glob_paths(path):
        raise ValueError(f"{path} is a pattern; give a list of its files, or use detect.py --source")
    if found is None:
        raise FileNotFoundError(f"{path}: no such file")
    if os.path.isdir(found):
        raise ValueError(f"{path} is a folder; give a list of its files, or use detect.py --source")
    return decode_image(found, depths.values, depths.add)


def _from_tensor(tensor: torch.Tensor) -> np.ndarray:
    """(C, H, W) -> (H, W, C), with 0..1 of floating point as 0..255."""
    shape = tuple(tensor.shape)
    if len(shape) != 3 or shape[0] not in (1, 3, 4) or (shape[0] != 3 and shape[2] == 3) or not tensor.numel():
        raise ValueError(f"tensor of shape {shape}: images are (3, height, width) or (batch, 3, height, width)")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        low, high = float(tensor.min()), float(tensor.max())
        if not 0 <= low <= high <= 1:
            raise ValueError(f"float tensor with values from {low:g} to {high:g}: give 0..1, or uint8 0..255")
        tensor = (tensor.float() * 255).round().to(torch.uint8)
    if tensor.dtype not in (torch.uint8, torch.uint16, torch.bool):
        raise ValueError(f"tensor of {tensor.dtype}: give float 0..1, uint8 or uint16")
    return tensor.permute(1, 2, 0).numpy()
