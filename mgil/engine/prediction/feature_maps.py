"""Pictures of what the layers of a network see (detect.py --visualize)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from mgil.engine.runtimes.model import ExportedModel
from mgil.files.image_file import save_image
from mgil.files.written_files import WrittenFiles
from mgil.networks.network import Network

MOST_CHANNELS = 32  # of each layer, as in YOLOv5
_COLUMNS = 8
_TILE_PX = 96  # smaller maps are enlarged to this
_GAP_PX = 4


@contextmanager
def recorded_maps(model: Network | ExportedModel) -> Iterator[dict[str, torch.Tensor]]:
    """Record, while the block runs, the first output of every layer but the head.

    Yields:
        `stage{index}_{layer's name}` -> (B, C, H, W) float32 on the CPU, filled by the model's next forward pass.

    Raises:
        ValueError: the model is an exported one, whose layers are closed.
    """
    if isinstance(model, ExportedModel):
        raise ValueError("--visualize needs the PyTorch weights (.pt); the layers of an exported file are closed")
    maps: dict[str, torch.Tensor] = {}

    def record(name: str, output: Any) -> None:
        first = output[0] if isinstance(output, list | tuple) else output  # of several maps the finest
        maps.setdefault(name, first.detach().float().cpu())

    def hook_for(name: str) -> object:
        return lambda _layer, _inputs, output: record(name, output)

    layers: list[nn.Module] = list(model.rows)[:-1]
    handles = [
        layer.register_forward_hook(hook_for(f"stage{index}_{type(layer).__name__}"))  # type: ignore[arg-type]
        for index, layer in enumerate(layers)
    ]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def save_feature_maps(maps: dict[str, torch.Tensor], index: int, folder: Path, written: WrittenFiles) -> None:
    """Write a grid `{stage}_features.png` of the first channels of each layer, for image `index` of the batch."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, batch in maps.items():
        path = folder / f"{name}_features.png"
        with written.writing(path):
            save_image(path, feature_grid(batch[index].numpy()))


def feature_grid(channels: np.ndarray) -> np.ndarray:
    """Lay out (C, H, W) maps in rows of 8, each stretched over the whole colour scale: (H', W', 3) uint8 RGB."""
    channels = np.nan_to_num(channels[:MOST_CHANNELS])
    factor = max(1, math.ceil(_TILE_PX / max(channels.shape[1:])))
    tile_hw = channels.shape[1] * factor, channels.shape[2] * factor
    columns = min(_COLUMNS, len(channels))
    rows = math.ceil(len(channels) / columns)
    grid = np.full((rows * (tile_hw[0] + _GAP_PX), columns * (tile_hw[1] + _GAP_PX), 3), 255, np.uint8)
    for index, channel in enumerate(channels):
        low, high = float(channel.min()), float(channel.max())
        levels = (255 * (channel - low) / max(high - low, 1e-12)).astype(np.uint8)
        tile = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1]
        tile = tile.repeat(factor, axis=0).repeat(factor, axis=1)
        top, left = (index // columns) * (tile_hw[0] + _GAP_PX), (index % columns) * (tile_hw[1] + _GAP_PX)
        grid[top : top + tile_hw[0], left : left + tile_hw[1]] = tile
    return grid
