"""Whether a run's smallest batch gives BatchNorm enough values to train with."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mgil.datasets.batches.composer import Composer
from mgil.engine.distributed import world_size
from mgil.engine.training.config import TrainFlags
from mgil.engine.training.multi_scale import strides_range
from mgil.networks.network import Network

SIZES_TRIED = 8  # strides more than --imgsz, to find a size that does


def check_least_batch(model: Network, frozen: Sequence[nn.Module], composer: Composer, config: TrainFlags) -> None:
    """Refuse batches of one image whose coarsest map is a single pixel: BatchNorm cannot take their statistics.

    Args:
        model: To be trained.
        frozen: Its modules that stay in evaluation mode.
        composer: Says how many images there are, and of which shapes.
        config: Its `batch_size` is that of all processes together, and `imgsz` a multiple of the stride.

    Raises:
        ValueError: The smallest batch of a process is too small; a batch and a size that do are named.
    """
    processes = world_size()
    share, images = config.batch_size // processes, -(-len(composer) // processes)
    if min(share, images) > 1 or config.sync_bn:  # which needs several processes
        return
    stride = model.max_stride

    def fits(imgsz: int) -> bool:
        return values_per_image(model, frozen, _smallest_hw(imgsz, stride, composer, config)) > 1

    if fits(config.imgsz):
        return
    height, width = _smallest_hw(config.imgsz, stride, composer, config)
    sizes = (config.imgsz + steps * stride for steps in range(1, SIZES_TRIED + 1))
    size = next((f"--imgsz {size}" for size in sizes if fits(size)), "")
    if share == 1 and images > 1:
        each = f" for {processes} processes" if processes > 1 else ""
        cause, more = f"--batch-size {config.batch_size}{each}", f"--batch-size {2 * processes}"
    else:
        each = " for each process" if processes > 1 else ""
        cause, more = f"{len(composer)} training image{'s'[: len(composer) > 1]}{each}", "more images"
    scaled = f" with --multi-scale, which goes down to {width} px" if config.multi_scale else ""
    raise ValueError(
        f"{cause} at --imgsz {config.imgsz}{scaled}: the coarsest map is one pixel for an input of {height}x{width}, "
        f"and BatchNorm needs two values; take {more}{' or ' if size else ''}{size}"
    )


@torch.no_grad()
def values_per_image(model: nn.Module, frozen: Sequence[nn.Module], size_hw: tuple[int, int]) -> int:
    """The fewest values that one image gives to a channel of a BatchNorm in training; without any it counts as 2.

    Args:
        model: Is left as it is.
        frozen: Its modules that stay in evaluation mode.
        size_hw: Height and width of the input in pixels.
    """
    resting = [name for name, module in model.named_modules() if any(module is other for other in frozen)]
    twin = deepcopy(model).to("meta").train()  # meta tensors have shapes and no contents: nothing is computed
    for name in resting:
        twin.get_submodule(name).eval()
    counts = [2]

    def count(_layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        counts.append(inputs[0].numel() // inputs[0].shape[1] // 2)

    for layer in twin.modules():
        if isinstance(layer, _BatchNorm) and layer.training:
            layer.register_forward_pre_hook(count)
    twin(torch.empty(2, 3, *size_hw, device="meta"))  # of two images, which no BatchNorm refuses
    return min(counts)


def _smallest_hw(imgsz: int, stride: int, composer: Composer, config: TrainFlags) -> tuple[int, int]:
    side = strides_range(imgsz, stride)[0] * stride if config.multi_scale else imgsz
    return (stride if composer.rect else side), side
