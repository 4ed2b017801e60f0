"""Real images as network inputs, to check exported files with and to read INT8 ranges from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mgil.datasets.batches.decode import decode_image
from mgil.datasets.batches.letterbox import letterbox_image
from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.depths import DepthTally
from mgil.files.shipped import EXAMPLES
from mgil.files.text import Report
from mgil.tasks.base import Loading, Task
from mgil.tasks.registry import options_of

ENDINGS = (".png", ".jpg", ".jpeg")


def example_inputs(size_hw: tuple[int, int]) -> Tensor:
    """The project's own pictures, (n, 3, H, W) float32 RGB 0..1."""
    paths = sorted(path for path in EXAMPLES.iterdir() if path.suffix in ENDINGS)
    pictures = [letterbox_image(decode_image(str(path)), size_hw)[0] for path in paths]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div_(255).contiguous()


def data_inputs(
    task: Task,
    model: Any,
    data: DataConfig,
    splits: Sequence[str],
    size_hw: tuple[int, int],
    count: int,
    report: Report,
) -> Tensor:
    """Up to `count` images of a data set, evenly spread over it, as evaluation prepares them.

    In place of images that cannot be read, others are taken.

    Args:
        task: reads it.
        model: the network, which the task may ask how it sees images.
        data: the data set, as the task's options of evaluation want it seen.
        splits: the first one that it has is used.
        size_hw: of the input.
        count: most images.
        report: told which images cannot be read.

    Returns:
        (n, 3, H, W) float32 RGB 0..1.

    Raises:
        ValueError: none of the splits holds images, or most of these cannot be read.
    """
    split = next((split for split in splits if data.split(split)), None)
    if split is None:
        raise ValueError(f"{data.yaml_path} has none of {', '.join(splits)}, so it gives no images")
    images = task.read(data, split, strict=False, report=_ignore)
    options = options_of(task.name, "val")()
    loader = task.eval_loader(images, max(size_hw), model, options, Loading(1, shape_hw=size_hw, report=report))
    loader.depths = DepthTally(data.values)
    if not len(loader):
        raise ValueError(f"{data.yaml_path}: its {split} split holds no images")
    wanted = min(count, len(loader))
    spread = np.linspace(0, len(loader) - 1, wanted).round().astype(int).tolist()
    inputs: list[Tensor] = []
    for index in dict.fromkeys((*spread, *range(len(loader)))):  # the others replace damaged ones
        if len(inputs) == wanted:
            break
        inputs += [image.float() / 255 for image in loader.batch(index).images]
    return torch.stack(inputs)


def in_batches(inputs: Tensor, batch_size: int) -> list[Tensor]:
    """Cut (n, 3, H, W) into batches of exactly `batch_size`; the last one is filled up with images from the start."""
    missing = -len(inputs) % batch_size
    filling = inputs.repeat(-(-missing // len(inputs)), 1, 1, 1)[:missing] if missing else inputs[:0]
    return list(torch.cat((inputs, filling)).split(batch_size))


def _ignore(_message: str) -> None:
    """Notes about labels say nothing about an export."""
