"""What a peer's network costs, counted and timed as this project does with its own; in the peers' environment."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def count(model: nn.Module, sizes: list[int]) -> dict[str, Any]:
    """Parameters, and for each size in pixels the operations of one image in billions.

    As mgil/networks/profile.py has it: two for each multiply-add of convolutions and matrix products, two for each
    element that a BatchNorm makes.
    """
    model = model.float().cpu().eval()
    normalised: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output: normalised.append(2 * output.numel()))
        for layer in model.modules()
        if isinstance(layer, nn.BatchNorm2d)
    ]
    gflops = []
    for size in sizes:
        normalised.clear()
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, size, size))
        gflops.append((counter.get_total_flops() + sum(normalised)) / 1e9)
    for hook in hooks:
        hook.remove()
    return {"parameters": sum(parameter.numel() for parameter in model.parameters()), "gflops": gflops}


class Stopwatch:
    """Times forward passes of a network in inference mode, batch 1."""

    def __init__(self, model: nn.Module, size: int, device: torch.device) -> None:
        self.model = model.to(device).float().eval()
        self.image = torch.rand(1, 3, size, size, device=device)

    @torch.inference_mode()
    def milliseconds(self, images: int) -> list[float]:
        """Of each image of a few in a row."""
        times = []
        for _ in range(images):
            started = time.perf_counter()
            self.model(self.image)
            if self.image.is_cuda:
                torch.cuda.synchronize()
            times.append(1000 * (time.perf_counter() - started))
        return times
